"""The `.fai` index that may lie beside a FASTA file.

Nothing here reads through an index; but one that does not fit betrays that the FASTA was replaced or
cut after it was made, and other programs would then read wrong bases from it without a word.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dnalm.errors import DataError
from dnalm.genome.text import FAIDX, read_lines

_FIX = "delete the index or make it anew with `samtools faidx`"


class IndexEntry(NamedTuple):
    """One line of a `.fai`.

    Attributes:
        name: the record's name.
        length: its bases.
        offset: byte of the decompressed text where its sequence starts.
        line_bases: letters a line.
        line_bytes: bytes a line, its ending included.
    """

    name: str
    length: int
    offset: int
    line_bases: int
    line_bytes: int


def index_path(fasta: Path) -> Path:
    """Where the index of a FASTA file would lie."""
    return fasta.with_name(fasta.name + ".fai")


def read_index(path: Path) -> list[IndexEntry]:
    """Read a `.fai`.

    Raises:
        DataError: FASTA-25, FASTA-26; a line has other than five columns, or numbers that cannot be.
    """
    entries = []
    for _, number, line, _ in read_lines(path, FAIDX):
        columns = line.split("\t")
        if len(columns) != 5:
            found = f"index line {number} has {len(columns)} column{'s' if len(columns) > 1 else ''}"
            raise _error("FASTA-26", path, number, found, "expected 5 columns separated by tabs")
        try:
            length, offset, line_bases, line_bytes = (int(column) for column in columns[1:])
        except ValueError:
            length = offset = line_bases = line_bytes = -1
        if length < 1 or offset < 1 or line_bases < 1 or line_bytes < line_bases:
            rule = "columns 2 to 5 are positive whole numbers"
            raise _error("FASTA-25", path, number, f"invalid index line {number}, {line!r}", rule)
        entries.append(IndexEntry(columns[0], length, offset, line_bases, line_bytes))
    return entries


def check_index(path: Path, index: list[IndexEntry], actual: list[IndexEntry], text_bytes: int) -> None:
    """Compare an index with what was read from its FASTA.

    Args:
        path: the index.
        index: its entries.
        actual: the entries it should have, of which there is at least one.
        text_bytes: length of the decompressed text.

    Raises:
        DataError: FASTA-23, FASTA-24; it belongs to another file.
    """
    for number, entry in enumerate(index, start=1):
        last_line, column = divmod(entry.length - 1, entry.line_bases)
        end = entry.offset + last_line * entry.line_bytes + column + 1
        if end > text_bytes:
            found = f"index entry {entry.name} ends past the end of the file (byte {end} of {text_bytes})"
            raise _error("FASTA-24", path, number, found, "entries lie within the file")
    for number, (entry, truth) in enumerate(zip(index, actual, strict=False), start=1):
        one_line = truth.length <= truth.line_bases  # its line length does not matter, and tools differ
        if entry[: 3 if one_line else 5] != truth[: 3 if one_line else 5]:
            found = f"the index does not belong to this file: {_spell(entry)}"
            raise _error("FASTA-23", path, number, found, f"the file has {_spell(truth)}")
    if len(index) != len(actual):
        found = f"the index does not belong to this file: it has {len(index)} records"
        raise _error("FASTA-23", path, min(len(index), len(actual)) + 1, found, f"the file has {len(actual)}")


def _spell(entry: IndexEntry) -> str:
    return (
        f"`{entry.name}` of {entry.length} bases at byte {entry.offset}, "
        f"lines of {entry.line_bases} letters, {entry.line_bytes} bytes"
    )


def _error(code: str, path: Path, line: int, found: str, expected: str) -> DataError:
    return DataError(code, where=f"{path}:{line}", found=found, expected=expected, fix=_FIX)
