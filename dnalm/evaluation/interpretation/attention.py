"""Attention maps at the resolution of tokens and of bases, and what a head looks at in a few numbers.

T tokens, L bases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnalm.evaluation.interpretation.reader import Floats
from dnalm.tokenizers.protocol import Ids


@dataclass(frozen=True)
class HeadSummary:
    """What a head does with one sequence; rows that are no base's are left out, means over the others.

    Attributes:
        special_share: attention that goes to tokens that spell no base.
        distance_bp: mean distance in bases from a token's middle to the middle of those that it looks at,
            by attention, special tokens left out.
        entropy_bits: mean entropy of a token's attention, special tokens included.
        base_distance_bp: the same distance at the resolution of bases.
        base_entropy_bits: the entropy at the resolution of bases, special tokens left out.
    """

    special_share: float
    distance_bp: float
    entropy_bits: float
    base_distance_bp: float
    base_entropy_bits: float


def to_bases(weights_TT: Floats, spans: Ids, num_bases: int) -> Floats:
    """Attention from base to base, (L, L).

    A base looks as the mean of the tokens that cover it, and a token's attention is shared equally by the
    bases that it covers. So a row sums to what is not spent on special tokens.

    Args:
        weights_TT: attention from token (row) to token.
        spans: (T, 2) bases of each token; special tokens have none.
        num_bases: L.
    """
    places = np.arange(num_bases)
    covers_TL = ((spans[:, :1] <= places) & (places < spans[:, 1:])).astype(np.float64)
    widths, counts = covers_TL.sum(axis=1, keepdims=True), covers_TL.sum(axis=0)[:, None]
    shared_TL = weights_TT @ (covers_TL / np.maximum(widths, 1))
    mean: Floats = (covers_TL.T @ shared_TL) / np.maximum(counts, 1)
    return mean


def summarize(weights_TT: Floats, spans: Ids, num_bases: int) -> HeadSummary:
    """The numbers of a head.

    Args:
        weights_TT: its attention from token (row) to token.
        spans: (T, 2) bases of each token.
        num_bases: L.
    """
    content = np.flatnonzero(spans[:, 1] > spans[:, 0])
    rows_CT = weights_TT[content].astype(np.float64)
    middles = spans[content].mean(axis=1)
    among = rows_CT[:, content]
    base_LL = to_bases(weights_TT, spans, num_bases)
    base_LL = base_LL[base_LL.sum(axis=1) > 0]
    places = np.arange(num_bases)
    covered = np.flatnonzero(to_bases(np.eye(len(spans)), spans, num_bases).sum(axis=1) > 0)
    return HeadSummary(
        special_share=float(1 - (among.sum(axis=1) / rows_CT.sum(axis=1)).mean()),
        distance_bp=_distance(among, middles, middles),
        entropy_bits=_entropy(rows_CT),
        base_distance_bp=_distance(base_LL, covered, places),
        base_entropy_bits=_entropy(base_LL),
    )


def _distance(weights: Floats, from_rows: Floats | Ids, to_columns: Floats | Ids) -> float:
    apart = np.abs(from_rows[:, None] - to_columns[None, :])
    return float(((weights * apart).sum(axis=1) / weights.sum(axis=1)).mean())


def _entropy(weights: Floats) -> float:
    shares = weights / weights.sum(axis=1, keepdims=True)
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return float(-(shares * logs).sum(axis=1).mean())
