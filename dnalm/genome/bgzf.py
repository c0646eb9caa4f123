"""The text of a plain, gzip or bgzip file in chunks of bounded size, every block's checksum verified.

The kind is told by the first bytes, never by the name: `.fa.gz` may be either gzip or bgzip. A
bgzip file is a row of small gzip blocks that each say their size, and ends in an empty block; so a
cut is noticed even where it falls between two blocks.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from dnalm.errors import DataError

CHUNK_BYTES = 4 << 20
_RAW_BYTES = 1 << 20
_BLOCK_LIMIT = 1 << 16  # a bgzip block holds at most 64 KiB of text
_GZIP_MAGIC = b"\x1f\x8b"

Compression = Literal["plain", "gzip", "bgzip"]


class CompressionCodes(NamedTuple):
    """The error codes of a damaged compressed file, which differ by what the file holds."""

    truncated: str
    no_marker: str
    damaged: str


FASTA_CODES = CompressionCodes("FASTA-20", "FASTA-21", "FASTA-22")


def compression(path: Path) -> Compression:
    """Tell plain text, gzip and bgzip apart by the first bytes."""
    with path.open("rb") as file:
        head = file.read(4096)
    if not head.startswith(_GZIP_MAGIC):
        return "plain"
    try:
        return "bgzip" if _block_bytes(head, 0) else "gzip"
    except ValueError:
        return "gzip"


def read_chunks(
    path: Path,
    *,
    chunk_bytes: int = CHUNK_BYTES,
    codes: CompressionCodes = FASTA_CODES,
    on_read: Callable[[bytes], None] | None = None,
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
    pieces = _raw_pieces(path, chunk_bytes if kind == "plain" else _RAW_BYTES, on_read)
    if kind == "plain":
        yield from pieces
    elif kind == "gzip":
        yield from _rechunk(_gunzip(pieces, path, codes), chunk_bytes)
    else:
        yield from _rechunk(_bgunzip(pieces, path, codes), chunk_bytes)


def _raw_pieces(path: Path, size: int, on_read: Callable[[bytes], None] | None) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(size):
            if on_read:
                on_read(piece)
            yield piece


def _rechunk(parts: Iterator[bytes], size: int) -> Iterator[bytes]:
    waiting: list[bytes] = []
    num_waiting = 0
    for part in parts:
        waiting.append(part)
        num_waiting += len(part)
        if num_waiting < size:
            continue
        text = b"".join(waiting)
        whole = num_waiting - num_waiting % size
        for start in range(0, whole, size):
            yield text[start : start + size]
        waiting, num_waiting = [text[whole:]], num_waiting - whole
    if num_waiting:
        yield b"".join(waiting)


def _gunzip(pieces: Iterator[bytes], path: Path, codes: CompressionCodes) -> Iterator[bytes]:
    """Inflate the members of a gzip file; zero bytes after the last are padding."""
    inflater = zlib.decompressobj(wbits=31)
    num_read = 0
    for piece in pieces:
        num_read += len(piece)
        rest = piece
        while rest:
            if inflater.eof:
                rest = rest.lstrip(b"\0")
                if not rest:
                    break
                inflater = zlib.decompressobj(wbits=31)
            offset = num_read - len(rest)
            try:
                text = inflater.decompress(rest, CHUNK_BYTES)
            except zlib.error as error:
                raise _damaged(path, f"{_reason(error)} at or after offset {offset}", codes) from error
            if text:
                yield text
            rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
    if not inflater.eof and (text := inflater.flush()):
        yield text
    if not inflater.eof:
        raise _truncated(path, f"the gzip data stops at offset {num_read} before its end", codes)


def _bgunzip(pieces: Iterator[bytes], path: Path, codes: CompressionCodes) -> Iterator[bytes]:
    """Inflate the blocks of a bgzip file, checking each one's length and checksum."""
    buffer, offset, text = b"", 0, b""
    for piece in pieces:
        buffer += piece
        start = 0
        while True:
            try:
                size = _block_bytes(buffer, start)
                if not size or start + size > len(buffer):
                    break
                text = _inflate_block(buffer[start : start + size])
            except ValueError as error:
                raise _damaged(path, f"{error} in the block at offset {offset + start}", codes) from None
            if text:
                yield text
            start += size
        buffer = buffer[start:]
        offset += start
    if buffer:
        raise _truncated(path, f"the block at offset {offset} is incomplete", codes)
    if text:
        raise DataError(
            codes.no_marker,
            where=str(path),
            found=f"the bgzip end-of-file marker is missing at offset {offset}, so the file may be cut",
            expected="a bgzip file ends in an empty block",
            fix="copy or download the file again, or compress its source anew with `bgzip`",
        )


def _block_bytes(buffer: bytes, start: int) -> int:
    """Length of the bgzip block at `start`, 0 if its header is not all there; ValueError if it is none."""
    if len(buffer) - start < 12:
        return 0
    magic, extra_bytes = struct.unpack_from("<4s6xH", buffer, start)
    if magic != _GZIP_MAGIC + b"\x08\x04":
        raise ValueError("invalid header")
    stop = start + 12 + extra_bytes
    if len(buffer) < stop:
        return 0
    field = start + 12
    while field + 4 <= stop:
        name, size = struct.unpack_from("<2sH", buffer, field)
        if name == b"BC" and size == 2 and field + 6 <= stop:
            length = int(struct.unpack_from("<H", buffer, field + 4)[0]) + 1
            if length < 12 + extra_bytes + 8:
                raise ValueError("invalid length")
            return length
        field += 4 + size
    raise ValueError("invalid header")


def _inflate_block(block: bytes) -> bytes:
    (extra_bytes,) = struct.unpack_from("<H", block, 10)
    checksum, num_letters = struct.unpack("<II", block[-8:])
    inflater = zlib.decompressobj(wbits=-15)
    try:
        text = inflater.decompress(block[12 + extra_bytes : -8], _BLOCK_LIMIT + 1)
    except zlib.error as error:
        raise ValueError(_reason(error)) from error
    if not inflater.eof or len(text) != num_letters:
        raise ValueError("length mismatch")
    if zlib.crc32(text) != checksum:
        raise ValueError("CRC mismatch")
    return text


def _reason(error: zlib.error) -> str:
    """What zlib found, in a reader's words rather than `Error -3 while decompressing data: ...`."""
    reason = str(error).rpartition(": ")[2]
    return {"incorrect data check": "CRC mismatch", "incorrect length check": "length mismatch"}.get(
        reason, f"damaged data ({reason})"
    )


def _truncated(path: Path, found: str, codes: CompressionCodes) -> DataError:
    return DataError(
        codes.truncated,
        where=str(path),
        found=found,
        expected="compressed data runs to its end",
        fix="copy or download the file again, it was cut",
    )


def _damaged(path: Path, found: str, codes: CompressionCodes) -> DataError:
    return DataError(
        codes.damaged,
        where=str(path),
        found=found,
        expected="compressed data matches its checksums",
        fix="copy or download the file again, its bytes were changed",
    )
