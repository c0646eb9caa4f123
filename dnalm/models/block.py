"""One layer of the encoder: attention, then a feed-forward network, each added to its input.

N packed tokens, D model width, F feed-forward width.
"""

from __future__ import annotations

from torch import Tensor, nn

from dnalm.models.attention import Attention
from dnalm.models.dropout import Dropout
from dnalm.models.kernels import KernelName
from dnalm.models.packing import Layout


class FeedForward(nn.Module):
    """Two biased linear maps with the exact (erf) GELU between them, D to F to D."""

    def __init__(self, *, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.up = nn.Linear(hidden_size, intermediate_size)
        self.down = nn.Linear(intermediate_size, hidden_size)

    def forward(self, hidden_ND: Tensor) -> Tensor:
        """(N, D), each token on its own."""
        output_ND: Tensor = self.down(nn.functional.gelu(self.up(hidden_ND)))
        return output_ND


class Block(nn.Module):
    """A post-norm Transformer layer (Vaswani et al. 2017; BERT).

    Args:
        hidden_size: D.
        num_heads: attention heads, a divisor of D.
        intermediate_size: F.
        dropout: share of each sublayer's output zeroed in training.
        attention_dropout: share of attention weights zeroed in training.
        norm_eps: added to the variance in the layer norms.
        kernel: which attention kernel.
    """

    def __init__(
        self,
        *,
        hidden_size: int,
        num_heads: int,
        intermediate_size: int,
        dropout: float,
        attention_dropout: float,
        norm_eps: float,
        kernel: KernelName,
    ) -> None:
        super().__init__()
        self.attention = Attention(
            hidden_size=hidden_size, num_heads=num_heads, dropout=attention_dropout, kernel=kernel
        )
        self.attention_norm = nn.LayerNorm(hidden_size, eps=norm_eps)
        self.feed_forward = FeedForward(hidden_size=hidden_size, intermediate_size=intermediate_size)
        self.feed_forward_norm = nn.LayerNorm(hidden_size, eps=norm_eps)
        self.dropout = Dropout(dropout)

    def forward(self, hidden_ND: Tensor, layout: Layout) -> Tensor:
        """The next hidden states, (N, D)."""
        attended_ND = self.dropout(self.attention(hidden_ND, layout))
        hidden_ND = self.attention_norm(hidden_ND + attended_ND)
        transformed_ND = self.dropout(self.feed_forward(hidden_ND))
        output_ND: Tensor = self.feed_forward_norm(hidden_ND + transformed_ND)
        return output_ND
