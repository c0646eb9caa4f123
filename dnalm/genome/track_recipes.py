"""What makes a track of annotation files, whichever kind it is of.

Classes given by intervals, such as chromatin states of one tissue, as a track.

Labels given by intervals, any number of them a base, as a track: peaks, chromatin states, features.

Region classes of a gene annotation as a track.

A number a base, such as conservation or coverage, as a track.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from dnalm.console import progress_bar
from dnalm.errors import DataError
from dnalm.genome.bed import IntervalTable, OtherContigs, bed_kind, read_bed_table
from dnalm.genome.bigwig import BigWigReader
from dnalm.genome.genes import REGION_CLASSES, UNKNOWN_REGION, find_regions, read_transcripts
from dnalm.genome.gff import GffReader, is_gff, read_gff_table
from dnalm.genome.intervals import Intervals, contains, merge, subtract
from dnalm.genome.store import Contig, GenomeStore
from dnalm.genome.tracks import (
    MISSING,
    VALUES_FILE,
    RunsWriter,
    TrackContent,
    TrackKind,
    TrackPlan,
    TrackStore,
    class_statistics,
    count_runs,
    label_statistics,
    new_dense,
    paint,
    paint_values,
    prepare_track,
    reading,
    runs_of,
    to_recipe,
    track_error,
    value_statistics,
)
from dnalm.paths import InputPath

_MOST_CLASSES = 254


@dataclass(frozen=True, kw_only=True)
class IntervalClasses:
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

    def prepare(self, store: GenomeStore, cache: Path | None = None, *, verify: bool = True) -> TrackStore:
        """The track on a genome, made on first use; kind `classes`.

        Raises:
            DataError: BED-01 to BED-23, GFF-01 to GFF-23; TRACK-08, a class that `classes` lacks; TRACK-09,
                two classes of one base; TRACK-10, too many classes; or as `prepare_track`.
        """
        plan = TrackPlan(
            recipe=to_recipe("IntervalClasses", vars(self)),
            sources=tuple(Path(path) for path in self.files.values()),
            needed_bytes=store.num_bases,
            write=lambda folder: self._write(store, folder),
        )
        return prepare_track(plan, store, cache, verify=verify)

    def _write(self, store: GenomeStore, folder: Path) -> TrackContent:
        by_name = self.class_by == "name"
        tables = read_tables(self.files, store, names=by_name, other_contigs=self.other_contigs)
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
            files=(folder / VALUES_FILE,),
            statistics=class_statistics(dense, names),
            aliases={name: contig for table in tables.values() for name, contig in table.aliases.items()},
            notes=tuple(note for table in tables.values() for note in table.notes),
        )

    def _paint(
        self, dense: npt.NDArray[Any], tables: dict[str, IntervalTable], names: tuple[str, ...]
    ) -> None:
        """Later classes first, so that earlier ones win."""
        if self.background:
            contigs = {c for table in tables.values() for c in table.contigs.values()}
            whole = np.array([(c.offset, c.offset + c.length) for c in contigs])
            paint(dense, whole, len(names) - 1)
        background = len(names) - 1 if self.background else MISSING
        for number in reversed(range(len(names))):
            for key, table in tables.items():
                rows = rows_of(table, names[number] if self.class_by == "name" else None)
                if self.class_by == "file" and key != names[number]:
                    continue
                if not self.classes:
                    _check_free(dense, table, rows, number=number, names=names, background=background)
                paint(dense, table.intervals[rows], number)


def read_tables(
    files: dict[str, InputPath], store: GenomeStore, *, names: bool, other_contigs: OtherContigs
) -> dict[str, IntervalTable]:
    """Read files of intervals by name, with progress bars.

    Args:
        files: BED, or by its suffix GFF.
        store: the genome they lie on.
        names: read column 4 of BED, which must be there; GFF features have their types always.
        other_contigs: whether a contig that the genome lacks is an error or skipped.

    Raises:
        DataError: BED-01 to BED-23, GFF-01 to GFF-23.
    """
    tables = {}
    for name, path in ((name, Path(path)) for name, path in files.items()):
        with reading(path) as on_read:
            if is_gff(path):
                tables[name] = read_gff_table(path, store, other_contigs=other_contigs, on_read=on_read)
            else:
                tables[name] = read_bed_table(
                    path, store, names=names, other_contigs=other_contigs, on_read=on_read
                )
    return tables


def rows_of(table: IntervalTable, name: str | None) -> npt.NDArray[np.int64]:
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
    check_listed(names, found, path)
    if len(names) > _MOST_CLASSES:
        found_text = f"there are {len(names)} classes, such as {names[0]!r}"
        fix = "use the column that holds a class, or class_by=file"
        raise track_error("TRACK-10", path, found_text, f"at most {_MOST_CLASSES}", fix)


def check_listed(names: Collection[str], found: set[str], path: Path) -> None:
    """Refuse a class that stands in a file and not among those that are listed.

    Raises:
        DataError: TRACK-08.
    """
    unknown = natural_order(found - set(names))
    if unknown:
        raise track_error(
            "TRACK-08",
            path,
            f"class {unknown[0]!r} is in the file, and {len(unknown) - 1} others that are not listed",
            f"one of {', '.join([*names][:20])}",
            "add it to classes",
        )


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


_CHUNK_CELLS = 1 << 24  # runs times labels at a time
_NONE = np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class IntervalLabels:
    """Whether each of several labels holds at every base, from files of intervals.

    Args:
        files: BED, narrowPeak, broadPeak or GFF files by name, such as factor or tissue.
        label_by: `file`, one label a file; `class`, one for every file and class, named `file/class`. Classes
            are what column 4 of BED says, or the types of GFF features. Every file gets the classes of all,
            so that labels form a matrix.
        classes: with label_by=class, the classes that become labels, in this order; others are left out. One
            that a file has nowhere is missing there, for the file does not tell of it. All if not given.
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

    def prepare(self, store: GenomeStore, cache: Path | None = None, *, verify: bool = True) -> TrackStore:
        """The track on a genome, made on first use; kind `labels`.

        Raises:
            DataError: BED-01 to BED-23, GFF-01 to GFF-23, or as `prepare_track`.
        """
        paths = tuple(Path(path) for path in self.files.values())
        plan = TrackPlan(
            recipe=to_recipe("IntervalLabels", vars(self)),
            sources=paths,
            needed_bytes=10 * sum(path.stat().st_size for path in paths if path.is_file()),
            write=lambda folder: self._write(store, folder),
        )
        return prepare_track(plan, store, cache, verify=verify)

    def _write(self, store: GenomeStore, folder: Path) -> TrackContent:
        by_class = self.label_by == "class"
        tables = read_tables(self.files, store, names=by_class, other_contigs=self.other_contigs)
        found = natural_order({name for table in tables.values() for name in table.vocabulary})
        classes = found if self.classes is None else tuple(self.classes)
        names = tuple(f"{key}/{name}" for key in tables for name in classes) if by_class else tuple(tables)
        holds = [
            merge(table.intervals[rows_of(table, name)])
            for table in tables.values()
            for name in (classes if by_class else [None])
        ]
        unknown = merge(store.unknown_runs)
        known = []
        for table in tables.values():
            covered = subtract(self._coverage(table, store), unknown)
            absent = self._absent(table)
            known += [_NONE if name in absent else covered for name in (classes if by_class else [None])]
        writer = RunsWriter(folder)
        with progress_bar("Writing labels", total=store.num_bases) as advance:
            for starts, rows in _runs(holds, known):
                writer.add(starts, rows)
                advance(int(starts[-1] - starts[0]))
        writer.close()
        return TrackContent(
            kind="labels",
            encoding="runs",
            names=names,
            files=writer.files,
            statistics=label_statistics(folder, names, store.num_bases),
            aliases={name: contig for table in tables.values() for name, contig in table.aliases.items()},
            notes=tuple(note for table in tables.values() for note in self._notes(table)),
        )

    def _absent(self, table: IntervalTable) -> list[str]:
        """The chosen classes that a file does not tell of."""
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
        contigs = store.contigs if coverage == "genome" else tuple(table.contigs.values())
        return merge(np.array([(c.offset, c.offset + c.length) for c in contigs], dtype=np.int64))


def _runs(
    holds: list[Intervals], known: list[Intervals]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]]:
    """Cut the genome at every end of every set, and say of each piece which sets hold it, in packed bits."""
    distinct = {id(intervals): intervals for intervals in (*holds, *known)}.values()
    starts = np.unique(np.concatenate([[0], *(intervals.ravel() for intervals in distinct)]))
    step = max(1, _CHUNK_CELLS // len(holds))
    for first in range(0, len(starts), step):
        piece = starts[first : first + step]
        bits_known = np.stack([contains(intervals, piece) for intervals in known], axis=1)
        bits_held = np.stack([contains(intervals, piece) for intervals in holds], axis=1) & bits_known
        yield piece, np.concatenate([np.packbits(bits_held, axis=1), np.packbits(bits_known, axis=1)], axis=1)


@dataclass(frozen=True, kw_only=True)
class RegionClasses:
    """CDS, UTRs, non-coding exon, intron, promoter or intergenic of every base (see `annotations.regions`).

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

    def prepare(self, store: GenomeStore, cache: Path | None = None, *, verify: bool = True) -> TrackStore:
        """The track on a genome, made on first use; kind `classes`.

        Raises:
            DataError: GFF-01 to GFF-23, or as `prepare_track`.
        """
        plan = TrackPlan(
            recipe=to_recipe("RegionClasses", vars(self)),
            sources=(Path(self.gff),),
            needed_bytes=store.num_bases,
            write=lambda folder: self._write(store, folder),
        )
        return prepare_track(plan, store, cache, verify=verify)

    def _write(self, store: GenomeStore, folder: Path) -> TrackContent:
        path = Path(self.gff)
        with reading(path) as on_read:
            reader = GffReader(path, store, other_contigs=self.other_contigs, on_read=on_read)
            regions = find_regions(
                read_transcripts(reader), upstream=self.promoter_upstream, downstream=self.promoter_downstream
            )
        dense = new_dense(folder, store.num_bases, np.uint8, MISSING)
        named = [store.contig(name) for name in reader.declared_contigs]
        regions["intergenic"] = np.array([(c.offset, c.offset + c.length) for c in named])
        for name in ("intergenic", "promoter", UNKNOWN_REGION, *reversed(REGION_CLASSES[:-2])):
            paint(dense, regions[name], MISSING if name == UNKNOWN_REGION else REGION_CLASSES.index(name))
        paint(dense, store.unknown_runs, MISSING)
        return TrackContent(
            kind="classes",
            encoding="dense",
            names=REGION_CLASSES,
            files=(folder / VALUES_FILE,),
            statistics=class_statistics(dense, REGION_CLASSES),
            aliases=reader.aliases.table,
            notes=tuple(reader.notes()),
        )


_BIGWIG_SUFFIXES = (".bw", ".bigwig")
_RUN_BYTES, _VALUE_BYTES = 12, 4
_TIMES_SMALLER = 2  # runs read more slowly, so they must save that much


@dataclass(frozen=True, kw_only=True)
class Signal:
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

    def prepare(self, store: GenomeStore, cache: Path | None = None, *, verify: bool = True) -> TrackStore:
        """The track on a genome, made on first use; kind `values`.

        Raises:
            DataError: BED-01 to BED-24, BW-01 to BW-15, or as `prepare_track`.
        """
        plan = TrackPlan(
            recipe=to_recipe("Signal", vars(self)),
            sources=(Path(self.file),),
            needed_bytes=_VALUE_BYTES * store.num_bases,
            write=lambda folder: self._write(store, folder),
        )
        return prepare_track(plan, store, cache, verify=verify)

    def _write(self, store: GenomeStore, folder: Path) -> TrackContent:
        dense = new_dense(folder, store.num_bases, np.float32, np.nan)
        is_bigwig = Path(self.file).suffix.lower() in _BIGWIG_SUFFIXES
        aliases, notes = (self._paint_bigwig if is_bigwig else self._paint_bed)(dense, store)
        paint(dense, store.unknown_runs, np.nan)
        statistics = value_statistics(dense)
        is_small = _TIMES_SMALLER * _RUN_BYTES * count_runs(dense) < _VALUE_BYTES * dense.size
        files: tuple[Path, ...] = (folder / VALUES_FILE,)
        if is_small:
            writer = RunsWriter(folder)
            for starts, values in runs_of(dense):
                writer.add(starts, values)
            writer.close()
            del dense
            files[0].unlink()
            files = writer.files
        return TrackContent(
            kind="values",
            encoding="runs" if is_small else "dense",
            names=(),
            files=files,
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
                intervals = np.stack([block["start"], block["end"]], axis=1).astype(np.int64)
                paint_values(dense, intervals + contig.offset, block["value"])
                advance(int(intervals[-1, 1] - intervals[0, 0]))
        named = [store.contig(name) for name in reader.aliases.table.values()]
        self._paint_background(dense, [contig for contig in named if contig not in painted])
        return dict(reader.aliases.table), reader.notes()

    def _paint_bed(self, dense: npt.NDArray[Any], store: GenomeStore) -> tuple[dict[str, str], list[str]]:
        path = Path(self.file)
        value = "score" if bed_kind(path) == "bedGraph" else self.value
        with reading(path) as on_read:
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
            paint(dense, np.array([(c.offset, c.offset + c.length) for c in contigs]), self.background)

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
