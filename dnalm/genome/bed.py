"""BED of 3 columns and more, narrowPeak, broadPeak and bedGraph, checked line by line.

Header lines (`track`, `browser`, `#`) and blank lines are skipped and counted, CRLF is accepted, an interval
that stands twice is noted; columns are separated by tabs, or by spaces on a line without tabs. Codes of
errors: BED-01 columns, 02 start >= end, 03 negative, 04 past the contig, 05 not a whole number, 06 unknown
contig, 09 strand, 10 another number of columns, 11 empty, 13 too large, 16 blocks of BED12, 17 no number, 18
no such key in column 4, 19 peak columns, 20 to 22 damaged compression, 23 not text, 25 a line too long.

Formats: https://genome.ucsc.edu/FAQ/FAQformat.html; columns 4 and up may hold other things than BED's in
files of other than 12, so only what is asked for is checked there, and the strand.

What a line of BED, peaks or bedGraph must be: columns, coordinates, blocks, peaks, numbers.

Intervals of a file in columns, on a genome's flat coordinates.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from dnalm.errors import DataError
from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.intervals import Interval, Intervals, merge
from dnalm.genome.store import Contig, GenomeStore
from dnalm.genome.text import BED, Line, OnRead, read_lines

BedKind = Literal["bed", "narrowPeak", "broadPeak", "bedGraph"]
_COORDINATE_LIMIT = 1 << 31
_SUFFIXES: dict[str, BedKind] = {
    ".narrowpeak": "narrowPeak", ".broadpeak": "broadPeak", ".bedgraph": "bedGraph", ".bdg": "bedGraph",
    ".bg": "bedGraph",
}  # fmt: skip
_EXACT_COLUMNS = {"narrowPeak": 10, "broadPeak": 9, "bedGraph": 4}


def bed_kind(path: Path) -> BedKind:
    """Which of the formats a file is, by its suffix; .gz and .bgz are passed over."""
    name = path.name.lower().removesuffix(".gz").removesuffix(".bgz")
    return _SUFFIXES.get(Path(name).suffix, "bed")


def split_columns(text: str) -> list[str]:
    """The columns of a line, at tabs; at runs of spaces where it has no tab, as BED allows."""
    return text.split("\t") if "\t" in text else text.split()


def check_width(line: Line, columns: list[str], before: int, kind: BedKind) -> None:
    """Judge the number of columns; `before` is that of the line before, 0 for the first.

    Raises:
        DataError: BED-01, 10, 19.
    """
    exact = _EXACT_COLUMNS.get(kind)
    if len(columns) < 3:
        rule = "contig, start and end separated by tabs"
        found = f"the line has {len(columns)} column{'s' if len(columns) > 1 else ''}"
        raise line.error("BED-01", found, rule, "give BED with three or more columns")
    if before and len(columns) != before:
        found = f"the line has {len(columns)} columns"
        fix = "complete the line, or split the file"
        raise line.error("BED-10", found, f"{before}, as the lines before", fix)
    if exact and len(columns) != exact:
        found = f"the line has {len(columns)} columns"
        raise line.error("BED-19", found, f"{exact} columns of {kind}", "give the file its right suffix")


def coordinate(line: Line, text: str) -> int:
    """Read a position or length.

    Raises:
        DataError: BED-03, 05, 13.
    """
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()):
        rule = "a whole number in plain digits, 0-based"
        raise line.error("BED-05", f"{text!r} is not a whole number", rule, f"correct {text!r}")
    if text.startswith("-"):
        raise line.error("BED-03", f"coordinate {text} is negative", "positions count from 0", "correct it")
    if len(digits) > 10 or int(digits) >= _COORDINATE_LIMIT:
        raise line.error("BED-13", f"coordinate {text} is 2^31 or more", "below 2^31", "correct it")
    return int(digits)


def check_blocks(line: Line, columns: list[str], start: int, end: int) -> None:
    """Judge the blocks of BED12.

    Raises:
        DataError: BED-16.
    """
    lists = [text.removesuffix(",").split(",") for text in columns[10:12]]
    sizes, starts = ([coordinate(line, text) for text in texts] for texts in lists)
    count = coordinate(line, columns[9])
    if not count == len(sizes) == len(starts):
        found = f"blockCount is {count}, with {len(sizes)} blockSizes and {len(starts)} blockStarts"
        raise line.error("BED-16", found, "as many sizes and starts as blocks", "correct columns 10 to 12")
    if starts[0] != 0 or start + starts[-1] + sizes[-1] != end:
        found = f"the blocks span {start + starts[0]} to {start + starts[-1] + sizes[-1]}"
        raise line.error("BED-16", found, f"{start} to {end}, as the line", "correct columns 10 to 12")


def check_peak(line: Line, columns: list[str], length: int) -> None:
    """Judge where the summit of a narrowPeak lies.

    Raises:
        DataError: BED-19.
    """
    peak = columns[9]
    if peak != "-1" and not coordinate(line, peak) < length:
        found, rule = f"peak {peak} in column 10", f"-1, or an offset below the length {length}"
        raise line.error("BED-19", found, rule, "correct column 10")


def number(line: Line, text: str, place: str) -> float:
    """Read a value; NaN of `.` and `nan`.

    Raises:
        DataError: BED-17, it is no number or not finite in 32 bits.
    """
    if text == ".":
        return math.nan
    try:
        value = float(text.replace("_", "?"))
    except ValueError:
        fix = "correct it, or write `.` where there is none"
        raise line.error("BED-17", f"{text!r} {place} is not a number", "a decimal number", fix) from None
    if math.isinf(value) or abs(value) > 3e38:
        fix = "write nan or remove the line where there is no value"
        raise line.error("BED-17", f"{text!r} {place} is not finite", "a finite number of 32 bits", fix)
    return value


OtherContigs = Literal["error", "skip"]


@dataclass(frozen=True)
class IntervalTable:
    """What a file says.

    Attributes:
        path: the file.
        intervals: (R, 2) int64 flat half-open intervals in the order of the file.
        names: (R,) int32 index into `vocabulary`; empty if the file was read without names.
        vocabulary: the distinct names in the order of the file.
        values: (R,) float32, NaN where the file says that there is none; empty if read without values.
        lines: (R,) int64 line of each interval, from 1.
        contigs: those that the file names, by name.
        aliases: the genome's name of every name of the file.
        notes: sentences about what was skipped or looks odd, for the user.
    """

    path: Path
    intervals: npt.NDArray[np.int64]
    names: npt.NDArray[np.int32]
    vocabulary: tuple[str, ...]
    values: npt.NDArray[np.float32]
    lines: npt.NDArray[np.int64]
    contigs: dict[str, Contig]
    aliases: Mapping[str, str]
    notes: tuple[str, ...]


@dataclass
class TableBuilder:
    """Collects intervals as they are read, in 30 bytes each."""

    path: Path
    _ends: array[int] = field(default_factory=lambda: array("q"))
    _names: array[int] = field(default_factory=lambda: array("i"))
    _values: array[float] = field(default_factory=lambda: array("f"))
    _lines: array[int] = field(default_factory=lambda: array("q"))
    _vocabulary: dict[str, int] = field(default_factory=dict)

    def add(
        self, start: int, end: int, line: int, *, name: str | None = None, value: float | None = None
    ) -> None:
        """Append an interval in flat coordinates."""
        self._ends.extend((start, end))
        self._lines.append(line)
        if name is not None:
            self._names.append(self._vocabulary.setdefault(name, len(self._vocabulary)))
        if value is not None:
            self._values.append(value)

    def finish(self, aliases: ContigAliases, notes: list[str]) -> IntervalTable:
        """The table, with a note about intervals that stand twice."""
        table = aliases.table
        contigs = {contig: aliases.find(name) for name, contig in table.items()}
        return IntervalTable(
            path=self.path,
            intervals=np.frombuffer(self._ends, dtype=np.int64).reshape(-1, 2),
            names=np.frombuffer(self._names, dtype=np.int32),
            vocabulary=tuple(self._vocabulary),
            values=np.frombuffer(self._values, dtype=np.float32),
            lines=np.frombuffer(self._lines, dtype=np.int64),
            contigs={name: contig for name, contig in contigs.items() if contig},
            aliases=table,
            notes=tuple(notes),
        )


def duplicates(table: IntervalTable) -> tuple[int, int, int]:
    """How many intervals repeat an earlier one, with its name; and the lines of the first such pair."""
    names = table.names if table.names.size else np.zeros(len(table.intervals), dtype=np.int32)
    order = np.lexsort((names, table.intervals[:, 1], table.intervals[:, 0]))
    sorted_rows = table.intervals[order]
    same = (sorted_rows[1:] == sorted_rows[:-1]).all(axis=1)
    same &= names[order][1:] == names[order][:-1]
    if not same.any():
        return 0, 0, 0
    lines = table.lines[order]
    first = int(np.flatnonzero(same)[0])
    return int(same.sum()), int(lines[first]), int(lines[first + 1])


_PEAK_COLUMNS = {"signalValue": 6, "pValue": 7, "qValue": 8}


@dataclass(frozen=True, slots=True)
class BedRow:
    """An interval of a line, in the contig's coordinates."""

    line: Line
    columns: list[str]
    contig: Contig
    start: int
    end: int

    @property
    def title(self) -> str:
        """The name in column 4; where it has none, contig:start-end."""
        named = len(self.columns) > 3 and self.columns[3] not in ("", ".")
        return self.columns[3] if named else f"{self.contig.name}:{self.start}-{self.end}"


def read_bed_table(
    path: Path,
    store: GenomeStore,
    *,
    value: str | None = None,
    names: bool = False,
    other_contigs: OtherContigs = "error",
    on_read: OnRead | None = None,
) -> IntervalTable:
    """Read a file of intervals.

    Args:
        path: BED, narrowPeak, broadPeak or bedGraph, told apart by suffix.
        store: the genome the intervals must lie on; contig names may be aliases.
        value: the number to read: `score` (column 5; of bedGraph, column 4), `signalValue`, `pValue` or
            `qValue` of peaks, or any key of column 4 written `key=number`. `.` and `nan` are missing.
        names: read column 4 as a name; it must be there.
        other_contigs: whether a contig that the genome lacks is an error or skipped and counted.
        on_read: called with every piece of the file, which is read twice, for progress.

    Returns:
        The intervals in the order of the file.

    Raises:
        DataError: BED-01 to BED-23, naming the line.
    """
    reader = BedReader(path, store, other_contigs=other_contigs, on_read=on_read)
    builder = TableBuilder(path)
    for row in reader:
        offset = row.contig.offset
        builder.add(
            offset + row.start,
            offset + row.end,
            row.line.number,
            name=_name(row) if names else None,
            value=_value(row, value, reader.kind) if value else None,
        )
    notes = reader.notes()
    table = builder.finish(reader.aliases, notes)
    count, first, second = duplicates(table)
    if count:
        notes.append(
            f"BED-14 {path}:{second}: the interval stands on line {first} too; {count} such lines in all"
        )
        table = builder.finish(reader.aliases, notes)
    return table


class BedReader:
    """Iterates over the rows of a file, and afterwards knows what it skipped.

    Args: as `read_bed_table`.
    """

    def __init__(
        self,
        path: Path,
        store: GenomeStore,
        *,
        other_contigs: OtherContigs = "error",
        on_read: OnRead | None = None,
    ) -> None:
        self.path, self.kind, self._on_read = Path(path), bed_kind(Path(path)), on_read
        self._skips_others = other_contigs == "skip"
        self.num_headers = self.num_skipped = self.num_latin = 0
        names = (split_columns(line.text)[0] for line in self._data_lines())
        self.aliases = ContigAliases(store, names)

    def __iter__(self) -> Iterator[BedRow]:
        self.num_headers = self.num_skipped = num_rows = width = 0
        for line in self._data_lines():
            columns = split_columns(line.text)
            check_width(line, columns, width, self.kind)
            width = len(columns)
            row = self._row(line, columns)
            if row:
                num_rows += 1
                yield row
        if not num_rows and not self.num_skipped:
            found, fix = "the file has no intervals", "give another file"
            raise Line(self.path, 1, "").error("BED-11", found, "at least one line of a BED file", fix)
        if not num_rows:
            raise self.aliases.error("BED-06", str(self.path), columns[0])

    def notes(self) -> list[str]:
        """Sentences about skipped lines."""
        notes = []
        if self.num_headers:
            notes.append(f"BED-08 {self.path}: {self.num_headers} header lines skipped")
        if self.num_skipped:
            contigs = len(self.aliases.unknown)
            notes.append(f"BED-06 {self.path}: {self.num_skipped} lines on {contigs} other contigs skipped")
        if self.num_latin:
            notes.append(f"BED-23 {self.path}: {self.num_latin} lines are not UTF-8, read as Latin-1")
        return notes

    def _data_lines(self) -> Iterator[Line]:
        self.num_headers = self.num_latin = 0
        for line in read_lines(self.path, BED, self._on_read):
            if line.text.startswith("#") or line.text.split(maxsplit=1)[:1] in (["track"], ["browser"]):
                self.num_headers += 1
            elif line.text.strip():
                self.num_latin += not line.is_utf8
                yield line

    def _row(self, line: Line, columns: list[str]) -> BedRow | None:
        start, end = coordinate(line, columns[1]), coordinate(line, columns[2])
        if start >= end:
            fix = "remove the line, or swap them if they are reversed"
            raise line.error("BED-02", f"start {start} is not below end {end}", "start < end, half-open", fix)
        if len(columns) > 5 and columns[5] not in ("+", "-", "."):
            raise line.error("BED-09", f"strand {columns[5]!r} in column 6", "+, - or .", "correct column 6")
        if len(columns) == 12:
            check_blocks(line, columns, start, end)
        if self.kind == "narrowPeak":
            check_peak(line, columns, end - start)
        contig = self.aliases.find(columns[0])
        if contig is None:
            if not (self._skips_others and self.aliases.is_unknown(columns[0])):
                raise self.aliases.error("BED-06", f"{line.path}:{line.number}", columns[0])
            self.num_skipped += 1
            return None
        if end > contig.length:
            found = f"end {end} is past the end of `{columns[0]}`"
            fix = "check that the file was made for this assembly"
            raise line.error("BED-04", found, f"at most {contig.length}", fix)
        return BedRow(line, columns, contig, start, end)


def _name(row: BedRow) -> str:
    if len(row.columns) < 4 or not row.columns[3]:
        found = "the line has no name in column 4"
        raise row.line.error("BED-01", found, "at least four columns, the fourth a name", "add column 4")
    return row.columns[3]


def _value(row: BedRow, value: str, kind: BedKind) -> float:
    column = _PEAK_COLUMNS.get(value) if kind in ("narrowPeak", "broadPeak") else None
    if value == "score":
        column = 3 if kind == "bedGraph" else 4
    if column is None:
        return _keyed_value(row, value)
    if len(row.columns) <= column:
        found = f"the line has {len(row.columns)} columns"
        fix = "give a file with scores"
        raise row.line.error("BED-01", found, f"`{value}` in column {column + 1}", fix)
    return number(row.line, row.columns[column], f"in column {column + 1}")


def _keyed_value(row: BedRow, key: str) -> float:
    text = row.columns[3] if len(row.columns) > 3 else ""
    for part in text.replace(",", ";").split(";"):
        name, equals, digits = part.partition("=")
        if equals and name.strip() == key:
            return number(row.line, digits.strip(), f"of `{key}` in column 4")
    found = f"column 4 is {text!r}"
    fix = "name a key that it has, or `score` for column 5"
    raise row.line.error("BED-18", found, f"`{key}=` and a number in it", fix)


def read_bed(path: Path, store: GenomeStore, *, other_contigs: OtherContigs = "error") -> list[Interval]:
    """Read the intervals of a BED file of 3 to 12 columns, plain, gzip or bgzip, LF or CRLF.

    Args:
        path: the file; `track`, `browser`, `#` and blank lines are skipped.
        store: the genome the intervals must lie on; the file may name contigs by aliases.
        other_contigs: whether a contig that the genome lacks is an error or skipped.

    Returns:
        The intervals in the order of the file, contigs named as in the genome.

    Raises:
        DataError: BED-01 to BED-23, naming the line (see `annotations.bed`).
    """
    reader = BedReader(path, store, other_contigs=other_contigs)
    return [Interval(row.contig.name, row.start, row.end) for row in reader]


def flat_intervals(intervals: Sequence[Interval], store: GenomeStore) -> Intervals:
    """Intervals of contigs as (R, 2) flat ones, in the same order."""
    offsets = {contig.name: contig.offset for contig in store.contigs}
    rows = [(offsets[i.contig] + i.start, offsets[i.contig] + i.end) for i in intervals]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def check_disjoint(train: Sequence[Interval], test: Sequence[Interval], *, where: str) -> None:
    """Make sure that no base lies in both sets.

    Args:
        train: intervals of one side.
        test: of the other.
        where: the file or config key that gave them, for the error.

    Raises:
        DataError: BED-15, with the number of test intervals that overlap and the first pair.
    """
    merged = {
        contig: merge(np.array([(i.start, i.end) for i in train if i.contig == contig]))
        for contig in {interval.contig for interval in train}
    }
    pairs = []
    for interval in test:
        rows = merged.get(interval.contig, np.empty((0, 2), dtype=np.int64))
        next_row = int(np.searchsorted(rows[:, 1], interval.start, side="right"))
        if next_row < len(rows) and rows[next_row, 0] < interval.end:
            pairs.append((interval, Interval(interval.contig, *rows[next_row].tolist())))
    if pairs:
        first, region = pairs[0]
        raise DataError(
            "BED-15",
            where=where,
            found=f"{len(pairs)} of {len(test)} test intervals overlap training, first {first} on {region}",
            expected="no base in both",
            fix="remove them from one side, or split by contig",
        )
