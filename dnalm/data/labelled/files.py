"""Files of sequences: what kind one is, its rows, and what is odd or wrong in it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dnalm.errors import DataError
from dnalm.genome.bgzf import CompressionCodes, read_chunks
from dnalm.genome.text import TextFormat

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


def file_kind(path: Path) -> FileKind | None:
    """What a file holds: by its first letters, else by the end of its name; None where neither tells."""
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
    return [f"{source}: {count:,} {_agreeing(said, count)}" for said, count in notes.items() if count]


def _agreeing(said: str, count: int) -> str:
    for one, many in (("", "s"), ("is", "are"), ("has", "have")):
        said = said.replace(f"{{{many}}}", one if count == 1 else many)
    return said
