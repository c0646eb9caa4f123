"""Which regions of a genome are training, validation and test regions of a task from peaks.

What is named is what is taken: whole contigs, or regions such as `chr22:30000000-40000000`; training has the
rest of the contigs with peaks. What is not named is chosen, and the seed has no part in it. Where three
contigs or more have peaks, whole contigs are taken from the one of most peaks down wherever they still fit,
for test until a fifth of the positives is reached, then for validation a tenth. Where fewer have, the end of
the contig of most peaks that holds a fifth of the positives is test, and then the end of what is left, of the
contig of most peaks in it, that holds a tenth is validation.

No two parts share a base; a window that is not whole within one region is of no part.

Shapes: W windows, R regions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dnalm.data.labelled.table import Part, Rows
from dnalm.errors import ConfigError, DataError, listed
from dnalm.genome.intervals import Intervals, cut_at, intersect, merge, subtract
from dnalm.genome.regions import Region, read_regions, region_names
from dnalm.genome.store import GenomeStore

PARTS: tuple[Part, ...] = ("train", "val", "test")
_SHARES: dict[Part, float] = {"test": 0.2, "val": 0.1}  # of the positives, in the order they are chosen
_KEYS: dict[Part, str] = {"val": "task.validation", "test": "task.test"}


@dataclass(frozen=True, kw_only=True)
class PeakParts:
    """What a genome is divided into.

    Attributes:
        store: the genome.
        regions: of each part, (R, 2) flat, sorted, each within a contig.
    """

    store: GenomeStore
    regions: Mapping[Part, Intervals]

    def holds(self, part: Part, windows: Intervals) -> npt.NDArray[np.bool_]:
        """Which windows lie whole within a region of a part: (W, 2) to (W,)."""
        return region_of(windows, self.regions[part]) >= 0

    def free(self, part: Part, free: Intervals, windows: Intervals) -> Intervals:
        """What of a canonical set lies in those regions of a part that hold any of its windows."""
        regions = self.regions[part]
        numbers = np.unique(region_of(windows, regions))
        return cut_at(intersect(free, regions[numbers[numbers >= 0]]), self.store.offsets)

    def names(self, part: Part) -> list[str]:
        """What the regions of a part are called."""
        return region_names(self.store, self.regions[part])


def region_of(windows: Intervals, regions: Intervals) -> Rows:
    """The number of the region that each window lies whole within, -1 if none: (W, 2) to (W,)."""
    if not len(regions):
        return np.full(len(windows), -1)
    number = np.searchsorted(regions[:, 0], windows[:, 0], side="right") - 1
    return np.where((number >= 0) & (windows[:, 1] <= regions[number, 1]), number, -1)


def divide_by_regions(
    store: GenomeStore,
    windows: Intervals,
    *,
    validation: Sequence[str],
    test: Sequence[str],
    aliases: Mapping[str, str],
) -> PeakParts:
    """Divide a genome.

    Args:
        store: the genome.
        windows: of the peaks, (W, 2) flat, sorted; none overlaps another or leaves its contig.
        validation: what is named for validation; chosen if empty.
        test: likewise for test.
        aliases: the genome's names of the contigs that the peaks name.

    Raises:
        ConfigError: CFG-05, two names share bases; REGION-01; PEAK-03, a part is left without peaks.
        DataError: STORE-07, REGION-02; PEAK-02, there are too few windows to choose from.
    """
    texts: dict[Part, Sequence[str]] = {"val": validation, "test": test}
    named = {
        part: read_regions(each, key=_KEYS[part], store=store, aliases=aliases)
        for part, each in texts.items()
    }
    _check_apart(named)
    chosen = {part: merge(np.array([each.interval for each in of_part])) for part, of_part in named.items()}
    there = np.unique(_contigs_of(store, windows))
    for number, part in enumerate(_SHARES):
        if not named[part]:
            still = sum(not len(chosen[other]) for other in list(_SHARES)[number + 1 :])
            chosen[part] = _choose(store, windows, chosen, share=_SHARES[part], later=still)
    rest = subtract(store.intervals[there], np.concatenate(list(chosen.values())))
    regions = {part: cut_at(merge(each), store.offsets) for part, each in {"train": rest, **chosen}.items()}
    parts = PeakParts(store=store, regions={part: regions[part] for part in PARTS})
    for part in PARTS:
        if not parts.holds(part, windows).any():
            raise _without_peaks(parts, part, [store.contigs[number].name for number in there])
    return parts


def _contigs_of(store: GenomeStore, windows: Intervals) -> Rows:
    """The number of the contig of each window."""
    return np.searchsorted(store.offsets, windows[:, 0], side="right") - 1


def _check_apart(named: Mapping[Part, Sequence[Region]]) -> None:
    """Refuse two names that share bases."""
    seen: list[Region] = []
    for part, regions in named.items():
        for region in regions:
            for other in seen:
                if region.overlaps(other):
                    is_same = region.interval == other.interval
                    raise ConfigError(
                        "CFG-05",
                        where=_KEYS[part],
                        found=f"{region.text}, which "
                        + ("is named already" if is_same else f"shares bases with {other.text}"),
                        expected="each contig and each base once, in task.validation or in task.test",
                        fix=f"leave {region.text} out, or name regions that share no base",
                    )
            seen.append(region)


def _choose(
    store: GenomeStore, windows: Intervals, taken: Mapping[Part, Intervals], *, share: float, later: int
) -> Intervals:
    """What one part takes of what is not taken: whole contigs, or the end of one.

    Args:
        store: the genome.
        windows: of the peaks.
        taken: what other parts have.
        share: of all windows.
        later: parts that are chosen after it, which need windows too, as training does.
    """
    free = cut_at(subtract(store.intervals, np.concatenate(list(taken.values()))), store.offsets)
    left = windows[region_of(windows, free) >= 0]
    counts = np.bincount(_contigs_of(store, left), minlength=len(store.contigs))
    whole = np.flatnonzero((counts > 0) & (region_of(store.intervals, free) >= 0))
    if len(whole) > 1 + later:
        return store.intervals[_fitting(counts, whole, share * len(windows), most=len(whole) - 1 - later)]
    richest = int(counts.argmax())
    here = left[_contigs_of(store, left) == richest]
    wanted = min(max(1, round(share * len(windows))), len(here), len(left) - 1 - later)
    if wanted < 1:
        raise DataError(
            "PEAK-02",
            where="task.peaks",
            found=f"{len(windows):,} windows of peaks, {len(left):,} of them outside what is named",
            expected="a window or more for each of training, validation and test",
            fix="give more peaks, or name what validates and tests: task.validation=[…] task.test=[…]",
        )
    begin, end = store.intervals[richest]
    if wanted < len(here):
        begin = (here[-wanted - 1, 1] + here[-wanted, 0]) // 2  # between two windows, so that it cuts none
    return intersect(free, np.array([[begin, end]]))


def _fitting(counts: Rows, free: Rows, wanted: float, *, most: int) -> Rows:
    """Contigs that together have a number of peaks at most, `most` of them at most.

    They are taken from the one of most peaks down wherever they still fit; where none does, that of fewest.
    """
    chosen: list[int] = []
    richest_first = free[np.lexsort((free, -counts[free]))]
    for contig in richest_first.tolist():
        if len(chosen) < most and counts[[*chosen, contig]].sum() <= wanted:
            chosen.append(contig)
    if not chosen:
        chosen = richest_first[-1:].tolist()
    return np.sort(np.array(chosen, np.int64))


def _without_peaks(parts: PeakParts, part: Part, there: Sequence[str]) -> ConfigError:
    return ConfigError(
        "PEAK-03",
        where=_KEYS.get(part, "task.validation, task.test"),
        found=f"no window of a peak for {part}: {listed(parts.names(part)) or 'no contig that is left'}",
        expected="contigs or regions with peaks for training, for validation and for test",
        fix=f"choose among {listed(there)}",
    )
