"""Overlapping k-mers of a sequence as numbers."""

from __future__ import annotations

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
