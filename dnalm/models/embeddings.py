"""Token ids to the first hidden states.

B sequences, N packed tokens, C annotation channels, E embedding width, D model width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnalm.models.conv_stem import ConvStem
from dnalm.models.dropout import Dropout
from dnalm.models.packing import Layout

_TRAINED_MASK_FRACTION = 0.15 * 0.8  # ESM (Lin et al. 2023) and NT v1: masked, then shown as the mask token


class Embeddings(nn.Module):
    """The sum of vectors of a token, its position, its type and its annotations, normed (Devlin et al. 2019).

    DNA models give every token type 0; the table keeps its other rows because published weights
    have them. A channel of annotation has two rows, c where it is absent and C + c where it holds;
    where it is unknown it adds neither (LOGO, whose channels are known everywhere).

    Args:
        vocab_size: token ids, 0 to vocab_size - 1.
        width: E, of the tables and the norm.
        hidden_size: D; where E is another, a biased linear map leads there (ALBERT, LOGO).
        positions: rows of learned positions, 0 for no table (DNABERT-2, NT v2).
        position_offset: row of the first token's position.
        types: rows of the type table, 0 for no table (NT).
        annotations: C, 0 for none.
        norm: whether the sum is normed; NT's is not.
        conv_stem: whether token vectors are convolved before they are summed (LOGO).
        dropout: share of elements zeroed in training.
        norm_eps: added to the variance in the layer norm.
        padding_id: the id whose vector starts at zero and gets no gradient from here.
        rescaled_mask_id: the mask's id where its vector is zeroed and the others are rescaled, as
            dropout would (NT v1); None where the mask is a token like others.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        width: int,
        hidden_size: int,
        positions: int,
        position_offset: int,
        types: int,
        annotations: int,
        norm: bool,
        conv_stem: bool,
        dropout: float,
        norm_eps: float,
        padding_id: int,
        rescaled_mask_id: int | None,
    ) -> None:
        super().__init__()
        self.position_offset, self.rescaled_mask_id = position_offset, rescaled_mask_id
        self.token = nn.Embedding(vocab_size, width, padding_idx=padding_id)
        self.conv_stem = ConvStem(width) if conv_stem else None
        self.position = nn.Embedding(positions, width) if positions else None
        self.token_type = nn.Embedding(types, width) if types else None
        self.annotation = nn.Embedding(2 * annotations, width) if annotations else None
        self.norm = nn.LayerNorm(width, eps=norm_eps) if norm else None
        self.dropout = Dropout(dropout)
        self.mapping = nn.Linear(width, hidden_size) if width != hidden_size else None

    def forward(self, ids_N: Tensor, layout: Layout, annotations_NC: Tensor | None = None) -> Tensor:
        """(N, D); positions count from the start of each sequence.

        Args:
            ids_N: token ids.
            layout: where each sequence lies.
            annotations_NC: 1 where a channel holds, 0 where it does not, -1 where it is unknown; all
                unknown if None.
        """
        vectors_NE: Tensor = self.token(ids_N)
        if self.rescaled_mask_id is not None:
            vectors_NE = vectors_NE * _mask_scale(ids_N == self.rescaled_mask_id, layout, vectors_NE.dtype)
        if self.conv_stem is not None:
            vectors_NE = self.conv_stem(vectors_NE, layout)
        if self.position is not None:
            vectors_NE = vectors_NE + self.position(layout.position_N + self.position_offset)
        if self.token_type is not None:
            vectors_NE = vectors_NE + self.token_type.weight[0]
        if annotations_NC is not None:
            assert self.annotation is not None, "annotations are for a model that has channels"
            vectors_NE = vectors_NE + _chosen_rows(annotations_NC, self.annotation.weight)
        if self.norm is not None:
            vectors_NE = self.norm(vectors_NE)
        vectors_NE = self.dropout(vectors_NE)
        return vectors_NE if self.mapping is None else self.mapping(vectors_NE)


def _chosen_rows(annotations_NC: Tensor, weight_2CE: Tensor) -> Tensor:
    """The sum over channels of the row that each says, (N, E)."""
    assert 2 * annotations_NC.shape[1] == weight_2CE.shape[0], "as many channels as the model has"
    says = torch.cat([annotations_NC == 0, annotations_NC == 1], dim=1)
    return says.to(weight_2CE.dtype) @ weight_2CE


def _mask_scale(is_mask_N: Tensor, layout: Layout, dtype: torch.dtype) -> Tensor:
    """0 for masks, (1 - .12) / (1 - observed mask fraction of its sequence) for others, (N, 1)."""
    other_N = (~is_mask_N).to(torch.promote_types(dtype, torch.float32))
    others_B = other_N.new_zeros(layout.num_sequences).index_add(0, layout.sequence_N, other_N)
    share_B = others_B.clamp(min=1) / layout.lengths_B  # of masks alone, there is nothing to scale
    scale_N = other_N * (1 - _TRAINED_MASK_FRACTION) / share_B[layout.sequence_N]
    return scale_N[:, None].to(dtype)
