"""Rows of labelled tables, one at a time: CSV, TSV, JSONL, Parquet, FASTA and datasets of the hub.

Of a text file every line is read as what it is, so that whatever is wrong is told with its file and line.
FASTA holds labels in its headers: `>id label=1 …`, or `>id|1`.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnalm.data.labelled.dataset_rows import dataset_rows
from dnalm.errors import DataError


@dataclass(frozen=True)
class Row:
    """One labelled sequence as it stands in its file.

    Attributes:
        line: from 1; of Parquet and datasets the row, from 1.
        values: by column.
    """

    line: int
    values: Mapping[str, Any]


def read_rows(source: str, *, part: str, delimiter: str | None = None) -> Iterator[Row]:
    """Read a table.

    Args:
        source: a file, or `owner/name` of the Hugging Face hub, with `:<split>` after it or not.
        part: the split of a dataset that is meant where none is named.
        delimiter: what separates columns of a text table; that of the file's ending if absent.

    Raises:
        DataError: CSV-02, 04, 07, 08, 11, or DSET-01, 03.
    """
    path = Path(source)
    if not path.is_file():
        if path.suffix or source.count("/") != 1 or path.exists():
            raise table_error("CSV-04", source, "no such file", "a table", "correct the path")
        yield from (Row(number, values) for number, values in dataset_rows(source, part))
        return
    ending = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if ending == ".parquet":
        yield from _parquet(path)
    elif ending in _READERS:
        yield from _READERS[ending](path)
    else:
        yield from _delimited(path, delimiter or ("\t" if ending in (".tsv", ".txt", ".tab") else ","))


def table_error(code: str, where: str | Path, found: str, expected: str, fix: str) -> DataError:
    """An error of a table."""
    return DataError(code, where=str(where), found=found, expected=expected, fix=fix)


def _lines(path: Path) -> Iterator[str]:
    """The lines of a text file; Windows' line ends and a byte order mark are dropped.

    Raises:
        DataError: CSV-07, it is not UTF-8.
    """
    offset = 0
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise table_error(
                    "CSV-07",
                    f"{path}:{number}",
                    f"byte 0x{line[error.start]:02x} at offset {offset + error.start:,}",
                    "text in UTF-8",
                    "save the table as UTF-8, or decompress it",
                ) from error
            offset += len(line)
            yield text.rstrip("\r\n") + "\n"


def _delimited(path: Path, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(_lines(path), delimiter=delimiter)
    header = next(reader, None)
    if header is None:
        raise table_error("CSV-04", path, "an empty file", "a header and rows", "check how it was written")
    _check_delimiter(path, header, delimiter)
    before = reader.line_num
    for cells in reader:
        line, before = before + 1, reader.line_num
        if reader.line_num > line:
            raise table_error(
                "CSV-11",
                f"{path}:{line}",
                f"a quoted field that goes on to line {reader.line_num}",
                "a row on each line",
                "remove the line break, or close the quote",
            )
        if not cells:
            continue
        if len(cells) != len(header):
            raise table_error(
                "CSV-02",
                f"{path}:{line}",
                f"{len(cells)} fields",
                f"{len(header)}, as the header has",
                "write every field of the row, and quote those that hold the delimiter",
            )
        yield Row(line, dict(zip(header, cells, strict=True)))


def _check_delimiter(path: Path, header: list[str], delimiter: str) -> None:
    others = [mark for mark in (";", "\t", ",", "|") if mark != delimiter and mark in header[0]]
    if len(header) == 1 and others:
        raise table_error(
            "CSV-08",
            f"{path}:1",
            f"one column, {header[0]!r}",
            f"columns between {delimiter!r}",
            f"set task.delimiter={others[0]!r}",
        )


def _jsonl(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            values = str(error)
        if not isinstance(values, dict):
            found = f"no JSON object: {values}"
            raise table_error(
                "CSV-02", f"{path}:{number}", found, "an object on each line", "correct the line"
            )
        yield Row(number, values)


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=4096):
            for values in batch.to_pylist():
                number += 1
                yield Row(number, values)
    except (pa.ArrowInvalid, OSError) as error:
        found = f"it breaks off after row {number} ({str(error).splitlines()[0].rstrip('.')})"
        raise table_error("CSV-02", path, found, "a whole Parquet file", "copy it again") from error


def _fasta(path: Path) -> Iterator[Row]:
    start, values, parts = 0, dict[str, str](), list[str]()
    for number, line in enumerate(_lines(path), start=1):
        text = line.strip()
        if text.startswith(">"):
            if start:
                yield Row(start, {**values, "sequence": "".join(parts)})
            start, values, parts = number, _header(text[1:]), []
        elif text and not start:
            found = f"{text[:20]!r} before the first header"
            raise table_error(
                "CSV-02", f"{path}:{number}", found, "a line with >", "write >id label=… above it"
            )
        else:
            parts.append(text)
    if start:
        yield Row(start, {**values, "sequence": "".join(parts)})


def _header(text: str) -> dict[str, str]:
    """`id label=1 split=x`, or `id|1|x`, whose second part is the label."""
    name, *words = text.split() or [""]
    values = dict(word.split("=", 1) for word in words if "=" in word)
    if "|" in name and not values:
        name, values["label"], *_ = name.split("|")
    return {"id": name, **values}


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".json": _jsonl,
    ".fa": _fasta,
    ".fasta": _fasta,
    ".fna": _fasta,
}
