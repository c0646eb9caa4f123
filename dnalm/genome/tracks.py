"""A track on disk: what every base of one genome is, opened as memory maps.

    values.bin      dense: (num_bases,) uint8 of classes, float32 of values
    starts.bin      runs: (R,) int64, where each run of equal bases begins, the first at 0
    rows.bin        runs: (R,) float32 of values; or (R, W) uint8 of labels, W = 2 x ceil(n / 8): bits of the
                    labels that hold, then bits of those that are known
    manifest.json   kind, names, genome, sources, statistics, checksums

Classes are dense, for a byte a base is the same as the genome takes and reads fastest. Labels are runs: five
tissues x 13 states of human chr22 take 0.8 MB so, and would take 462 MB bit-packed base by base. Values are
whichever is smaller. Coordinates are flat ones of the genome store, on the forward strand; whoever reads the
reverse strand reverses the first axis of what is read.

Codes of errors: TRACK-01 to 07 of a track's folder, 13 two genomes have other labels.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dnalm.durable import FileSum, reserve
from dnalm.errors import DataError
from dnalm.genome.atomic_folder import FolderFormat, store_error
from dnalm.genome.intervals import Intervals
from dnalm.genome.store import GenomeStore

MISSING = 255  # of classes and labels; values have NaN
VALUES_FILE, STARTS_FILE, ROWS_FILE = "values.bin", "starts.bin", "rows.bin"
TrackArray = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
TrackKind = Literal["classes", "labels", "values"]
Encoding = Literal["dense", "runs"]
_CHUNK = 1 << 22  # bases, or rows, at a time
_NAMED = 5  # labels that a message names


@dataclass(frozen=True, kw_only=True)
class TrackStatistics:
    """How a track fills its genome, for class balance before training.

    Attributes:
        num_bases: of the genome.
        num_covered: bases with a class, with a value, or with at least one label that is known.
        positive_bases: bases of each class or label; empty of values.
        covered_bases: bases where each label is known; empty but of labels.
        mean, sd: of the values over covered bases (population); None but of values.
        minimum, maximum: of the values; None but of values.
    """

    num_bases: int
    num_covered: int
    positive_bases: dict[str, int] = field(default_factory=dict)
    covered_bases: dict[str, int] = field(default_factory=dict)
    mean: float | None = None
    sd: float | None = None
    minimum: float | None = None
    maximum: float | None = None

    def fractions(self) -> dict[str, float]:
        """Share of each class or label among the bases where it is known; 0 where it is known nowhere."""
        known = self.covered_bases or dict.fromkeys(self.positive_bases, self.num_covered)
        return {name: count / max(1, known[name]) for name, count in self.positive_bases.items()}


@dataclass(frozen=True, kw_only=True)
class TrackContent:
    """What a recipe wrote.

    Attributes:
        kind: what a base has.
        encoding: how the arrays are laid out.
        names: of the classes or labels, in the order of their numbers; empty of values.
        statistics: see there.
        aliases: the genome's contig for every contig name of the sources.
        notes: what was skipped or looked odd.
    """

    kind: TrackKind
    encoding: Encoding
    names: tuple[str, ...]
    statistics: TrackStatistics
    aliases: dict[str, str]
    notes: tuple[str, ...]

    @property
    def file_names(self) -> tuple[str, ...]:
        """The files of the arrays."""
        return (VALUES_FILE,) if self.encoding == "dense" else (STARTS_FILE, ROWS_FILE)


@dataclass(frozen=True, kw_only=True)
class TrackManifest(TrackContent):
    """The content of a track's `manifest.json`.

    Attributes:
        genome: fingerprint of the genome.
        genome_name: the genome's source file, for messages.
        recipe: class name and arguments of what made it.
        sources: the files it was made from.
        files: the arrays.
    """

    genome: str
    genome_name: str
    recipe: dict[str, Any]
    sources: tuple[FileSum, ...]
    files: tuple[FileSum, ...]

    def to_json(self) -> str:
        """Spell the manifest as JSON."""
        fields = {"format": FORMAT.name, "version": FORMAT.version, **asdict(self)}
        return json.dumps(fields, indent=1) + "\n"

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> TrackManifest:
        """Read what `to_json` wrote, format and version left out.

        Raises:
            ValueError, KeyError, TypeError: it is not that.
        """
        for key in ("sources", "files"):
            fields[key] = tuple(FileSum(**entry) for entry in fields[key])
        for key in ("names", "notes"):
            fields[key] = tuple(fields[key])
        fields["statistics"] = TrackStatistics(**fields["statistics"])
        return cls(**fields)


FORMAT = FolderFormat(name="dnalm track", codes="TRACK", noun="track", version=1, source="its sources")


class TrackStore:
    """A track, read-only; the arrays are mapped on first use.

    So it may be opened before workers are forked, or be sent to spawned ones.

    Attributes:
        path: the folder.
        manifest: all that is known of the track, sources, notes and checksums too.
        kind: `classes` (one of them a base), `labels` (each 0 or 1) or `values` (a number).
        names: of the classes or labels, in the order of their numbers; empty of values.
        statistics: how the track fills the genome.
        num_bases: of the genome.
    """

    def __init__(self, path: Path, manifest: TrackManifest) -> None:
        self.path, self.manifest = path, manifest
        self.kind, self.names, self.statistics = manifest.kind, manifest.names, manifest.statistics
        self.num_bases = manifest.statistics.num_bases

    @classmethod
    def open(cls, path: Path, store: GenomeStore, *, verify: bool = True) -> TrackStore:
        """Open a track's folder.

        Args:
            path: the folder.
            store: the genome; it must be the one that the track was made for.
            verify: compare checksums, once for each process and track. Sizes are compared always.

        Raises:
            DataError: TRACK-01 to 06, as STORE-01 to 06 of a genome store; TRACK-07, another genome.
        """
        path = Path(path)
        text, manifest = FORMAT.read(path, TrackManifest.from_fields)
        if manifest.genome != store.fingerprint:
            found = f"the track belongs to {manifest.genome_name} (fingerprint {manifest.genome})"
            expected = f"{store.source.name} (fingerprint {store.fingerprint})"
            fix = "prepare the track for this genome"
            raise store_error("TRACK-07", path, found, expected, fix)
        FORMAT.check_files(path, text, manifest.files, verify=verify)
        return cls(path, manifest)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that differ between tracks: a hash of genome, names and arrays."""
        parts = [self.manifest.genome, *self.names, *(entry.sha256 for entry in self.manifest.files)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def read(self, flat_start: int, flat_end: int) -> TrackArray:
        """What the bases [flat_start, flat_end) of the genome are, forward strand.

        Args:
            flat_start: in the flat coordinates of the genome store (`Contig.offset` + position).
            flat_end: the same; windows may reach over contigs.

        Returns:
            L = flat_end - flat_start. Classes: (L,) uint8, 255 = missing; a read-only view. Labels: (L, n)
            uint8, 0 or 1, 255 = missing. Values: (L,) float32, NaN = missing.

        Raises:
            ValueError: the window does not lie within the genome.
        """
        if not 0 <= flat_start <= flat_end <= self.num_bases:
            raise ValueError(f"[{flat_start}, {flat_end}) does not lie within [0, {self.num_bases})")
        maps = self._maps
        if len(maps) == 1:
            dense: TrackArray = maps[0][flat_start:flat_end]
            return dense
        starts, rows = maps
        first = int(starts.searchsorted(flat_start, "right")) - 1
        last = max(int(starts.searchsorted(flat_end, "left")), first + 1)
        edges = np.empty(last - first + 1, dtype=np.int64)
        edges[0], edges[1:-1], edges[-1] = flat_start, starts[first + 1 : last], flat_end
        found = rows[first:last]
        if self.kind == "labels":
            found = _unpack_labels(found, len(self.names))
        return np.repeat(found, np.diff(edges), axis=0)

    @cached_property
    def _maps(self) -> tuple[npt.NDArray[Any], ...]:
        """(dense,) or (starts, rows)."""
        dtype = np.float32 if self.kind == "values" else np.uint8
        maps = [
            np.memmap(self.path / name, np.int64 if name == STARTS_FILE else dtype, mode="r").view(np.ndarray)
            for name in self.manifest.file_names
        ]
        if self.kind == "labels":
            maps[1] = maps[1].reshape(len(maps[0]), -1)
        return tuple(maps)

    def __reduce__(self) -> tuple[type[TrackStore], tuple[Path, TrackManifest]]:
        return TrackStore, (self.path, self.manifest)

    def __repr__(self) -> str:
        what = f"{len(self.names)} {self.kind}" if self.names else self.kind
        return f"TrackStore({str(self.path)!r}, {what}, {self.num_bases} bases)"


def _unpack_labels(rows: npt.NDArray[np.uint8], num_labels: int) -> npt.NDArray[np.uint8]:
    """(R, W) bits to (R, num_labels) of 0, 1 or 255."""
    width = rows.shape[1] // 2
    holds = np.unpackbits(rows[:, :width], axis=1, count=num_labels)
    known = np.unpackbits(rows[:, width:], axis=1, count=num_labels)
    return holds | (known - np.uint8(1))  # unknown is 0 - 1 = 255


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


def write_runs(folder: Path, pieces: Iterable[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]]) -> None:
    """Write runs one after another into an empty folder, or one with values.bin, joining equal neighbours.

    Args:
        folder: for starts.bin and rows.bin.
        pieces: (R,) sorted starts, of the whole genome the first 0; (R,) or (R, W) rows.
    """
    last: bytes | None = None
    with (folder / STARTS_FILE).open("wb") as starts_file, (folder / ROWS_FILE).open("wb") as rows_file:
        for starts, rows in pieces:
            if not starts.size:
                continue
            bits = np.ascontiguousarray(rows).view(np.uint8).reshape(len(starts), -1)
            is_new = np.concatenate([[True], (bits[1:] != bits[:-1]).any(axis=1)])
            is_new[0] = bits[0].tobytes() != last
            last = bits[-1].tobytes()
            starts_file.write(starts[is_new].astype("<i8").tobytes())
            rows_file.write(bits[is_new].tobytes())


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
        labels = _unpack_labels(rows[start : start + step], len(names))
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
    if not count:
        return TrackStatistics(num_bases=dense.size, num_covered=0)
    return TrackStatistics(
        num_bases=dense.size,
        num_covered=count,
        mean=mean,
        sd=math.sqrt(squares / count),
        minimum=minimum,
        maximum=maximum,
    )


@dataclass(frozen=True, kw_only=True)
class JoinedTrack:
    """One track over several genomes: the same labels in all, and statistics as of one long genome.

    Attributes:
        kind: `classes`, `labels` or `values`.
        names: of the classes or labels, in the order of their numbers; empty of values.
        statistics: over all genomes; the bases of those without the track are missing.
        genomes: the track of every genome that has it, by the genome's name.
        num_genomes: those without the track counted too.
    """

    kind: TrackKind
    names: tuple[str, ...]
    statistics: TrackStatistics
    genomes: Mapping[str, TrackStore]
    num_genomes: int


def join_track(name: str, genomes: Mapping[str, TrackStore], *, lengths: Mapping[str, int]) -> JoinedTrack:
    """Join what several genomes have of one track.

    Args:
        name: of the track, for messages.
        genomes: the track of each genome that has it, at least one.
        lengths: bases of every genome.

    Raises:
        DataError: TRACK-13, two genomes have other labels.
    """
    first, *others = genomes
    for other in others:
        assert genomes[other].kind == genomes[first].kind, "a corpus takes recipes of one kind"
        if genomes[other].names != genomes[first].names:
            raise _differ(name, genomes, first, other)
    without = [
        TrackStatistics(num_bases=length, num_covered=0)
        for genome, length in lengths.items()
        if genome not in genomes
    ]
    return JoinedTrack(
        kind=genomes[first].kind,
        names=genomes[first].names,
        statistics=join_statistics([*(track.statistics for track in genomes.values()), *without]),
        genomes=genomes,
        num_genomes=len(lengths),
    )


def join_statistics(parts: Sequence[TrackStatistics]) -> TrackStatistics:
    """The statistics of several genomes as if they were one; genomes count by their bases.

    Means and standard deviations are joined exactly, by the covered bases behind them.
    """
    valued = [part for part in parts if part.mean is not None]
    count = sum(part.num_covered for part in valued)
    mean = sd = None
    if count:
        mean = math.fsum(part.num_covered * (part.mean or 0.0) for part in valued) / count
        squares = [
            part.num_covered * ((part.sd or 0.0) ** 2 + ((part.mean or 0.0) - mean) ** 2) for part in valued
        ]
        sd = math.sqrt(math.fsum(squares) / count)
    return TrackStatistics(
        num_bases=sum(part.num_bases for part in parts),
        num_covered=sum(part.num_covered for part in parts),
        positive_bases=_add(part.positive_bases for part in parts),
        covered_bases=_add(part.covered_bases for part in parts),
        mean=mean,
        sd=sd,
        minimum=min((part.minimum for part in valued if part.minimum is not None), default=None),
        maximum=max((part.maximum for part in valued if part.maximum is not None), default=None),
    )


def _add(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total = Counter[str]()
    for part in counts:
        total.update(part)
    return dict(total)


def _differ(name: str, genomes: Mapping[str, TrackStore], first: str, other: str) -> DataError:
    ours, theirs = genomes[first].names, genomes[other].names
    only = [
        [label for label in ours if label not in theirs],
        [label for label in theirs if label not in ours],
    ]
    if any(only):
        shown = [f"{', '.join(labels[:_NAMED]) or 'nothing'} that the other lacks" for labels in only]
    else:
        shown = [f"the order {', '.join(names[:_NAMED])}" for names in (ours, theirs)]
    return DataError(
        "TRACK-13",
        where=f"data.tracks.{name}",
        found=f"{first} has {shown[0]}, and {other} has {shown[1]}",
        expected="the same labels in the same order in every genome, since one head learns them all",
        fix="give the recipes of both genomes the same files by name, and list classes where they are read "
        "from a file",
    )
