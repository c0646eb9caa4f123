"""Rows of JSON: an object on each line, or an array of objects of any size, parsed one at a time."""

from __future__ import annotations

import codecs
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dnalm.data.labelled.files import LONGEST, TABLE, TWICE, Row, table_error
from dnalm.errors import DataError, shown
from dnalm.genome.bgzf import read_chunks
from dnalm.genome.text import Line, read_lines

_EDGE = 16  # letters at the end of a buffer in which JSON may be torn


def json_lines(path: Path) -> Iterator[Row]:
    """The objects of JSONL; raises CSV-02 for a line that is none, and what `read_lines` does."""
    for line in read_lines(path, TABLE):
        if line.text.strip():
            yield Row(line.number, _object(line))


def _object(line: Line) -> Mapping[str, Any]:
    fix = "write an object on each line, or an array of objects"
    try:
        values = _DECODER.decode(line.text)
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits are a ValueError too
        found = f"no JSON object: {_reason(error)}"
        raise line.error("CSV-02", found, "an object on each line", fix) from error
    if not isinstance(values, dict):
        raise line.error("CSV-02", f"no JSON object: {shown(values)}", "an object on each line", fix)
    _check_text(line.text, values, f"{line.path}:{line.number}")
    if values and all(isinstance(value, dict) for value in values.values()):
        found, fix = "an object of columns", "write rows, in pandas with orient='records', lines=True"
        raise line.error("CSV-02", found, "an object for each row", fix)
    return values


def json_array(path: Path) -> Iterator[Row]:
    """The objects of an array, however long its lines are; raises CSV-02, 07, 18 and 19."""
    text = _ArrayText(path)
    text.take("[")
    number = 0
    while not text.ends("]"):
        if number:
            text.take(",")
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
                if len(self._text) - self._place > LONGEST:
                    raise self._too_long(number) from error
                is_torn = isinstance(error, json.JSONDecodeError) and (
                    error.pos > len(self._text) - _EDGE or error.msg.startswith("Unterminated string")
                )
                if not is_torn or not self._read():
                    raise self._error(f"item {number} is no JSON: {_reason(error)}") from error
            else:
                _check_text(self._text[begin : self._place], value, f"{self._path}, item {number}")
                return value

    def take(self, mark: str) -> None:
        """Go past a mark, which must be next."""
        if self._next() != mark:
            rest = shown(self._text[self._place :]) if self._next() else "the end of the file"
            raise self._error(f"{rest} in place of {mark!r}")
        self._place += 1
        self._next()

    def ends(self, mark: str) -> bool:
        """Whether the array ends here, and nothing follows."""
        if self._next() != mark:
            return False
        self._place += 1
        if self._next():
            raise self._error(f"{shown(self._text[self._place :])} after the array")
        return True

    def _next(self) -> str:
        """The next character that is no white space; nothing at the end."""
        while True:
            rest = self._text[self._place : self._place + _EDGE].lstrip()
            if rest:
                self._place += len(self._text[self._place : self._place + _EDGE]) - len(rest)
                return rest[0]
            self._place = min(len(self._text), self._place + _EDGE)
            if self._place == len(self._text) and not self._read():
                return ""

    def _read(self) -> bool:
        """Read on, as much again as is held, so that an item is parsed anew only few times."""
        self._text, self._place = self._text[self._place :], 0
        pieces, wanted = [self._text], max(1, len(self._text))
        try:
            while wanted > 0 and (piece := next(self._pieces, None)) is not None:
                pieces.append(piece)
                wanted -= len(piece)
        except UnicodeDecodeError as error:
            raise table_error(
                "CSV-07", self._path, f"bytes that are no text ({error.reason})", "UTF-8", "save it as UTF-8"
            ) from error
        self._text = "".join(pieces)
        return len(pieces) > 1

    def _too_long(self, number: int) -> DataError:
        found, expected = f"item {number} has more than {LONGEST:,} characters", "an object for each row"
        return table_error("CSV-19", self._path, found, expected, "check what the file is")

    def _error(self, found: str) -> DataError:
        expected, fix = "a whole array of objects", "copy the file again, or write an object on each line"
        return table_error("CSV-02", self._path, found, expected, fix)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        values |= {name: TWICE for name, count in Counter(name for name, _ in pairs).items() if count > 1}
    return values


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs)


def _check_text(text: str, value: object, where: str) -> None:
    """Refuse escapes that spell half of a letter, which no file could hold again."""
    if "\\ud" in text.lower():
        try:
            json.dumps(value, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError as error:
            found = f"{error.object[error.start]!r}, half of a surrogate pair"
            raise table_error(
                "CSV-07", where, found, "escapes that spell letters", "correct the text"
            ) from error


def _reason(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
