"""Recipes of tracks: annotation files that become what every base of a genome is.

`IntervalClasses` (such as chromatin states of one tissue), `IntervalLabels` (any number a base: peaks, states
of several tissues, features), `RegionClasses` (of a gene annotation) and `Signal` (a number a base, such as
conservation).

Preparing a track makes it once for a genome, its files and its recipe, atomically and in one process only. It
lies in a cache under a name that has a hash of its source files (path, size, time of change), the genome's
fingerprint and the recipe with its arguments, so that any change of these makes another track.

Codes of errors: TRACK-08 a class that is not listed, 09 two classes of one base, 10 too many classes, 11 a
source is missing, 12 it changed meanwhile, 14 (a note) a class that a file lacks; BED-24 overlapping values.
"""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import platformdirs

from dnalm.console import progress_bar, stderr
from dnalm.durable import FileSum, file_sha256, sync, write_text
from dnalm.errors import DataError
from dnalm.genome.atomic_folder import MANIFEST_FILE, build_folder, locked, store_error
from dnalm.genome.bed import IntervalTable, OtherContigs, bed_kind, read_bed_table
from dnalm.genome.bigwig import BigWigReader
from dnalm.genome.genes import REGION_CLASSES, UNKNOWN_REGION, find_regions, read_transcripts
from dnalm.genome.gff import GffReader, is_gff, read_gff_table
from dnalm.genome.intervals import Intervals, contains, merge, subtract
from dnalm.genome.store import Contig, GenomeStore
from dnalm.genome.tracks import (
    FORMAT,
    MISSING,
    VALUES_FILE,
    TrackContent,
    TrackKind,
    TrackManifest,
    TrackStore,
    class_statistics,
    label_statistics,
    new_dense,
    paint,
    paint_values,
    runs_of,
    value_statistics,
    write_runs,
)
from dnalm.paths import InputPath

_READING_RULES = 2  # raised where the same annotation file gives another track, so that no old one is read
_MOST_CLASSES = 254
_CHUNK_CELLS = 1 << 24  # runs times labels at a time
_BIGWIG_SUFFIXES = (".bw", ".bigwig")
_RUN_BYTES, _VALUE_BYTES = 12, 4
_TIMES_SMALLER = 2  # runs read more slowly, so they must save that much
_NONE = np.empty((0, 2), dtype=np.int64)


class _Recipe(ABC):
    """What all recipes share."""

    kind: ClassVar[TrackKind]

    def prepare(self, store: GenomeStore, cache: Path | None = None, *, verify: bool = True) -> TrackStore:
        """The track on a genome, made on first use.

        Args:
            store: the genome.
            cache: folder of tracks; the user's cache if not given.
            verify: compare the checksums of a track that is there, which reads every byte.

        Raises:
            DataError: BED-01 to BED-25, GFF-01 to GFF-25 or BW-01 to BW-15 of a source; TRACK-08 to 10, its
                classes are not usable; 11, a source is missing; 12, it changed meanwhile; 01 to 06, what lies
                in the cache is damaged; STORE-09 to 11, the cache cannot be written.
        """
        sources = self._sources()
        recipe = {"recipe": type(self).__name__, **vars(self)}
        plain = json.loads(json.dumps(recipe, default=lambda path: path.name))  # `sources` has whole paths
        identity = [FORMAT.version, _READING_RULES, store.fingerprint, plain, _identities(sources)]
        digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]
        cache = Path(cache) if cache else platformdirs.user_cache_path("dnalm") / "tracks"
        target = cache / f"{plain['recipe']}-{sources[0].name.split('.')[0][:60]}-{digest}"
        if not target.exists():
            with locked(target):
                if not target.exists():
                    build_folder(
                        target,
                        lambda folder: self._write_all(store, folder, plain),
                        needed_bytes=self._needed_bytes(store),
                        space="space for the arrays of a track",
                    )
                    track = TrackStore.open(target, store, verify=False)
                    for note in track.manifest.notes:
                        stderr.print(note)
                    return track
        return TrackStore.open(target, store, verify=verify)

    def _write_all(self, store: GenomeStore, folder: Path, recipe: dict[str, Any]) -> None:
        """Write the arrays and their manifest into an empty folder."""
        sources = self._sources()
        before = _identities(sources)
        content = self._write(store, folder)
        sums = tuple(FileSum(path.name, path.stat().st_size, file_sha256(path)) for path in sources)
        if _identities(sources) != before:
            found, fix = "a source file changed while it was read", "wait until it is written, then try again"
            raise store_error("TRACK-12", sources[0], found, "files at rest", fix)
        files = [folder / name for name in content.file_names]
        for path in files:
            sync(path)
        manifest = TrackManifest(
            **vars(content),
            genome=store.fingerprint,
            genome_name=store.source.name,
            recipe=recipe,
            sources=sums,
            files=tuple(FileSum(path.name, path.stat().st_size, file_sha256(path)) for path in files),
        )
        write_text(folder / MANIFEST_FILE, manifest.to_json())

    @abstractmethod
    def _sources(self) -> Sequence[Path]: ...

    def _needed_bytes(self, store: GenomeStore) -> int:
        return store.num_bases

    @abstractmethod
    def _write(self, store: GenomeStore, folder: Path) -> TrackContent:
        """Write the arrays."""


def _identities(sources: Sequence[Path]) -> list[tuple[str, int, int]]:
    found = []
    for source in sources:
        try:
            status = source.stat()
        except OSError as error:
            reason, rule = f"the file cannot be read ({error.strerror})", "a readable annotation file"
            raise store_error("TRACK-11", source, reason, rule, "check the path") from error
        found.append((str(source.resolve()), status.st_size, status.st_mtime_ns))
    return found


@dataclass(frozen=True, kw_only=True)
class IntervalClasses(_Recipe):
    """One of several classes for every base, from files of intervals.

    Bases that no interval covers are missing, and so are bases that are N.

    Args:
        files: BED or GFF files by name.
        class_by: `name`, column 4 of BED or the type of a GFF feature is the class; `file`, the file's
            name is.
        classes: the classes in the order of their numbers. Where intervals of two classes overlap, the
            earlier wins. If not given, all that the files have in natural order, and overlaps are errors.
        background: another class, the last, of bases on contigs that the files name and no interval covers.
        other_contigs: whether a contig that the genome lacks is an error or skipped.
    """

    kind: ClassVar[TrackKind] = "classes"

    files: dict[str, InputPath]
    class_by: Literal["name", "file"] = "name"
    classes: list[str] | None = None
    background: str | None = None
    other_contigs: OtherContigs = "error"

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("files is empty; at least one file of intervals is needed")

    def _sources(self) -> Sequence[Path]:
        return [Path(path) for path in self.files.values()]

    def _write(self, store: GenomeStore, folder: Path) -> TrackContent:
        by_name = self.class_by == "name"
        tables = _read_tables(self.files, store, names=by_name, other_contigs=self.other_contigs)
        found = {name for table in tables.values() for name in table.vocabulary} if by_name else set(tables)
        names = tuple(self.classes) if self.classes else natural_order(found)
        if self.background:
            names = (*(name for name in names if name != self.background), self.background)
        _check_classes(names, found, next(iter(tables.values())).path)
        dense = new_dense(folder, store.num_bases, np.uint8, MISSING)
        self._paint(dense, tables, names)
        paint(dense, store.unknown_runs, MISSING)
        return TrackContent(
            kind="classes",
            encoding="dense",
            names=names,
            statistics=class_statistics(dense, names),
            aliases={name: contig for table in tables.values() for name, contig in table.aliases.items()},
            notes=tuple(note for table in tables.values() for note in table.notes),
        )

    def _paint(
        self, dense: npt.NDArray[Any], tables: dict[str, IntervalTable], names: tuple[str, ...]
    ) -> None:
        """Later classes first, so that earlier ones win."""
        if self.background:
            contigs = {contig for table in tables.values() for contig in table.contigs.values()}
            paint(dense, _whole(contigs), len(names) - 1)
        background = len(names) - 1 if self.background else MISSING
        for number in reversed(range(len(names))):
            for key, table in tables.items():
                if self.class_by == "file" and key != names[number]:
                    continue
                rows = _rows_of(table, names[number] if self.class_by == "name" else None)
                if not self.classes:
                    _check_free(dense, table, rows, number=number, names=names, background=background)
                paint(dense, table.intervals[rows], number)


def _whole(contigs: Iterable[Contig]) -> Intervals:
    """All bases of some contigs."""
    ends = [(contig.offset, contig.offset + contig.length) for contig in contigs]
    return np.array(ends, dtype=np.int64).reshape(-1, 2)


@contextmanager
def _reading(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Show a bar while a text file is read twice; yields what to call with every piece of it."""
    size = path.stat().st_size if path.is_file() else 0
    with progress_bar(f"Reading {path.name}", total=2 * size, in_bytes=True) as advance:
        yield lambda piece: advance(len(piece))


def _read_tables(
    files: dict[str, InputPath], store: GenomeStore, *, names: bool, other_contigs: OtherContigs
) -> dict[str, IntervalTable]:
    """Read files by name: GFF, whose features always have their types, by its suffix; else BED."""
    tables = {}
    for name, path in ((name, Path(path)) for name, path in files.items()):
        with _reading(path) as on_read:
            if is_gff(path):
                tables[name] = read_gff_table(path, store, other_contigs=other_contigs, on_read=on_read)
            else:
                tables[name] = read_bed_table(
                    path, store, names=names, other_contigs=other_contigs, on_read=on_read
                )
    return tables


def _rows_of(table: IntervalTable, name: str | None) -> npt.NDArray[np.int64]:
    """The rows of a table that have a name; all if None."""
    if name is None:
        return np.arange(len(table.intervals))
    if name not in table.vocabulary:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(table.names == table.vocabulary.index(name))


def natural_order(names: Iterable[str]) -> tuple[str, ...]:
    """Sort names so that numbers in them count: 2_Weak before 10_Active."""

    def key(name: str) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", name)
        return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]

    return tuple(sorted(names, key=key))


def _check_classes(names: tuple[str, ...], found: set[str], path: Path) -> None:
    unknown = natural_order(found - set(names))
    if unknown:
        reason = f"class {unknown[0]!r} is in the file, and {len(unknown) - 1} others that are not listed"
        raise store_error("TRACK-08", path, reason, f"one of {', '.join(names[:20])}", "add it to classes")
    if len(names) > _MOST_CLASSES:
        reason = f"there are {len(names)} classes, such as {names[0]!r}"
        fix = "use the column that holds a class, or class_by=file"
        raise store_error("TRACK-10", path, reason, f"at most {_MOST_CLASSES}", fix)


def _check_free(
    dense: npt.NDArray[Any],
    table: IntervalTable,
    rows: npt.NDArray[np.int64],
    *,
    number: int,
    names: tuple[str, ...],
    background: int,
) -> None:
    """Look whether the bases to be given class `number` have no other class."""
    allowed = np.zeros(256, dtype=bool)
    allowed[[number, background, MISSING]] = True
    for row in rows.tolist():
        start, end = table.intervals[row].tolist()
        taken = dense[start:end][~allowed[dense[start:end]]]
        if taken.size:
            raise DataError(
                "TRACK-09",
                where=f"{table.path}:{int(table.lines[row])}",
                found=f"{taken.size} bases of {names[number]!r} are of {names[int(taken[0])]!r} too",
                expected="one class a base",
                fix="list classes in the order in which they win, or use IntervalLabels",
            )


@dataclass(frozen=True, kw_only=True)
class IntervalLabels(_Recipe):
    """Whether each of several labels holds at every base, from files of intervals.

    Args:
        files: BED, narrowPeak, broadPeak or GFF files by name, such as factor or tissue.
        label_by: `file`, one label a file; `class`, one for every file and class, named `file/class`. Classes
            are what column 4 of BED says, or the types of GFF features. Every file gets the classes of all,
            so that labels form a matrix.
        classes: with label_by=class, the classes that become labels, in this order; others are left out. One
            that a file has nowhere is missing there, for the file says nothing of it. All if not given.
        coverage: where the labels of a file are known; elsewhere they are missing, never 0. `intervals`:
            where any interval of the file lies, as chromatin states tile what they know. `contigs`: on
            contigs that the file names. `genome`: everywhere, as peaks of a whole genome are. By default
            `intervals` for classes of BED, else `contigs`. Bases that are N are missing always.
        other_contigs: whether a contig that the genome lacks is an error or skipped.
    """

    kind: ClassVar[TrackKind] = "labels"

    files: dict[str, InputPath]
    label_by: Literal["file", "class"] = "file"
    classes: list[str] | None = None
    coverage: Literal["intervals", "contigs", "genome"] | None = None
    other_contigs: OtherContigs = "error"

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("files is empty; at least one file of intervals is needed")
        if self.classes is not None and self.label_by == "file":
            raise ValueError("classes is given and label_by is file; classes are chosen of label_by=class")
        if self.classes is not None and not len(self.classes) == len(set(self.classes)) > 0:
            raise ValueError(f"classes is {self.classes}; at least one class, and each once, is needed")

    def _sources(self) -> Sequence[Path]:
        return [Path(path) for path in self.files.values()]

    def _needed_bytes(self, store: GenomeStore) -> int:  # noqa: ARG002
        return 10 * sum(path.stat().st_size for path in self._sources() if path.is_file())

    def _write(self, store: GenomeStore, folder: Path) -> TrackContent:
        by_class = self.label_by == "class"
        tables = _read_tables(self.files, store, names=by_class, other_contigs=self.other_contigs)
        found = natural_order({name for table in tables.values() for name in table.vocabulary})
        classes = found if self.classes is None else tuple(self.classes)
        names = tuple(f"{key}/{name}" for key in tables for name in classes) if by_class else tuple(tables)
        holds = [
            merge(table.intervals[_rows_of(table, name)])
            for table in tables.values()
            for name in (classes if by_class else [None])
        ]
        unknown = merge(store.unknown_runs)
        known = []
        for table in tables.values():
            covered = subtract(self._coverage(table, store), unknown)
            absent = self._absent(table)
            known += [_NONE if name in absent else covered for name in (classes if by_class else [None])]
        with progress_bar("Writing labels", total=store.num_bases) as advance:
            write_runs(folder, _runs(holds, known, advance))
        return TrackContent(
            kind="labels",
            encoding="runs",
            names=names,
            statistics=label_statistics(folder, names, store.num_bases),
            aliases={name: contig for table in tables.values() for name, contig in table.aliases.items()},
            notes=tuple(note for table in tables.values() for note in self._notes(table)),
        )

    def _absent(self, table: IntervalTable) -> list[str]:
        """The chosen classes that a file does not have."""
        return [name for name in self.classes or () if name not in table.vocabulary]

    def _notes(self, table: IntervalTable) -> Iterator[str]:
        yield from table.notes
        if absent := self._absent(table):
            yield f"TRACK-14 {table.path}: there is no {', no '.join(absent)}; missing there, not absent"

    def _coverage(self, table: IntervalTable, store: GenomeStore) -> Intervals:
        tiles = self.label_by == "class" and not is_gff(table.path)
        coverage = self.coverage or ("intervals" if tiles else "contigs")
        if coverage == "intervals":
            return merge(table.intervals)
        return merge(_whole(store.contigs if coverage == "genome" else table.contigs.values()))


def _runs(
    holds: list[Intervals], known: list[Intervals], advance: Callable[[int], None]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]]:
    """Cut the genome at every end of every set; of each piece, the sets that hold it, in packed bits."""
    distinct = {id(intervals): intervals for intervals in (*holds, *known)}.values()
    starts = np.unique(np.concatenate([[0], *(intervals.ravel() for intervals in distinct)]))
    step = max(1, _CHUNK_CELLS // len(holds))
    for first in range(0, len(starts), step):
        piece = starts[first : first + step]
        bits_known = np.stack([contains(intervals, piece) for intervals in known], axis=1)
        bits_held = np.stack([contains(intervals, piece) for intervals in holds], axis=1) & bits_known
        yield piece, np.concatenate([np.packbits(bits_held, axis=1), np.packbits(bits_known, axis=1)], axis=1)
        advance(int(piece[-1] - piece[0]))


@dataclass(frozen=True, kw_only=True)
class RegionClasses(_Recipe):
    """CDS, UTRs, non-coding exon, intron, promoter or intergenic of every base (see `genes`).

    Args:
        gff: GFF3 or GTF, plain, gzip or bgzip.
        promoter_upstream: bases of a promoter before the transcription start.
        promoter_downstream: bases of a promoter from the transcription start on.
        other_contigs: whether a contig that the genome lacks is an error or skipped.
    """

    kind: ClassVar[TrackKind] = "classes"

    gff: InputPath
    promoter_upstream: int = 1000
    promoter_downstream: int = 100
    other_contigs: OtherContigs = "error"

    def __post_init__(self) -> None:
        if min(self.promoter_upstream, self.promoter_downstream) < 0:
            raise ValueError("promoter_upstream and promoter_downstream must not be negative")

    def _sources(self) -> Sequence[Path]:
        return [Path(self.gff)]

    def _write(self, store: GenomeStore, folder: Path) -> TrackContent:
        path = Path(self.gff)
        with _reading(path) as on_read:
            reader = GffReader(path, store, other_contigs=self.other_contigs, on_read=on_read)
            regions = find_regions(
                read_transcripts(reader), upstream=self.promoter_upstream, downstream=self.promoter_downstream
            )
        dense = new_dense(folder, store.num_bases, np.uint8, MISSING)
        regions["intergenic"] = _whole(store.contig(name) for name in reader.aliases.table.values())
        for name in ("intergenic", "promoter", UNKNOWN_REGION, *reversed(REGION_CLASSES[:-2])):
            paint(dense, regions[name], MISSING if name == UNKNOWN_REGION else REGION_CLASSES.index(name))
        paint(dense, store.unknown_runs, MISSING)
        return TrackContent(
            kind="classes",
            encoding="dense",
            names=REGION_CLASSES,
            statistics=class_statistics(dense, REGION_CLASSES),
            aliases=dict(reader.aliases.table),
            notes=tuple(reader.notes()),
        )


@dataclass(frozen=True, kw_only=True)
class Signal(_Recipe):
    """A value for every base, NaN where there is none or the base is N.

    Args:
        file: bigWig (.bw, .bigwig), bedGraph (.bedgraph, .bdg, .bg), or BED and peaks.
        value: which number of BED or peaks: `score`, `signalValue`, `pValue`, `qValue`, or a key of column 4
            written `key=number`. bigWig and bedGraph have but one.
        overlap: what overlapping intervals of BED with different values give: an error, or the larger value.
        background: value of bases on contigs that the file names and no interval covers; NaN if not given.
        other_contigs: whether a contig that the genome lacks is an error or skipped.
    """

    kind: ClassVar[TrackKind] = "values"

    file: InputPath
    value: str = "score"
    overlap: Literal["error", "max"] = "error"
    background: float | None = None
    other_contigs: OtherContigs = "error"

    def _sources(self) -> Sequence[Path]:
        return [Path(self.file)]

    def _needed_bytes(self, store: GenomeStore) -> int:
        return _VALUE_BYTES * store.num_bases

    def _write(self, store: GenomeStore, folder: Path) -> TrackContent:
        dense = new_dense(folder, store.num_bases, np.float32, np.nan)
        is_bigwig = Path(self.file).suffix.lower() in _BIGWIG_SUFFIXES
        aliases, notes = (self._paint_bigwig if is_bigwig else self._paint_bed)(dense, store)
        paint(dense, store.unknown_runs, np.nan)
        statistics = value_statistics(dense)
        num_runs = sum(len(starts) for starts, _ in runs_of(dense))
        is_small = _TIMES_SMALLER * _RUN_BYTES * num_runs < _VALUE_BYTES * dense.size
        if is_small:
            write_runs(folder, runs_of(dense))
            del dense
            (folder / VALUES_FILE).unlink()
        return TrackContent(
            kind="values",
            encoding="runs" if is_small else "dense",
            names=(),
            statistics=statistics,
            aliases=aliases,
            notes=tuple(notes),
        )

    def _paint_bigwig(self, dense: npt.NDArray[Any], store: GenomeStore) -> tuple[dict[str, str], list[str]]:
        reader = BigWigReader(Path(self.file), store, other_contigs=self.other_contigs)
        painted: set[Contig] = set()
        with progress_bar(f"Reading {Path(self.file).name}", total=store.num_bases) as advance:
            for contig, block in reader:
                if contig not in painted:
                    painted.add(contig)
                    self._paint_background(dense, [contig])
                intervals = np.stack([block["start"], block["end"]], axis=1)
                paint_values(dense, intervals + contig.offset, block["value"])
                advance(int(intervals[-1, 1] - intervals[0, 0]))
        named = [store.contig(name) for name in reader.aliases.table.values()]
        self._paint_background(dense, [contig for contig in named if contig not in painted])
        return dict(reader.aliases.table), reader.notes()

    def _paint_bed(self, dense: npt.NDArray[Any], store: GenomeStore) -> tuple[dict[str, str], list[str]]:
        path = Path(self.file)
        value = "score" if bed_kind(path) == "bedGraph" else self.value
        with _reading(path) as on_read:
            table = read_bed_table(
                path, store, value=value, other_contigs=self.other_contigs, on_read=on_read
            )
        self._paint_background(dense, list(table.contigs.values()))
        intervals, values = self._without_overlaps(table)
        if len(intervals):
            paint_values(dense, intervals, values)
        return dict(table.aliases), list(table.notes)

    def _paint_background(self, dense: npt.NDArray[Any], contigs: list[Contig]) -> None:
        if self.background is not None:
            paint(dense, _whole(contigs), self.background)

    def _without_overlaps(
        self, table: IntervalTable
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Sorted, each base once."""
        known = ~np.isnan(table.values)
        order = np.lexsort((table.intervals[:, 1], table.intervals[:, 0]))
        order = order[known[order]]
        intervals, values = table.intervals[order], table.values[order]
        overlaps = np.flatnonzero(intervals[1:, 0] < np.maximum.accumulate(intervals[:, 1])[:-1])
        if not overlaps.size:
            return intervals, values
        if self.overlap == "error":
            line = int(table.lines[order[overlaps[0] + 1]])
            raise DataError(
                "BED-24",
                where=f"{table.path}:{line}",
                found=f"the interval overlaps another, as {overlaps.size} do in all",
                expected="one value a base",
                fix="remove overlaps, or set overlap=max",
            )
        edges = np.unique(intervals)
        highest = np.full(len(edges) - 1, -np.inf, dtype=np.float32)
        firsts, lasts = np.searchsorted(edges, intervals[:, 0]), np.searchsorted(edges, intervals[:, 1])
        for first, last, number in zip(firsts.tolist(), lasts.tolist(), values.tolist(), strict=True):
            np.maximum(highest[first:last], number, out=highest[first:last])
        covered = highest > -np.inf
        return np.stack([edges[:-1], edges[1:]], axis=1)[covered], highest[covered]


TrackRecipe = RegionClasses | IntervalClasses | IntervalLabels | Signal
