"""Intervals on a genome, 0-based and half-open: named ones read from BED, and flat ones as arrays.

A flat interval counts bases from the beginning of a store, over all its contigs. A set of them is an
(R, 2) int64 array of starts and ends; functions here take any such array and return a canonical one:
sorted, none empty, none touching another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dnalm.errors import DataError
from dnalm.genome.bgzf import CompressionCodes, read_chunks
from dnalm.genome.store import GenomeStore, nearest_names

Intervals = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_COORDINATE_LIMIT = 1 << 31
_BED_CODES = CompressionCodes("BED-20", "BED-21", "BED-22")


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """Bases `start` up to, not including, `end` of a contig, counted from 0.

    Raises:
        ValueError: it is empty or begins before 0.
    """

    contig: str
    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"{self.contig}:{self.start}-{self.end} is empty or negative")

    def __len__(self) -> int:
        return self.end - self.start


def merge(intervals: Intervals) -> Intervals:
    """The canonical form of a set: overlapping and touching intervals become one."""
    intervals = np.asarray(intervals, dtype=np.int64).reshape(-1, 2)
    intervals = intervals[intervals[:, 0] < intervals[:, 1]]
    intervals = intervals[np.argsort(intervals[:, 0], kind="stable")]
    if not len(intervals):
        return intervals
    ends = np.maximum.accumulate(intervals[:, 1])
    is_first = np.concatenate([[True], intervals[1:, 0] > ends[:-1]])
    is_last = np.concatenate([is_first[1:], [True]])
    return np.stack([intervals[is_first, 0], ends[is_last]], axis=1)


def intersect(a: Intervals, b: Intervals) -> Intervals:
    """What lies in both sets."""
    return _combine(a, b, np.logical_and)


def subtract(a: Intervals, b: Intervals) -> Intervals:
    """What lies in `a` and not in `b`."""
    return _combine(a, b, np.greater)


def cut_at(intervals: Intervals, places: Intervals) -> Intervals:
    """A canonical set cut where a new contig begins: neighbours in the flat store are none in the genome.

    Args:
        intervals: (R, 2), canonical.
        places: (P,) sorted, such as the contigs' offsets; those outside all intervals cut nothing.

    Returns:
        (R', 2), sorted; pieces may touch.
    """
    if not len(intervals):
        return intervals
    row = np.searchsorted(intervals[:, 0], places, side="left") - 1
    within = (row >= 0) & (places < intervals[row, 1])
    starts, ends = (np.sort(np.concatenate([column, places[within]])) for column in intervals.T)
    return np.stack([starts, ends], axis=1)


def total_length(intervals: Intervals) -> int:
    """Bases covered, each counted once."""
    return int(np.diff(merge(intervals), axis=1).sum())


def expand(intervals: Intervals, by: int, *, length: int) -> Intervals:
    """Move both ends outwards, but not outside [0, length).

    Args:
        intervals: (R, 2) set.
        by: bases to add at each end; negative ones shrink, and drop what gets empty.
        length: bases of the store.
    """
    moved = merge(intervals) + np.array([-by, by])
    return merge(moved.clip(0, length))


def _combine(a: Intervals, b: Intervals, keep: Callable[[_Bools, _Bools], _Bools]) -> Intervals:
    """Cut two sets at all their ends and keep pieces by whether they lie in each."""
    a, b = merge(a), merge(b)
    ends = np.unique(np.concatenate([a.ravel(), b.ravel()]))
    kept = keep(_covers(a, ends), _covers(b, ends))  # of the piece that starts there; the last starts none
    changes = np.flatnonzero(np.diff(kept, prepend=False))
    return ends[changes].reshape(-1, 2)


def _covers(intervals: Intervals, positions: npt.NDArray[np.int64]) -> _Bools:
    started = np.searchsorted(intervals[:, 0], positions, side="right")
    ended = np.searchsorted(intervals[:, 1], positions, side="right")
    return started > ended


def read_bed(path: Path, store: GenomeStore) -> list[Interval]:
    """Read a BED file of three or more columns, plain, gzip or bgzip, LF or CRLF.

    Args:
        path: the file; `track`, `browser`, `#` and blank lines are skipped.
        store: the genome the intervals must lie on.

    Returns:
        The intervals in the order of the file.

    Raises:
        DataError: BED-01 to BED-07, 09, 11, 13, naming the line; BED-20 to BED-22, damaged gzip.
    """
    intervals = []
    for number, line in enumerate(_read_lines(path), start=1):
        if not line.strip() or line.startswith(("#", "track ", "track\t", "browser ", "browser\t")):
            continue
        intervals.append(_BedLine(path, number, line).interval(store))
    if not intervals:
        raise _BedLine(path, 1, "").error(
            "BED-11", "the file has no intervals", "at least one line", "give another file"
        )
    return intervals


def _read_lines(path: Path) -> Iterator[str]:
    rest = b""
    try:
        for chunk in read_chunks(path, codes=_BED_CODES):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line.removesuffix(b"\r").decode("utf-8", errors="replace") for line in lines)
    except OSError as error:
        found = f"the file cannot be read ({error.strerror})"
        raise DataError(
            "BED-11", where=str(path), found=found, expected="a readable BED file", fix="check the path"
        ) from error
    if rest:
        yield rest.removesuffix(b"\r").decode("utf-8", errors="replace")


@dataclass(frozen=True)
class _BedLine:
    path: Path
    number: int
    text: str

    def interval(self, store: GenomeStore) -> Interval:
        columns = self.text.split("\t")
        if len(columns) < 3:
            raise self._too_few(len(columns))
        start, end = self._coordinate(columns[1]), self._coordinate(columns[2])
        if start >= end:
            fix = "remove the line, or swap them if they are reversed"
            raise self.error("BED-02", f"start {start} is not below end {end}", "start < end, half-open", fix)
        if len(columns) > 5 and columns[5] not in ("+", "-", "."):
            fix = "correct column 6"
            raise self.error("BED-09", f"strand {columns[5]!r} in column 6", "+, - or .", fix)
        name = columns[0]
        if name not in store:
            hint = nearest_names(name, store)
            fix = f"did you mean {hint}? Names must be those of the genome"
            raise self.error("BED-06", f"unknown contig `{name}`", f"a contig of {store.path.name}", fix)
        length = store.contig(name).length
        if end > length:
            fix = "check that the file was made for this assembly"
            raise self.error("BED-04", f"end {end} is past the end of `{name}`", f"at most {length}", fix)
        return Interval(name, start, end)

    def _too_few(self, num_columns: int) -> DataError:
        rule = "contig, start and end separated by tabs"
        if len(self.text.split()) >= 3:
            found = "the columns are separated by spaces"
            return self.error("BED-07", found, rule, "replace the spaces by tabs")
        found = f"the line has {num_columns} column{'s' if num_columns > 1 else ''}"
        return self.error("BED-01", found, rule, "give BED with three or more columns")

    def _coordinate(self, text: str) -> int:
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal()):
            rule = "a whole number in plain digits, 0-based"
            raise self.error("BED-05", f"{text!r} is not a whole number", rule, f"correct {text!r}")
        if text.startswith("-"):
            raise self.error(
                "BED-03", f"coordinate {text} is negative", "positions count from 0", "correct it"
            )
        if len(digits) > 10 or int(digits) >= _COORDINATE_LIMIT:
            raise self.error("BED-13", f"coordinate {text} is 2^31 or more", "below 2^31", "correct it")
        return int(digits)

    def error(self, code: str, found: str, expected: str, fix: str) -> DataError:
        return DataError(code, where=f"{self.path}:{self.number}", found=found, expected=expected, fix=fix)
