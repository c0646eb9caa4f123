"""Labels given by intervals, any number of them a base, as a track: peaks, chromatin states, features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from dnalm.console import progress_bar
from dnalm.genome.annotations.gff_table import is_gff
from dnalm.genome.annotations.interval_table import IntervalTable, OtherContigs
from dnalm.genome.intervals import Intervals, contains, merge, subtract
from dnalm.genome.store import GenomeStore
from dnalm.genome.tracks.arrays import RunsWriter, label_statistics
from dnalm.genome.tracks.building import TrackContent, TrackPlan, prepare_track, to_recipe
from dnalm.genome.tracks.interval_classes import natural_order, read_tables, rows_of
from dnalm.genome.tracks.manifest import TrackKind
from dnalm.genome.tracks.store import TrackStore
from dnalm.paths import InputPath

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
