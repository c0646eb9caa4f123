"""The lines of a text file of annotations: plain, gzip or bgzip; LF or CRLF; in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dnalm.errors import DataError
from dnalm.genome.bgzf import CompressionCodes, read_chunks

_LONGEST_LINE = 16 << 20  # bytes; text without line ends is no annotation file, and must not fill memory


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its end, and where it stands; lines count from 1."""

    path: Path
    number: int
    text: str

    def error(self, code: str, found: str, expected: str, fix: str) -> DataError:
        """An error about this line."""
        return DataError(code, where=f"{self.path}:{self.number}", found=found, expected=expected, fix=fix)


@dataclass(frozen=True, slots=True)
class TextFormat:
    """What errors about a file as a whole say.

    Args:
        prefix: of the codes, such as `BED`.
        empty: number of the code of a file without records, or that cannot be read.
        name: such as `BED file`.
    """

    prefix: str
    empty: str
    name: str

    def empty_error(self, path: Path) -> DataError:
        """A file without a record."""
        line = Line(path, 1, "")
        found = "the file has no records" if self.prefix == "GFF" else "the file has no intervals"
        return line.error(
            f"{self.prefix}-{self.empty}", found, f"at least one line of a {self.name}", "give another file"
        )


BED = TextFormat("BED", "11", "BED file")
GFF = TextFormat("GFF", "16", "GFF or GTF file")


OnRead = Callable[[bytes], None]  # called with every piece of a file as it lies on disk, for progress


def read_lines(path: Path, kind: TextFormat, on_read: OnRead | None = None) -> Iterator[Line]:
    """Stream the lines of a file.

    Raises:
        DataError: codes of `kind`'s prefix: `empty` (cannot be read), 20 to 22 (damaged compression), 23
            (not text).
    """
    codes = CompressionCodes(*(f"{kind.prefix}-{number}" for number in (20, 21, 22)))
    number, rest = 0, b""
    try:
        for chunk in read_chunks(path, codes=codes, on_read=on_read):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                number += 1
                yield _decode(path, number, line, kind)
            if len(rest) > _LONGEST_LINE:
                raise _not_text(path, number + 1, "a line of more than 16 MiB", kind)
    except OSError as error:
        found = f"the file cannot be read ({error.strerror})"
        raise DataError(
            f"{kind.prefix}-{kind.empty}",
            where=str(path),
            found=found,
            expected=f"a readable {kind.name}",
            fix="check the path",
        ) from error
    if rest:
        yield _decode(path, number + 1, rest, kind)


def _decode(path: Path, number: int, line: bytes, kind: TextFormat) -> Line:
    if b"\0" in line:
        raise _not_text(path, number, "byte 0x00", kind)
    text = line.removesuffix(b"\r").decode("utf-8", errors="replace")
    return Line(path, number, text.removeprefix("\ufeff") if number == 1 else text)


def _not_text(path: Path, number: int, found: str, kind: TextFormat) -> DataError:
    return Line(path, number, "").error(f"{kind.prefix}-23", found, f"the text of a {kind.name}", "check it")
