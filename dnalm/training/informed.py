"""Embeddings that begin with what is known: the bases a token spells, and where it stands.

With independent random rows, as published, a model must first learn from scratch that ACGTAC is
followed by CGTAC?, for each of 4^k tokens, and that position 17 follows 16; short runs end before
that. Here a token's row starts as the sum of one random vector for each base at each place, and a
position's as its sinusoids (Vaswani et al. 2017, section 3.5), both with the variance of the rows
they replace. All rows are trained as usual. Our choice for small budgets, measured in
experiments/LOG.md; no published recipe uses it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dnalm.models import MaskedLM

_LONGEST_PERIOD = 10_000  # over 2 pi, in tokens (Vaswani et al. 2017)


@torch.no_grad()
def inform_embeddings(model: MaskedLM, token_bases: npt.NDArray[np.uint8]) -> None:
    """Overwrite the rows of ids that spell bases, and all learned positions; special tokens stay.

    Args:
        model: whose token and position embeddings are set.
        token_bases: (V, K) bases that each id spells, 0-3; other values where it spells none.
    """
    embeddings = model.encoder.embeddings
    std = model.encoder.initializer_range
    spelled_V, rows_VD = _spell(token_bases, embeddings.token.embedding_dim)
    embeddings.token.weight[spelled_V] = rows_VD[spelled_V] * std
    if embeddings.position is not None:
        embeddings.position.weight.copy_(_sinusoids(*embeddings.position.weight.shape) * std)


def _spell(token_bases: npt.NDArray[np.uint8], width: int) -> tuple[Tensor, Tensor]:
    """Which ids spell bases, (V,), and their rows with unit variance, (V, D)."""
    bases_VK = torch.from_numpy(token_bases.astype(np.int64))
    told_VK = bases_VK < 4
    rows = torch.zeros(len(bases_VK), width)
    for place in range(bases_VK.shape[1]):
        told = told_VK[:, place]
        rows[told] += torch.randn(4, width)[bases_VK[told, place]]
    length = told_VK.sum(1)
    return length > 0, rows / length.clamp(min=1).sqrt()[:, None]


def _sinusoids(positions: int, width: int) -> Tensor:
    """(P, D) sines in the first half of the columns and cosines in the second, unit variance."""
    frequency = _LONGEST_PERIOD ** (-torch.arange(0, width, 2) / width)
    angle = torch.arange(positions)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)[:, :width] * 2**0.5
