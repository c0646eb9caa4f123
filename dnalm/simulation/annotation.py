"""The files of a simulated clade: sequence, annotations, measurements, labelled tasks, variants, README.

GFF3 and VCF count from 1 and include the last base; BED and everything inside count from 0 and exclude it.

- Chromatin states tile every contig, one BED9 file per species and tissue. Where several apply, the first of
  this list wins: TSS (promoter), Enh (an enhancer that is active in the tissue), Ins (insulator), Tx (gene),
  Het (repeat or assembly gap), Quies (all else). An enhancer that lacks the tissue's master motif is
  quiescent there, so the states are a function of the DNA.
- Conservation is `-log2(max(rate, 1/32))` plus normal noise, where rate is the simulated relative rate of
  substitution of the site: about 0 where DNA is neutral, up to 5 where nothing may change. Bases without an
  alignment (inserted since the ancestor, or N) have no value.
- Tasks, from the first species: `tasks/<task>/{train,dev,test}.csv` with columns sequence, label, contig,
  start, end, strand; sequences are read on `strand`. Splits are whole contigs, so nothing leaks. Positive and
  negative windows are equally many: negatives are genomic, free of the element, and chosen among random
  windows for the most similar GC. Windows with an N are left out.
  promoter: 300 bases, from 200 before the TSS; 1 promoter, 0 none.
  enhancer: 250 bases around the enhancer, off its middle by up to 20; 1 enhancer, 0 none.
  splice: 120 bases with the exon-intron border in the middle; 1 donor, 2 acceptor, 0 a GT or AG at the same
  place that is no splice site (as many as donors and acceptors together).
- Variants on the first species, single bases whose effect is known. `motif`: at a core position of a factor's
  or promoter's site, to the base that lowers its score most. `splice`: at the GT or AG of an intron.
  `neutral`: between genes, outside repeats and elements; each is the partner (INFO PAIR) of a functional one,
  with the same REF, the same ALT and similar GC around it, so that neither composition nor the kind of change
  tells the classes apart. DELTA is the change of the site's score in bits, LABEL 1 for functional.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pybigtools

from dnalm.genome.alphabet import UNKNOWN, A, C, Codes, G, T, bases, is_unknown, to_text
from dnalm.simulation.evolution import Ancestor, Species, transcription_start
from dnalm.simulation.genes import GRAMMARS, MASTERS, UPSTREAM_BP
from dnalm.simulation.sequence import MISMATCH_BITS, MOTIFS, Feature, Positions
from dnalm.simulation.settings import SITE_KINDS, Clade, stream

_LINE_BP = 60
_ORDER = (
    "promoter", "enhancer", "insulator", "gap", "gene", "mRNA", "exon", "five_prime_UTR", "CDS",
    "three_prime_UTR", "polyA_signal_sequence",
)  # fmt: skip


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write text lines, ended alike on every platform."""
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)


def write_fasta(species: Species, path: Path) -> None:
    """Write all contigs, 60 bases a line, soft-masked bases in lower case."""
    with path.open("wb") as file:
        for number, contig in enumerate(species.contigs):
            codes = species.codes[species.edges[number] : species.edges[number + 1]]
            file.write(f">{contig}\n".encode())
            file.write(_wrap(codes))


def _wrap(codes: Codes) -> bytes:
    letters = np.frombuffer(to_text(codes).encode(), dtype=np.uint8)
    full = letters.size // _LINE_BP * _LINE_BP
    lines = np.full((full // _LINE_BP, _LINE_BP + 1), ord("\n"), dtype=np.uint8)
    lines[:, :-1] = letters[:full].reshape(-1, _LINE_BP)
    rest = letters[full:].tobytes()
    return lines.tobytes() + (rest + b"\n" if rest else b"")


def write_gff3(species: Species, path: Path) -> None:
    """Write genes and their parts, promoters, enhancers, insulators, gaps: terms of the Sequence Ontology."""
    rank = {kind: number for number, kind in enumerate(_ORDER)}
    rows = sorted(species.of_kind(*_ORDER), key=lambda item: (item.start, rank[item.kind], item.end))
    sizes = np.diff(species.edges).tolist()
    head = ["##gff-version 3", f"#!species {species.name}"]
    head += [f"##sequence-region {name} 1 {size}" for name, size in zip(species.contigs, sizes, strict=True)]
    write_lines(path, [*head, *(_gff_row(species, item) for item in rows)])


def _gff_row(species: Species, item: Feature) -> str:
    contig, start = species.locate(item.start)
    end = start + item.end - item.start
    phase = item.detail if item.kind == "CDS" else "."
    columns = (contig, "dnalm", item.kind, start + 1, end, ".", item.strand, phase, _attributes(item))
    return "\t".join(map(str, columns))


def _attributes(item: Feature) -> str:
    name = item.name
    if item.kind == "gene":
        return f"ID=gene-{name};Name={name};gene_biotype=protein_coding"
    if item.kind == "mRNA":
        return f"ID=rna-{name};Parent=gene-{name};Name={name}"
    if item.kind == "CDS":
        return f"ID=cds-{name};Parent=rna-{name};gene={name}"
    if item.kind == "promoter":
        return f"ID=promoter-{name};gene={name};promoter_class={item.detail}"
    if item.kind == "enhancer":
        return f"ID=enhancer-{name};Name={name};tissues={item.detail}"
    if item.kind == "insulator":
        return f"ID=insulator-{name};Name={name};bound_moiety=CTCF"
    return "estimated_length=known" if item.kind == "gap" else f"Parent=rna-{name};gene={name}"


def write_motifs(species: Species, path: Path) -> None:
    """Write every planted site: BED6 and the element that holds it; score = 1000 x score / best score."""
    scores, rows = species.motif_scores, []
    for item in species.of_kind("motif"):
        score = round(1000 * scores[item] / MOTIFS[item.name].best)
        rows.append(f"{_bed6(species, item, score)}\t{item.parent}")
    write_lines(path, rows)


def write_repeats(species: Species, path: Path) -> None:
    """Write every repeat copy: BED6; score = 1000 x identity of the ancestral copy with its family."""
    repeats = species.of_kind("repeat")
    write_lines(path, (_bed6(species, item, round(1000 * (1 - float(item.detail)))) for item in repeats))


def _bed6(species: Species, item: Feature, score: int) -> str:
    contig, start = species.locate(item.start)
    return f"{contig}\t{start}\t{start + item.end - item.start}\t{item.name}\t{score}\t{item.strand}"


def write_orthologs(clade: Iterable[Species], path: Path) -> None:
    """Write where every gene starts in every species: gene, species, contig, tss (from 0), strand."""
    rows = []
    for species in clade:
        for gene in species.of_kind("gene"):
            contig, tss = species.locate(transcription_start(gene))
            rows.append((gene.name, species.name, contig, str(tss), gene.strand))
    write_lines(path, ["gene\tspecies\tcontig\ttss\tstrand", *("\t".join(row) for row in sorted(rows))])


STATES = ("TSS", "Enh", "Ins", "Tx", "Het", "Quies")
_COLOURS = ("255,0,0", "255,195,77", "10,190,254", "0,128,0", "138,145,208", "255,255,255")
_SOURCES = {"TSS": ("promoter",), "Ins": ("insulator",), "Tx": ("gene",), "Het": ("repeat", "gap")}
_FLOOR = 1 / 32


def paint_states(species: Species, tissue: str) -> npt.NDArray[np.uint8]:
    """(L,) number of the chromatin state of every base in a tissue."""
    states = np.full(species.codes.size, STATES.index("Quies"), dtype=np.uint8)
    for number in range(len(STATES) - 2, -1, -1):
        if STATES[number] == "Enh":
            for item in species.of_kind("enhancer"):
                if tissue in item.detail.split(","):
                    states[item.start : item.end] = number
        else:
            states[species.cover(*_SOURCES[STATES[number]])] = number
    return states


def write_states(species: Species, tissue: str, path: Path) -> None:
    """Write the chromatin states of a tissue as BED9, contigs tiled without overlap."""
    states = paint_states(species, tissue)
    is_start = np.zeros(states.size, dtype=bool)
    is_start[1:] = states[1:] != states[:-1]
    is_start[species.edges[:-1]] = True
    starts = np.flatnonzero(is_start)
    ends = np.append(starts[1:], states.size)
    contigs = np.searchsorted(species.edges, starts, side="right") - 1
    offsets = species.edges[contigs]
    columns = (column.tolist() for column in (contigs, starts - offsets, ends - offsets, states[starts]))
    rows = []
    for contig, start, end, state in zip(*columns, strict=True):
        name = f"{state + 1}_{STATES[state]}"
        rows.append(f"chr{contig + 1}\t{start}\t{end}\t{name}\t0\t.\t{start}\t{end}\t{_COLOURS[state]}")
    write_lines(path, rows)


def conservation(species: Species, clade: Clade) -> npt.NDArray[np.float64]:
    """(L,) conservation of every base, two decimals; NaN where the base has no alignment."""
    rates = np.array([clade.relative_rates[kind] for kind in SITE_KINDS])
    clean = -np.log2(np.maximum(rates, _FLOOR))[species.kinds]
    noise = stream(clade, "conservation").normal(0, clade.conservation_noise, clean.size)
    values: npt.NDArray[np.float64] = np.round(clean + noise, 2) + 0.0  # adding 0 turns -0.0 into 0.0
    values[~species.aligned | is_unknown(species.codes)] = np.nan
    return values


def write_conservation(species: Species, clade: Clade, path: Path) -> None:
    """Write conservation as a bigWig with one value a base."""
    values = conservation(species, clade)
    sizes = dict(zip(species.contigs, np.diff(species.edges).tolist(), strict=True))
    writer = pybigtools.open(str(path), "w")
    writer.write(sizes, _bigwig_rows(species, values))


def _bigwig_rows(species: Species, values: npt.NDArray[np.float64]) -> Iterator[tuple[str, int, int, float]]:
    """Rows (contig, start, end, value) in the order bigWig wants: contigs by name."""
    numbers = {name: number for number, name in enumerate(species.contigs)}
    for name in sorted(numbers):
        first, last = species.edges[numbers[name]], species.edges[numbers[name] + 1]
        mine = values[first:last]
        places = np.flatnonzero(~np.isnan(mine))
        for place, value in zip(places.tolist(), mine[places].tolist(), strict=True):
            yield name, place, place + 1, value


TASKS = ("promoter", "enhancer", "splice")
SPLITS = ("train", "dev", "test")
_PROMOTER_BP, _ENHANCER_BP, _SPLICE_BP = 300, 250, 120
_NUM_CANDIDATES = 40  # random windows from which each negative is chosen


class Example(NamedTuple):
    """A labelled window of a species' `codes`."""

    start: int
    end: int
    strand: str
    label: int


def draw_examples(species: Species, clade: Clade, task: str) -> dict[str, list[Example]]:
    """Draw the examples of a task by split, in order of position."""
    drawn: dict[str, list[Example]] = {split: [] for split in SPLITS}
    positives = {"promoter": _promoters, "enhancer": _enhancers, "splice": _splice_sites}[task]
    for contig in range(clade.num_contigs):
        rng = stream(clade, "tasks", TASKS.index(task) * 1_000 + contig)
        low, high = int(species.edges[contig]), int(species.edges[contig + 1])
        found = [item for item in positives(species, rng) if low <= item.start and item.end <= high]
        found = [item for item in found if UNKNOWN not in bases(species.codes[item.start : item.end])]
        if task == "splice":
            found += _decoys(species, found, (low, high), rng)
        else:
            found += _matched_windows(species, found, (low, high), rng)
        drawn[clade.split_of_contig(contig)] += sorted(found)
    return drawn


def _promoters(species: Species, _: np.random.Generator) -> list[Example]:
    found = []
    for gene in species.of_kind("gene"):
        tss = transcription_start(gene)
        start = tss + UPSTREAM_BP - _PROMOTER_BP + 1 if gene.strand == "-" else tss - UPSTREAM_BP
        found.append(Example(start, start + _PROMOTER_BP, gene.strand, 1))
    return found


def _enhancers(species: Species, rng: np.random.Generator) -> list[Example]:
    found = []
    for item in species.of_kind("enhancer"):
        start = (item.start + item.end - _ENHANCER_BP) // 2 + int(rng.integers(-20, 21))
        found.append(Example(start, start + _ENHANCER_BP, "+" if rng.random() < 0.5 else "-", 1))
    return found


def _splice_sites(species: Species, _: np.random.Generator) -> list[Example]:
    found = []
    for item in species.of_kind("motif"):
        if item.name in ("DONOR", "ACCEPTOR"):
            is_donor = item.name == "DONOR"
            border = item.start if is_donor == (item.strand == "+") else item.end
            start = border - _SPLICE_BP // 2
            found.append(Example(start, start + _SPLICE_BP, item.strand, 1 if is_donor else 2))
    return found


def _running(flags: npt.NDArray[np.bool_]) -> Positions:
    return np.concatenate([[0], np.cumsum(flags)]).astype(np.int64)


def _matched_windows(
    species: Species, positives: list[Example], bounds: tuple[int, int], rng: np.random.Generator
) -> list[Example]:
    """One window for every positive, free of promoters, enhancers and N, of the most similar GC."""
    if not positives:
        return []
    letters = bases(species.codes)
    barred = _running(species.cover("promoter", "enhancer") | (letters == UNKNOWN))
    gc = _running((letters == G) | (letters == C))
    starts = np.array([item.start for item in positives])
    width = positives[0].end - positives[0].start
    candidates = rng.integers(bounds[0], bounds[1] - width, (starts.size, _NUM_CANDIDATES))
    wanted = gc[starts + width] - gc[starts]
    distance = np.abs(gc[candidates + width] - gc[candidates] - wanted[:, None])
    distance = np.where(barred[candidates + width] > barred[candidates], width + 1, distance)
    best = distance.argmin(axis=1)
    rows = np.arange(starts.size)
    usable = distance[rows, best] <= width
    strands = np.where(rng.random(starts.size) < 0.5, "+", "-").tolist()
    chosen = candidates[rows, best].tolist()
    kept = [(start, side) for start, side, good in zip(chosen, strands, usable, strict=True) if good]
    return [Example(start, start + width, side, 0) for start, side in dict.fromkeys(kept)]


def _decoys(
    species: Species, sites: list[Example], bounds: tuple[int, int], rng: np.random.Generator
) -> list[Example]:
    """A GT for every donor and an AG for every acceptor, on either strand, that are no splice sites."""
    half = _SPLICE_BP // 2
    letters = bases(species.codes[bounds[0] : bounds[1]])
    unknown = _running(letters == UNKNOWN)
    taken = {(item.start, item.strand) for item in sites}
    found = []
    for label, pair in ((1, (G, T)), (2, (A, G))):
        wanted = sum(item.label == label for item in sites)
        for side in ("+", "-"):
            first, second = pair if side == "+" else (3 - pair[1], 3 - pair[0])
            at = np.flatnonzero((letters[:-1] == first) & (letters[1:] == second))
            borders = at if (label == 1) == (side == "+") else at + 2  # where the intron would begin or end
            starts = borders[(borders >= half) & (borders + half <= letters.size)] - half
            starts = starts[unknown[starts + _SPLICE_BP] == unknown[starts]]
            count = wanted // 2 if side == "+" else wanted - wanted // 2
            free = [start for start in starts.tolist() if (start + bounds[0], side) not in taken]
            picked = rng.choice(free, min(count, len(free)), replace=False).tolist()
            taken |= {(start + bounds[0], side) for start in picked}
            found += [Example(start + bounds[0], start + bounds[0] + _SPLICE_BP, side, 0) for start in picked]
    return found


def write_task(species: Species, examples: dict[str, list[Example]], folder: Path) -> None:
    """Write the splits of a task."""
    folder.mkdir(parents=True)
    for split, items in examples.items():
        rows = ["sequence,label,contig,start,end,strand"]
        for item in items:
            contig, start = species.locate(item.start)
            text = to_text(bases(species.read(item.start, item.end, item.strand)))
            rows.append(f"{text},{item.label},{contig},{start},{start + item.end - item.start},{item.strand}")
        write_lines(folder / f"{split}.csv", rows)


_GC_WINDOW_BP = 101
_GC_STEP = 0.08  # width of the classes inside which GC is matched
_ELEMENTS = ("gene", "promoter", "enhancer", "insulator", "repeat", "gap")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A change of one base; bases as values 0-3 on the forward strand.

    Args:
        position: in the species' `codes`.
        ref: the base there.
        alt: the base instead.
        label: `motif`, `splice` or `neutral`.
        motif: the site's motif, or nothing.
        delta: change of its score in bits, 0 where neutral.
        pair: number that functional variant and neutral partner share.
    """

    position: int
    ref: int
    alt: int
    label: str
    motif: str
    delta: float
    pair: int


def draw_variants(species: Species, clade: Clade) -> list[Variant]:
    """Draw functional variants with their neutral partners, in order of position."""
    sites = species.of_kind("motif")
    factors = [item for item in sites if MOTIFS[item.name].role in ("factor", "promoter")]
    splices = [item for item in sites if item.name in ("DONOR", "ACCEPTOR")]
    functional, pairs = [], itertools.count(1)
    for number, label, mine, count in (
        (0, "motif", factors, clade.num_motif_variants),
        (1, "splice", splices, clade.num_splice_variants),
    ):
        rng = stream(clade, "variants", number)
        functional += _break_sites(species, mine, label=label, count=count, pairs=pairs, rng=rng)
    neutral = _match_neutral(species, functional, stream(clade, "variants", 2))
    return sorted([*functional, *neutral], key=lambda item: (item.position, item.label))


def _break_sites(
    species: Species,
    sites: list[Feature],
    *,
    label: str,
    count: int,
    pairs: Iterator[int],
    rng: np.random.Generator,
) -> list[Variant]:
    """At most one variant a site, numbered in the order they are drawn."""
    found: list[Variant] = []
    for number in rng.permutation(len(sites)):
        if len(found) >= count:
            break
        item = sites[number]
        motif = MOTIFS[item.name]
        site = bases(species.read(item.start, item.end, item.strand))
        places = list(motif.frozen if label == "splice" else motif.core)
        place = places[rng.integers(len(places))]
        losses = motif.weights[place] - motif.weights[place, site[place]]
        alt = int(rng.choice(np.flatnonzero(losses == losses.min())))
        if losses[alt] >= 0:  # the site has a mismatch here already
            continue
        ref, reverse = int(site[place]), item.strand == "-"
        change = Variant(
            position=item.end - 1 - place if reverse else item.start + place,
            ref=3 - ref if reverse else ref,
            alt=3 - alt if reverse else alt,
            label=label,
            motif=item.name,
            delta=float(losses[alt]),
            pair=next(pairs),
        )
        found.append(change)
    return found


def _match_neutral(species: Species, functional: list[Variant], rng: np.random.Generator) -> list[Variant]:
    """A partner for every functional variant that has a free neutral position like it."""
    letters = bases(species.codes)
    gc = window_sums((letters == C) | (letters == G), _GC_WINDOW_BP) / _GC_WINDOW_BP
    classes = (gc / _GC_STEP).astype(np.int64)
    near_unknown = window_sums(is_unknown(species.codes), _GC_WINDOW_BP) > 0
    free = ~species.cover(*_ELEMENTS) & ~near_unknown
    pool = rng.permutation(np.flatnonzero(free))
    keys = letters[pool].astype(np.int64) * 1_000 + classes[pool]
    order = np.argsort(keys, kind="stable")
    pool, keys = pool[order], keys[order]
    used: dict[int, int] = {}
    partners = []
    for item in functional:
        key = item.ref * 1_000 + int(classes[item.position])
        first, last = np.searchsorted(keys, [key, key + 1])
        place = int(first) + used.get(key, 0)
        if place < last:
            used[key] = used.get(key, 0) + 1
            position = int(pool[place])
            partners.append(replace(item, position=position, label="neutral", motif="", delta=0.0))
    return partners


def window_sums(flags: npt.NDArray[np.bool_], width: int) -> npt.NDArray[np.int64]:
    """(L,) number of True in the window of odd width around every base, cut at the ends."""
    total = _running(flags)
    middle = np.arange(flags.size)
    high = np.minimum(middle + width // 2 + 1, flags.size)
    return np.asarray(total[high] - total[np.maximum(middle - width // 2, 0)])


def write_vcf(species: Species, variants: list[Variant], path: Path) -> None:
    """Write variants as VCF 4.3."""
    sizes = np.diff(species.edges).tolist()
    head = [
        "##fileformat=VCFv4.3",
        "##source=dnalm",
        f"##reference={species.name}.fa",
        *(f"##contig=<ID={name},length={size}>" for name, size in zip(species.contigs, sizes, strict=True)),
        '##FILTER=<ID=PASS,Description="All filters passed">',
        '##INFO=<ID=CLASS,Number=1,Type=String,Description="motif, splice or neutral">',
        '##INFO=<ID=MOTIF,Number=1,Type=String,Description="Motif whose site is changed">',
        '##INFO=<ID=DELTA,Number=1,Type=Float,Description="Change of the motif score, in bits">',
        '##INFO=<ID=PAIR,Number=1,Type=Integer,Description="Number shared with the matched partner">',
        '##INFO=<ID=LABEL,Number=1,Type=Integer,Description="1 functional, 0 neutral">',
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO",
    ]
    write_lines(path, [*head, *(_vcf_row(species, item) for item in variants)])


def _vcf_row(species: Species, item: Variant) -> str:
    contig, place = species.locate(item.position)
    motif = f"MOTIF={item.motif};" if item.motif else ""
    label = int(item.label != "neutral")
    info = f"CLASS={item.label};{motif}DELTA={item.delta:.3f};PAIR={item.pair};LABEL={label}"
    name = f"{item.label[0]}{item.pair}"
    return f"{contig}\t{place + 1}\t{name}\t{'ACGT'[item.ref]}\t{'ACGT'[item.alt]}\t.\tPASS\t{info}"


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
