"""Sets of intervals on a genome as arrays, 0-based and half-open.

An interval counts bases from the beginning of a store, over all its contigs. A set of them is an
(R, 2) int64 array of starts and ends; functions here take any such array and return a canonical one:
sorted, none empty, none touching another.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Intervals = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]


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


def _combine(a: Intervals, b: Intervals, keep: Callable[[_Bools, _Bools], _Bools]) -> Intervals:
    """Cut two sets at all their ends and keep pieces by whether they lie in each."""
    a, b = merge(a), merge(b)
    ends = np.unique(np.concatenate([a.ravel(), b.ravel()]))
    kept = keep(contains(a, ends), contains(b, ends))  # of the piece that starts there; the last starts none
    changes = np.flatnonzero(np.diff(kept, prepend=False))
    return ends[changes].reshape(-1, 2)


def contains(intervals: Intervals, positions: npt.NDArray[np.int64]) -> _Bools:
    """Which of some positions lie in a canonical set: (P,) int64 to (P,) bool."""
    started = np.searchsorted(intervals[:, 0], positions, side="right")
    ended = np.searchsorted(intervals[:, 1], positions, side="right")
    return started > ended
