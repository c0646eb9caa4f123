"""Text files of every format, opened alike: plain, gzip or bgzip, in bounded memory.

The compression is read from the content, never from the name, and every checksum is verified by zlib. A
bgzip file (a row of small gzip members) ends in an empty member, so a cut between two members is noticed too;
Python's `gzip` module checks no such marker and does not say where the damage is.

Lines: a UTF-8 byte order mark is dropped. Lines end in LF, CRLF or, as on old Macs, in CR alone; the first
line's end decides between LF and CR, and a CR inside a line of LF is an error, for a comment would swallow
the lines after it. A NUL byte is an error, and so is a line longer than its format allows
(`TextFormat.longest_line`), so that a small compressed file cannot fill the memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from dnalm.errors import DataError

CHUNK_BYTES = 4 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # of UTF-8, which some editors put before a text
_MIB = 1 << 20
_PACKED_BYTES = 1 << 16  # about one member of bgzip: what lies after a member's end is copied
_GZIP_MAGIC = b"\x1f\x8b"
_OTHER_FILES = {
    b"\x00\x00\xfe\xff": "text in UTF-32",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
    b"PK\x03\x04": "a zip archive (Excel workbooks are)",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    _GZIP_MAGIC: "compressed twice",
    b"BAM\x01": "a BAM file",
    b"BCF\x02": "a BCF file",
    b"PAR1": "a Parquet file",
}

OnRead = Callable[[bytes], None]  # called with every piece of a file as it lies on disk, for progress


class CompressionCodes(NamedTuple):
    """The error codes of a damaged compressed file, which differ by what the file holds."""

    truncated: str
    no_marker: str
    damaged: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFormat:
    """A file format: how its errors are named, and how long its lines can be.

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


def _small_table(name: str, unreadable: str, not_text: str) -> TextFormat:
    return TextFormat(
        name=name,
        unreadable=unreadable,
        compression=CompressionCodes(unreadable, unreadable, unreadable),
        not_text=not_text,
        long_line=not_text,
        longest_line=_MIB,
    )


FASTA_CODES = CompressionCodes("FASTA-20", "FASTA-21", "FASTA-22")
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
MEME = _small_table("file of motifs in MEME's minimal format", "MEME-06", "MEME-06")
SPECIES = _small_table("tab-separated table of genomes", "MANI-01", "MANI-02")
FAIDX = _small_table("FASTA index", "FASTA-26", "FASTA-26")


class Line(NamedTuple):
    """A line without its end, and where it stands; lines count from 1."""

    path: Path
    number: int
    text: str
    is_utf8: bool = True

    def error(self, code: str, found: str, expected: str, fix: str) -> DataError:
        """An error about this line."""
        return DataError(code, where=f"{self.path}:{self.number}", found=found, expected=expected, fix=fix)


def read_lines(path: Path, kind: TextFormat, on_read: OnRead | None = None) -> Iterator[Line]:
    """Stream the lines of a file, blank ones included.

    Args:
        path: plain, gzip or bgzip text.
        kind: its format, which names the codes of errors and the longest line.
        on_read: called with every piece of the file as it lies on disk.

    Raises:
        DataError: with the codes of `kind`: the file cannot be read, its compressed data is damaged, it is
            no text, or a line is too long.
    """
    reader = _LineReader(path, kind)
    try:
        for chunk in read_chunks(path, chunk_bytes=_MIB, codes=kind.compression, on_read=on_read):
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
        self._number = self._offset = 0  # lines and bytes already yielded
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
                is_text = name.startswith("text")
                fix = "save it as UTF-8" if is_text else "give plain text, or gzip or bgzip of it"
                raise self._error(1, self._kind.not_text, f"this is {name}", self._rule, fix)
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
            raise self._error(self._number, self._kind.not_text, found, "line ends of one kind", fix)
        return text

    def _not_text(self, found: str, text: bytes, place: int) -> DataError:
        """An error about a byte of text that has not been yielded."""
        number = self._number + 1 + text.count(self._end or b"\n", 0, place)
        found = f"{found} at offset {self._offset + place:,}"
        fix = "save it as UTF-8 text, or copy the file again"
        return self._error(number, self._kind.not_text, found, self._rule, fix)

    def _too_long(self, number: int) -> DataError:
        limit = self._kind.longest_line
        size = f"more than {limit // _MIB} MiB" if limit >= _MIB else f"over {limit} bytes"
        rule = f"the lines of a {self._kind.name}"
        return self._error(number, self._kind.long_line, f"a line of {size}", rule, "check what the file is")

    @property
    def _rule(self) -> str:
        return f"the text of a {self._kind.name}, in UTF-8"

    def _error(self, number: int, code: str, found: str, expected: str, fix: str) -> DataError:
        return Line(self._path, number, "").error(code, found, expected, fix)


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


def compression(path: Path) -> Literal["plain", "gzip", "bgzip"]:
    """Tell plain text, gzip and bgzip apart by the first bytes."""
    with path.open("rb") as file:
        head = file.read(14)
    if not head.startswith(_GZIP_MAGIC):
        return "plain"
    return "bgzip" if head[2:4] == b"\x08\x04" and head[12:14] == b"BC" else "gzip"


def read_chunks(
    path: Path,
    *,
    chunk_bytes: int = CHUNK_BYTES,
    codes: CompressionCodes = FASTA_CODES,
    on_read: OnRead | None = None,
) -> Iterator[bytes]:
    """Stream a file's text.

    Args:
        path: plain, gzip or bgzip file.
        chunk_bytes: length of every chunk but the last.
        codes: codes of the errors, for what the file holds.
        on_read: called with every piece of the file as it lies on disk, in order, for checksums
            and progress.

    Yields:
        The decompressed text, none of them empty.

    Raises:
        DataError: the compressed data ends early, lacks its end marker or fails a checksum.
    """
    kind = compression(path)
    if kind == "plain":
        yield from _pieces(path, chunk_bytes, on_read)
        return
    waiting = bytearray()
    for text in _inflate(_pieces(path, _PACKED_BYTES, on_read), path, codes, is_bgzip=kind == "bgzip"):
        waiting += text
        while len(waiting) >= chunk_bytes:
            yield bytes(waiting[:chunk_bytes])
            del waiting[:chunk_bytes]
    if waiting:
        yield bytes(waiting)


def _pieces(path: Path, size: int, on_read: OnRead | None) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(size):
            if on_read:
                on_read(piece)
            yield piece


def _inflate(
    pieces: Iterator[bytes], path: Path, codes: CompressionCodes, *, is_bgzip: bool
) -> Iterator[bytes]:
    """Decompress all members of a gzip or bgzip file; zero bytes after the last are padding."""
    inflater = zlib.decompressobj(wbits=31)  # gzip's header, checksum and length
    start = num_read = 0  # where the member begins; bytes read so far
    is_empty = True  # no text in the member
    for piece in pieces:
        num_read += len(piece)
        rest = piece
        while rest:
            if inflater.eof:
                rest = rest.lstrip(b"\0")
                if not rest:
                    break
                inflater, start, is_empty = zlib.decompressobj(wbits=31), num_read - len(rest), True
            try:
                text = inflater.decompress(rest, CHUNK_BYTES)
            except zlib.error as error:
                rest_offset = num_read - len(rest)
                raise _damaged(codes, path, error, start if is_bgzip else None, rest_offset) from error
            is_empty &= not text
            yield text
            rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
    if not inflater.eof:
        yield inflater.flush()
    if not inflater.eof:
        found = f"the gzip data stops at offset {num_read} before its end"
        found = f"the block at offset {start} is incomplete" if is_bgzip else found
        raise _broken(codes.truncated, path, found, "compressed data runs to its end", "it was cut")
    if is_bgzip and not is_empty:
        found = f"the bgzip end-of-file marker is missing at offset {num_read}, so the file may be cut"
        remedy = "or compress its source anew with `bgzip`"
        raise _broken(codes.no_marker, path, found, "a bgzip file ends in an empty block", remedy)


def _damaged(
    codes: CompressionCodes, path: Path, error: zlib.error, block: int | None, offset: int
) -> DataError:
    """What zlib found, in a reader's words rather than `Error -3 while decompressing data: ...`."""
    reason = str(error).rpartition(": ")[2]
    reason = {"incorrect data check": "CRC mismatch", "incorrect length check": "length mismatch"}.get(
        reason, f"damaged data ({reason})"
    )
    place = f"at or after offset {offset}" if block is None else f"in the block at offset {block}"
    rule = "compressed data matches its checksums"
    return _broken(codes.damaged, path, f"{reason} {place}", rule, "its bytes were changed")


def _broken(code: str, path: Path, found: str, expected: str, remark: str) -> DataError:
    fix = f"copy or download the file again, {remark}"
    return DataError(code, where=str(path), found=found, expected=expected, fix=fix)
