"""The order of k-mers that DNABERT and the Nucleotide Transformer share: `product("ATCG", repeat=k)`.

A k-mer's place in it is the k-mer read as a base-4 number with digits A=0, T=1, C=2, G=3.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from dnalm.genome.alphabet import SOFT_MASK, UNKNOWN, A, C, Codes, G, T
from dnalm.tokenizers.protocol import Ids

_LETTERS = "ATCG"
_BASE = np.array([A, T, C, G], dtype=np.uint8)  # by digit
Digits = npt.NDArray[np.uint16]
NO_DIGIT = 4
_DIGIT = np.full(16, NO_DIGIT, dtype=np.uint16)  # by code, soft-masked ones included
for _digit, _code in enumerate(_BASE):
    _DIGIT[[_code, _code | SOFT_MASK]] = _digit


def digits(codes: Codes) -> Digits:
    """(L,) codes, soft-masked or not, to digits 0-3; an N is `NO_DIGIT`."""
    return _DIGIT[codes]


def kmer_words(k: int) -> list[str]:
    """All k-mers in their order, (4^k,)."""
    return ["".join(letters) for letters in itertools.product(_LETTERS, repeat=k)]


def kmer_bases(k: int) -> Codes:
    """The bases of all k-mers in their order, (4^k, k)."""
    return _BASE[np.arange(4**k)[:, None] // 4 ** np.arange(k - 1, -1, -1) % 4]


def stack_bases(rows: list[Codes]) -> Codes:
    """Rows of unequal lengths as one array padded with N, (V, longest)."""
    padded = np.full((len(rows), max(map(len, rows))), UNKNOWN, dtype=np.uint8)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return padded


def numbers(digits_L: Digits, k: int) -> Ids:
    """Base-4 number of the k digits from each place on, (L - k + 1,), k <= 8.

    Built by doubling: the numbers of w and v digits give those of w + v. Where a digit is none, the number
    means nothing.
    """
    width, part = 1, digits_L
    for bit in bin(k)[3:]:
        part = (part[:-width] << np.uint16(2 * width)) + part[width:]
        width *= 2
        if bit == "1":
            part = (part[:-1] << np.uint16(2)) + digits_L[width:]
            width += 1
    return part.astype(np.int64)
