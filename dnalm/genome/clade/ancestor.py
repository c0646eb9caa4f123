"""The ancestral genome: elements laid along every contig, with unconstrained DNA between them.

Contigs lie end to end in one block; `Ancestor.edges` says where each begins. Walking a contig, a repeat is
placed whenever its family falls behind its share; otherwise the next element of the current neighbourhood
(some enhancers, perhaps an insulator, a gene) is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dnalm.genome.alphabet import UNKNOWN, Codes
from dnalm.genome.clade.background import draw_background
from dnalm.genome.clade.blocks import Block, Feature, Positions
from dnalm.genome.clade.elements import ElementPlan, build_element, plan_enhancer, plan_insulator
from dnalm.genome.clade.genes import GenePlan, build_gene, plan_gene
from dnalm.genome.clade.repeats import RepeatLibrary, build_library, telomere
from dnalm.genome.clade.settings import Clade, stream

_TELOMERE_BP = 240
_MARGIN_BP = 600  # between a contig's end and its first element, so that windows around a TSS fit
_SMALLEST_GAP_BP = 20
_DESERT = 0.04  # share of gaps that are 20 times as long


@dataclass(frozen=True)
class Ancestor:
    """The genome at the root of the tree.

    Args:
        block: all contigs end to end, with every planted element in order of position.
        edges: (num_contigs + 1,) first base of every contig, then the end of the last.
        codons: (N, 3) positions of all codons in reading order.
        library: the consensus of repeat families.
    """

    block: Block
    edges: Positions
    codons: Positions
    library: RepeatLibrary


class _Layout:
    """Walks along contigs and writes elements."""

    def __init__(self, clade: Clade, block: Block) -> None:
        self.clade, self.block = clade, block
        self.rng = stream(clade, "layout")
        self.gene_rng, self.element_rng = stream(clade, "genes"), stream(clade, "elements")
        self.repeat_rng = stream(clade, "repeats", 1)
        self.library = build_library(clade)
        self.walked = 0
        self.repeated = dict.fromkeys(clade.repeat_share, 0)
        self.plans = self._neighbourhoods()

    def fill(self, start: int, end: int) -> None:
        """Lay elements from `start` until `end` leaves no room for the next."""
        self.block.paste(telomere(_TELOMERE_BP), start, strand="-")
        self.block.paste(telomere(_TELOMERE_BP), end - _TELOMERE_BP)
        at, last = start + _MARGIN_BP, end - _MARGIN_BP
        is_whole = self.clade.assembly_gap_bp > 0
        while True:
            at += self._gap()
            if is_whole and (start + end) // 2 < at < last - self.clade.assembly_gap_bp:
                at, is_whole = self._break(at), False
                continue
            item = self._lagging_repeat(at - start) or next(self.plans)
            if at + item.size > last:
                break
            self._write(item, at)
            at += item.size
        self.walked += end - start

    def _gap(self) -> int:
        size = self.rng.exponential(self.clade.gap_mean_bp)
        return _SMALLEST_GAP_BP + int(size * (20 if self.rng.random() < _DESERT else 1))

    def _break(self, at: int) -> int:
        """Put a run of N, where an assembly could not be closed."""
        gap = Block.of(np.full(self.clade.assembly_gap_bp, UNKNOWN, dtype=np.uint8), "frozen")
        gap.annotate(Feature("gap", 0, gap.size, ".", "N"))
        self.block.paste(gap, at)
        return at + gap.size

    def _lagging_repeat(self, walked_here: int) -> Block | None:
        """A copy of the family furthest behind its share, or none."""
        walked = self.walked + walked_here
        behind = {
            name: share * walked - self.repeated[name] for name, share in self.clade.repeat_share.items()
        }
        family = max(behind, key=lambda name: behind[name])
        if behind[family] <= 0 or self.rng.random() < 0.3:
            return None
        return self.library.copy(family, self.repeat_rng)

    def _neighbourhoods(self) -> Iterator[ElementPlan | GenePlan]:
        """Endless elements in the order they are met, each gene after its enhancers."""
        genes = enhancers = insulators = 0
        while True:
            for _ in range(self.rng.poisson(self.clade.enhancers_per_gene)):
                enhancers += 1
                yield plan_enhancer(f"ENH{enhancers:05d}", self.element_rng)
            for _ in range(self.rng.poisson(self.clade.insulators_per_gene)):
                insulators += 1
                yield plan_insulator(f"INS{insulators:05d}")
            genes += 1
            yield plan_gene(self.clade, f"DEMO{genes:05d}", self.library, self.gene_rng)

    def _write(self, item: Block | ElementPlan | GenePlan, at: int) -> None:
        under: Codes = self.block.codes[at : at + item.size]
        if isinstance(item, GenePlan):
            block = build_gene(item, under, self.clade, self.gene_rng)
        elif isinstance(item, ElementPlan):
            block = build_element(item, under, self.element_rng)
        else:
            block = item
        for feature in block.features:
            if feature.kind == "repeat":
                family = feature.name[4:] if feature.name.startswith("demo") else "simple"
                self.repeated[family] += feature.end - feature.start
        self.block.paste(block, at, strand="+" if self.rng.random() < 0.5 else "-")


def build_ancestor(clade: Clade) -> Ancestor:
    """Draw the genome from which the species descend."""
    block = Block.of(draw_background(clade))
    edges = np.concatenate([[0], np.cumsum(clade.contig_lengths())]).astype(np.int64)
    block = Block(block.codes[: edges[-1]], block.kinds[: edges[-1]])
    layout = _Layout(clade, block)
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        layout.fill(start, end)
    block.features.sort(key=lambda item: (item.start, -item.end))  # a stable sort: parents stay first
    codons = np.concatenate(block.codons) if block.codons else np.empty((0, 3), dtype=np.int64)
    return Ancestor(block, edges, codons, layout.library)
