"""The lines of a text file, for every reader of text: plain, gzip or bgzip, in bounded memory.

The compression is read off the content, and every checksum verified. A UTF-8 byte order mark is dropped.
Lines end in LF, CRLF or, as old Macs wrote them, in CR alone; the first line's end decides between LF and CR,
and a CR inside a line of LF is an error, for a comment would swallow the lines after it. A NUL byte is an
error, and so is a line longer than its kind of file can have (`TextFormat.longest_line`), so that a small
compressed file cannot fill the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dnalm.errors import DataError
from dnalm.genome.bgzf import CompressionCodes, read_chunks

_MIB = 1 << 20
_CHUNK_BYTES = 1 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # of UTF-8, which some editors put before a text
_OTHER_FILES = {
    b"\x00\x00\xfe\xff": "text in UTF-32",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
    b"PK\x03\x04": "a zip archive (Excel workbooks are)",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"\x1f\x8b": "compressed twice",
    b"BAM\x01": "a BAM file",
    b"BCF\x02": "a BCF file",
    b"PAR1": "a Parquet file",
}

OnRead = Callable[[bytes], None]  # called with every piece of a file as it lies on disk, for progress


class Line(NamedTuple):
    """A line without its end, and where it stands; lines count from 1."""

    path: Path
    number: int
    text: str
    is_utf8: bool = True

    def error(self, code: str, found: str, expected: str, fix: str) -> DataError:
        """An error about this line."""
        return DataError(code, where=f"{self.path}:{self.number}", found=found, expected=expected, fix=fix)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFormat:
    """A kind of file: how its errors are named, and how long its lines can be.

    Args:
        name: such as `BED file`.
        unreadable: code of a file that the system does not let be read.
        compression: codes of damaged compressed data.
        not_text: code of bytes that are no text, and of line ends that differ.
        long_line: code of a line that is too long.
        longest_line: bytes of a line.
        reads_latin: a line that is not UTF-8 is read as Latin-1 and marked (`Line.is_utf8`), for formats in
            which remarks of old tools are of no account; else it is an error.
    """

    name: str
    unreadable: str
    compression: CompressionCodes
    not_text: str
    long_line: str
    longest_line: int = 16 * _MIB
    reads_latin: bool = False


BED = TextFormat(
    name="BED file",
    unreadable="BED-11",
    compression=CompressionCodes("BED-20", "BED-21", "BED-22"),
    not_text="BED-23",
    long_line="BED-25",
    reads_latin=True,
)
GFF = TextFormat(
    name="GFF or GTF file",
    unreadable="GFF-16",
    compression=CompressionCodes("GFF-20", "GFF-21", "GFF-22"),
    not_text="GFF-23",
    long_line="GFF-24",
    reads_latin=True,
)
VCF = TextFormat(
    name="file of variants",
    unreadable="VCF-01",
    compression=CompressionCodes("VCF-23", "VCF-23", "VCF-23"),
    not_text="VCF-20",
    long_line="VCF-21",
    longest_line=64 * _MIB,  # the genotypes of a million samples
)
MEME = TextFormat(
    name="file of motifs in MEME's minimal format",
    unreadable="MEME-06",
    compression=CompressionCodes("MEME-06", "MEME-06", "MEME-06"),
    not_text="MEME-06",
    long_line="MEME-06",
    longest_line=_MIB,
)
SPECIES = TextFormat(
    name="tab-separated table of genomes",
    unreadable="MANI-01",
    compression=CompressionCodes("MANI-01", "MANI-01", "MANI-01"),
    not_text="MANI-02",
    long_line="MANI-02",
    longest_line=_MIB,
)
FAIDX = TextFormat(
    name="FASTA index",
    unreadable="FASTA-26",
    compression=CompressionCodes("FASTA-26", "FASTA-26", "FASTA-26"),
    not_text="FASTA-26",
    long_line="FASTA-26",
    longest_line=_MIB,
)


def read_lines(path: Path, kind: TextFormat, on_read: OnRead | None = None) -> Iterator[Line]:
    """Stream the lines of a file, blank ones included.

    Args:
        path: plain, gzip or bgzip text.
        kind: of file; names the codes of errors and the longest line.
        on_read: called with every piece of the file as it lies on disk.

    Raises:
        DataError: with the codes of `kind`: the file cannot be read, its compressed data is damaged, it is
            no text, or a line is too long.
    """
    reader = _LineReader(path, kind)
    try:
        for chunk in read_chunks(path, chunk_bytes=_CHUNK_BYTES, codes=kind.compression, on_read=on_read):
            yield from reader.feed(chunk)
    except OSError as error:
        raise DataError(
            kind.unreadable,
            where=str(path),
            found=f"the file cannot be read ({error.strerror or error})",
            expected=f"a readable {kind.name}",
            fix="check the path",
        ) from error
    yield from reader.finish()


class _LineReader:
    """Cuts text into lines as it comes in."""

    def __init__(self, path: Path, kind: TextFormat) -> None:
        self._path, self._kind = path, kind
        self._number = self._offset = 0  # lines and bytes already given out
        self._rest: list[bytes] = []  # of a line that has not ended
        self._has_begun = False
        self._end: bytes | None = None  # of lines, once known

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """The lines that end in this chunk."""
        if not self._has_begun:
            chunk = self._begin(chunk)
        if b"\0" in chunk:
            text = b"".join([*self._rest, chunk])
            raise self._not_text("byte 0x00", text, text.index(b"\0"))
        self._end = self._end or _line_end(chunk)
        stop = chunk.rfind(self._end) + 1 if self._end else 0
        if stop:
            yield from self._lines(b"".join([*self._rest, chunk[:stop]]))
            self._rest = []
        self._rest.append(chunk[stop:])
        if sum(map(len, self._rest)) > self._kind.longest_line:
            raise self._too_long(self._number + 1)

    def finish(self) -> Iterator[Line]:
        """The last line, if nothing ends it."""
        rest = b"".join(self._rest)
        if rest:
            self._end = self._end or (b"\r" if rest.endswith(b"\r") else b"\n")
            yield from self._lines(rest)

    def _begin(self, text: bytes) -> bytes:
        self._has_begun = True
        for magic, name in _OTHER_FILES.items():
            if text.startswith(magic):
                fix = (
                    "save it as UTF-8"
                    if name.startswith("text")
                    else "give plain text, or gzip or bgzip of it"
                )
                raise self._line(1).error(self._kind.not_text, f"this is {name}", self._rule(), fix)
        without_mark = text.removeprefix(BYTE_ORDER_MARK)
        self._offset = len(text) - len(without_mark)
        return without_mark

    def _lines(self, block: bytes) -> Iterator[Line]:
        end = self._end or b"\n"
        is_mixed = (b"\r" if end == b"\n" else b"\n") in block
        for text, is_utf8 in self._split(block.removesuffix(end), end):
            self._number += 1
            if len(text) > self._kind.longest_line:
                raise self._too_long(self._number)
            yield Line(self._path, self._number, self._one_line(text, end) if is_mixed else text, is_utf8)
        self._offset += len(block)

    def _split(self, block: bytes, end: bytes) -> list[tuple[str, bool]]:
        """The lines of a block, and whether each is UTF-8."""
        try:
            return [(text, True) for text in block.decode().split(end.decode())]
        except UnicodeDecodeError as error:
            if not self._kind.reads_latin:
                raise self._not_text(f"byte 0x{block[error.start]:02x}", block, error.start) from None
        return [_decode(line) for line in block.split(end)]

    def _one_line(self, text: str, end: bytes) -> str:
        """Without the CR of CRLF; no other may be there."""
        text = text.rstrip("\r")
        if "\r" in text or "\n" in text:
            inside, others = ("carriage return", "LF") if end == b"\n" else ("line feed", "CR")
            found = f"a {inside} inside the line, and other lines end in {others}"
            fix = "make all line ends alike, for instance with `dos2unix` or `mac2unix`"
            raise self._line(self._number).error(self._kind.not_text, found, "line ends of one kind", fix)
        return text

    def _not_text(self, found: str, text: bytes, place: int) -> DataError:
        """An error about a byte of text that has not been given out."""
        number = self._number + 1 + text.count(self._end or b"\n", 0, place)
        found = f"{found} at offset {self._offset + place:,}"
        fix = "save it as UTF-8 text, or copy the file again"
        return self._line(number).error(self._kind.not_text, found, self._rule(), fix)

    def _too_long(self, number: int) -> DataError:
        limit = self._kind.longest_line
        found = (
            f"a line of more than {limit // _MIB} MiB" if limit >= _MIB else f"a line of over {limit} bytes"
        )
        rule = f"the lines of a {self._kind.name}"
        return self._line(number).error(self._kind.long_line, found, rule, "check what the file is")

    def _rule(self) -> str:
        return f"the text of a {self._kind.name}, in UTF-8"

    def _line(self, number: int) -> Line:
        return Line(self._path, number, "")


def _decode(line: bytes) -> tuple[str, bool]:
    try:
        return line.decode(), True
    except UnicodeDecodeError:
        return line.decode("latin-1"), False


def _line_end(text: bytes) -> bytes | None:
    """What ends lines: that of the first line, None while no line has ended."""
    first_return, first_feed = text.find(b"\r"), text.find(b"\n")
    if first_feed < 0:
        return b"\r" if 0 <= first_return < len(text.rstrip(b"\r")) else None
    is_cr = first_return >= 0 and text[first_return:first_feed].strip(b"\r")
    return b"\r" if is_cr else b"\n"
