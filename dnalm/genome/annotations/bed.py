"""BED of 3 columns and more, narrowPeak, broadPeak and bedGraph, checked line by line.

Header lines (`track`, `browser`, `#`) and blank lines are skipped and counted, CRLF is accepted, an interval
that stands twice is noted; columns are separated by tabs, or by spaces on a line without tabs. Codes of
errors: BED-01 columns, 02 start >= end, 03 negative, 04 past the contig, 05 not a whole number, 06 unknown
contig, 09 strand, 10 another number of columns, 11 empty, 13 too large, 16 blocks of BED12, 17 no number, 18
no such key in column 4, 19 peak columns, 20 to 22 damaged compression, 23 not text, 25 a line too long.

Formats: https://genome.ucsc.edu/FAQ/FAQformat.html; columns 4 and up may hold other things than BED's in
files of other than 12, so only what is asked for is checked there, and the strand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dnalm.genome.annotations.bed_checks import (
    BedKind,
    bed_kind,
    check_blocks,
    check_peak,
    check_width,
    coordinate,
    number,
    split_columns,
)
from dnalm.genome.annotations.interval_table import IntervalTable, OtherContigs, TableBuilder, duplicates
from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.manifest import Contig
from dnalm.genome.store import GenomeStore
from dnalm.genome.text import BED, Line, OnRead, read_lines

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
