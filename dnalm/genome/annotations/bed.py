"""BED of 3 to 12 columns, narrowPeak, broadPeak and bedGraph, checked line by line.

Header lines (`track`, `browser`, `#`) and blank lines are skipped and counted, CRLF is accepted, an interval
that stands twice is noted. Codes of errors: BED-01 columns, 02 start >= end, 03 negative, 04 past the
contig, 05 not a whole number, 06 unknown contig, 07 spaces, 09 strand, 10 another number of columns, 11
empty, 13 too large, 16 blocks of BED12, 17 no number, 18 no such key in column 4, 19 peak columns, 20 to 22
damaged compression, 23 not text.

Formats: https://genome.ucsc.edu/FAQ/FAQformat.html; columns 4 and up may hold other things than BED's in
files of fewer than 12, so only what is asked for is checked there, and the strand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dnalm.genome.annotations.interval_table import IntervalTable, OtherContigs, TableBuilder, duplicates
from dnalm.genome.annotations.text_lines import BED, Line, OnRead, read_lines
from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.manifest import Contig
from dnalm.genome.store import GenomeStore

BedKind = Literal["bed", "narrowPeak", "broadPeak", "bedGraph"]
_COORDINATE_LIMIT = 1 << 31
_SUFFIXES: dict[str, BedKind] = {
    ".narrowpeak": "narrowPeak", ".broadpeak": "broadPeak", ".bedgraph": "bedGraph", ".bdg": "bedGraph",
    ".bg": "bedGraph",
}  # fmt: skip
_EXACT_COLUMNS = {"narrowPeak": 10, "broadPeak": 9, "bedGraph": 4}
_PEAK_COLUMNS = {"signalValue": 6, "pValue": 7, "qValue": 8}


@dataclass(frozen=True, slots=True)
class BedRow:
    """An interval of a line, in the contig's coordinates."""

    line: Line
    columns: list[str]
    contig: Contig
    start: int
    end: int


def bed_kind(path: Path) -> BedKind:
    """Which of the formats a file is, by its suffix; .gz and .bgz are passed over."""
    name = path.name.lower().removesuffix(".gz").removesuffix(".bgz")
    return _SUFFIXES.get(Path(name).suffix, "bed")


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
        self._store, self._skips_others = store, other_contigs == "skip"
        self.num_headers = self.num_skipped = 0
        names = (line.text.split("\t", 1)[0] for line in self._data_lines())
        self.aliases = ContigAliases(store, names)

    def __iter__(self) -> Iterator[BedRow]:
        self.num_headers = self.num_skipped = num_rows = width = 0
        for line in self._data_lines():
            columns = line.text.split("\t")
            _check_width(line, columns, width, self.kind)
            width = len(columns)
            row = self._row(line, columns)
            if row:
                num_rows += 1
                yield row
        if not num_rows and not self.num_skipped:
            raise BED.empty_error(self.path)
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
        return notes

    def _data_lines(self) -> Iterator[Line]:
        self.num_headers = 0
        for line in read_lines(self.path, BED, self._on_read):
            if line.text.startswith(("#", "track ", "track\t", "browser ", "browser\t")):
                self.num_headers += 1
            elif line.text.strip():
                yield line

    def _row(self, line: Line, columns: list[str]) -> BedRow | None:
        start, end = _coordinate(line, columns[1]), _coordinate(line, columns[2])
        if start >= end:
            fix = "remove the line, or swap them if they are reversed"
            raise line.error("BED-02", f"start {start} is not below end {end}", "start < end, half-open", fix)
        if len(columns) > 5 and columns[5] not in ("+", "-", "."):
            raise line.error("BED-09", f"strand {columns[5]!r} in column 6", "+, - or .", "correct column 6")
        if len(columns) == 12:
            _check_blocks(line, columns, start, end)
        if self.kind == "narrowPeak":
            _check_peak(line, columns, end - start)
        contig = self.aliases.find(columns[0])
        if contig is None:
            if not self._skips_others:
                raise self.aliases.error("BED-06", f"{line.path}:{line.number}", columns[0])
            self.num_skipped += 1
            return None
        if end > contig.length:
            found = f"end {end} is past the end of `{columns[0]}`"
            fix = "check that the file was made for this assembly"
            raise line.error("BED-04", found, f"at most {contig.length}", fix)
        return BedRow(line, columns, contig, start, end)


def _check_width(line: Line, columns: list[str], before: int, kind: BedKind) -> None:
    exact = _EXACT_COLUMNS.get(kind)
    if len(columns) < 3:
        rule = "contig, start and end separated by tabs"
        if len(line.text.split()) >= 3:
            found = "the columns are separated by spaces"
            raise line.error("BED-07", found, rule, "replace the spaces by tabs")
        found = f"the line has {len(columns)} column{'s' if len(columns) > 1 else ''}"
        raise line.error("BED-01", found, rule, "give BED with three or more columns")
    if before and len(columns) != before:
        found = f"the line has {len(columns)} columns"
        fix = "complete the line, or split the file"
        raise line.error("BED-10", found, f"{before}, as the lines before", fix)
    if exact and len(columns) != exact:
        found = f"the line has {len(columns)} columns"
        raise line.error("BED-19", found, f"{exact} columns of {kind}", "give the file its right suffix")
    if len(columns) > 12:
        fix = "cut the columns after the twelfth"
        raise line.error("BED-01", f"the line has {len(columns)} columns", "3 to 12 columns of BED", fix)


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


def _check_peak(line: Line, columns: list[str], length: int) -> None:
    peak = columns[9]
    if peak != "-1" and not _coordinate(line, peak) < length:
        found, rule = f"peak {peak} in column 10", f"-1, or an offset below the length {length}"
        raise line.error("BED-19", found, rule, "correct column 10")


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
    return _number(row.line, row.columns[column], f"in column {column + 1}")


def _keyed_value(row: BedRow, key: str) -> float:
    text = row.columns[3] if len(row.columns) > 3 else ""
    for part in text.replace(",", ";").split(";"):
        name, equals, number = part.partition("=")
        if equals and name.strip() == key:
            return _number(row.line, number.strip(), f"of `{key}` in column 4")
    found = f"column 4 is {text!r}"
    fix = "name a key that it has, or `score` for column 5"
    raise row.line.error("BED-18", found, f"`{key}=` and a number in it", fix)


def _number(line: Line, text: str, place: str) -> float:
    if text == ".":
        return math.nan
    try:
        number = float(text.replace("_", "?"))
    except ValueError:
        fix = "correct it, or write `.` where there is none"
        raise line.error("BED-17", f"{text!r} {place} is not a number", "a decimal number", fix) from None
    if math.isinf(number) or abs(number) > 3e38:
        fix = "write nan or remove the line where there is no value"
        raise line.error("BED-17", f"{text!r} {place} is not finite", "a finite number of 32 bits", fix)
    return number
