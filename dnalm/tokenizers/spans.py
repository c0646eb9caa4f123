"""Between tokens and bases: which tokens tell of a base, which bases a token stands for, means either way.

Everything follows from the spans of `Tokenizer.spans`. In every tokenization here, tokens are in the order of
their first and of their last base, so the tokens that cover a base are neighbours.

T tokens, L bases, P pairs of a token and a base it covers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dnalm.tokenizers.protocol import Ids

Floats = npt.NDArray[np.floating]


class Pairs(NamedTuple):
    """Every (token, base it covers), by token, then by base, (P,) each.

    Attributes:
        token: index of the token.
        base: index of the base in the sequence.
        offset: place of the base in the token.
    """

    token: Ids
    base: Ids
    offset: Ids


def pair_up(spans: Ids) -> Pairs:
    """List the bases of every token; a special token has none.

    Args:
        spans: (T, 2) half-open base intervals.
    """
    widths = spans[:, 1] - spans[:, 0]
    token = np.repeat(np.arange(len(spans)), widths)
    offset = np.arange(len(token)) - np.repeat(np.cumsum(widths) - widths, widths)
    return Pairs(token, spans[token, 0] + offset, offset)


def covering_tokens(spans: Ids, num_bases: int) -> Ids:
    """The half-open interval of tokens that cover each base, (L, 2); empty where none does.

    Args:
        spans: (T, 2) half-open base intervals.
        num_bases: L.
    """
    content = np.flatnonzero(spans[:, 1] > spans[:, 0])
    first = int(content[0]) if len(content) else 0
    starts, ends = spans[content, 0], spans[content, 1]
    place = np.arange(num_bases)
    return first + np.stack(
        [np.searchsorted(ends, place, side="right"), np.searchsorted(starts, place, side="right")], axis=1
    )


def mean_over_tokens(values: Floats, spans: Ids, num_bases: int) -> Floats:
    """Values of tokens brought to bases: the mean over the tokens that cover a base.

    Args:
        values: (T, ...) one value or vector for each token.
        spans: (T, 2) half-open base intervals.
        num_bases: L.

    Returns:
        (L, ...); NaN where no token covers the base.
    """
    first_L, end_L = covering_tokens(spans, num_bases).T
    sums = np.zeros((num_bases, *values.shape[1:]), dtype=np.result_type(values, np.float32))
    counts = (end_L - first_L).astype(sums.dtype)
    for step in range(int(counts.max(initial=0))):  # the tokens that cover a base are neighbours
        covered = np.flatnonzero(first_L + step < end_L)
        sums[covered] += values[first_L[covered] + step]
    counts[counts == 0] = np.nan
    sums /= counts.reshape(-1, *[1] * (sums.ndim - 1))
    return sums


def mean_over_bases(values: Floats, spans: Ids) -> Floats:
    """Values of bases brought to tokens: the mean over the bases of a token.

    Args:
        values: (L, ...) one value or vector for each base.
        spans: (T, 2) half-open base intervals.

    Returns:
        (T, ...); NaN for special tokens.
    """
    pairs = pair_up(spans)
    sums = np.zeros((len(spans), *values.shape[1:]), dtype=np.result_type(values, np.float32))
    np.add.at(sums, pairs.token, values[pairs.base])
    counts = np.bincount(pairs.token, minlength=len(spans)).astype(sums.dtype)
    counts[counts == 0] = np.nan
    mean: Floats = sums / counts.reshape(-1, *[1] * (sums.ndim - 1))
    return mean
