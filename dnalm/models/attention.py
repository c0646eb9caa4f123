"""Self-attention over a packed micro-batch, by the kernel of one's choice.

N packed tokens, D model width, H heads, K head width (D = H K), B sequences, L longest sequence.
"""

from __future__ import annotations

from torch import Tensor, nn

from dnalm.models.kernels import KERNELS, KernelName, attention_maps
from dnalm.models.packing import Layout


class Attention(nn.Module):
    """Multi-head self-attention with biased projections (Vaswani et al. 2017; BERT).

    Queries, keys and values have a projection each, rather than one for all three, so that adapters
    can be put on one of them and published weights map name by name.

    Args:
        hidden_size: D.
        num_heads: H, a divisor of D.
        dropout: share of attention weights zeroed in training.
        kernel: which of `KERNELS` computes it.
    """

    def __init__(self, *, hidden_size: int, num_heads: int, dropout: float, kernel: KernelName) -> None:
        super().__init__()
        assert hidden_size % num_heads == 0, "the encoder checks this"
        self.num_heads, self.dropout, self.kernel = num_heads, dropout, KERNELS[kernel]
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)

    def forward(self, hidden_ND: Tensor, layout: Layout, kept_M: Tensor | None = None) -> Tensor:
        """What each token, or each of those kept, takes from its sequence, (N, D) or (M, D)."""
        query_NHK, key_NHK = self._queries_and_keys(hidden_ND, layout)
        value_NHK = self._heads(self.value(hidden_ND))
        dropout = self.dropout if self.training else 0.0
        mixed_NHK = self.kernel.attend(query_NHK, key_NHK, value_NHK, layout, dropout)
        if kept_M is not None:
            mixed_NHK = mixed_NHK.index_select(0, kept_M)
        mixed_ND: Tensor = self.output(mixed_NHK.flatten(1))
        return mixed_ND

    def maps(self, hidden_ND: Tensor, layout: Layout) -> Tensor:
        """Attention weights before dropout, (B, H, L, L), whatever the kernel; see `attention_maps`."""
        return attention_maps(*self._queries_and_keys(hidden_ND, layout), layout)

    def _queries_and_keys(self, hidden_ND: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        query_NHK, key_NHK = self._heads(self.query(hidden_ND)), self._heads(self.key(hidden_ND))
        if layout.rotation is None:
            return query_NHK, key_NHK
        return layout.rotation.turn(query_NHK), layout.rotation.turn(key_NHK)

    def _heads(self, x_ND: Tensor) -> Tensor:
        return x_ND.view(x_ND.shape[0], self.num_heads, x_ND.shape[1] // self.num_heads)
