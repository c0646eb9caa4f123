"""Overlapping k-mers of sequences: as numbers, and how often each stands in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dnalm.genome.alphabet import UNKNOWN, Codes, bases


def kmers(codes: Codes, k: int) -> npt.NDArray[np.int64]:
    """The number of each overlapping k-mer without N, from left to right; the first base counts most."""
    plain = bases(codes).astype(np.int64)
    size = len(plain) - k + 1
    if size < 1:
        return np.zeros(0, np.int64)
    numbers, known = np.zeros(size, np.int64), np.ones(size, np.bool_)
    for place in range(k):
        letters = plain[place : place + size]
        numbers = numbers * 4 + letters
        known &= letters != UNKNOWN
    return numbers[known]


def kmer_frequencies(sequences: Sequence[Codes], *, k: int) -> npt.NDArray[np.float32]:
    """The share of each k-mer among those of a sequence that hold no N, (S, 4^k); zeros where none is left.

    Args:
        sequences: (L,) codes each.
        k: 1 to 8.
    """
    counts = np.zeros((len(sequences), 4**k), dtype=np.float32)
    for row, codes in enumerate(sequences):
        counts[row] = np.bincount(kmers(codes, k), minlength=4**k)
    frequencies: npt.NDArray[np.float32] = counts / counts.sum(1, keepdims=True).clip(1)
    return frequencies
