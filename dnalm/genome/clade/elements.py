"""Enhancers and insulators: motifs in a set order, on set strands, at set distances.

The rule that a model can be asked about: an enhancer is active in a tissue exactly if it holds that
tissue's master motif. The other motifs of its grammar are shared between tissues.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dnalm.genome.alphabet import Codes
from dnalm.genome.clade.blocks import KIND, Block, Feature
from dnalm.genome.clade.motifs import MOTIFS

MASTERS = {"blood": "GATA", "liver": "HNF1", "neuron": "NEUROD"}  # tissue to the motif that makes it active


class Grammar(NamedTuple):
    """Motifs from 5' to 3', `-NAME` for the other strand, with the bases between neighbours."""

    motifs: tuple[str, ...]
    spacing: tuple[int, ...]  # one fewer than motifs; each enhancer is off by at most 1


GRAMMARS = (
    Grammar(("ETS", "GATA", "-AP1", "GATA"), (6, 10, 8)),
    Grammar(("GATA", "NFKB", "-ETS"), (9, 7)),
    Grammar(("HNF1", "CEBP", "-NFKB"), (11, 6)),
    Grammar(("CEBP", "-HNF1", "AP1", "CEBP"), (8, 5, 9)),
    Grammar(("NEUROD", "MEF2", "-NEUROD"), (7, 12)),
    Grammar(("MEF2", "-AP1", "NEUROD", "NEUROD", "-ETS"), (6, 10, 8, 5)),
    Grammar(("GATA", "AP1", "-HNF1"), (8, 6)),
    Grammar(("NEUROD", "-CEBP", "GATA", "MEF2"), (9, 7, 6)),
)
_INSULATOR_BP = 60


class ElementPlan(NamedTuple):
    """An enhancer or insulator before it is written."""

    kind: str
    name: str
    motifs: tuple[str, ...]
    starts: tuple[int, ...]
    size: int


def plan_enhancer(name: str, rng: np.random.Generator) -> ElementPlan:
    """Choose a grammar, its spacing and the bases at either end."""
    grammar = GRAMMARS[rng.integers(len(GRAMMARS))]
    at, starts = int(rng.integers(25, 50)), []
    gaps = [gap + int(rng.integers(-1, 2)) for gap in grammar.spacing]
    for motif, gap in zip(grammar.motifs, [*gaps, 0], strict=True):
        starts.append(at)
        at += MOTIFS[motif.lstrip("-")].width + gap
    return ElementPlan("enhancer", name, grammar.motifs, tuple(starts), at + int(rng.integers(25, 50)))


def plan_insulator(name: str) -> ElementPlan:
    """One CTCF-like site in the middle of a short stretch."""
    return ElementPlan("insulator", name, ("CTCF",), (_INSULATOR_BP // 2 - 7,), _INSULATOR_BP)


def build_element(plan: ElementPlan, background: Codes, rng: np.random.Generator) -> Block:
    """Write an enhancer or insulator over (plan.size,) background DNA."""
    block = Block.of(background)
    block.kinds[:] = KIND["spacer"]
    for motif, start in zip(plan.motifs, plan.starts, strict=True):
        strand = "-" if motif.startswith("-") else "+"
        block.plant(MOTIFS[motif.lstrip("-")], start, rng, parent=plan.name, strand=strand)
    held = {motif.lstrip("-") for motif in plan.motifs}
    tissues = ",".join(tissue for tissue, master in MASTERS.items() if master in held)
    block.annotate(Feature(plan.kind, 0, plan.size, ".", plan.name, detail=tissues))
    return block
