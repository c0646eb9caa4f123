"""Codons: which ones stop, and how often a gene uses each of the others.

The frequencies are those of human genes, per thousand (Codon Usage Database, Nakamura et al. 2000), in the
order T, C, A, G of the textbook's table.
"""

from __future__ import annotations

import itertools

import numpy as np

from dnalm.genome.alphabet import Codes, from_text

_HUMAN = (
    17.6, 20.3, 7.7, 12.9, 15.2, 17.7, 12.2, 4.4, 12.2, 15.3, 0, 0, 10.6, 12.6, 0, 13.2,
    13.2, 19.6, 7.2, 39.6, 17.5, 19.8, 16.9, 6.9, 10.9, 15.1, 12.3, 34.2, 4.5, 10.4, 6.2, 11.4,
    16.0, 20.8, 7.5, 22.0, 13.1, 18.9, 15.1, 6.1, 17.0, 19.1, 24.4, 31.9, 12.1, 19.5, 12.2, 12.0,
    11.0, 14.5, 7.1, 28.1, 18.4, 27.7, 15.8, 7.4, 21.8, 25.1, 29.0, 39.6, 10.8, 22.2, 16.5, 16.5,
)  # fmt: skip
_AMINO_ACIDS = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"

CODONS = tuple("".join(letters) for letters in itertools.product("TCAG", repeat=3))
AMINO_ACID = dict(zip(CODONS, _AMINO_ACIDS, strict=True))
STOPS = tuple(codon for codon in CODONS if AMINO_ACID[codon] == "*")
_CODES = np.stack([from_text(codon) for codon in CODONS])  # (64, 3)


def _number(codons: Codes) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.asarray(codons.astype(np.int64) @ np.array([16, 4, 1]))


_IS_STOP = np.zeros(64, dtype=bool)
_IS_STOP[_number(np.stack([from_text(codon) for codon in STOPS]))] = True


def is_stop(codons: Codes) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which codons end a protein: (..., 3) values 0-3 to (...) bool."""
    return np.asarray(_IS_STOP[_number(codons)])


def translate(sequence: str) -> str:
    """Amino acids of a coding sequence of upper-case bases, `*` for a stop."""
    return "".join(AMINO_ACID[sequence[at : at + 3]] for at in range(0, len(sequence), 3))


def draw_coding_sequence(num_codons: int, bias: float, rng: np.random.Generator) -> Codes:
    """A start codon, `num_codons` - 2 codons that stop nothing, a stop codon: (num_codons, 3) values 0-3.

    Args:
        num_codons: of the whole, 3 or more.
        bias: power on each codon's share among its synonyms; 0 uses synonyms alike, 1 as human genes do.
        rng: draws them.
    """
    human = np.array(_HUMAN)
    weights = np.zeros(64)
    for amino_acid in sorted(set(_AMINO_ACIDS) - {"*"}):
        mine = np.array([letter == amino_acid for letter in _AMINO_ACIDS])
        shares = (human[mine] / human[mine].sum()) ** bias
        weights[mine] = human[mine].sum() * shares / shares.sum()
    middle = rng.choice(64, num_codons - 2, p=weights / weights.sum())
    stop = STOPS[rng.integers(len(STOPS))]
    ends = [from_text(text)[None] for text in ("ATG", stop)]
    return np.concatenate([ends[0], _CODES[middle], ends[1]])
