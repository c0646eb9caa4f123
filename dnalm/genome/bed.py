"""BED of 3 columns and more, narrowPeak, broadPeak and bedGraph, checked line by line.

`AnnotationReader` is what the readers of BED and of GFF share. Lines are checked one by one and not as arrays
of columns, so that the error is about the first faulty line, whichever rule it breaks.

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
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.intervals import Intervals
from dnalm.genome.store import Contig, GenomeStore
from dnalm.genome.text import BED, Line, OnRead, TextFormat, read_lines

BedKind = Literal["bed", "narrowPeak", "broadPeak", "bedGraph"]
OtherContigs = Literal["error", "skip"]
Row = TypeVar("Row")
_SUFFIXES: dict[str, BedKind] = {
    ".narrowpeak": "narrowPeak", ".broadpeak": "broadPeak", ".bedgraph": "bedGraph", ".bdg": "bedGraph",
    ".bg": "bedGraph",
}  # fmt: skip
_EXACT_COLUMNS = {"narrowPeak": 10, "broadPeak": 9, "bedGraph": 4}
_PEAK_COLUMNS = {"signalValue": 6, "pValue": 7, "qValue": 8}
_COORDINATE_LIMIT = 1 << 31


@dataclass(frozen=True, kw_only=True)
class IntervalTable:
    """The rows of a file, as columns.

    Attributes:
        path: the file.
        intervals: (R, 2) int64 flat half-open intervals in the order of the file.
        names: (R,) int32 index into `vocabulary`; all 0 if the file was read without names.
        vocabulary: the distinct names in the order of the file; empty without names.
        values: (R,) float32, NaN where the file has `.` or `nan`; all NaN if read without values.
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


def read_bed_table(
    path: Path,
    store: GenomeStore,
    *,
    value: str | None = None,
    names: bool = False,
    other_contigs: OtherContigs | None = "error",
    on_read: OnRead | None = None,
) -> IntervalTable:
    """Read BED, narrowPeak, broadPeak or bedGraph.

    Args:
        path: the file, and further arguments as of `AnnotationReader`.
        store: the genome.
        value: the number to read: `score` (column 5; of bedGraph, column 4), `signalValue`, `pValue` or
            `qValue` of peaks, or any key of column 4 written `key=number`. `.` and `nan` are missing.
        names: read column 4 as a name; it must be there.
        other_contigs: see there.
        on_read: see there.

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
    return reader.table(rows, duplicates="BED-14")


class AnnotationReader(ABC, Generic[Row]):
    """Iterates over the rows of a file of intervals, and afterwards knows what it skipped.

    Args:
        path: plain, gzip or bgzip; its suffix says the format.
        store: the genome the intervals must lie on; contig names may be aliases.
        other_contigs: whether a contig that the genome lacks is an error or skipped and counted; None is an
            error that names no such key, for callers without one.
        on_read: called with every piece of the file, which is read twice, for progress.

    Raises:
        DataError: the codes of the format, naming the line.
    """

    text_format: ClassVar[TextFormat]
    contig_code: ClassVar[str]  # of an unknown contig
    nouns: ClassVar[tuple[str, str]]  # what messages call rows: of an empty file, of skipped ones
    aliases: ContigAliases

    def __init__(
        self,
        path: Path,
        store: GenomeStore,
        *,
        other_contigs: OtherContigs | None = "error",
        on_read: OnRead | None = None,
    ) -> None:
        self.path, self._on_read = Path(path), on_read
        self._skips_others, self._has_key = other_contigs == "skip", other_contigs is not None
        self.num_skipped = self._num_latin = 0
        self._skipped_name = ""
        self._survey(store)

    def __iter__(self) -> Iterator[Row]:
        self.num_skipped = self._num_latin = num_rows = 0
        for line, columns in self._data_lines():
            self._num_latin += not line.is_utf8
            row = self._row(line, columns)
            if row is not None:
                num_rows += 1
                yield row
        if num_rows:
            return
        if self.num_skipped:
            raise self.aliases.error(self.contig_code, str(self.path), self._skipped_name)
        found, expected = (
            f"the file has no {self.nouns[0]}",
            f"at least one line of a {self.text_format.name}",
        )
        raise Line(self.path, 1, "").error(self.text_format.unreadable, found, expected, "give another file")

    @abstractmethod
    def _survey(self, store: GenomeStore) -> None:
        """Read the file once, for what has to be known before the first row, such as `aliases`."""

    @abstractmethod
    def _data_lines(self) -> Iterator[tuple[Line, list[str]]]:
        """The lines that hold rows, with their columns."""

    @abstractmethod
    def _row(self, line: Line, columns: list[str]) -> Row | None:
        """The row of a line, checked; None where its contig is skipped."""

    def _find_contig(self, line: Line, name: str) -> Contig | None:
        """The contig of a row; None where it is skipped."""
        contig = self.aliases.find(name)
        if contig is None:
            if not (self._skips_others and self.aliases.is_unknown(name)):
                where = f"{line.path}:{line.number}"
                raise self.aliases.error(self.contig_code, where, name, can_skip=self._has_key)
            self.num_skipped += 1
            self._skipped_name = name
        return contig

    def notes(self) -> list[str]:
        """Sentences about what was skipped or looks odd."""
        notes = []
        if self.num_skipped:
            skipped, contigs = f"{self.num_skipped} {self.nouns[1]}", len(self.aliases.unknown)
            notes.append(f"{self.contig_code} {self.path}: {skipped} on {contigs} other contigs skipped")
        if self._num_latin:
            code = self.text_format.not_text
            notes.append(f"{code} {self.path}: {self._num_latin} lines are not UTF-8, read as Latin-1")
        return notes

    def table(
        self, rows: Iterable[tuple[int, int, int, str | None, float]], *, duplicates: str | None = None
    ) -> IntervalTable:
        """Collect rows as they are read, in 32 bytes each.

        Args:
            rows: flat start, flat end, line, name or None, value.
            duplicates: code of a note about intervals that repeat an earlier one with its name; none if None.
        """
        vocabulary: dict[str, int] = {}
        numbered = (
            (start, end, line, 0 if name is None else vocabulary.setdefault(name, len(vocabulary)), value)
            for start, end, line, name, value in rows
        )
        dtype = [("start", "i8"), ("end", "i8"), ("line", "i8"), ("name", "i4"), ("value", "f4")]
        table = np.fromiter(numbered, dtype=dtype)
        notes = self.notes()
        if duplicates:
            order = np.lexsort((table["name"], table["end"], table["start"]))
            keys = np.column_stack([table[key][order] for key in ("start", "end", "name")])
            repeats = np.flatnonzero((keys[1:] == keys[:-1]).all(axis=1))
            if repeats.size:
                first, second = table["line"][order[repeats[0] : repeats[0] + 2]].tolist()
                notes.append(
                    f"{duplicates} {self.path}:{second}: the interval is on line {first} too; "
                    f"{repeats.size} such lines in all"
                )
        contigs = {contig: self.aliases.find(name) for name, contig in self.aliases.table.items()}
        return IntervalTable(
            path=self.path,
            intervals=np.column_stack([table["start"], table["end"]]),
            names=table["name"].copy(),
            vocabulary=tuple(vocabulary),
            values=table["value"].copy(),
            lines=table["line"].copy(),
            contigs={name: contig for name, contig in contigs.items() if contig},
            aliases=self.aliases.table,
            notes=tuple(notes),
        )


class BedReader(AnnotationReader[BedRow]):
    """Iterates over the rows of BED, narrowPeak, broadPeak or bedGraph (BED-01 to BED-25)."""

    text_format, contig_code, nouns = BED, "BED-06", ("intervals", "lines")

    def _survey(self, store: GenomeStore) -> None:
        self.kind = bed_kind(self.path)
        self.aliases = ContigAliases(store, (columns[0] for _, columns in self._data_lines()))

    def notes(self) -> list[str]:
        """Sentences about what was skipped."""
        headers = [f"BED-08 {self.path}: {self.num_headers} header lines skipped"] if self.num_headers else []
        return headers + super().notes()

    def _data_lines(self) -> Iterator[tuple[Line, list[str]]]:
        """Columns are cut at tabs; at runs of spaces where a line has no tab."""
        self.num_headers, self._width = 0, 0
        for line in read_lines(self.path, self.text_format, self._on_read):
            if line.text.startswith("#") or line.text.split(maxsplit=1)[:1] in (["track"], ["browser"]):
                self.num_headers += 1
            elif line.text.strip():
                yield line, line.text.split("\t") if "\t" in line.text else line.text.split()

    def _row(self, line: Line, columns: list[str]) -> BedRow | None:
        _check_width(line, len(columns), self._width, self.kind)
        self._width = len(columns)
        start, end = _coordinate(line, columns[1]), _coordinate(line, columns[2])
        if start >= end:
            fix = "remove the line, or swap them if they are reversed"
            raise line.error("BED-02", f"start {start} is not below end {end}", "start < end, half-open", fix)
        if len(columns) > 5 and columns[5] not in ("+", "-", "."):
            raise line.error("BED-09", f"strand {columns[5]!r} in column 6", "+, - or .", "correct column 6")
        if len(columns) == 12:
            _check_blocks(line, columns, start, end)
        if self.kind == "narrowPeak" and columns[9] != "-1" and _coordinate(line, columns[9]) >= end - start:
            found = f"peak {columns[9]} in column 10"
            rule = f"-1, or an offset below the length {end - start}"
            raise line.error("BED-19", found, rule, "correct column 10")
        contig = self._find_contig(line, columns[0])
        if contig is None:
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
