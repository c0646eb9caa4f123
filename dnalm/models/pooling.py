"""One vector of each sequence from those of its tokens.

A sequence that is longer than the encoder comes as several pieces; its tokens are pooled over all of them.

N packed tokens, S sequences, D model width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

PoolingName = Literal["cls", "mean", "max", "attention"]


class Pooling(nn.Module):
    """Pool hidden states by sequence.

    Args:
        kind: `cls` takes the first token of each piece, and their mean where there are several; `mean` and
            `max` run over the tokens that spell bases; `attention` is a mean whose weights are learned.
        hidden_size: D.
    """

    def __init__(self, kind: PoolingName, *, hidden_size: int) -> None:
        super().__init__()
        self.kind: PoolingName = kind
        self.score = nn.Linear(hidden_size, 1) if kind == "attention" else None

    def reset_parameters(self) -> None:
        """Begin with equal weights, that is with the mean."""
        if self.score is not None:
            nn.init.zeros_(self.score.weight)
            nn.init.zeros_(self.score.bias)

    def forward(self, hidden_ND: Tensor, used_N: Tensor, owner_N: Tensor, num_sequences: int) -> Tensor:
        """Vectors of the sequences, (S, D).

        Args:
            hidden_ND: hidden states of all packed tokens.
            used_N: which tokens are pooled, bool: for `cls` the first of each piece, else those that spell
                bases; each sequence has at least one.
            owner_N: the sequence of each token, int64 in [0, S).
            num_sequences: S.
        """
        places = used_N.nonzero().squeeze(1)
        hidden_ND, owner_N = hidden_ND[places], owner_N[places]
        shape = (num_sequences, hidden_ND.shape[1])
        index_ND = owner_N[:, None].expand_as(hidden_ND)
        if self.kind == "max":
            lowest = hidden_ND.new_full(shape, float("-inf"))
            return lowest.scatter_reduce(0, index_ND, hidden_ND, "amax")
        weight_N = self._weights(hidden_ND, owner_N, num_sequences)
        total_S = weight_N.new_zeros(num_sequences).index_add(0, owner_N, weight_N)
        share_N = (weight_N / total_S[owner_N]).to(hidden_ND.dtype)
        return hidden_ND.new_zeros(shape).index_add(0, owner_N, hidden_ND * share_N[:, None])

    def _weights(self, hidden_ND: Tensor, owner_N: Tensor, num_sequences: int) -> Tensor:
        """Positive weights, not summed to one yet, (N,) float32."""
        if self.score is None:
            return torch.ones(len(owner_N), device=owner_N.device)
        score_N = self.score(hidden_ND).squeeze(1).float()
        highest_S = score_N.new_full((num_sequences,), float("-inf"))
        highest_S = highest_S.scatter_reduce(0, owner_N, score_N.detach(), "amax")
        weight_N: Tensor = (score_N - highest_S[owner_N]).exp()
        return weight_N
