"""What is known of variants without a model: how conserved the bases are, and how far the nearest gene is.

A deletion or substitution is judged by the bases that it replaces, an insertion by the base on either side.

N variants, B bases.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dnalm.errors import DataError
from dnalm.evaluation.statistics import Scores
from dnalm.genome.bed import read_bed_table
from dnalm.genome.bigwig import BigWigReader
from dnalm.genome.gff import GffReader, rank
from dnalm.genome.store import GenomeStore
from dnalm.genome.variants import Allele

_BIGWIG = (".bw", ".bigwig")
Flat = npt.NDArray[np.int64]


def conservation(path: Path, store: GenomeStore, alleles: Sequence[Allele]) -> Scores:
    """The mean over the bases of each variant, (N,); a base that the file says nothing of has 0.

    Args:
        path: bigWig, or BED whose column 5 is a score.
        store: the genome.
        alleles: of the genome.

    Raises:
        DataError: it cannot be read, or has other contigs' lengths.
    """
    spans_N2 = _spans(store, alleles)
    bases_B = np.unique(np.concatenate([np.arange(first, last) for first, last in spans_N2]))
    values_B = np.zeros(len(bases_B))
    for starts, ends, values in _blocks(path, store):
        low, high = np.searchsorted(bases_B, [starts[0], ends.max()])
        place = np.searchsorted(starts, bases_B[low:high], "right") - 1
        inside = (place >= 0) & (bases_B[low:high] < ends[place])
        values_B[low:high][inside] = values[place[inside]]
    sums_B = np.concatenate([[0.0], np.cumsum(values_B)])
    first_N, last_N = (np.searchsorted(bases_B, spans_N2[:, side]) for side in (0, 1))
    mean_N: Scores = (sums_B[last_N] - sums_B[first_N]) / (last_N - first_N)
    return mean_N


def _spans(store: GenomeStore, alleles: Sequence[Allele]) -> Flat:
    """(N, 2) bases that each variant is judged by, in the flat genome."""
    spans = []
    for allele in alleles:
        contig = store.contig(allele.contig)
        start, end = allele.start, allele.start + len(allele.ref)
        if not allele.ref:
            start, end = max(0, start - 1), min(contig.length, end + 1)
        spans.append((contig.offset + start, contig.offset + end))
    return np.array(spans, dtype=np.int64).reshape(-1, 2)


def _blocks(path: Path, store: GenomeStore) -> Iterator[tuple[Flat, Flat, npt.NDArray[np.float64]]]:
    """Starts in order, ends and values of intervals that do not overlap."""
    if path.suffix.lower() in _BIGWIG:
        for contig, records in BigWigReader(path, store, other_contigs="skip"):
            starts, ends = (records[side].astype(np.int64) + contig.offset for side in ("start", "end"))
            yield starts, ends, np.nan_to_num(records["value"].astype(np.float64))
        return
    table = read_bed_table(path, store, value="score", other_contigs="skip")
    order = np.argsort(table.intervals[:, 0], kind="stable")
    intervals = table.intervals[order]
    yield intervals[:, 0], intervals[:, 1], np.nan_to_num(table.values[order].astype(np.float64))


def gene_nearness(path: Path, store: GenomeStore, alleles: Sequence[Allele]) -> Scores:
    """Minus the number of bases between each variant and the nearest gene of its contig, (N,); 0 within one.

    Args:
        path: GFF3 or GTF; its genes, or its transcripts where it has none.
        store: the genome.
        alleles: of the genome.

    Raises:
        DataError: it cannot be read, or BENCH-15, it has no genes.
    """
    found: dict[int, dict[str, list[tuple[int, int]]]] = {1: {}, 2: {}}
    for feature in GffReader(path, store, other_contigs="skip"):
        if kind := rank(feature.kind):
            found[kind].setdefault(feature.contig.name, []).extend(feature.pieces)
    genes = found[1] or found[2]
    if not genes:
        raise DataError(
            "BENCH-15",
            where=str(path),
            found="no gene and no transcript on the genome's contigs",
            expected="an annotation of genes",
            fix="give another, or leave benchmark.genes out",
        )
    nearness = []
    for allele in alleles:
        pieces = np.array(genes.get(allele.contig, []), dtype=np.int64).reshape(-1, 2)
        start, end = allele.start, allele.start + max(len(allele.ref), 1)
        apart = np.maximum(pieces[:, 0] - end + 1, start - pieces[:, 1] + 1).clip(min=0)
        nearness.append(-int(apart.min(initial=store.contig(allele.contig).length)))
    return np.array(nearness, dtype=np.float64)
