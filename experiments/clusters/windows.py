"""Labelled intervals of the simulated clade: promoters, splice sites, repeats and background, as a BED.

    PYTHONPATH=. python experiments/clusters/windows.py windows.bed

200 bases each, read on the element's strand, the same number of each class; column 4 is the class. Promoters
reach from 150 bases before the start of transcription to 50 after it; splice sites lie in the middle; of a
repeat copy it is the middle too. Background touches no annotated feature and no repeat.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from dnalm.genome.bed import BedReader
from dnalm.genome.genes import read_transcripts
from dnalm.genome.gff import GffReader
from dnalm.genome.store import GenomeStore, open_or_build
from dnalm.simulation.settings import Clade
from dnalm.simulation.simulate import find_or_simulate

WIDTH, NUMBER, BEFORE_TSS = 200, 400, 150
Row = tuple[str, int, str]  # contig, start, strand


def main() -> None:
    """Write the BED and say which genome it lies on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path)
    target = parser.parse_args().target
    folder = find_or_simulate(Clade())
    store = open_or_build(folder / "demo_a.fa")
    rng = np.random.default_rng(1)
    used = {contig.name: np.zeros(contig.length, dtype=bool) for contig in store.contigs}
    found = {"promoter": promoters(folder, store), "splice": splice_sites(folder, store)}
    found["repeat"] = repeats(folder, store, used)
    for feature in GffReader(folder / "demo_a.gff3", store):
        used[feature.contig.name][feature.start : feature.end] = True
    found["background"] = background(used, rng)
    lines = []
    for label, rows in found.items():
        rows = [row for row in rows if 0 <= row[1] <= len(used[row[0]]) - WIDTH]
        for index in sorted(rng.choice(len(rows), min(NUMBER, len(rows)), replace=False)):
            contig, start, strand = rows[index]
            lines.append(f"{contig}\t{start}\t{start + WIDTH}\t{label}\t0\t{strand}\n")
    target.write_text("".join(lines))
    print(f"{len(lines)} intervals: {target}, on {folder / 'demo_a.fa'}")


def promoters(folder: Path, store: GenomeStore) -> list[Row]:
    """Around the start of every transcript."""
    rows = []
    for transcript in read_transcripts(GffReader(folder / "demo_a.gff3", store)):
        start, end = transcript.spans[0, 0], transcript.spans[-1, 1]
        plus = transcript.strand == "+"
        first = start - BEFORE_TSS if plus else end - (WIDTH - BEFORE_TSS)
        rows.append((transcript.contig.name, int(first), transcript.strand))
    return rows


def splice_sites(folder: Path, store: GenomeStore) -> list[Row]:
    """Around both ends of every intron."""
    rows = []
    for transcript in read_transcripts(GffReader(folder / "demo_a.gff3", store)):
        exons = np.sort(transcript.parts["exon"], axis=0)
        for place in [*exons[:-1, 1], *exons[1:, 0]]:
            rows.append((transcript.contig.name, int(place) - WIDTH // 2, transcript.strand))
    return rows


def repeats(folder: Path, store: GenomeStore, used: dict[str, np.ndarray]) -> list[Row]:
    """The middle of every copy of a family that is long enough; marks all repeats as used."""
    rows = []
    for row in BedReader(folder / "demo_a.repeats.bed", store):
        used[row.contig.name][row.start : row.end] = True
        if row.columns[3].startswith("demo") and row.end - row.start >= WIDTH:
            rows.append((row.contig.name, (row.start + row.end - WIDTH) // 2, row.columns[5]))
    return rows


def background(used: dict[str, np.ndarray], rng: np.random.Generator) -> list[Row]:
    """Windows where nothing is annotated, on either strand."""
    rows = []
    for contig, marks in used.items():
        for start in range(0, len(marks) - WIDTH, WIDTH):
            if not marks[start : start + WIDTH].any():
                rows.append((contig, start, "+-"[int(rng.integers(2))]))
    return rows


if __name__ == "__main__":
    main()
