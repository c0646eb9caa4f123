"""Tasks from peaks: is this window of a genome a peak, or of which cell types?

Windows of the peaks are centred, in narrowPeak on the summit and else on the middle of the interval, and all
of one length. Of one cell type, the stronger peak of two whose windows overlap stays: by column 7 of
narrowPeak and broadPeak, column 5 of BED, and where there is none or both are equal by the order of the file.

Of several cell types, centres of one contig are grouped from left to right, none of a group further than half
a window from its first; a group's window is centred between its first and last centre. Its labels are the
cell types that have a peak in the middle half of the window, whichever group that peak belongs to. Of two
windows that overlap, the one of more labels stays, then the left one. Negatives have no label.

Whole contigs or regions of them are for training, validation or test, so no base of a test window is read in
training (see `dnalm.data.labelled.peak_parts`). Negatives are windows of the same regions (see
`dnalm.data.labelled.negatives`).

Shapes: P peaks, W windows, R rows, K cell types.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dnalm.data.labelled.negatives import (
    Composition,
    Drawn,
    Negatives,
    NonOverlapping,
    composition,
    draw_negatives,
)
from dnalm.data.labelled.peak_parts import PARTS, PeakParts, divide_by_regions
from dnalm.data.labelled.table import (
    METRICS,
    ClassName,
    LabelledTable,
    Labels,
    MetricName,
    Part,
    Rows,
    TaskKind,
)
from dnalm.errors import DataError, listed
from dnalm.genome.bed import BedReader, BedRow, IntervalTable, OtherContigs, read_bed_table
from dnalm.genome.intervals import Intervals, merge, subtract
from dnalm.genome.store import GenomeStore, open_or_build
from dnalm.limits import FlankBases, WindowBases
from dnalm.paths import CachePath, InputPath

COLUMNS = ("contig", "start", "end", "part", "label", "gc", "repeats", "source", "sequence")
_KEY = 100  # of the order of places of the first part; the others follow
_STRENGTH_COLUMNS = {"narrowPeak": 6, "broadPeak": 6, "bed": 4}
_SUMMIT_COLUMN = 9


@dataclass(frozen=True, kw_only=True)
class PeakTask:
    """The task.

    Args:
        peaks: a BED, narrowPeak or broadPeak, or one for each of several cell types by name, which makes the
            task multi-label.
        reference: the genome, as FASTA, 2bit or store; contig names may be aliases.
        length_bp: bases of a window.
        negatives: which windows stand against the peaks.
        validation: what chooses a checkpoint: contigs, or regions such as `chr22:30000000-40000000`, counted
            from 0, the end not included. If absent it is chosen by the number of peaks: whole contigs, or
            where fewer than three have peaks the end of one.
        test: what judges; likewise. A window across a border is of no part.
        other_contigs: whether a contig that the genome lacks is an error or skipped and counted.
        max_unknown: bases of N that the window of a peak may hold; negatives hold none.
        name: what the task is called; if absent the name of the file.
        metric: by which models are compared.
        cache: folder of stores and embeddings; the user's cache if absent.
    """

    peaks: InputPath | dict[str, InputPath]
    reference: InputPath
    length_bp: WindowBases = 500
    negatives: Negatives = Negatives()  # noqa: RUF009 -- it is frozen
    validation: tuple[ClassName, ...] = ()
    test: tuple[ClassName, ...] = ()
    other_contigs: OtherContigs = "error"
    max_unknown: FlankBases = 0
    name: str | None = None
    metric: MetricName | None = None
    cache: CachePath | None = None

    def __post_init__(self) -> None:
        if isinstance(self.peaks, dict):
            _check_names(self.peaks)
        if self.metric is not None and self.metric not in self.metrics:
            raise ValueError(f"metric is {self.metric}; a {self.kind} task has {', '.join(self.metrics)}")

    @property
    def files(self) -> Mapping[str, Path]:
        """The files of peaks by cell type; one alone by the task's name."""
        return self.peaks if isinstance(self.peaks, dict) else {self.title: self.peaks}

    @property
    def kind(self) -> TaskKind:
        """Of one cell type two classes, of several a label each."""
        return "multilabel" if isinstance(self.peaks, dict) else "binary"

    @property
    def classes(self) -> tuple[str, ...]:
        """What the outputs are called."""
        return tuple(self.peaks) if isinstance(self.peaks, dict) else ("background", "peak")

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Names of the labels."""
        return tuple(self.peaks) if isinstance(self.peaks, dict) else ("label",)

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """The metrics of its kind."""
        return METRICS[self.kind]

    @property
    def declared(self) -> MetricName:
        """The metric by which models are compared."""
        return self.metric or self.metrics[0]

    @property
    def title(self) -> str:
        """What the task is called."""
        if self.name or isinstance(self.peaks, dict):
            return self.name or "peaks"
        return self.peaks.name.partition(".")[0] or "peaks"

    def tables(self, *, seed: int) -> PeakTables:
        """The rows of each part.

        Args:
            seed: of the run; negatives are drawn by it unless they have their own.

        Raises:
            ConfigError: CFG-05, bases are named twice; REGION-01, a region is malformed; PEAK-03, a part has
                no peaks.
            DataError: a file is malformed or names what the genome lacks; REGION-02, a region leaves its
                contig; PEAK-01, no peak gives a window; PEAK-02, too few do; PEAK-04, there is no place for
                negatives.
        """
        store = open_or_build(self.reference, self.cache)
        peaks = _read_peaks(self, store)
        windows, sentence = _windows(self, store, peaks)
        of_windows = _spread(windows.centers, self.length_bp // 2, self.length_bp)
        parts = divide_by_regions(
            store, of_windows, validation=self.validation, test=self.test, aliases=peaks.aliases
        )
        excluded = [
            read_bed_table(path, store, other_contigs=self.other_contigs) for path in self.negatives.exclude
        ]
        free = self._free_of_peaks(store, peaks, windows, excluded)
        own = self.negatives.seed
        rows: dict[Part, PeakRows] = {}
        drawn: dict[Part, Drawn] = {}
        for number, part in enumerate(PARTS):
            here = windows[parts.holds(part, of_windows)]
            drawn[part] = draw_negatives(
                self.negatives,
                store.codes,
                parts.free(part, free, of_windows),
                here.composition,
                length=self.length_bp,
                key=(seed if own is None else own, _KEY + number),
            )
            if not len(drawn[part].starts):
                raise self._no_negatives(part, parts.names(part))
            rows[part] = _rows(self, store, part, here, drawn[part])
        notes = (
            *peaks.notes,
            sentence,
            *_notes_of_excluded(excluded, of_windows),
            *_notes_of_parts(parts, of_windows, rows, drawn),
        )
        return PeakTables(rows=rows, drawn=drawn, parts=parts, notes=notes)

    def _free_of_peaks(
        self, store: GenomeStore, peaks: _Peaks, windows: _Windows, excluded: Sequence[IntervalTable]
    ) -> Intervals:
        """What of the genome negatives may read, (R, 2), canonical."""
        half, margin = self.length_bp // 2, self.negatives.margin_bp
        around = [
            peaks.intervals,
            *(_spread(each, half, self.length_bp) for each in (peaks.centers, windows.centers)),
        ]
        kept_free = np.concatenate(around) + np.array([-margin, margin])
        unknown = np.asarray(store.unknown_runs).reshape(-1, 2)
        taken = np.concatenate([kept_free, unknown, *(table.intervals for table in excluded)])
        return subtract(store.intervals, taken)

    def _no_negatives(self, part: Part, names: list[str]) -> DataError:
        return DataError(
            "PEAK-04",
            where="task.negatives",
            found=f"no place on {listed(names)} ({part}) for {self.length_bp:,} bases without N, at least "
            f"{self.negatives.margin_bp:,} bases away from every peak and outside task.negatives.exclude",
            expected="some places for negatives in the regions of every part",
            fix="set a smaller task.length_bp or task.negatives.margin_bp, or keep the strongest peaks alone",
        )


def _check_names(files: Mapping[str, Path]) -> None:
    """Refuse names of cell types that cannot be columns, are not distinct, or have one file."""
    if len(files) < 2:
        raise ValueError(f"peaks has {len(files)} cell types; one alone is given as task.peaks=<file>")
    for name in files:
        if not re.fullmatch(r"\w[\w.+-]*", name) or name in COLUMNS:
            raise ValueError(
                f"peaks has a cell type {name!r}; a name begins with a letter or digit, has letters, digits, "
                f"'.', '+', '-' and '_', and is none of {', '.join(COLUMNS)}"
            )
    seen: dict[str, str] = {}
    for name, path in files.items():
        for what, key in (("name", name.lower()), ("file", str(path.resolve()))):
            other = seen.setdefault(key, name)
            if other != name:
                raise ValueError(f"peaks has two cell types of one {what}, {other} and {name}; leave one out")


# Peaks and their windows


@dataclass(frozen=True, eq=False, kw_only=True)
class _Peaks:
    """All peaks: flat centres (P,), intervals (P, 2), which file (P,), how strong (P,), line (P,)."""

    centers: Rows
    intervals: Intervals
    files: Rows
    strengths: npt.NDArray[np.float64]
    lines: Rows
    aliases: Mapping[str, str]
    notes: tuple[str, ...]


def _read_peaks(task: PeakTask, store: GenomeStore) -> _Peaks:
    rows: list[tuple[int, int, int, int, float, int]] = []
    aliases: dict[str, str] = {}
    notes: list[str] = []
    for number, path in enumerate(task.files.values()):
        reader = BedReader(path, store, other_contigs=task.other_contigs)
        for row in reader:
            center, at = _center(row, reader.kind), row.contig.offset
            strength = _strength(row, reader.kind)
            rows.append((at + center, at + row.start, at + row.end, number, strength, row.line.number))
        aliases |= reader.aliases.table
        notes += reader.notes()
    centers, starts, ends, files, strengths, lines = zip(*rows, strict=True)
    return _Peaks(
        centers=np.array(centers),
        intervals=np.stack([starts, ends], axis=1),
        files=np.array(files),
        strengths=np.array(strengths),
        lines=np.array(lines),
        aliases=aliases,
        notes=tuple(notes),
    )


def _center(row: BedRow, kind: str) -> int:
    """The summit of a narrowPeak that has one, else the middle."""
    summit = row.columns[_SUMMIT_COLUMN] if kind == "narrowPeak" else "-1"
    return (row.start + row.end) // 2 if summit == "-1" else row.start + int(summit)


def _strength(row: BedRow, kind: str) -> float:
    """The number by which peaks compete; less than all others where the file has none."""
    column = _STRENGTH_COLUMNS.get(kind, len(row.columns))
    try:
        value = float(row.columns[column])
    except (IndexError, ValueError):
        return -math.inf
    return -math.inf if math.isnan(value) else value


@dataclass(frozen=True, eq=False, kw_only=True)
class _Windows:
    """Windows of peaks: flat middles (W,), contigs (W,), labels (W, K), places in the files, composition."""

    centers: Rows
    contigs: Rows
    labels: npt.NDArray[np.int64]
    sources: npt.NDArray[np.str_]
    composition: Composition

    def __getitem__(self, rows: npt.NDArray[np.bool_] | Rows) -> _Windows:
        return _Windows(
            centers=self.centers[rows],
            contigs=self.contigs[rows],
            labels=self.labels[rows],
            sources=self.sources[rows],
            composition=self.composition[rows],
        )


def _windows(task: PeakTask, store: GenomeStore, peaks: _Peaks) -> tuple[_Windows, str]:
    """The windows that stay, in the order of the genome, and a sentence of those that do not.

    Raises:
        DataError: PEAK-01, none stays.
    """
    length, half = task.length_bp, task.length_bp // 2
    if task.kind == "binary":
        centers, labels = peaks.centers, np.ones((len(peaks.centers), 1), np.int64)
        members = [[row] for row in range(len(centers))]
        order = np.lexsort((np.arange(len(centers)), -peaks.strengths))
    else:
        members = _grouped(store, peaks, span=half)
        of_group = [peaks.centers[group] for group in members]
        centers = np.array([(int(each[0]) + int(each[-1])) // 2 for each in of_group])
        labels = _labels(task, peaks, centers)
        order = np.lexsort((centers, -labels.sum(axis=1)))
    starts = centers - half
    begins, ends = store.intervals[_contigs_of(store, centers)].T
    inside = np.flatnonzero((starts >= begins) & (starts + length <= ends))
    unknown = composition(store.codes, starts[inside], length=length).unknown
    is_known = np.zeros(len(starts), np.bool_)
    is_known[inside[unknown <= task.max_unknown]] = True
    others = NonOverlapping(length)
    kept = np.array(
        [row for row in order.tolist() if is_known[row] and others.add(int(starts[row]))], np.int64
    )
    kept = kept[np.argsort(starts[kept])]
    left, hold = len(starts) - len(inside), len(inside) - int(is_known.sum())
    overlap = int(is_known.sum()) - len(kept)
    what = "peaks" if task.kind == "binary" else f"groups of {len(peaks.centers):,} peaks"
    lost = f"{left:,} leave their contig, {hold:,} hold more than {task.max_unknown:,} N"
    if not len(kept):
        raise DataError(
            "PEAK-01",
            where="task.peaks",
            found=f"no window of {length:,} bases: of {len(starts):,} {what}, {lost}",
            expected="some windows within their contigs",
            fix=f"set a smaller task.length_bp, such as task.length_bp={max(1, length // 2)}",
        )
    windows = _Windows(
        centers=centers[kept],
        contigs=_contigs_of(store, centers[kept]),
        labels=labels[kept],
        sources=np.array([_source(task, peaks, members[row]) for row in kept.tolist()]),
        composition=composition(store.codes, starts[kept], length=length),
    )
    sentence = (
        f"{len(starts):,} {what} give {len(kept):,} windows: {lost}, {overlap:,} overlap another that stays"
    )
    return windows, sentence


def _contigs_of(store: GenomeStore, positions: Rows) -> Rows:
    """The number of the contig of each flat position."""
    return np.searchsorted(store.offsets, positions, side="right") - 1


def _spread(centers: Rows, half: int, length: int) -> Intervals:
    """The intervals of windows, (W, 2)."""
    return np.stack([centers - half, centers - half + length], axis=1)


def _grouped(store: GenomeStore, peaks: _Peaks, *, span: int) -> list[list[int]]:
    """Peaks of one contig whose centres lie within `span` of the first of their group, sorted by centre."""
    contigs = _contigs_of(store, peaks.centers)
    groups: list[list[int]] = []
    first = contig = -1
    for row in np.lexsort((peaks.files, peaks.centers)).tolist():
        if contigs[row] != contig or peaks.centers[row] - first > span:
            groups.append([])
            first, contig = int(peaks.centers[row]), int(contigs[row])
        groups[-1].append(row)
    return groups


def _labels(task: PeakTask, peaks: _Peaks, centers: Rows) -> npt.NDArray[np.int64]:
    """Which cell types have a peak in the middle half of each window, (W, K) of 0 and 1."""
    reach = -(-task.length_bp // 4)
    starts, ends = centers - reach, centers + reach + 1
    labels = np.zeros((len(centers), len(task.files)), np.int64)
    for number in range(len(task.files)):
        of_type = peaks.files == number
        middles = peaks.centers[of_type, None] + np.arange(2)
        covered = merge(np.concatenate([peaks.intervals[of_type], middles]))
        labels[:, number] = np.searchsorted(covered[:, 0], ends) > np.searchsorted(
            covered[:, 1], starts, "right"
        )
    return labels


def _source(task: PeakTask, peaks: _Peaks, members: list[int]) -> str:
    """File and line of the first peak of each file in a group."""
    names = [path.name for path in task.files.values()]
    lines = {int(peaks.files[row]): int(peaks.lines[row]) for row in reversed(members)}
    return ";".join(f"{names[number]}:{lines[number]}" for number in sorted(lines))


# The rows of a part


@dataclass(frozen=True, eq=False, kw_only=True)
class PeakRows:
    """Where the rows of a part lie and what they are made of, in the order of the genome.

    Attributes:
        contigs: names, (R,).
        starts: on the contig, (R,).
        length: bases of each.
        is_peak: (R,) bool.
        labels: as of a table, (R,) or (R, K).
        composition: of each.
        sources: file and line of its peak; empty for negatives, (R,).
        table: the rows as a labelled table.
    """

    contigs: npt.NDArray[np.str_]
    starts: Rows
    length: int
    is_peak: npt.NDArray[np.bool_]
    labels: Labels
    composition: Composition
    sources: npt.NDArray[np.str_]
    table: LabelledTable


@dataclass(frozen=True, eq=False, kw_only=True)
class PeakTables:
    """What is made of the peaks.

    Attributes:
        rows: of each part, with their table.
        drawn: the negatives of each part.
        parts: the regions of each part.
        notes: how many peaks are left, which regions are of which part, what is short, in sentences.
    """

    rows: Mapping[Part, PeakRows]
    drawn: Mapping[Part, Drawn]
    parts: PeakParts
    notes: tuple[str, ...]


def _rows(task: PeakTask, store: GenomeStore, part: Part, windows: _Windows, drawn: Drawn) -> PeakRows:
    length, number = task.length_bp, len(drawn.starts)
    starts = np.concatenate([windows.centers - length // 2, drawn.starts])
    labels = np.concatenate([windows.labels, np.zeros((number, windows.labels.shape[1]), np.int64)])
    sources = np.concatenate([windows.sources, np.full(number, "")])
    order = np.argsort(starts)
    starts, labels = starts[order], labels[order]
    contigs = _contigs_of(store, starts)
    names = np.array([contig.name for contig in store.contigs])[contigs]
    within = starts - store.offsets[contigs]
    of_table: Labels = labels if task.kind == "multilabel" else labels[:, 0]
    files = ", ".join(path.name for path in task.files.values())
    table = LabelledTable(
        source=f"{files} ({part})",
        codes=store.codes[starts[:, None] + np.arange(length)].reshape(-1),
        offsets=np.arange(len(starts) + 1) * length,
        labels=of_table,
        names=np.array(
            [f"{name}:{at}-{at + length}" for name, at in zip(names, within.tolist(), strict=True)]
        ),
        lines=np.arange(1, len(starts) + 1),
    )
    return PeakRows(
        contigs=names,
        starts=within,
        length=length,
        is_peak=(order < len(windows.centers)),
        labels=of_table,
        composition=composition(store.codes, starts, length=length),
        sources=sources[order],
        table=table,
    )


def _notes_of_excluded(excluded: Sequence[IntervalTable], windows: Intervals) -> list[str]:
    """What the files of `negatives.exclude` say of themselves, and how many peaks lie there."""
    notes = [note for table in excluded for note in table.notes]
    covered = merge(np.concatenate([np.zeros((0, 2), np.int64), *(table.intervals for table in excluded)]))
    starts, ends = windows.T
    overlap = np.searchsorted(covered[:, 0], ends) > np.searchsorted(covered[:, 1], starts, "right")
    if overlap.any():
        notes.append(
            f"{int(overlap.sum()):,} of {len(windows):,} windows of peaks overlap task.negatives.exclude and "
            "stay; it applies to negatives alone"
        )
    return notes


def _notes_of_parts(
    parts: PeakParts, windows: Intervals, rows: Mapping[Part, PeakRows], drawn: Mapping[Part, Drawn]
) -> list[str]:
    """Which regions are of which part, and what of the negatives is not as it was asked for."""
    store, total = parts.store, len(windows)
    notes = [
        f"{part}: {int(rows[part].is_peak.sum()) / total:.1%} of the windows of peaks, on "
        f"{listed(parts.names(part))}"
        for part in PARTS
    ]
    if lost := total - sum(int(each.is_peak.sum()) for each in rows.values()):
        notes.append(f"{lost:,} of {total:,} windows of peaks lie across a border and are of no part")
    for part, found in drawn.items():
        if found.nearest:
            notes.append(
                f"{part}: {found.nearest:,} of {len(found.starts):,} negatives are of the nearest bin"
            )
        if len(found.starts) < found.wanted:
            notes.append(f"{part}: only {len(found.starts):,} of {found.wanted:,} negatives have a place")
    if not store.manifest.num_soft_masked:
        notes.append(f"{store.source.name} has no soft-masked base: negatives are matched by GC alone")
    return notes
