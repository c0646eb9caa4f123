"""BED of 3 columns and more, narrowPeak, broadPeak and bedGraph, checked line by line.

Header lines (`track`, `browser`, `#`) and blank lines are skipped and counted, CRLF is accepted, an interval
that occurs twice is noted; columns are separated by tabs, or by spaces on a line without tabs. Columns 4 and
up may hold other things than BED's in files of other than 12, so only what is asked for is checked there, and
the strand.

Codes of errors: BED-01 columns, 02 start >= end, 03 negative, 04 past the contig, 05 not a whole number, 06
unknown contig, 09 strand, 10 another number of columns, 11 empty, 13 too large, 16 blocks of BED12, 17 no
number, 18 no such key in column 4, 19 peak columns, 20 to 22 damaged compression, 23 not text, 25 a line too
long.

Formats: https://genome.ucsc.edu/FAQ/FAQformat.html
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.intervals import Interval, Intervals
from dnalm.genome.store import Contig, GenomeStore
from dnalm.genome.text import BED, Line, OnRead, read_lines

BedKind = Literal["bed", "narrowPeak", "broadPeak", "bedGraph"]
OtherContigs = Literal["error", "skip"]
_SUFFIXES: dict[str, BedKind] = {
    ".narrowpeak": "narrowPeak", ".broadpeak": "broadPeak", ".bedgraph": "bedGraph", ".bdg": "bedGraph",
    ".bg": "bedGraph",
}  # fmt: skip
_EXACT_COLUMNS = {"narrowPeak": 10, "broadPeak": 9, "bedGraph": 4}
_PEAK_COLUMNS = {"signalValue": 6, "pValue": 7, "qValue": 8}
_COORDINATE_LIMIT = 1 << 31


@dataclass(frozen=True, kw_only=True)
class IntervalTable:
    """What a file says.

    Attributes:
        path: the file.
        intervals: (R, 2) int64 flat half-open intervals in the order of the file.
        names: (R,) int32 index into `vocabulary`; all 0 if the file was read without names.
        vocabulary: the distinct names in the order of the file; empty without names.
        values: (R,) float32, NaN where the file says that there is none; all NaN if read without values.
        lines: (R,) int64 line of each interval, from 1.
        contigs: those that the file names, by name.
        aliases: the genome's name of every name of the file.
        notes: sentences about what was skipped or looks odd, for the user.
    """

    path: Path
    intervals: Intervals
    names: npt.NDArray[np.int32]
    vocabulary: tuple[str, ...]
    values: npt.NDArray[np.float32]
    lines: npt.NDArray[np.int64]
    contigs: dict[str, Contig]
    aliases: Mapping[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
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


def bed_kind(path: Path) -> BedKind:
    """Which of the formats a file is, by its suffix; .gz and .bgz are passed over."""
    name = path.name.lower().removesuffix(".gz").removesuffix(".bgz")
    return _SUFFIXES.get(Path(name).suffix, "bed")


def read_bed(path: Path, store: GenomeStore, *, other_contigs: OtherContigs = "error") -> list[Interval]:
    """The intervals of a file, as `read_bed_table` reads them, with contigs named as in the genome."""
    reader = BedReader(path, store, other_contigs=other_contigs)
    return [Interval(row.contig.name, row.start, row.end) for row in reader]


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
        path: BED, narrowPeak, broadPeak or bedGraph, distinguished by suffix; plain, gzip or bgzip.
        store: the genome the intervals must lie on; contig names may be aliases.
        value: the number to read: `score` (column 5; of bedGraph, column 4), `signalValue`, `pValue` or
            `qValue` of peaks, or any key of column 4 written `key=number`. `.` and `nan` are missing.
        names: read column 4 as a name; it must be there.
        other_contigs: whether a contig that the genome lacks is an error or skipped and counted.
        on_read: called with every piece of the file, which is read twice, for progress.

    Returns:
        The intervals in the order of the file.

    Raises:
        DataError: BED-01 to BED-25, naming the line.
    """
    reader = BedReader(path, store, other_contigs=other_contigs, on_read=on_read)
    rows = (
        (
            row.contig.offset + row.start,
            row.contig.offset + row.end,
            row.line.number,
            _name(row) if names else None,
            _value(row, value, reader.kind) if value else math.nan,
        )
        for row in reader
    )
    return make_table(rows, path=path, aliases=reader.aliases, notes=reader.notes, duplicates="BED-14")


def make_table(
    rows: Iterable[tuple[int, int, int, str | None, float]],
    *,
    path: Path,
    aliases: ContigAliases,
    notes: Callable[[], list[str]],
    duplicates: str | None = None,
) -> IntervalTable:
    """Collect rows as they are read, in 32 bytes each.

    Args:
        rows: flat start, flat end, line, name or None, value.
        path: their file.
        aliases: its contigs.
        notes: called after the last row.
        duplicates: code of a note about intervals that repeat an earlier one with its name; none if None.
    """
    vocabulary: dict[str, int] = {}
    numbered = (
        (start, end, line, 0 if name is None else vocabulary.setdefault(name, len(vocabulary)), value)
        for start, end, line, name, value in rows
    )
    dtype = [("start", "i8"), ("end", "i8"), ("line", "i8"), ("name", "i4"), ("value", "f4")]
    table = np.fromiter(numbered, dtype=dtype)
    said = notes()
    if duplicates:
        order = np.lexsort((table["name"], table["end"], table["start"]))
        keys = np.column_stack([table[key][order] for key in ("start", "end", "name")])
        repeats = np.flatnonzero((keys[1:] == keys[:-1]).all(axis=1))
        if repeats.size:
            first, second = table["line"][order[repeats[0] : repeats[0] + 2]].tolist()
            said.append(
                f"{duplicates} {path}:{second}: the interval is on line {first} too; "
                f"{repeats.size} such lines in all"
            )
    contigs = {contig: aliases.find(name) for name, contig in aliases.table.items()}
    return IntervalTable(
        path=path,
        intervals=np.column_stack([table["start"], table["end"]]),
        names=table["name"].copy(),
        vocabulary=tuple(vocabulary),
        values=table["value"].copy(),
        lines=table["line"].copy(),
        contigs={name: contig for name, contig in contigs.items() if contig},
        aliases=aliases.table,
        notes=tuple(said),
    )


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
        self.aliases = ContigAliases(store, (columns[0] for _, columns in self._data_lines()))

    def __iter__(self) -> Iterator[BedRow]:
        self.num_skipped = num_rows = width = 0
        for line, columns in self._data_lines():
            _check_width(line, len(columns), width, self.kind)
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

    def _data_lines(self) -> Iterator[tuple[Line, list[str]]]:
        """Lines with their columns, at tabs; at runs of spaces where a line has no tab."""
        self.num_headers = self.num_latin = 0
        for line in read_lines(self.path, BED, self._on_read):
            if line.text.startswith("#") or line.text.split(maxsplit=1)[:1] in (["track"], ["browser"]):
                self.num_headers += 1
            elif line.text.strip():
                self.num_latin += not line.is_utf8
                yield line, line.text.split("\t") if "\t" in line.text else line.text.split()

    def _row(self, line: Line, columns: list[str]) -> BedRow | None:
        start, end = _coordinate(line, columns[1]), _coordinate(line, columns[2])
        if start >= end:
            fix = "remove the line, or swap them if they are reversed"
            raise line.error("BED-02", f"start {start} is not below end {end}", "start < end, half-open", fix)
        if len(columns) > 5 and columns[5] not in ("+", "-", "."):
            raise line.error("BED-09", f"strand {columns[5]!r} in column 6", "+, - or .", "correct column 6")
        if len(columns) == 12:
            _check_blocks(line, columns, start, end)
        if self.kind == "narrowPeak" and columns[9] != "-1" and _coordinate(line, columns[9]) >= end - start:
            found, rule = (
                f"peak {columns[9]} in column 10",
                f"-1, or an offset below the length {end - start}",
            )
            raise line.error("BED-19", found, rule, "correct column 10")
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
        return BedRow(line=line, columns=columns, contig=contig, start=start, end=end)


def _check_width(line: Line, width: int, before: int, kind: BedKind) -> None:
    """Check the number of columns; `before` is that of the line before, 0 for the first."""
    found, exact = f"the line has {width} column{'s' if width > 1 else ''}", _EXACT_COLUMNS.get(kind)
    if width < 3:
        rule = "contig, start and end separated by tabs"
        raise line.error("BED-01", found, rule, "give BED with three or more columns")
    if before and width != before:
        fix = "complete the line, or split the file"
        raise line.error("BED-10", found, f"{before}, as the lines before", fix)
    if exact and width != exact:
        raise line.error("BED-19", found, f"{exact} columns of {kind}", "give the file its right suffix")


def _coordinate(line: Line, text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()):
        rule = "a whole number in plain digits, 0-based"
        raise line.error("BED-05", f"{text!r} is not a whole number", rule, f"correct {text!r}")
    if text.startswith("-"):
        raise line.error("BED-03", f"coordinate {text} is negative", "positions count from 0", "correct it")
    if len(digits) > 10 or int(digits) >= _COORDINATE_LIMIT:
        raise line.error("BED-13", f"coordinate {text} is 2^31 or more", "below 2^31", "correct it")
    return int(digits)


def _check_blocks(line: Line, columns: list[str], start: int, end: int) -> None:
    lists = [text.removesuffix(",").split(",") for text in columns[10:12]]
    sizes, starts = ([_coordinate(line, text) for text in texts] for texts in lists)
    count = _coordinate(line, columns[9])
    if not count == len(sizes) == len(starts):
        found = f"blockCount is {count}, with {len(sizes)} blockSizes and {len(starts)} blockStarts"
        raise line.error("BED-16", found, "as many sizes and starts as blocks", "correct columns 10 to 12")
    if starts[0] != 0 or start + starts[-1] + sizes[-1] != end:
        found = f"the blocks span {start + starts[0]} to {start + starts[-1] + sizes[-1]}"
        raise line.error("BED-16", found, f"{start} to {end}, as the line", "correct columns 10 to 12")


def _name(row: BedRow) -> str:
    if len(row.columns) < 4 or not row.columns[3]:
        found = "the line has no name in column 4"
        raise row.line.error("BED-01", found, "at least four columns, the fourth a name", "add column 4")
    return row.columns[3]


def _value(row: BedRow, value: str, kind: BedKind) -> float:
    column = _PEAK_COLUMNS.get(value) if kind in ("narrowPeak", "broadPeak") else None
    if value == "score":
        column = 3 if kind == "bedGraph" else 4
    if column is not None:
        if len(row.columns) <= column:
            found, fix = f"the line has {len(row.columns)} columns", "give a file with scores"
            raise row.line.error("BED-01", found, f"`{value}` in column {column + 1}", fix)
        return _number(row.line, row.columns[column], f"in column {column + 1}")
    text = row.columns[3] if len(row.columns) > 3 else ""
    for part in text.replace(",", ";").split(";"):
        name, equals, digits = part.partition("=")
        if equals and name.strip() == value:
            return _number(row.line, digits.strip(), f"of `{value}` in column 4")
    fix = "name a key that it has, or `score` for column 5"
    raise row.line.error("BED-18", f"column 4 is {text!r}", f"`{value}=` and a number in it", fix)


def _number(line: Line, text: str, place: str) -> float:
    """Read a value; NaN of `.` and `nan`."""
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


def flat_intervals(intervals: Sequence[Interval], store: GenomeStore) -> Intervals:
    """Intervals of contigs as (R, 2) flat ones, in the same order."""
    offsets = {contig.name: contig.offset for contig in store.contigs}
    rows = [(offsets[i.contig] + i.start, offsets[i.contig] + i.end) for i in intervals]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)
