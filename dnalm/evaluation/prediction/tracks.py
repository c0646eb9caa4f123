"""Predictions along a genome: means where sequences overlap, intervals of classes, BED and bigWig.

Everything streams by place and holds what overlaps, so memory does not grow with a contig; of BED the
intervals of one contig are held. R rows, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pybigtools

from dnalm.evaluation.inference import Floats

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Rows:
    """Intervals of one contig with their predictions.

    Attributes:
        contig: its name.
        starts: 0-based, ascending, (R,).
        ends: excluded, (R,).
        values: (R, O).
        strand: of bases of one sequence.
    """

    contig: str
    starts: Places
    ends: Places
    values: Floats
    strand: str = "+"


class Run(NamedTuple):
    """An interval of a class: its number, and the mean probability there."""

    contig: str
    start: int
    end: int
    number: int
    mean: float
    strand: str

    def line(self, names: Sequence[str]) -> str:
        """As BED, whose score is the probability times 1000."""
        name = " ".join(names[self.number].split()) or "."
        score = min(1000, max(0, round(1000 * self.mean)))
        return f"{self.contig}\t{self.start}\t{self.end}\t{name}\t{score}\t{self.strand}\n"


def mean_runs(blocks: Iterator[Rows]) -> Iterator[Rows]:
    """The mean over the rows that cover a place, in runs that begin and end where a row does.

    Args:
        blocks: contig by contig, by start.
    """
    waiting: Rows | None = None  # rows that later ones may overlap
    for block in blocks:
        if waiting is None:
            waiting = block
        elif waiting.contig != block.contig:
            yield from _means(waiting, None)
            waiting = block
        else:
            until = int(block.starts[0])
            yield from _means(waiting, until)
            waiting = _joined(_after(waiting, until), block)
    if waiting is not None:
        yield from _means(waiting, None)


def _joined(one: Rows, other: Rows) -> Rows:
    """In the order of their starts; rows that begin together stay in theirs."""
    starts = np.concatenate([one.starts, other.starts])
    order = np.argsort(starts, kind="stable")
    ends, values = np.concatenate([one.ends, other.ends]), np.concatenate([one.values, other.values])
    return Rows(one.contig, starts[order], ends[order], values[order])


def _after(rows: Rows, place: int) -> Rows:
    """What of the rows lies beyond a place."""
    kept = rows.ends > place
    starts = np.maximum(rows.starts[kept], place)
    return Rows(rows.contig, starts, rows.ends[kept], rows.values[kept])


def _means(rows: Rows, until: int | None) -> Iterator[Rows]:
    """Runs of the rows up to a place, or to their end; rows are added in their order, so sums are exact."""
    edges = np.unique(np.concatenate([rows.starts, rows.ends]))
    if until is not None:
        edges = np.append(edges[edges < until], until)
    if len(edges) < 2:
        return
    firsts = np.searchsorted(edges, rows.starts)
    lasts = np.minimum(np.searchsorted(edges, rows.ends), len(edges) - 1)
    total, count = np.zeros((len(edges) - 1, rows.values.shape[1])), np.zeros(len(edges) - 1, np.int64)
    for step in range(int((lasts - firsts).max(initial=0))):
        here = firsts + step < lasts
        np.add.at(total, firsts[here] + step, rows.values[here])
        np.add.at(count, firsts[here] + step, 1)
    covered = count > 0
    if covered.any():
        means = total[covered] / count[covered, None]
        yield Rows(rows.contig, edges[:-1][covered], edges[1:][covered], means)


def write_bigwig(path: Path, runs: Iterator[Rows], number: int, sizes: Mapping[str, int]) -> None:
    """Write an output's track.

    Args:
        path: the file.
        runs: contigs by name, runs by start.
        number: of the output.
        sizes: length of each contig.
    """
    rows = (
        (run.contig, start, end, value)
        for run in runs
        for start, end, value in zip(
            run.starts.tolist(), run.ends.tolist(), run.values[:, number].tolist(), strict=True
        )
    )
    pybigtools.open(str(path), "w").write(dict(sizes), rows)


def write_bed(
    path: Path,
    blocks: Iterator[Rows],
    names: Sequence[str],
    shown: Callable[[Floats], npt.NDArray[np.bool_]],
) -> None:
    """Write the intervals of classes, a contig's by place; rows of a class that touch or overlap are joined.

    Args:
        path: the file.
        blocks: a contig's by start; those of one contig that follow each other are joined on each strand.
        names: of the classes.
        shown: of (R, O) probabilities, which classes each row is of, (R, O).
    """
    with path.open("w", encoding="utf-8") as file:
        for runs in _by_contig(blocks, shown):
            file.writelines(run.line(names) for run in sorted(runs))


def _by_contig(
    blocks: Iterator[Rows], shown: Callable[[Floats], npt.NDArray[np.bool_]]
) -> Iterator[list[Run]]:
    runs: list[Run] = []
    joiners: dict[int, _Joiner] = {}
    before: tuple[str, str, int] | None = None  # contig, strand and last start of the block before
    for block in blocks:
        apart = before is not None and (block.contig, block.strand) != before[:2]
        if apart or (before is not None and block.starts[0] <= before[2]):  # of another sequence
            runs += chain.from_iterable(joiner.close() for joiner in joiners.values())
        if before is not None and block.contig != before[0]:
            yield runs
            runs = []
        chosen = shown(block.values)
        for number in np.flatnonzero(chosen.any(axis=0)).tolist():
            joiner = joiners.setdefault(number, _Joiner(number))
            runs += joiner.add(block, chosen[:, number])
        before = block.contig, block.strand, int(block.starts[-1])
    runs += chain.from_iterable(joiner.close() for joiner in joiners.values())
    yield runs


class _Joiner:
    """Joins the rows of one class as they come; the last interval stays open."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.open: tuple[str, int, int, float, float, str] | None = None  # sum of p x width, and of widths

    def close(self) -> list[Run]:
        """The open interval, if there is one."""
        if self.open is None:
            return []
        contig, start, end, total, weight, strand = self.open
        self.open = None
        return [Run(contig, start, end, self.number, total / weight, strand)]

    def add(self, block: Rows, chosen: npt.NDArray[np.bool_]) -> list[Run]:
        """The intervals that are whole once these rows are added, a block's by start."""
        starts, ends = block.starts[chosen], block.ends[chosen]
        weights = (ends - starts).astype(np.float64)
        totals = block.values[chosen, self.number] * weights
        if self.open is not None:
            _, start, end, total, weight, _ = self.open
            starts, ends = np.append(start, starts), np.append(end, ends)
            totals, weights = np.append(total, totals), np.append(weight, weights)
        reached = np.maximum.accumulate(ends)
        firsts = np.flatnonzero(np.append(True, starts[1:] > reached[:-1]))
        lasts = np.append(firsts[1:], len(starts)) - 1
        found = [
            (block.contig, int(start), int(end), float(total), float(weight), block.strand)
            for start, end, total, weight in zip(
                starts[firsts],
                reached[lasts],
                np.add.reduceat(totals, firsts),
                np.add.reduceat(weights, firsts),
                strict=True,
            )
        ]
        *whole, self.open = found
        return [Run(c, s, e, self.number, total / weight, strand) for c, s, e, total, weight, strand in whole]
