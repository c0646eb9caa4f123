"""What a line of BED, peaks or bedGraph must be: columns, coordinates, blocks, peaks, numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from dnalm.genome.text import Line

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
