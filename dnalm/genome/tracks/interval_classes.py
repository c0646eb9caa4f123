"""Classes given by intervals, such as chromatin states of one tissue, as a track."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from dnalm.errors import DataError
from dnalm.genome.annotations.bed import read_bed_table
from dnalm.genome.annotations.gff_table import is_gff, read_gff_table
from dnalm.genome.annotations.interval_table import IntervalTable, OtherContigs
from dnalm.genome.store import GenomeStore
from dnalm.genome.tracks.arrays import class_statistics, new_dense, paint
from dnalm.genome.tracks.building import TrackContent, TrackPlan, prepare_track, reading, to_recipe
from dnalm.genome.tracks.manifest import TrackKind, track_error
from dnalm.genome.tracks.store import MISSING, VALUES_FILE, TrackStore
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
