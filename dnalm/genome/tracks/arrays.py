"""Writing the arrays of tracks in bounded memory, and counting what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from dnalm.durable import reserve
from dnalm.genome.intervals import Intervals
from dnalm.genome.tracks.manifest import TrackStatistics
from dnalm.genome.tracks.store import MISSING, ROWS_FILE, STARTS_FILE, VALUES_FILE, unpack_labels

_CHUNK = 1 << 22  # bases, or rows, at a time


def new_dense(folder: Path, num_bases: int, dtype: npt.DTypeLike, fill: float) -> npt.NDArray[Any]:
    """A new values.bin, mapped for writing."""
    reserve(folder / VALUES_FILE, num_bases * np.dtype(dtype).itemsize)
    dense = np.memmap(folder / VALUES_FILE, dtype=dtype, mode="r+", shape=(num_bases,))
    for start in range(0, num_bases, _CHUNK):
        dense[start : start + _CHUNK] = fill
    return dense


def paint(dense: npt.NDArray[Any], intervals: Intervals, value: float) -> None:
    """Give all bases of a set of intervals one value."""
    for start, end in intervals.tolist():
        dense[start:end] = value


def paint_values(dense: npt.NDArray[Any], intervals: Intervals, values: npt.NDArray[np.float32]) -> None:
    """Give each of some sorted intervals without overlap its value.

    Neighbours that touch are written at once, so that values base by base are fast. All NaN get the same
    bits, so that runs of missing values are runs.
    """
    values = np.where(np.isnan(values), np.float32(np.nan), values)
    starts, ends = intervals[:, 0], intervals[:, 1]
    firsts = np.flatnonzero(np.concatenate([[True], starts[1:] != ends[:-1]]))
    lasts = np.concatenate([firsts[1:], [len(starts)]])
    widths = ends - starts
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        dense[starts[first] : ends[last - 1]] = np.repeat(values[first:last], widths[first:last])


class RunsWriter:
    """Writes runs one after another, joining equal neighbours.

    Args:
        folder: an empty folder, or one with values.bin.
    """

    def __init__(self, folder: Path) -> None:
        self.files = (folder / STARTS_FILE, folder / ROWS_FILE)
        self._starts: BinaryIO = self.files[0].open("wb")
        self._rows: BinaryIO = self.files[1].open("wb")
        self._last: bytes | None = None

    def add(self, starts: npt.NDArray[np.int64], rows: npt.NDArray[Any]) -> None:
        """Append runs: (R,) sorted starts, of the whole genome the first 0; (R,) or (R, W) rows."""
        if not starts.size:
            return
        bits = np.ascontiguousarray(rows).view(np.uint8).reshape(len(starts), -1)
        is_new = np.concatenate([[True], (bits[1:] != bits[:-1]).any(axis=1)])
        is_new[0] = bits[0].tobytes() != self._last
        self._last = bits[-1].tobytes()
        self._starts.write(starts[is_new].astype("<i8").tobytes())
        self._rows.write(bits[is_new].tobytes())

    def close(self) -> None:
        """Bring all to the files."""
        self._starts.close()
        self._rows.close()


def count_runs(dense: npt.NDArray[np.float32]) -> int:
    """How many runs of equal values (missing equals missing) an array has."""
    return sum(len(starts) for starts, _ in runs_of(dense))


def runs_of(dense: npt.NDArray[np.float32]) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]]:
    """Starts and values of the runs of an array, in pieces; all NaN must have the same bits."""
    before: int | None = None
    for start in range(0, dense.size, _CHUNK):
        bits = dense[start : start + _CHUNK].view(np.uint32)
        is_new = np.concatenate([[before is None or int(bits[0]) != before], bits[1:] != bits[:-1]])
        before = int(bits[-1])
        places = np.flatnonzero(is_new)
        yield places + start, bits[places].view(np.float32)


def class_statistics(dense: npt.NDArray[np.uint8], names: tuple[str, ...]) -> TrackStatistics:
    """Count the bases of every class."""
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, dense.size, _CHUNK):
        counts += np.bincount(dense[start : start + _CHUNK], minlength=256)
    return TrackStatistics(
        num_bases=dense.size,
        num_covered=dense.size - int(counts[MISSING]),
        positive_bases=dict(zip(names, counts.tolist(), strict=False)),
        covered_bases={},
    )


def label_statistics(folder: Path, names: tuple[str, ...], num_bases: int) -> TrackStatistics:
    """Count the bases of every label, and where each is known."""
    starts = np.fromfile(folder / STARTS_FILE, dtype=np.int64)
    rows = np.memmap(folder / ROWS_FILE, dtype=np.uint8, mode="r").reshape(len(starts), -1)
    lengths = np.diff(starts, append=num_bases)
    positive = np.zeros(len(names), dtype=np.int64)
    covered = np.zeros(len(names), dtype=np.int64)
    num_covered = 0
    step = max(1, _CHUNK // len(names))
    for start in range(0, len(starts), step):
        mine = lengths[start : start + step]
        labels = unpack_labels(rows[start : start + step], len(names))
        known = labels != MISSING
        positive += mine @ (labels == 1)
        covered += mine @ known
        num_covered += int(mine @ known.any(axis=1))
    return TrackStatistics(
        num_bases=num_bases,
        num_covered=num_covered,
        positive_bases=dict(zip(names, positive.tolist(), strict=True)),
        covered_bases=dict(zip(names, covered.tolist(), strict=True)),
    )


def value_statistics(dense: npt.NDArray[np.float32]) -> TrackStatistics:
    """Mean and spread of the values that are there; chunks are joined by Chan's update (1983)."""
    count, mean, squares, minimum, maximum = 0, 0.0, 0.0, np.inf, -np.inf
    for start in range(0, dense.size, _CHUNK):
        chunk = dense[start : start + _CHUNK]
        values = chunk[~np.isnan(chunk)].astype(np.float64)
        if not values.size:
            continue
        delta = values.mean() - mean
        total = count + values.size
        squares += float(((values - values.mean()) ** 2).sum() + delta**2 * count * values.size / total)
        mean, count = mean + float(delta) * values.size / total, total
        minimum, maximum = min(minimum, float(values.min())), max(maximum, float(values.max()))
    spread = (mean, float(np.sqrt(squares / count)), minimum, maximum) if count else (None,) * 4
    return TrackStatistics(dense.size, count, {}, {}, *spread)
