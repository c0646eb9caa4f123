"""Rows of sequence files, one at a time, for every command: CSV, TSV, JSON, Parquet, Arrow, FASTA, datasets.

`read_rows` is the one way in. The kind of a file is recognised by its content, and only where that does not
decide by its name; compression likewise. FASTA holds labels in its headers: `>id label=1 …`, or `>id|1`.
Oddities that change no value are counted in `Notes`; anything wrong is an error with file and line.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import difflib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from dnalm.errors import DataError, listed, shown
from dnalm.genome.dataset_text import saved_rows, saved_splits
from dnalm.genome.text import CompressionCodes, Line, TextFormat, read_chunks, read_lines

FileKind = Literal["fasta", "bed", "delimited", "jsonl", "array", "parquet", "arrow", "folder"]
Notes = Counter[str]  # how often something odd was met, by the end of the sentence that says so
LONGEST = 1 << 24  # letters of a line, a quoted cell, a JSON object or a FASTA record
TABLE = TextFormat(
    name="table of sequences",
    unreadable="CSV-04",
    compression=CompressionCodes("CSV-18", "CSV-18", "CSV-18"),
    not_text="CSV-07",
    long_line="CSV-19",
    longest_line=LONGEST,
)
TWICE = object()  # stands in for the value of a column that is there twice
NAMES: dict[str, FileKind] = {
    **dict.fromkeys((".fa", ".fasta", ".fna", ".ffn", ".fas", ".frn"), "fasta"),
    **dict.fromkeys((".bed", ".narrowpeak", ".broadpeak"), "bed"),
    **dict.fromkeys((".csv", ".tsv", ".tab", ".txt"), "delimited"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "jsonl"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".arrow", ".feather"), "arrow"),
}
_BEGINNINGS: dict[bytes, FileKind] = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\xff\xff\xff\xff": "arrow",  # a stream of record batches, as `datasets` writes
    b">": "fasta",
    b"[": "array",
    b"{": "jsonl",
}
_COMPRESSED = (".gz", ".bgz")
_HEAD_BYTES = 4096


@dataclass(frozen=True)
class Row:
    """One sequence with what belongs to it, as it stands in its file.

    Attributes:
        line: from 1; of JSON arrays, Parquet, Arrow and datasets the row, from 1.
        values: by column; `TWICE` of a column that the file has twice.
    """

    line: int
    values: Mapping[str, Any]


def read_rows(
    source: str, *, part: str, delimiter: str | None = None, notes: Notes | None = None
) -> Iterator[Row]:
    """Read a table.

    Args:
        source: a file; a folder that `datasets` has saved; or `owner/name` of the Hugging Face hub. What is
            there on disk comes before the hub. After a folder or hub id may stand `:<split>`.
        part: the split of a dataset that is meant where none is named.
        delimiter: what separates columns of a text table; found by the header if absent.
        notes: counts of oddities, which grow.

    Raises:
        DataError: CSV-02, 04, 07, 08, 11, 18, 19, or DSET-01.
    """
    path = Path(source)
    if path.is_file():
        reader = _READERS.get(file_kind(path) or "delimited")
        yield from (
            reader(path) if reader else _delimited(path, delimiter, Notes() if notes is None else notes)
        )
    elif path.exists() or split_name(source)[0].is_dir() or _is_hub_id(source):
        yield from _dataset(source, part)
    else:
        raise _no_such_file(path)


def _no_such_file(path: Path) -> DataError:
    there = sorted(each.name for each in path.parent.iterdir()) if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, there, n=3)
    fix = (
        f"did you mean {' or '.join(str(path.parent / name) for name in near)}?"
        if near
        else "correct the path"
    )
    return table_error("CSV-04", path, "no such file", "a table, or a folder of a dataset", fix)


def file_kind(path: Path) -> FileKind | None:
    """What a file holds: by its first letters, else by the end of its name; None where neither decides."""
    if path.is_dir():
        return "folder"
    head = b""
    if path.is_file():  # a pipe can be read only once
        with contextlib.suppress(OSError, DataError):  # whoever reads it says so
            head = next(read_chunks(path, chunk_bytes=_HEAD_BYTES, codes=TABLE.compression), b"")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    found = (kind for magic, kind in _BEGINNINGS.items() if text.startswith(magic))
    return next(found, None) or NAMES.get(ending(path))


def ending(path: Path) -> str:
    """The last part of a name in lower case, that of compression left out."""
    whole = Path(path.name.lower())
    return whole.with_suffix("").suffix if whole.suffix in _COMPRESSED else whole.suffix


def table_error(code: str, where: str | Path, found: str, expected: str, fix: str) -> DataError:
    """An error of a table."""
    return DataError(code, where=str(where), found=found, expected=expected, fix=fix)


def sentences(notes: Notes, source: str) -> list[str]:
    """What was odd in a source, a sentence each.

    Args:
        notes: how often; `{s}`, `{are}` and `{have}` in what is said agree with the count.
        source: where.
    """
    found = []
    for said, count in notes.items():
        for one, many in (("", "s"), ("is", "are"), ("has", "have")):
            said = said.replace(f"{{{many}}}", one if count == 1 else many)
        found += [f"{source}: {count:,} {said}"] if count else []
    return found


def _twice(names: Iterable[str]) -> dict[str, object]:
    """Columns whose names are there more than once."""
    return {name: TWICE for name, count in Counter(names).items() if count > 1}


# Text tables: CSV and TSV

_DELIMITERS = ("\t", ",", ";", "|")


def _delimited(path: Path, delimiter: str | None, notes: Notes) -> Iterator[Row]:
    lines = read_lines(path, TABLE)
    first = _first_line(lines, notes)
    if first is None:
        raise table_error("CSV-04", path, "an empty file", "a header and rows", "check how it was written")
    delimiter = delimiter.replace("\\t", "\t") if delimiter else _find_delimiter(path, first.text, notes)
    records = _records(first, lines, delimiter)
    header = _columns(first, next(records)[2], delimiter)
    twice = _twice(filter(None, header))
    for line, last, cells in records:
        if last > line:
            _check_quoted(f"{path}:{line}", last, cells, len(header), delimiter)
        if not any(map(str.strip, cells)):
            notes["row{s} without any value {are} left out"] += len(cells) > 1
            continue
        if len(cells) != len(header):
            _check_width(f"{path}:{line}", cells, len(header))
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


def _find_delimiter(path: Path, header: str, notes: Notes) -> str:
    """What separates columns: as the file's ending has it, or, where that is not in the header, what is."""
    usual = "," if ending(path) in (".csv", "") else "\t"
    others = [mark for mark in _DELIMITERS if mark in header]
    if usual in header or not others:
        return usual
    found = max(others, key=header.count)
    if ending(path) == ".csv" or found != ",":
        notes[f"header line shows that columns are separated by {found!r}"] += 1
    return found


def _records(first: Line, lines: Iterator[Line], delimiter: str) -> Iterator[tuple[int, int, list[str]]]:
    """The first and the last line of each record, and its cells; the header is the first."""
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST))  # of the whole process: it only grows
    texts = (f"{line.text}\n" for line in chain([first], lines))
    reader = csv.reader(texts, delimiter=delimiter, strict=True, skipinitialspace=True)
    line = first.number
    try:
        for cells in reader:
            yield line, first.number + reader.line_num - 1, cells
            line = first.number + reader.line_num
    except csv.Error as error:
        where = f"{first.path}:{line}"
        if "expected after" in str(error):
            found = f"text between a closing quote and the next {delimiter!r}"
            fix = 'write a quote inside a quoted cell twice, as ""'
            raise table_error("CSV-02", where, found, "cells that are quoted as a whole", fix) from error
        found = f"a quote that opens a cell and is not closed in {LONGEST:,} characters or by the file's end"
        fix = "close the quote, or remove it"
        raise table_error("CSV-11", where, found, "a closing quote", fix) from error


def _columns(first: Line, cells: list[str], delimiter: str) -> list[str]:
    header = [name.strip() for name in cells]
    others = [other for other in _DELIMITERS if other != delimiter and other in header[0]]
    if len(header) == 1 and others:
        found, expected = f"one column, {shown(header[0])}", f"columns between {delimiter!r}"
        raise first.error("CSV-08", found, expected, f"set task.delimiter={others[0]!r}")
    while len(header) > 1 and not header[-1]:
        header.pop()
    return header


def _check_quoted(where: str, last: int, cells: Sequence[str], width: int, delimiter: str) -> None:
    """Refuse a cell over several lines that may have swallowed rows: it has the delimiters of a whole one."""
    if any("\n" in cell and cell.count(delimiter) >= width - 1 for cell in cells):
        found = f"a quoted cell that runs to line {last} and holds the delimiters of a whole row"
        fix = "close the quote, or remove it"
        raise table_error("CSV-11", where, found, "a quote that is closed in its own row", fix)


def _check_width(where: str, cells: Sequence[str], width: int) -> None:
    """Refuse a row that is too short, or that has values past the last column."""
    if len(cells) < width or any(map(str.strip, cells[width:])):
        fix = "write every field of the row, and quote those that hold the delimiter"
        if len(cells) == width + 1:
            fix += "; R writes no name above its row names: set row.names=FALSE there"
        raise table_error("CSV-02", where, f"{len(cells)} fields", f"{width}, as the header has", fix)


# JSON: an object on each line, or an array of objects of any size, parsed one at a time

_EDGE = 16  # letters at the end of a buffer in which JSON may be torn
_LETTER = re.compile(r"\S")


def _json_lines(path: Path) -> Iterator[Row]:
    """The objects of JSONL."""
    expected, fix = "an object on each line", "write an object on each line, or an array of objects"
    for line in read_lines(path, TABLE):
        if not line.text.strip():
            continue
        try:
            values = _DECODER.decode(line.text)
        except (ValueError, RecursionError) as error:  # numbers of thousands of digits are a ValueError too
            raise line.error("CSV-02", f"no JSON object: {_reason(error)}", expected, fix) from error
        if not isinstance(values, dict):
            raise line.error("CSV-02", f"no JSON object: {shown(values)}", expected, fix)
        _check_text(line.text, values, f"{line.path}:{line.number}")
        if values and all(isinstance(value, dict) for value in values.values()):
            fix = "write rows, in pandas with orient='records', lines=True"
            raise line.error("CSV-02", "an object of columns", "an object for each row", fix)
        yield Row(line.number, values)


def _json_array(path: Path) -> Iterator[Row]:
    """The objects of an array, however long its lines are."""
    text = _ArrayText(path)
    text.skip("[")
    number = 0
    while not text.ends():
        if number:
            text.skip(",")
        number += 1
        values = text.value(number)
        if not isinstance(values, dict):
            found = f"item {number} is {shown(values)}"
            raise table_error("CSV-02", path, found, "an array of objects", "write an object for each row")
        yield Row(number, values)


class _ArrayText:
    """The text of a JSON array, of which never more than twice its longest item is held."""

    def __init__(self, path: Path) -> None:
        self._path = path
        chunks = read_chunks(path, codes=TABLE.compression, chunk_bytes=1 << 18)
        self._pieces = codecs.iterdecode(chunks, "utf-8-sig")
        self._text, self._place = "", 0

    def value(self, number: int) -> object:
        """The item that begins here."""
        while True:
            begin = self._place
            try:
                value, self._place = _DECODER.raw_decode(self._text, begin)
            except (ValueError, RecursionError) as error:
                if len(self._text) - begin > LONGEST:
                    found = f"item {number} has more than {LONGEST:,} characters"
                    expected, fix = "an object for each row", "check what the file is"
                    raise table_error("CSV-19", self._path, found, expected, fix) from error
                is_torn = isinstance(error, json.JSONDecodeError) and (
                    error.pos > len(self._text) - _EDGE or error.msg.startswith("Unterminated string")
                )
                if not is_torn or not self._read():
                    raise self._error(f"item {number} is no JSON: {_reason(error)}") from error
            else:
                _check_text(self._text[begin : self._place], value, f"{self._path}, item {number}")
                return value

    def skip(self, mark: str) -> None:
        """Go past a mark, which must be next, to the value behind it."""
        if self._next() != mark:
            rest = shown(self._text[self._place :]) if self._next() else "the end of the file"
            raise self._error(f"{rest} in place of {mark!r}")
        self._place += 1
        self._next()

    def ends(self) -> bool:
        """Whether the array ends here, and nothing follows."""
        if self._next() != "]":
            return False
        self._place += 1
        if self._next():
            raise self._error(f"{shown(self._text[self._place :])} after the array")
        return True

    def _next(self) -> str:
        """The next character that is no white space; nothing at the end."""
        while (found := _LETTER.search(self._text, self._place)) is None:
            self._place = len(self._text)
            if not self._read():
                return ""
        self._place = found.start()
        return found[0]

    def _read(self) -> bool:
        """Double the text that is held, so that a long item is parsed only few times."""
        self._text, self._place = self._text[self._place :], 0
        pieces, missing = [self._text], max(1, len(self._text))
        try:
            while missing > 0 and (piece := next(self._pieces, None)) is not None:
                pieces.append(piece)
                missing -= len(piece)
        except UnicodeDecodeError as error:
            found = f"bytes that are no text ({error.reason})"
            raise table_error("CSV-07", self._path, found, "UTF-8", "save it as UTF-8") from error
        self._text = "".join(pieces)
        return len(pieces) > 1

    def _error(self, found: str) -> DataError:
        expected, fix = "a whole array of objects", "copy the file again, or write an object on each line"
        return table_error("CSV-02", self._path, found, expected, fix)


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    return values if len(values) == len(pairs) else values | _twice(name for name, _ in pairs)


_DECODER = json.JSONDecoder(object_pairs_hook=_object_of)


def _check_text(text: str, value: object, where: str) -> None:
    """Refuse escapes that spell half of a letter, which no file could hold again."""
    if "\\ud" in text.lower():
        try:
            json.dumps(value, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError as error:
            found = f"{error.object[error.start]!r}, half of a surrogate pair"
            expected = "escapes that spell letters"
            raise table_error("CSV-07", where, found, expected, "correct the text") from error


def _reason(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


# Parquet and Arrow

_BATCH_ROWS = 4096


def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path, page_checksum_verification=True)
    yield from file.iter_batches(batch_size=_BATCH_ROWS)


def _arrow(path: Path) -> Iterator[Any]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as file, path.open("rb") as head:
        if head.read(6) == b"ARROW1":
            reader = pa.ipc.open_file(file)
            yield from map(reader.get_batch, range(reader.num_record_batches))
        else:
            yield from pa.ipc.open_stream(file)


def _columnar(path: Path, *, batches: Callable[[Path], Iterator[Any]]) -> Iterator[Row]:
    import pyarrow as pa

    number = 0
    try:
        for batch in batches(path):
            names = batch.schema.names
            twice = _twice(names)
            batch = batch.select([place for place, name in enumerate(names) if name not in twice])
            for start in range(0, len(batch), _BATCH_ROWS):
                for values in batch.slice(start, _BATCH_ROWS).to_pylist():
                    number += 1
                    yield Row(number, {**values, **twice})
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = listed([(str(error).splitlines() or [""])[0].rstrip(".")])
        found = f"it breaks off after row {number} ({reason})"
        raise table_error("CSV-02", path, found, "a whole Parquet or Arrow file", "copy it again") from error


# FASTA, with labels in its headers


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
            header, parts, length = line._replace(text=text[1:].strip()), [], 0
            if not header.text:
                found, expected = "a header without a name", "a name after >"
                raise line.error("CSV-02", found, expected, "give the record a name")
        elif header is None and text and not text.startswith(";"):
            found = f"{shown(text)} before the first header"
            raise line.error("CSV-02", found, "a line with >", "write >name above it")
        elif text and not text.startswith(";") and length <= longest:
            parts.append(text[: longest + 1 - length])
            length += len(text)
    if header is None:
        raise table_error("CSV-04", path, "no record", "a FASTA file", "check how it was written")
    yield Record(header.number, header.text, "".join(parts))


def _fasta(path: Path) -> Iterator[Row]:
    """Records whose headers read `id label=1 split=x`, or `id|1|x`, whose second part is the label."""
    for record in read_records(path):
        if len(record.sequence) > LONGEST:
            where, found = f"{path}:{record.line}", f"a record of more than {LONGEST:,} letters"
            raise table_error(
                "CSV-19", where, found, "sequences that a model can read", "cut it into windows"
            )
        name, *words = record.header.split()
        values = dict(word.split("=", 1) for word in words if "=" in word)
        if "|" in name and not values:
            name, values["label"], *_ = name.split("|")
        yield Row(record.line, {"id": name, **values, "sequence": record.sequence})


# Datasets: a folder that the `datasets` library reads, or one of the Hugging Face hub

_SPELLINGS = {"val": ("validation", "val", "dev", "valid"), "train": ("train",), "test": ("test",)}
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+){1,2}(:[\w.-]+)?", re.ASCII)


def split_name(source: str) -> tuple[Path, str]:
    """A folder or hub id and the split after its colon; a folder may have a colon in its own name."""
    if Path(source).is_dir():
        return Path(source), ""
    name, _, split = source.rpartition(":")
    return (Path(name), split) if name else (Path(source), "")


def _is_hub_id(source: str) -> bool:
    """Whether a source reads as `owner/name`, `owner/name/config` or one with `:split`, and not as a file."""
    return bool(_HUB_ID.fullmatch(source)) and Path(source).suffix.lower() not in NAMES


def _dataset(source: str, part: str) -> Iterator[Row]:
    """The rows of the split that is named, else of that of `part`; a saved dataset without splits whole."""
    path, split = split_name(source)
    try:
        rows = _rows(source, path, (split,) if split else _SPELLINGS[part])
        yield from (Row(number, values) for number, values in enumerate(rows, start=1))
    except DataError:
        raise
    except Exception as error:  # the library raises many kinds
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        fix = "check the path, the id, the network"
        if path.is_dir():
            fix = "check the folder, or name a file in it"
        raise _unreadable(source, f"cannot be read ({first})", fix) from error


def _rows(source: str, path: Path, wanted: Sequence[str]) -> Iterable[Mapping[str, Any]]:
    """The rows of the first split of these names that is there."""
    from datasets import get_dataset_split_names, load_dataset

    saved = saved_splits(path)
    if saved == []:
        return saved_rows(path, None)
    name, config = str(path), None
    if not path.is_dir():
        name, config = "/".join(path.parts[:2]), next(iter(path.parts[2:]), None)
    offered = saved or get_dataset_split_names(name, config)
    split = next((word for word in wanted if word in offered), None)
    if split is None:
        found = f"no split {' or '.join(wanted)}; there are {listed(offered)}"
        raise _unreadable(source, found, f"name one, as in {path}:{offered[0]}")
    if saved:
        return saved_rows(path, split)
    rows: Iterable[Mapping[str, Any]] = load_dataset(name, config, split=split, streaming=True)
    return rows


def _unreadable(source: str, found: str, fix: str) -> DataError:
    expected = "a file or folder that is there, or a dataset of the hub"
    return DataError("DSET-01", where=source, found=found, expected=expected, fix=fix)


_READERS: dict[FileKind, Callable[[Path], Iterator[Row]]] = {
    "jsonl": _json_lines,
    "array": _json_array,
    "parquet": partial(_columnar, batches=_parquet),
    "arrow": partial(_columnar, batches=_arrow),
    "fasta": _fasta,
}
