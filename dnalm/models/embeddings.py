"""Token ids to the first hidden states.

N packed tokens, D model width.
"""

from __future__ import annotations

from torch import Tensor, nn

from dnalm.models.dropout import Dropout
from dnalm.models.packing import Layout


class Embeddings(nn.Module):
    """The sum of a token's, its position's and its type's vector, normed (Devlin et al. 2019).

    DNA models give every token type 0; the table keeps its other rows because published weights
    have them.

    Args:
        vocab_size: token ids, 0 to vocab_size - 1.
        hidden_size: D.
        max_positions: longest sequence in tokens.
        type_vocab_size: rows of the type table.
        dropout: share of elements zeroed in training.
        norm_eps: added to the variance in the layer norm.
        padding_id: the id whose vector starts at zero and gets no gradient from here.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        hidden_size: int,
        max_positions: int,
        type_vocab_size: int,
        dropout: float,
        norm_eps: float,
        padding_id: int,
    ) -> None:
        super().__init__()
        self.token = nn.Embedding(vocab_size, hidden_size, padding_idx=padding_id)
        self.position = nn.Embedding(max_positions, hidden_size)
        self.token_type = nn.Embedding(type_vocab_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size, eps=norm_eps)
        self.dropout = Dropout(dropout)

    def forward(self, ids_N: Tensor, layout: Layout) -> Tensor:
        """(N, D); positions count from the start of each sequence."""
        vectors_ND = self.token(ids_N) + self.position(layout.position_N) + self.token_type.weight[0]
        output_ND: Tensor = self.dropout(self.norm(vectors_ND))
        return output_ND
