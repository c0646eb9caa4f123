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

Preparing a track makes it once for a genome, its files and its recipe, atomically and in one process only. It
lies in a cache under a name that has a hash of its source files (path, size, time of change), the genome's
fingerprint and the recipe with its arguments, so that any change of these makes another track.

Codes of errors: TRACK-01 to 07 of a track's folder, 11 a source is missing, 12 it changed meanwhile, 13 two
genomes have other labels.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import platformdirs

from dnalm.console import stderr
from dnalm.durable import FileSum, file_sha256, reserve, write_text
from dnalm.errors import DataError
from dnalm.genome.atomic_folder import build_folder, locked
from dnalm.genome.intervals import Intervals
from dnalm.genome.store import MANIFEST_FILE, GenomeStore, check_files

MISSING = 255  # of classes and labels; values have NaN
VALUES_FILE, STARTS_FILE, ROWS_FILE = "values.bin", "starts.bin", "rows.bin"
TrackArray = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
TrackKind = Literal["classes", "labels", "values"]
Encoding = Literal["dense", "runs"]
_VERSION = 1
_READING_RULES = 2  # raised where the same annotation file gives another track, so that no old one is read
_CHUNK = 1 << 22  # bases, or rows, at a time
_NAMED = 5  # labels that a message names
_Maps = tuple[npt.NDArray[Any], ...]


@dataclass(frozen=True)
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
    positive_bases: dict[str, int]
    covered_bases: dict[str, int]
    mean: float | None = None
    sd: float | None = None
    minimum: float | None = None
    maximum: float | None = None

    @property
    def num_missing(self) -> int:
        """Bases without any information."""
        return self.num_bases - self.num_covered

    def fractions(self) -> dict[str, float]:
        """Share of each class or label among the bases where it is known; 0 where it is known nowhere."""
        known = self.covered_bases or dict.fromkeys(self.positive_bases, self.num_covered)
        return {name: count / max(1, known[name]) for name, count in self.positive_bases.items()}


@dataclass(frozen=True, kw_only=True)
class TrackManifest:
    """What `manifest.json` of a track says.

    Attributes:
        kind: what a base has.
        encoding: how the arrays are laid out.
        names: of the classes or labels, in the order of their numbers; empty of values.
        genome: fingerprint of the genome.
        genome_name: the genome's source file, for messages.
        recipe: class name and arguments of what made it.
        sources: the files it was made from.
        aliases: the genome's contig for every contig name of the sources.
        notes: what was skipped or looked odd.
        files: the arrays.
        statistics: see there.
    """

    kind: TrackKind
    encoding: Encoding
    names: tuple[str, ...]
    genome: str
    genome_name: str
    recipe: dict[str, Any]
    sources: tuple[FileSum, ...]
    aliases: dict[str, str]
    notes: tuple[str, ...]
    files: tuple[FileSum, ...]
    statistics: TrackStatistics

    def to_json(self) -> str:
        """Spell the manifest as JSON."""
        fields = {"format": "dnalm track", "version": _VERSION, **asdict(self)}
        return json.dumps(fields, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> TrackManifest:
        """Read what `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: it is not that.
        """
        fields: dict[str, Any] = json.loads(text)
        if fields.pop("format") != "dnalm track" or fields.pop("version") != _VERSION:
            raise ValueError("not a track's manifest")
        for key in ("sources", "files"):
            fields[key] = tuple(FileSum(**entry) for entry in fields[key])
        for key in ("names", "notes"):
            fields[key] = tuple(fields[key])
        fields["statistics"] = TrackStatistics(**fields["statistics"])
        return cls(**fields)


def read_track_manifest(path: Path) -> tuple[str, TrackManifest]:
    """The manifest in a track's folder, as text and as value.

    Raises:
        DataError: TRACK-01 (missing), 02 (damaged), 03 (another format version).
    """
    try:
        text = (path / MANIFEST_FILE).read_text(encoding="utf-8")
        fields = json.loads(text)
        version = fields.get("version") if isinstance(fields, dict) else None
        if isinstance(version, int) and version != _VERSION:
            found = f"the track has format version {version}"
            raise track_error("TRACK-03", path, found, f"version {_VERSION}")
        return text, TrackManifest.from_json(text)
    except OSError as error:
        found = f"{MANIFEST_FILE} is missing or unreadable ({error.strerror})"
        raise track_error("TRACK-01", path, found, "a track has one") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        found = f"{MANIFEST_FILE} is damaged ({type(error).__name__})"
        raise track_error("TRACK-02", path, found, "the JSON that dnalm wrote") from error


def track_error(
    code: str,
    path: Path,
    found: str,
    expected: str,
    fix: str = "delete the folder, it is rebuilt from its sources",
) -> DataError:
    """An error about a track's folder or what it is made from."""
    return DataError(code, where=str(path), found=found, expected=expected, fix=fix)


class TrackStore:
    """A track, read-only. Arrays are mapped on first use in each process.

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
        self._maps: tuple[int, _Maps] | None = None

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
        text, manifest = read_track_manifest(path)
        if manifest.genome != store.fingerprint:
            found = f"the track belongs to {manifest.genome_name} (fingerprint {manifest.genome})"
            expected = f"{store.source.name} (fingerprint {store.fingerprint})"
            raise track_error("TRACK-07", path, found, expected, "prepare the track for this genome")

        def fault(case: str, found: str, expected: str) -> DataError:
            return track_error(f"TRACK-{case}", path, found, expected)

        check_files(path, text, manifest.files, verify=verify, fault=fault)
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
        maps = self._arrays()
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

    def _arrays(self) -> _Maps:
        """(dense,) or (starts, rows), mapped by this process."""
        if self._maps is None or self._maps[0] != os.getpid():
            dtype = np.float32 if self.kind == "values" else np.uint8
            columns = {VALUES_FILE: dtype, STARTS_FILE: np.int64, ROWS_FILE: dtype}
            is_dense = self.manifest.encoding == "dense"
            names = [VALUES_FILE] if is_dense else [STARTS_FILE, ROWS_FILE]
            maps = [np.memmap(self.path / name, columns[name], mode="r").view(np.ndarray) for name in names]
            if self.kind == "labels":
                maps[1] = maps[1].reshape(len(maps[0]), -1)
            self._maps = os.getpid(), tuple(maps)
        return self._maps[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_maps": None}

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


def write_runs(
    folder: Path, pieces: Iterable[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]]
) -> tuple[Path, Path]:
    """Write runs one after another into an empty folder, or one with values.bin, joining equal neighbours.

    Args:
        folder: for starts.bin and rows.bin.
        pieces: (R,) sorted starts, of the whole genome the first 0; (R,) or (R, W) rows.
    """
    last: bytes | None = None
    files = (folder / STARTS_FILE, folder / ROWS_FILE)
    with files[0].open("wb") as starts_file, files[1].open("wb") as rows_file:
        for starts, rows in pieces:
            if not starts.size:
                continue
            bits = np.ascontiguousarray(rows).view(np.uint8).reshape(len(starts), -1)
            is_new = np.concatenate([[True], (bits[1:] != bits[:-1]).any(axis=1)])
            is_new[0] = bits[0].tobytes() != last
            last = bits[-1].tobytes()
            starts_file.write(starts[is_new].astype("<i8").tobytes())
            rows_file.write(bits[is_new].tobytes())
    return files


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
    spread = (mean, float(np.sqrt(squares / count)), minimum, maximum) if count else (None,) * 4
    return TrackStatistics(dense.size, count, {}, {}, *spread)


@dataclass(frozen=True, kw_only=True)
class TrackContent:
    """What writing a track's arrays found out."""

    kind: TrackKind
    encoding: Encoding
    names: tuple[str, ...]
    files: tuple[Path, ...]
    statistics: TrackStatistics
    aliases: Mapping[str, str]
    notes: tuple[str, ...]


def prepare_track(
    write: Callable[[Path], TrackContent],
    store: GenomeStore,
    cache: Path | None = None,
    *,
    recipe: Mapping[str, Any],
    sources: Sequence[Path],
    needed_bytes: int,
    verify: bool = True,
) -> TrackStore:
    """A track of a genome, made on first use.

    Args:
        write: writes the arrays into an empty folder.
        store: the genome.
        cache: folder of tracks; the user's cache if not given.
        recipe: name of the class and its arguments; part of the track's identity. Paths among them count by
            their names, and by `sources`.
        sources: the files it is made from.
        needed_bytes: about how much disk making it takes.
        verify: compare the checksums of a track that is there, which reads every byte.

    Raises:
        DataError: a source is unusable; STORE-09 to 11, the cache cannot be written; TRACK-11, a source is
            missing; TRACK-12, it changed meanwhile; TRACK-01 to 06, what lies in the cache is damaged.
    """
    plain = json.loads(json.dumps(recipe, default=lambda path: path.name))
    identity = [_VERSION, _READING_RULES, store.fingerprint, plain, _identities(sources)]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=False).encode()).hexdigest()[:12]
    cache = Path(cache) if cache else platformdirs.user_cache_path("dnalm") / "tracks"
    target = cache / f"{plain['recipe']}-{sources[0].name.split('.')[0][:60]}-{digest}"
    if not target.exists():
        with locked(target):
            if not target.exists():
                build_folder(
                    target,
                    lambda folder: _write(write, store, folder, recipe=plain, sources=sources),
                    needed_bytes=needed_bytes,
                    space="space for the arrays of a track",
                )
                track = TrackStore.open(target, store, verify=False)
                for note in track.manifest.notes:
                    stderr.print(note)
                return track
    return TrackStore.open(target, store, verify=verify)


def _identities(sources: Sequence[Path]) -> list[tuple[str, int, int]]:
    found = []
    for source in sources:
        try:
            status = source.stat()
        except OSError as error:
            reason, rule = f"the file cannot be read ({error.strerror})", "a readable annotation file"
            raise track_error("TRACK-11", source, reason, rule, "check the path") from error
        found.append((str(source.resolve()), status.st_size, status.st_mtime_ns))
    return found


def _write(
    write: Callable[[Path], TrackContent],
    store: GenomeStore,
    folder: Path,
    *,
    recipe: dict[str, Any],
    sources: Sequence[Path],
) -> None:
    before = _identities(sources)
    content = write(folder)
    sums = [FileSum(path.name, path.stat().st_size, file_sha256(path)) for path in sources]
    if _identities(sources) != before:
        found, fix = "a source file changed while it was read", "wait until it is written, then try again"
        raise track_error("TRACK-12", sources[0], found, "files at rest", fix)
    for path in content.files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    manifest = TrackManifest(
        kind=content.kind,
        encoding=content.encoding,
        names=content.names,
        genome=store.fingerprint,
        genome_name=store.source.name,
        recipe=recipe,
        sources=tuple(sums),
        aliases=dict(content.aliases),
        notes=content.notes,
        files=tuple(FileSum(path.name, path.stat().st_size, file_sha256(path)) for path in content.files),
        statistics=content.statistics,
    )
    write_text(folder / MANIFEST_FILE, manifest.to_json())


@dataclass(frozen=True)
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
            raise _differ(name, (first, genomes[first]), (other, genomes[other]))
    without = [TrackStatistics(lengths[genome], 0, {}, {}) for genome in lengths if genome not in genomes]
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
        positive_bases=_add([part.positive_bases for part in parts]),
        covered_bases=_add([part.covered_bases for part in parts]),
        mean=mean,
        sd=sd,
        minimum=min((part.minimum for part in valued if part.minimum is not None), default=None),
        maximum=max((part.maximum for part in valued if part.maximum is not None), default=None),
    )


def _add(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    labels = dict.fromkeys(label for part in counts for label in part)
    return {label: sum(part.get(label, 0) for part in counts) for label in labels}


def _differ(name: str, first: tuple[str, TrackStore], other: tuple[str, TrackStore]) -> DataError:
    only = [
        [label for label in mine.names if label not in theirs.names]
        for mine, theirs in ((first[1], other[1]), (other[1], first[1]))
    ]
    if any(only):
        said = [f"{', '.join(labels[:_NAMED]) or 'nothing'} that the other lacks" for labels in only]
    else:
        said = [f"the order {', '.join(track.names[:_NAMED])}" for track in (first[1], other[1])]
    return DataError(
        "TRACK-13",
        where=f"data.tracks.{name}",
        found=f"{first[0]} has {said[0]}, and {other[0]} has {said[1]}",
        expected="the same labels in the same order in every genome, since one head learns them all",
        fix="give the recipes of both genomes the same files by name, and list classes where they are read "
        "from a file",
    )
