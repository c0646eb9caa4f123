"""What a block does to each token on its own.

N packed tokens, D model width, F feed-forward width.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- its usual name

from dnalm.models.dropout import Dropout

FeedForwardKind = Literal["gelu", "geglu", "swiglu"]


class FeedForward(nn.Module):
    """D to F to D, with a nonlinearity between that may be gated (Shazeer 2020).

    `gelu` is the exact, erf GELU of one map (BERT, DNABERT, GROVER, NT v1). `geglu` (DNABERT-2) and
    `swiglu` (NT v2) map up to 2F and multiply the activated first half with the second.

    Args:
        hidden_size: D.
        intermediate_size: F, the width that `down` reads.
        kind: the nonlinearity.
        up_bias: whether the map up has a bias; DNABERT-2's and NT v2's have none.
        down_bias: whether the map down has a bias; NT v2's has none.
        inner_dropout: share of the F elements zeroed in training; DNABERT-2 drops here.
    """

    def __init__(
        self,
        *,
        hidden_size: int,
        intermediate_size: int,
        kind: FeedForwardKind,
        up_bias: bool,
        down_bias: bool,
        inner_dropout: float,
    ) -> None:
        super().__init__()
        self.gated = kind != "gelu"
        self.activate = F.silu if kind == "swiglu" else F.gelu
        outputs = 2 * intermediate_size if self.gated else intermediate_size
        self.up = nn.Linear(hidden_size, outputs, bias=up_bias)
        self.down = nn.Linear(intermediate_size, hidden_size, bias=down_bias)
        self.dropout = Dropout(inner_dropout)

    def forward(self, hidden_ND: Tensor) -> Tensor:
        """(N, D), each token on its own."""
        inner: Tensor = self.up(hidden_ND)
        if self.gated:
            gate_NF, value_NF = inner.chunk(2, dim=-1)
            inner_NF = self.activate(gate_NF) * value_NF
        else:
            inner_NF = self.activate(inner)
        output_ND: Tensor = self.down(self.dropout(inner_NF))
        return output_ND
