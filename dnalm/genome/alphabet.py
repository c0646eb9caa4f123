"""The alphabet of a store: one byte a base, 0-3 = A C G T, 4 = N, bit 3 set where soft-masked.

Every array of bases in dnalm is uint8 in this code, whichever layer holds it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint8]

A, C, G, T, UNKNOWN = range(5)
BASE_MASK = np.uint8(0b0111)  # keeps the base, drops the soft-mask
SOFT_MASK = np.uint8(0b1000)

_LETTERS = np.frombuffer(b"ACGTN???acgtn???", dtype=np.uint8)
_COMPLEMENT = np.array([T, G, C, A, UNKNOWN, 5, 6, 7], dtype=np.uint8)
_COMPLEMENT = np.concatenate([_COMPLEMENT, _COMPLEMENT | SOFT_MASK])

AMBIGUOUS = "RYSWKMBDHV"  # IUPAC letters for two or three bases, stored as N
FIRST_AMBIGUOUS = 16  # in LETTER_TABLE: 16 + i for the i-th of them, 32 + i in lower case
ILLEGAL = 255


def _letter_tables() -> tuple[bytes, bytes]:
    table, stored = bytearray([ILLEGAL]) * 256, bytearray(range(256))
    for code, letter in enumerate("ACGTN"):
        table[ord(letter)], table[ord(letter.lower())] = code, code | int(SOFT_MASK)
    for index, letter in enumerate(AMBIGUOUS):
        upper, lower = FIRST_AMBIGUOUS + index, 2 * FIRST_AMBIGUOUS + index
        table[ord(letter)], table[ord(letter.lower())] = upper, lower
        stored[upper], stored[lower] = UNKNOWN, UNKNOWN | int(SOFT_MASK)
    return bytes(table), bytes(stored)


# For bytes.translate: letters to codes that keep ambiguous and illegal letters apart, those to stored codes.
LETTER_TABLE, STORED_TABLE = _letter_tables()


def bases(codes: Codes) -> Codes:
    """Drop the soft-mask: (L,) codes to (L,) values 0-4."""
    return codes & BASE_MASK


def is_unknown(codes: Codes) -> npt.NDArray[np.bool_]:
    """Where the base is N, soft-masked or not: (L,) bool."""
    unknown: npt.NDArray[np.bool_] = (codes & BASE_MASK) == UNKNOWN
    return unknown


def reverse_complement(codes: Codes) -> Codes:
    """The other strand, read 5' to 3'; the soft-mask moves along. An involution.

    Args:
        codes: (L,) codes.

    Returns:
        (L,) codes.
    """
    return _COMPLEMENT.take(codes[::-1])


def to_text(codes: Codes) -> str:
    """Spell codes as letters, soft-masked ones in lower case."""
    return _LETTERS[codes].tobytes().decode("ascii")


def from_text(text: str) -> Codes:
    """Read letters A C G T N, in either case, as codes.

    Raises:
        ValueError: any other letter, with its position.
    """
    codes = np.frombuffer(bytearray(text.encode().translate(LETTER_TABLE)), dtype=np.uint8)
    bad = np.flatnonzero(codes >= FIRST_AMBIGUOUS)
    if bad.size:
        raise ValueError(f"{text[bad[0]]!r} at position {bad[0]} is none of A, C, G, T, N")
    return codes
