"""Windows that stand against the peaks of a genome: as long, as rich in GC, as repetitive, and without one.

Places are tried in a seeded order in which none comes twice. A place is taken if its bin still lacks windows
and it overlaps none that is taken. Bins are those of the positives: their quantiles of GC, and of the share
of soft-masked bases. What a bin still lacks after `_TRIES` places a window is made up by the places whose GC
and repeat share are nearest to those of the bin's positives.

Shapes: W windows, R regions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import PositiveFloat

from dnalm.data.windows import Integers, permute
from dnalm.genome.alphabet import SOFT_MASK, C, Codes, G, bases, is_unknown
from dnalm.genome.intervals import Intervals
from dnalm.limits import Bins, FlankBases, Seed
from dnalm.paths import InputPath

_TRIES = 200  # places for each window that is wanted
_POOL = 1 << 16  # places of which the nearest are taken
_READ_AT_ONCE = 1 << 24  # bases
_BATCH = 1 << 13  # places

Shares = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Negatives:
    """Which windows of the genome stand against the peaks.

    Args:
        ratio: negatives for each positive.
        gc_bins: quantiles of the positives' GC, in each of which negatives are as frequent; 1 matches none.
        repeat_bins: likewise of their share of soft-masked bases.
        margin_bp: bases beside every peak and its window that no negative reads.
        exclude: BED files of intervals that no negative overlaps, such as a blacklist.
        seed: of the drawing; the run's if absent. Set it where runs of several seeds are to share a test set.
    """

    ratio: PositiveFloat = 1.0
    gc_bins: Bins = 10
    repeat_bins: Bins = 4
    margin_bp: FlankBases = 100
    exclude: tuple[InputPath, ...] = ()
    seed: Seed | None = None


@dataclass(frozen=True, eq=False)
class Composition:
    """What windows are made of.

    Attributes:
        gc: share of G and C among the known bases, (W,).
        repeats: share of soft-masked bases, (W,).
        unknown: bases that are N, (W,).
    """

    gc: Shares
    repeats: Shares
    unknown: Integers

    def __getitem__(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Composition:
        return Composition(self.gc[rows], self.repeats[rows], self.unknown[rows])


def composition(codes: Codes, starts: Integers, *, length: int) -> Composition:
    """Read windows of one length.

    Args:
        codes: of the genome.
        starts: flat, (W,).
        length: bases of each.
    """
    gc, repeats = np.zeros(len(starts)), np.zeros(len(starts))
    unknown = np.zeros(len(starts), np.int64)
    step = max(1, _READ_AT_ONCE // length)
    for first in range(0, len(starts), step):
        rows = slice(first, first + step)
        windows = codes[starts[rows, None] + np.arange(length)]
        letters = bases(windows)
        unknown[rows] = is_unknown(windows).sum(axis=1)
        gc[rows] = ((letters == G) | (letters == C)).sum(axis=1) / (length - unknown[rows]).clip(1)
        repeats[rows] = (windows & SOFT_MASK > 0).mean(axis=1)
    return Composition(gc, repeats, unknown)


class CompositionBins:
    """Bins of GC and repeat share that hold positives in about equal numbers.

    Args:
        positives: by whose quantiles they are cut.
        gc_bins: of GC; 1 for no matching.
        repeat_bins: of repeat share.
    """

    def __init__(self, positives: Composition, *, gc_bins: int, repeat_bins: int) -> None:
        self._gc = _Quantiles(positives.gc, gc_bins)
        self._repeats = _Quantiles(positives.repeats, repeat_bins)
        self.number = self._gc.number * self._repeats.number

    def of(self, windows: Composition) -> Integers:
        """The bin of each window, (W,); one without positives where no positive is like it."""
        return self._gc.of(windows.gc) * self._repeats.number + self._repeats.of(windows.repeats)


class _Quantiles:
    """Bins of one share, and further ones, which hold no positive, for what lies beyond and between them.

    A value that fills half a bin by itself, such as a repeat share of 0, has a bin of its own, and the others
    are divided among the quantiles. A single bin takes all values.
    """

    def __init__(self, values: Shares, number: int) -> None:
        distinct, counts = np.unique(values, return_counts=True)
        alone = distinct[(counts > 1) & (2 * number * counts >= len(values))]
        others = values[~np.isin(values, alone)]
        cuts = np.quantile(others, np.linspace(0, 1, number + 1)) if len(others) else others
        is_one = number == 1
        self.starts = cuts[:0] if is_one else np.union1d(cuts[:-1], alone)  # a bin starts with this value
        self.ends = cuts[:0] if is_one else np.union1d(cuts[-1:], alone)  # a bin ends with this value
        self.number = len(self.starts) + len(self.ends) + 1

    def of(self, values: Shares) -> Integers:
        return np.searchsorted(self.starts, values, side="right") + np.searchsorted(self.ends, values)


@dataclass(frozen=True, eq=False, kw_only=True)
class Drawn:
    """Negatives of a part.

    Attributes:
        starts: flat, sorted, (W,).
        nearest: how many were made up by the nearest of other bins.
        wanted: how many there should be.
    """

    starts: Integers
    nearest: int
    wanted: int


def draw_negatives(
    recipe: Negatives,
    codes: Codes,
    regions: Intervals,
    positives: Composition,
    *,
    length: int,
    key: tuple[int, int],
) -> Drawn:
    """Windows of some regions that are like the positives and do not overlap.

    Args:
        recipe: how many, and what they are matched by.
        codes: of the genome.
        regions: where they may lie, (R, 2) flat, each within a contig.
        positives: what they are to be like.
        length: bases of a window.
        key: chooses the order of places.
    """
    bins = CompositionBins(positives, gc_bins=recipe.gc_bins, repeat_bins=recipe.repeat_bins)
    of_positives = bins.of(positives)
    lacking = _apportioned(np.bincount(of_positives, minlength=bins.number), recipe.ratio)
    wanted = int(lacking.sum())
    places = _Places(codes, regions, length=length, key=key)
    taken = NonOverlapping(length)
    for starts, windows in places.batches(most=_TRIES * wanted):
        numbers = bins.of(windows)
        for row in np.flatnonzero(lacking[numbers]).tolist():
            if lacking[numbers[row]] and taken.add(int(starts[row])):
                lacking[numbers[row]] -= 1
        if not lacking.any():
            break
    matched = len(taken.starts)
    unmatched = [
        np.resize(np.flatnonzero(of_positives == number), lacking[number])
        for number in np.flatnonzero(lacking)
    ]
    if unmatched:
        places.take_nearest(taken, positives[np.concatenate(unmatched)])
    return Drawn(starts=np.array(taken.starts, np.int64), nearest=len(taken.starts) - matched, wanted=wanted)


def _apportioned(counts: Integers, ratio: float) -> Integers:
    """Whole numbers in the proportion of counts, `ratio` times as many in all, by the largest remainders."""
    exact = counts * ratio
    whole: Integers = np.floor(exact).astype(np.int64)
    rest = max(1, round(float(counts.sum() * ratio))) - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:rest]] += 1
    return whole


class NonOverlapping:
    """Starts of windows of one length, none overlapping another, sorted."""

    def __init__(self, length: int) -> None:
        self.length, self.starts = length, list[int]()

    def add(self, start: int) -> bool:
        """Take a window unless it overlaps one; whether it was taken."""
        place = bisect_left(self.starts, start - self.length + 1)
        if place < len(self.starts) and self.starts[place] < start + self.length:
            return False
        self.starts.insert(place, start)
        return True


class _Places:
    """Every place of a window in some regions, in a seeded order."""

    def __init__(self, codes: Codes, regions: Intervals, *, length: int, key: tuple[int, int]) -> None:
        self.codes, self.length, self.key = codes, length, np.array(key)
        sizes = regions[:, 1] - regions[:, 0] - length + 1
        self.regions, self.ends = regions[sizes > 0], np.cumsum(sizes[sizes > 0])
        self.size = int(self.ends[-1]) if len(self.ends) else 0

    def batches(self, *, most: int) -> Iterator[tuple[Integers, Composition]]:
        """Starts and compositions of the first places, `most` of them about, in batches."""
        for first in range(0, min(most, self.size), _BATCH):
            yield self._read(first, first + _BATCH)

    def take_nearest(self, taken: NonOverlapping, targets: Composition) -> None:
        """For each target in turn take the free place whose GC and repeat share are nearest."""
        starts, windows = self._read(0, _POOL)
        is_open = np.ones(len(starts), np.bool_)
        for gc, repeats in zip(targets.gc, targets.repeats, strict=True):
            far = (windows.gc - gc) ** 2 + (windows.repeats - repeats) ** 2
            while is_open.any():
                best = int(np.argmin(np.where(is_open, far, np.inf)))
                is_open[best] = False
                if taken.add(int(starts[best])):
                    break

    def _read(self, first: int, last: int) -> tuple[Integers, Composition]:
        """The places of the order from `first` to `last`."""
        slots = np.arange(first, min(last, self.size))
        if not len(slots):
            return slots, composition(self.codes, slots, length=self.length)
        numbers = permute(slots, size=self.size, key=np.tile(self.key, (len(slots), 1)))
        rows = np.searchsorted(self.ends, numbers, side="right")
        starts = self.regions[rows, 0] + numbers - np.concatenate([[0], self.ends])[rows]
        return starts, composition(self.codes, starts, length=self.length)
