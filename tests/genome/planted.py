"""Random DNA and its relatives of a known identity."""

import numpy as np

from dnalm.genome.alphabet import Codes
from dnalm.genome.homology import Homology


def drawn(rng: np.random.Generator, length: int) -> Codes:
    """Bases at random."""
    return rng.integers(0, 4, length, dtype=np.uint8)


def differing(rng: np.random.Generator, codes: Codes, count: int) -> Codes:
    """A copy that differs at so many places."""
    copy = codes.copy()
    places = rng.choice(len(codes), count, replace=False)
    copy[places] = (copy[places] + rng.integers(1, 4, count, dtype=np.uint8)) % 4
    return copy


def mutated(rng: np.random.Generator, codes: Codes, *, identity: float, indels: float) -> Codes:
    """A copy whose alignment differs in a share of 1 - identity of its columns.

    Args:
        indels: for each substitution; of 3 bases on average, geometrically distributed.
    """
    left = int(len(codes) * (1 - identity) + 1e-9)
    substitutions, gaps = 0, []
    while left:
        if rng.random() < indels / (1 + indels):
            gaps.append(min(int(rng.geometric(1 / 3)), left))
            left -= gaps[-1]
        else:
            substitutions += 1
            left -= 1
    copy = differing(rng, codes, substitutions)
    for gap in gaps:
        place = int(rng.integers(0, len(copy) - gap))
        rest = copy[place:] if rng.random() < 0.5 else copy[place + gap :]
        new = drawn(rng, gap) if len(rest) == len(copy) - place else copy[:0]
        copy = np.concatenate([copy[:place], new, rest])
    return copy


def of(sequences: list[Codes], *, skip_masked: bool = False) -> Homology:
    """Sequences, each a unit."""
    return Homology(np.concatenate(sequences), np.cumsum([0, *map(len, sequences)]), skip_masked=skip_masked)
