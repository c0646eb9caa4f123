"""A number a base, such as conservation or coverage, as a track."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from dnalm.console import progress_bar
from dnalm.errors import DataError
from dnalm.genome.annotations.bed import read_bed_table
from dnalm.genome.annotations.bed_checks import bed_kind
from dnalm.genome.annotations.bigwig import BigWigReader
from dnalm.genome.annotations.interval_table import IntervalTable, OtherContigs
from dnalm.genome.manifest import Contig
from dnalm.genome.store import GenomeStore
from dnalm.genome.tracks.arrays import (
    RunsWriter,
    count_runs,
    new_dense,
    paint,
    paint_values,
    runs_of,
    value_statistics,
)
from dnalm.genome.tracks.building import TrackContent, TrackPlan, prepare_track, reading, to_recipe
from dnalm.genome.tracks.manifest import TrackKind
from dnalm.genome.tracks.store import VALUES_FILE, TrackStore
from dnalm.paths import InputPath

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
            DataError: BED-01 to BED-24, BW-01 to BW-16, or as `prepare_track`.
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
