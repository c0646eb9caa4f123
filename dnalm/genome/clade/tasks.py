"""Labelled sequences from the first species: promoters, enhancers, splice sites.

`tasks/<task>/{train,dev,test}.csv` with columns sequence, label, contig, start, end, strand; sequences are
read on `strand`. Splits are whole contigs, so nothing leaks. Positive and negative windows are equally
many: negatives are genomic, free of the element, and chosen among random windows for the most similar GC.

Windows with an N are left out.

- promoter: 300 bases, from 200 before the TSS; 1 promoter, 0 none.
- enhancer: 250 bases around the enhancer, off its middle by up to 20; 1 enhancer, 0 none.
- splice: 120 bases with the exon-intron border in the middle; 1 donor, 2 acceptor, 0 a GT or AG at the same
  place that is no splice site (as many as donors and acceptors together).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dnalm.genome.alphabet import UNKNOWN, A, C, G, T, bases, to_text
from dnalm.genome.clade.annotation import write_lines
from dnalm.genome.clade.blocks import Positions
from dnalm.genome.clade.genes import UPSTREAM_BP
from dnalm.genome.clade.settings import Clade, stream
from dnalm.genome.clade.species import Species, transcription_start

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
        write_lines(
            folder / f"{split}.csv", ["sequence,label,contig,start,end,strand", *_rows(species, items)]
        )


def _rows(species: Species, items: Iterable[Example]) -> list[str]:
    rows = []
    for item in items:
        contig, start = species.locate(item.start)
        text = to_text(bases(species.read(item.start, item.end, item.strand)))
        rows.append(f"{text},{item.label},{contig},{start},{start + item.end - item.start},{item.strand}")
    return rows
