"""An encoder with a head for whole sequences: classes, labels or a value of each.

N packed tokens, P pieces of sequences, S sequences, D model width, O outputs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from dnalm.models.dropout import Dropout
from dnalm.models.encoder import Encoder
from dnalm.models.initialization import initialize
from dnalm.models.masked_lm import MaskedLM
from dnalm.models.packing import Packed
from dnalm.models.pooling import Pooling, PoolingName

_MOST_OUTPUTS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class HeadShape:
    """What a head is made of.

    Args:
        num_outputs: O, at most 2^20.
        pooling: how tokens become one vector.
        dense: whether a dense layer and tanh come before the outputs, as in BERT's classifiers; a linear head
            else.
        dropout: share of the inputs of its last layer zeroed in training, in [0, 1); before the dense layer
            nothing is, as in the classifiers of BERT and DNABERT-2.
    """

    num_outputs: int
    pooling: PoolingName = "mean"
    dense: bool = True
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1 or not 1 <= self.num_outputs <= _MOST_OUTPUTS:
            raise ValueError(f"dropout is {self.dropout} and num_outputs {self.num_outputs}")

    def as_plain(self) -> dict[str, object]:
        """For YAML; `HeadShape(**…)` reads it."""
        return asdict(self)


class SequenceHead(nn.Module):
    """Vectors of sequences to outputs.

    Args:
        shape: what it is made of.
        hidden_size: D.
        initializer_range: standard deviation of the first weights.
    """

    def __init__(self, shape: HeadShape, *, hidden_size: int, initializer_range: float) -> None:
        super().__init__()
        self.shape = shape
        self.pooling = Pooling(shape.pooling, hidden_size=hidden_size)
        self.dense = nn.Linear(hidden_size, hidden_size) if shape.dense else None
        self.dropout = Dropout(shape.dropout)
        self.output = nn.Linear(hidden_size, shape.num_outputs)
        initialize(self, std=initializer_range)
        self.pooling.reset_parameters()

    def forward(self, pooled_SD: Tensor) -> Tensor:
        """Outputs, (S, O)."""
        if self.dense is not None:
            pooled_SD = torch.tanh(self.dense(pooled_SD))
        outputs_SO: Tensor = self.output(self.dropout(pooled_SD))
        return outputs_SO


class SequenceModel(nn.Module):
    """Predict something of each sequence.

    Args:
        backbone: the pretrained network; its own head is kept for its directory and does not train.
        shape: the head.
        frozen: whether the encoder stays as it is, and computes as in evaluation.
    """

    def __init__(self, backbone: MaskedLM, shape: HeadShape, *, frozen: bool = False) -> None:
        super().__init__()
        self.backbone, self.frozen = backbone, frozen
        self.head = SequenceHead(
            shape,
            hidden_size=backbone.encoder.hidden_size,
            initializer_range=backbone.encoder.initializer_range,
        )
        for name, parameter in backbone.named_parameters():
            if frozen or name.startswith("head."):
                parameter.requires_grad_(False)
        self.train()

    @property
    def encoder(self) -> Encoder:
        """The encoder under the head."""
        return self.backbone.encoder

    def train(self, mode: bool = True) -> SequenceModel:
        """Switch dropout on or off; a frozen encoder has none."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def pool(
        self,
        ids_N: Tensor,
        packed: Packed,
        used_N: Tensor,
        owner_P: Tensor,
        num_sequences: int,
        covers_Q2: Tensor | None = None,
    ) -> Tensor:
        """Vectors of the sequences, or of their bases, (S, D).

        Args:
            ids_N: token ids of all pieces end to end, (N,), int64.
            packed: where each piece lies.
            used_N: which tokens are pooled; see `Pooling`.
            owner_P: the sequence of each piece, (P,), int64.
            num_sequences: S.
            covers_Q2: pairs of a token and a base that it spells, where vectors of S bases are wanted.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            hidden_ND = self.encoder(ids_N, packed)
        if covers_Q2 is not None:
            spelling_Q, base_Q = covers_Q2.unbind(1)
            used_Q = torch.ones_like(base_Q, dtype=torch.bool)
            of_bases: Tensor = self.head.pooling(hidden_ND[spelling_Q], used_Q, base_Q, num_sequences)
            return of_bases
        owner_N = owner_P[packed.layout(len(ids_N)).sequence_N]
        pooled_SD: Tensor = self.head.pooling(hidden_ND, used_N, owner_N, num_sequences)
        return pooled_SD

    def forward(
        self,
        ids_N: Tensor,
        packed: Packed,
        used_N: Tensor,
        owner_P: Tensor,
        num_sequences: int,
        pooled_SD: Tensor | None = None,
        covers_Q2: Tensor | None = None,
    ) -> Tensor:
        """Outputs, (S, O).

        Args:
            ids_N: as of `pool`, like the next four.
            packed: where each piece lies.
            used_N: which tokens are pooled.
            owner_P: the sequence of each piece.
            num_sequences: S.
            pooled_SD: vectors that are known already, in place of all that; from a frozen encoder.
            covers_Q2: as of `pool`.
        """
        if pooled_SD is None:
            pooled_SD = self.pool(ids_N, packed, used_N, owner_P, num_sequences, covers_Q2)
        outputs_SO: Tensor = self.head(pooled_SD)
        return outputs_SO
