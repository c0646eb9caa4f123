"""The README that lies beside a simulated clade: what is planted, where, how much, in which file."""

from __future__ import annotations

from collections import Counter

import numpy as np

from dnalm.genome.alphabet import UNKNOWN, C, G, bases, to_text
from dnalm.genome.clade.ancestor import Ancestor
from dnalm.genome.clade.elements import GRAMMARS, MASTERS
from dnalm.genome.clade.motifs import MISMATCH_BITS, MOTIFS
from dnalm.genome.clade.settings import Clade
from dnalm.genome.clade.species import Species
from dnalm.genome.clade.tasks import Example
from dnalm.genome.clade.variants import Variant

_KINDS = ("gene", "CDS", "promoter", "enhancer", "insulator", "motif", "repeat", "gap")

_INTRODUCTION = """# A simulated clade

Species that `dnalm` simulated from one ancestor with the parameters in `clade.json`. No base of it is from
a real genome. The truth is known: every functional base was planted, and the files say where.

## Files
| file | what it holds |
|---|---|
| `<species>.fa` | genome, 60 bases a line, repeats in lower case, N where an assembly would have gaps |
| `<species>.gff3` | genes with their parts, promoters, enhancers (with `tissues`), insulators, gaps |
| `<species>.motifs.bed` | planted motif sites; score = 1000 x score / best score; column 7: gene or element |
| `<species>.repeats.bed` | every repeat copy; score = 1000 x identity of its ancestral copy with the family |
| `<species>.<tissue>.states.bed` | chromatin states of a tissue, BED9, tiling every contig |
| `conservation.bw` | of {first}: -log2(max(rate, 1/32)) + noise; no value where unaligned |
| `variants.vcf` | on {first}: motif- and splice-breaking, and neutral partners of equal REF, ALT and GC |
| `tasks/<task>/<split>.csv` | labelled windows of {first}: promoter, enhancer, splice; splits by contig |
| `orthologs.tsv` | where each gene starts (from 0) in each species; genes share names |
| `tree.nwk` | the species tree, in substitutions per neutral site |
| `clade.json` | parameters, and the SHA-256 of every file |

GFF3 and VCF count from 1, everything else from 0 with the end excluded. Contigs correspond between
species: chr1 of one is chr1 of all.
"""


def describe(
    clade: Clade,
    ancestor: Ancestor,
    species: list[Species],
    variants: list[Variant],
    tasks: dict[str, dict[str, list[Example]]],
) -> str:
    """Write the README's text, with the numbers of this clade."""
    parts = [
        _INTRODUCTION.format(first=species[0].name),
        _genomes(clade, species),
        _planted(species[0]),
        _grammar(),
        _families(ancestor),
        _labels(clade, variants, tasks),
    ]
    return "\n".join(parts)


def _genomes(clade: Clade, species: list[Species]) -> str:
    rows = ["## Genomes", "| species | contigs | bases | GC | soft-masked |", "|---|---|---|---|---|"]
    for item in species:
        letters = bases(item.codes)
        gc = np.isin(letters, (C, G)).sum() / (letters != UNKNOWN).sum()
        masked = (item.codes != letters).mean()
        rows.append(f"| {item.name} | {len(item.contigs)} | {item.codes.size:,} | {gc:.1%} | {masked:.1%} |")
    return "\n".join([*rows, "", f"Tree: `{clade.tree}`", ""])


def _planted(first: Species) -> str:
    rows = [f"## Planted in {first.name}", "| kind | number | share of the genome |", "|---|---|---|"]
    for kind in _KINDS:
        rows.append(f"| {kind} | {len(first.of_kind(kind)):,} | {first.cover(kind).mean():.2%} |")
    counts = Counter(item.name for item in first.of_kind("motif"))
    rows += ["", "| motif | consensus | sites |", "|---|---|---|"]
    rows += [f"| {motif.name} | {motif.consensus} | {counts[motif.name]:,} |" for motif in MOTIFS.values()]
    rows += [
        "",
        f"In every species a site scores within {MISMATCH_BITS} bits of its best: one mismatch at most.",
    ]
    return "\n".join([*rows, ""])


def _grammar() -> str:
    rows = [
        "## Grammar",
        "A TATA promoter has TATA about 30 bases before the TSS; the others are CpG-rich and hold more",
        "factor sites. INR covers the TSS, KOZAK precedes the start codon, POLYA ends 10-30 bases before",
        "the gene's end.",
        "Introns begin with DONOR and end with BRANCH, 2-13 bases, ACCEPTOR. Insulators hold one CTCF.",
        "Enhancers follow one of these (bases between motifs, each off by at most 1; `-` other strand):",
        "",
    ]
    for grammar in GRAMMARS:
        gaps = [f" [{gap}] " for gap in grammar.spacing] + [""]
        rows.append("- " + "".join(name + gap for name, gap in zip(grammar.motifs, gaps, strict=True)))
    rows += ["", "An enhancer is active in a tissue exactly if it holds the tissue's master motif:"]
    rows += [f"{tissue} {master}" + ";" for tissue, master in MASTERS.items()]
    return "\n".join([*rows, "an enhancer with two masters is active in both tissues.", ""])


def _families(ancestor: Ancestor) -> str:
    rows = ["## Repeat families"]
    for family, codes in ancestor.library.consensus.items():
        rows.append(f"- demo{family}: `{to_text(codes)}`")
    return "\n".join([*rows, "- simple repeats: (unit)n; telomeres: (TTAGGG)n", ""])


def _labels(clade: Clade, variants: list[Variant], tasks: dict[str, dict[str, list[Example]]]) -> str:
    counts = Counter(item.label for item in variants)
    found = ", ".join(f"{counts[label]:,} {label}" for label in ("motif", "splice", "neutral"))
    rows = ["## Labels", f"Variants: {found}.", "", "| task | train | dev | test |", "|---|---|---|---|"]
    for task, splits in tasks.items():
        rows.append(f"| {task} | " + " | ".join(f"{len(items):,}" for items in splits.values()) + " |")
    names: dict[str, list[str]] = {}
    for contig in range(clade.num_contigs):
        names.setdefault(clade.split_of_contig(contig), []).append(f"chr{contig + 1}")
    contigs = "; ".join(f"{split}: {', '.join(mine)}" for split, mine in names.items())
    return "\n".join([*rows, "", f"Contigs by split: {contigs}.", ""])
