"""Rows of sequence files, one at a time, for every command: CSV, TSV, JSON, Parquet, Arrow, FASTA, datasets.

The kind of a file is read off its content, and only where that does not tell off its name. Compression is
told by content too. FASTA holds labels in its headers: `>id label=1 …`, or `>id|1`. What is odd and changes
no value is counted in `Notes`; what is wrong is an error with file and line.
"""

from __future__ import annotations

import csv
import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from dnalm.data.labelled.dataset_rows import dataset_rows, is_hub_id, split_name
from dnalm.data.labelled.files import (
    LONGEST,
    NAMES,
    TABLE,
    TWICE,
    FileKind,
    Notes,
    Row,
    ending,
    file_kind,
    table_error,
)
from dnalm.data.labelled.json_rows import json_array, json_lines
from dnalm.errors import DataError, listed, shown
from dnalm.genome.text import Line, read_lines

_MARKS = ("\t", ",", ";", "|")
_BATCH_ROWS = 4096


@dataclass(frozen=True)
class Record:
    """One record of a FASTA file.

    Attributes:
        line: of its header, from 1.
        header: without `>`.
        sequence: its letters; of a record that is too long only one more than is allowed.
    """

    line: int
    header: str
    sequence: str

    @property
    def name(self) -> str:
        """The header up to the first white space."""
        return self.header.split(maxsplit=1)[0]


def read_rows(
    source: str, *, part: str, delimiter: str | None = None, notes: Notes | None = None
) -> Iterator[Row]:
    """Read a table.

    Args:
        source: a file; a folder that `datasets` has saved; or `owner/name` of the Hugging Face hub. What is
            there on disk comes before the hub. After a folder or hub id may stand `:<split>`.
        part: the split of a dataset that is meant where none is named.
        delimiter: what separates columns of a text table; found by the header if absent.
        notes: counts what is odd.

    Raises:
        DataError: CSV-02, 04, 07, 08, 11, 18, 19, or DSET-01.
    """
    path, notes = Path(source), Notes() if notes is None else notes
    if not path.is_file():
        if not (path.exists() or split_name(source)[0].is_dir() or is_hub_id(source, NAMES)):
            raise _no_such_file(path)
        yield from (Row(number, values) for number, values in dataset_rows(source, part))
        return
    kind = file_kind(path) or "delimited"
    if kind in ("delimited", "bed"):
        yield from _delimited(path, delimiter, notes)
    else:
        yield from _READERS[kind](path)


def read_records(path: Path, *, longest: int = LONGEST) -> Iterator[Record]:
    """Read a FASTA file; lines may be of any length, blank ones and those that begin with `;` are left out.

    Args:
        path: plain, gzip or bgzip.
        longest: letters of a record; of a longer one the first `longest + 1` are kept, so that it can be
            refused before the memory is full.

    Raises:
        DataError: CSV-02, text before the first header, or a header without a name; CSV-04, no record;
            CSV-07, 18, 19.
    """
    header: Line | None = None
    parts, length = list[str](), 0
    for line in read_lines(path, TABLE):
        text = line.text.strip()
        if text.startswith(">"):
            if header is not None:
                yield Record(header.number, header.text, "".join(parts))
            header, parts, length = _header_line(line, text), [], 0
        elif header is None and text and not text.startswith(";"):
            found = f"{shown(text)} before the first header"
            raise line.error("CSV-02", found, "a line with >", "write >name above it")
        elif text and not text.startswith(";") and length <= longest:
            parts.append(text[: longest + 1 - length])
            length += len(text)
    if header is None:
        raise table_error("CSV-04", path, "no record", "a FASTA file", "check how it was written")
    yield Record(header.number, header.text, "".join(parts))


def _no_such_file(path: Path) -> DataError:
    there = sorted(each.name for each in path.parent.iterdir()) if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, there, n=3)
    fix = (
        f"did you mean {' or '.join(str(path.parent / name) for name in near)}?"
        if near
        else "correct the path"
    )
    return table_error("CSV-04", path, "no such file", "a table, or a folder of a dataset", fix)


# Text tables


def _delimited(path: Path, delimiter: str | None, notes: Notes) -> Iterator[Row]:
    lines = read_lines(path, TABLE)
    first = _first_line(lines, notes)
    if first is None:
        raise table_error("CSV-04", path, "an empty file", "a header and rows", "check how it was written")
    mark = delimiter.replace("\\t", "\t") if delimiter else _mark(path, first.text, notes)
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST))  # of the whole process: it only grows
    texts = (f"{line.text}\n" for line in chain([first], lines))
    reader = csv.reader(texts, delimiter=mark, strict=True, skipinitialspace=True)
    header = _columns(first, reader, mark)
    twice = {name: TWICE for name, count in Counter(header).items() if name and count > 1}
    while True:
        line = first.number + reader.line_num
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise _broken_row(path, line, error, mark) from error
        if cells is None:
            return
        if first.number + reader.line_num > line + 1:
            _check_quoted(path, line, first.number + reader.line_num - 1, cells, header, mark)
        if not cells or not (cells[0].strip() or any(map(str.strip, cells))):
            notes["row{s} without any value {are} left out"] += len(cells) > 1
            continue
        if len(cells) != len(header):
            _check_width(path, line, cells, header)
            notes["row{s} {have} empty cells past the last column"] += 1
        values = dict(zip(header, cells, strict=False))
        yield Row(line, {**values, **twice} if twice else values)


def _first_line(lines: Iterator[Line], notes: Notes) -> Line | None:
    """The header, past blank lines and comments."""
    for line in lines:
        if line.text.startswith("#"):
            notes["comment line{s} above the header {are} left out"] += 1
        elif line.text.strip():
            return line
    return None


def _mark(path: Path, header: str, notes: Notes) -> str:
    """What separates columns: as the file's ending has it, or, where that is not in the header, what is."""
    usual = "," if ending(path) in (".csv", "") else "\t"
    others = [mark for mark in _MARKS if mark in header]
    if usual in header or not others:
        return usual
    mark = max(others, key=header.count)
    if ending(path) == ".csv" or mark != ",":
        notes[f"header line shows that columns are separated by {mark!r}"] += 1
    return mark


def _columns(first: Line, reader: Iterator[list[str]], mark: str) -> list[str]:
    try:
        header = [name.strip() for name in next(reader)]
    except csv.Error as error:
        raise _broken_row(first.path, first.number, error, mark) from error
    others = [other for other in _MARKS if other != mark and other in header[0]]
    if len(header) == 1 and others:
        found = f"one column, {shown(header[0])}"
        raise first.error("CSV-08", found, f"columns between {mark!r}", f"set task.delimiter={others[0]!r}")
    while len(header) > 1 and not header[-1]:
        header.pop()
    return header


def _broken_row(path: Path, line: int, error: csv.Error, mark: str) -> DataError:
    if "expected after" in str(error):
        found = f"text between a closing quote and the next {mark!r}"
        fix = 'write a quote inside a quoted cell twice, as ""'
        return table_error("CSV-02", f"{path}:{line}", found, "cells that are quoted as a whole", fix)
    found = f"a quote that opens a cell and is not closed in {LONGEST:,} characters or by the file's end"
    return table_error("CSV-11", f"{path}:{line}", found, "a closing quote", "close the quote, or remove it")


def _check_quoted(
    path: Path, line: int, last: int, cells: Sequence[str], header: Sequence[str], mark: str
) -> None:
    """Refuse a quoted cell over several lines that may have swallowed rows: it holds as many marks as one."""
    for cell in cells:
        if "\n" in cell and cell.count(mark) >= len(header) - 1:
            raise table_error(
                "CSV-11",
                f"{path}:{line}",
                f"a quoted cell that goes on to line {last} and has the marks of a whole row",
                "a quote that is closed in its own row",
                "close the quote, or remove it",
            )


def _check_width(path: Path, line: int, cells: Sequence[str], header: Sequence[str]) -> None:
    """Refuse a row that is too short, or that has values past the last column."""
    if len(cells) < len(header) or any(map(str.strip, cells[len(header) :])):
        fix = "write every field of the row, and quote those that hold the delimiter"
        if len(cells) == len(header) + 1:
            fix += "; R writes no name above its row names: set row.names=FALSE there"
        raise table_error(
            "CSV-02",
            f"{path}:{line}",
            f"{len(cells)} fields",
            f"{len(header)}, as the header has",
            fix,
        )


# Parquet, Arrow and FASTA


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet as pq

    def batches() -> Iterator[Any]:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        yield from file.iter_batches(batch_size=_BATCH_ROWS)

    yield from _columnar(path, batches)


def _arrow(path: Path) -> Iterator[Row]:
    import pyarrow as pa

    def batches() -> Iterator[Any]:
        with pa.memory_map(str(path)) as file, path.open("rb") as head:
            if head.read(6) == b"ARROW1":
                reader = pa.ipc.open_file(file)
                yield from map(reader.get_batch, range(reader.num_record_batches))
            else:
                yield from pa.ipc.open_stream(file)

    yield from _columnar(path, batches)


def _columnar(path: Path, batches: Callable[[], Iterator[Any]]) -> Iterator[Row]:
    import pyarrow as pa

    number = 0
    try:
        for batch in batches():
            names = Counter(batch.schema.names)
            twice = {name: TWICE for name, count in names.items() if count > 1}
            batch = batch.select(
                [place for place, name in enumerate(batch.schema.names) if name not in twice]
            )
            for start in range(0, len(batch), _BATCH_ROWS):
                for values in batch.slice(start, _BATCH_ROWS).to_pylist():
                    number += 1
                    yield Row(number, {**values, **twice})
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = listed([(str(error).splitlines() or [""])[0].rstrip(".")])
        found = f"it breaks off after row {number} ({reason})"
        raise table_error("CSV-02", path, found, "a whole Parquet or Arrow file", "copy it again") from error


def _fasta(path: Path) -> Iterator[Row]:
    for record in read_records(path):
        if len(record.sequence) > LONGEST:
            raise table_error(
                "CSV-19",
                f"{path}:{record.line}",
                f"a record of more than {LONGEST:,} letters",
                "sequences that a model can read",
                "cut it into windows",
            )
        yield Row(record.line, {**_header_values(record.header), "sequence": record.sequence})


def _header_line(line: Line, text: str) -> Line:
    header = text[1:].strip()
    if not header:
        raise line.error("CSV-02", "a header without a name", "a name after >", "give the record a name")
    return line._replace(text=header)


def _header_values(text: str) -> dict[str, str]:
    """`id label=1 split=x`, or `id|1|x`, whose second part is the label."""
    name, *words = text.split()
    values = dict(word.split("=", 1) for word in words if "=" in word)
    if "|" in name and not values:
        name, values["label"], *_ = name.split("|")
    return {"id": name, **values}


_READERS: dict[FileKind, Callable[[Path], Iterator[Row]]] = {
    "jsonl": json_lines,
    "array": json_array,
    "parquet": _parquet,
    "arrow": _arrow,
    "fasta": _fasta,
}
