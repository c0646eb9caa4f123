"""Genes, enhancers and insulators: what they consist of, and how they are written over background DNA.

A gene on its own strand, with the transcription start site (TSS) at `UPSTREAM_BP`:

    promoter | 5'UTR ATG codons | GT intron AG | codons stop 3'UTR AATAAA 10-30 bases

A TATA promoter has its box about 30 bases before the TSS; the others are CpG-rich and hold more factor
sites. Both have an initiator over the TSS.

Enhancers and insulators hold motifs in a set order, on set strands, at set distances. The rule that a model
can be asked about: an enhancer is active in a tissue exactly if it holds that tissue's master motif. The
other motifs of its grammar are shared between tissues.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dnalm.genome.alphabet import Codes
from dnalm.simulation.sequence import KIND, MOTIFS, Block, Feature, RepeatLibrary, draw_coding_sequence
from dnalm.simulation.settings import Clade

UPSTREAM_BP = 200  # of the promoter, before the TSS
DOWNSTREAM_BP = 50  # of the promoter, after it
_SHORTEST_INTRON_BP = 80
_ISLAND_BASES = (0.18, 0.32, 0.32, 0.18)  # of a CpG island: independent, so that CpG is not rare
_TATA_FACTORS = ("NFY", "SP1", "CEBP", "AP1")
_ISLAND_FACTORS = ("SP1", "SP1", "NRF1", "ETS", "YY1", "NFY")
_REPEAT_IN_INTRON = 0.15  # share of introns


@dataclass(frozen=True)
class GenePlan:
    """The sizes of a gene's parts, in bases and in transcript order."""

    name: str
    has_tata: bool
    utr5_bp: int
    coding_bp: tuple[int, ...]  # of every exon
    introns: tuple[Block | int, ...]  # a number of bases, or a repeat that the intron is to hold
    utr3_bp: int

    @property
    def intron_bp(self) -> list[int]:
        """Bases of every intron."""
        return [
            item.size + 2 * _SHORTEST_INTRON_BP if isinstance(item, Block) else item for item in self.introns
        ]

    @property
    def size(self) -> int:
        """Bases from the promoter's start to the transcript's end."""
        return UPSTREAM_BP + self.utr5_bp + sum(self.coding_bp) + sum(self.intron_bp) + self.utr3_bp

    def exons(self) -> list[tuple[int, int]]:
        """(start, end) of every exon, untranslated ends included."""
        starts, at = [], UPSTREAM_BP
        lengths = list(self.coding_bp)
        lengths[0] += self.utr5_bp
        lengths[-1] += self.utr3_bp
        for length, gap in zip(lengths, [*self.intron_bp, 0], strict=True):
            starts.append((at, at + length))
            at += length + gap
        return starts


def plan_gene(clade: Clade, name: str, library: RepeatLibrary, rng: np.random.Generator) -> GenePlan:
    """Draw the sizes of a gene."""
    num_codons = int(rng.integers(120, 380))
    num_introns = min(8, int(rng.poisson(clade.introns_mean)))
    cells = np.sort(rng.choice(np.arange(1, num_codons // 10), num_introns, replace=False))
    cuts = [0, *(30 * cells + rng.integers(0, 3, num_introns)), 3 * num_codons]  # exons of 28 bases or more
    introns: list[Block | int] = []
    for _ in range(num_introns):
        holds_repeat = rng.random() < _REPEAT_IN_INTRON and clade.repeat_share["SINE"] > 0
        bases = _SHORTEST_INTRON_BP + int(rng.exponential(160))
        introns.append(library.copy("SINE", rng) if holds_repeat else bases)
    return GenePlan(
        name=name,
        has_tata=bool(rng.random() < clade.tata_share),
        utr5_bp=int(rng.integers(60, 140)),
        coding_bp=tuple(int(size) for size in np.diff(cuts)),
        introns=tuple(introns),
        utr3_bp=int(rng.integers(100, 260)),
    )


def build_gene(plan: GenePlan, background: Codes, clade: Clade, rng: np.random.Generator) -> Block:
    """Write a gene over background DNA.

    Args:
        plan: its parts.
        background: (plan.size,) the DNA that introns and untranslated ends keep.
        clade: for the use of codons.
        rng: draws motifs and codons.

    Returns:
        The gene on its own strand.
    """
    block = Block.of(background)
    _write_promoter(block, plan, rng)
    exons = plan.exons()
    for start, end in exons:
        block.kinds[start:end] = KIND["utr"]
    _write_codons(block, plan, clade.codon_bias, rng)
    for (_, start), (end, _), item in zip(exons, exons[1:], plan.introns, strict=False):
        _write_intron(block, plan.name, start, end, rng)
        if isinstance(item, Block):
            side = "+" if rng.random() < 0.5 else "-"
            block.paste(item, start + _SHORTEST_INTRON_BP // 2, strand=side)
    block.plant(MOTIFS["INR"], UPSTREAM_BP - 2, rng, parent=plan.name)
    kozak = MOTIFS["KOZAK"]
    block.plant(kozak, UPSTREAM_BP + plan.utr5_bp - kozak.width, rng, parent=plan.name)
    signal = plan.size - int(rng.integers(10, 31)) - MOTIFS["POLYA"].width
    block.plant(MOTIFS["POLYA"], signal, rng, parent=plan.name)
    _annotate(block, plan, signal)
    return block


def _write_promoter(block: Block, plan: GenePlan, rng: np.random.Generator) -> None:
    """Fill the bases before the TSS with a CpG island or a TATA box, and with factor sites."""
    start, end = 0, UPSTREAM_BP + (0 if plan.has_tata else plan.utr5_bp)
    if not plan.has_tata:
        block.codes[start:end] = rng.choice(4, end - start, p=_ISLAND_BASES)
    block.kinds[start:UPSTREAM_BP] = KIND["spacer"]
    if plan.has_tata:
        block.plant(MOTIFS["TATA"], UPSTREAM_BP - 31 + int(rng.integers(-1, 2)), rng, parent=plan.name)
    names = rng.permutation(_TATA_FACTORS)[:2] if plan.has_tata else rng.permutation(_ISLAND_FACTORS)[:4]
    at = UPSTREAM_BP - 42
    for name in names:
        motif = MOTIFS[str(name)]
        at -= motif.width + int(rng.integers(4, 20))
        strand = "+" if rng.random() < 0.5 else "-"
        block.plant(motif, at, rng, parent=plan.name, strand=strand)


def _write_codons(block: Block, plan: GenePlan, bias: float, rng: np.random.Generator) -> None:
    """Write start, codons and stop over the coding parts of the exons."""
    codons = draw_coding_sequence(sum(plan.coding_bp) // 3, bias, rng)
    kinds = np.tile([KIND["codon_1"], KIND["codon_2"], KIND["codon_3"]], (len(codons), 1))
    kinds[[0, -1]] = KIND["frozen"]
    places = np.concatenate([np.arange(start, end) for start, end in _coding_parts(plan)])
    block.codes[places] = codons.reshape(-1)
    block.kinds[places] = kinds.reshape(-1)
    block.codons.append(places.reshape(-1, 3))


def _coding_parts(plan: GenePlan) -> list[tuple[int, int]]:
    """(start, end) of the coding part of every exon."""
    parts = plan.exons()
    parts[0] = (parts[0][0] + plan.utr5_bp, parts[0][1])
    parts[-1] = (parts[-1][0], parts[-1][1] - plan.utr3_bp)
    return parts


def _write_intron(block: Block, gene: str, start: int, end: int, rng: np.random.Generator) -> None:
    """Write the signals of splicing; the inside stays free to change."""
    block.kinds[start:end] = KIND["neutral"]
    acceptor = MOTIFS["ACCEPTOR"]
    block.plant(MOTIFS["DONOR"], start, rng, parent=gene)
    block.plant(acceptor, end - acceptor.width, rng, parent=gene)
    branch = end - acceptor.width - MOTIFS["BRANCH"].width - int(rng.integers(2, 14))
    block.plant(MOTIFS["BRANCH"], branch, rng, parent=gene)


def _annotate(block: Block, plan: GenePlan, signal: int) -> None:
    """Add the gene's intervals in the terms of the Sequence Ontology."""
    name, tss, exons = plan.name, UPSTREAM_BP, plan.exons()
    shape = "TATA" if plan.has_tata else "CpG"
    block.annotate(
        Feature("promoter", 0, tss + DOWNSTREAM_BP, "+", name, name, shape),
        Feature("gene", tss, plan.size, "+", name),
        Feature("mRNA", tss, plan.size, "+", name, name),
        Feature("five_prime_UTR", tss, tss + plan.utr5_bp, "+", name, name),
        Feature("three_prime_UTR", plan.size - plan.utr3_bp, plan.size, "+", name, name),
        Feature("polyA_signal_sequence", signal, signal + MOTIFS["POLYA"].width, "+", name, name),
    )
    done = 0
    for (start, end), (first, last) in zip(exons, _coding_parts(plan), strict=True):
        phase = str(-done % 3)
        block.annotate(Feature("exon", start, end, "+", name, name))
        block.annotate(Feature("CDS", first, last, "+", name, name, phase))
        done += last - first


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
