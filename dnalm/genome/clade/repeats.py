"""Repeat families: one consensus each, many diverged copies, soft-masked as RepeatMasker leaves them.

A SINE is about 300 bases with an A-rich tail, a LINE 1 kb whose copies have lost a part of their 5' end,
a simple repeat a run of a unit of 2-6 bases. Species inherit the copies and diverge further.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnalm.genome.alphabet import SOFT_MASK, A, Codes, from_text
from dnalm.genome.clade.blocks import Block, Feature
from dnalm.genome.clade.settings import Clade, stream

SIMPLE_UNITS = ("CA", "TA", "GAA", "TTTA", "GATA", "TTAGG")
TELOMERE_UNIT = "TTAGGG"
_SINE_BP, _LINE_BP, _TAIL_BP, _SHORTEST_LINE_BP = 300, 1_000, 20, 250


@dataclass(frozen=True)
class RepeatLibrary:
    """The consensus of each interspersed family, and how far copies are from it."""

    consensus: dict[str, Codes]
    divergence: tuple[float, float]

    def copy(self, family: str, rng: np.random.Generator) -> Block:
        """A diverged copy of `SINE`, `LINE` or `simple`, as a soft-masked block on its own strand."""
        divergence = float(rng.uniform(*self.divergence))
        name, codes = f"demo{family}", self.consensus.get(family)
        if codes is None:
            unit = SIMPLE_UNITS[rng.integers(len(SIMPLE_UNITS))]
            name, codes = f"({unit})n", _run_of(unit, int(rng.integers(40, 160)))
        elif family == "LINE":
            codes = codes[rng.integers(0, codes.size - _SHORTEST_LINE_BP) :]
        changed = rng.random(codes.size) < divergence
        codes = np.where(changed, (codes + rng.integers(1, 4, codes.size)) % 4, codes).astype(np.uint8)
        return _masked(codes, name, detail=f"{divergence:.3f}")


def build_library(clade: Clade) -> RepeatLibrary:
    """Draw the consensus sequences of a clade."""
    rng = stream(clade, "repeats")
    low, high = clade.repeat_divergence
    sizes = {"SINE": _SINE_BP, "LINE": _LINE_BP}
    consensus = {family: _draw_consensus(size, rng) for family, size in sizes.items()}
    return RepeatLibrary(consensus, (low, high))


def telomere(bases: int) -> Block:
    """A run of the telomeric unit, as at the right end of a contig."""
    return _masked(_run_of(TELOMERE_UNIT, bases), f"({TELOMERE_UNIT})n", detail="0.000")


def _draw_consensus(size: int, rng: np.random.Generator) -> Codes:
    codes = rng.choice(4, size, p=(0.30, 0.20, 0.22, 0.28)).astype(np.uint8)
    codes[-_TAIL_BP:] = A
    return codes


def _run_of(unit: str, bases: int) -> Codes:
    return np.resize(from_text(unit), bases)


def _masked(codes: Codes, name: str, *, detail: str) -> Block:
    block = Block.of(codes | SOFT_MASK)
    block.annotate(Feature("repeat", 0, codes.size, "+", name, detail=detail))
    return block
