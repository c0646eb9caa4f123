"""The frame of a bigWig file: what its header promises, judged before a library opens it.

bigWig has no checksum of the whole. What it has: a magic number at both ends, offsets that must lie in the
file, the checksums of zlib in compressed blocks, and a summary of all values, which `bigwig` compares with
what was read. Codes: BW-01 empty or unreadable, 02 not a bigWig, 03 cut in the header, 04 cut before what it
refers to, 05 cut at the end, 06 zoom levels, 07 contig list, 08 index, 09 data, 14 big-endian.

Format: Kent et al. 2010, Bioinformatics 26:2204, supplement.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dnalm.errors import DataError

_MAGIC, _BIGBED = 0x888FFC26, 0x8789F2EB
_HEADER = struct.Struct("<IHHQQQHHQQIQ")
_SUMMARY = struct.Struct("<Qdddd")
_MOST_ZOOMS = 32
_TEXTS = (b"track", b"browser", b"fixedStep", b"variableStep", b"#", b"chr")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a file says of all its values."""

    num_bases: int
    minimum: float
    maximum: float
    total: float
    total_squares: float


def check_layout(path: Path) -> Summary | None:
    """Judge a file's header and both ends.

    Returns:
        The summary of its values; None where the file has none (version 1).

    Raises:
        DataError: BW-01 to BW-09, BW-14.
    """
    try:
        with path.open("rb") as file:
            return _check(file, path, path.stat().st_size)
    except OSError as error:
        found = f"the file cannot be read ({error.strerror})"
        raise bigwig_error("BW-01", path, found, "a readable bigWig file", "check the path") from error


def bigwig_error(code: str, path: Path, found: str, expected: str, fix: str) -> DataError:
    """An error about a bigWig file."""
    return DataError(code, where=str(path), found=found, expected=expected, fix=fix)


def _check(file: BinaryIO, path: Path, size: int) -> Summary | None:
    head = file.read(_HEADER.size)
    _check_magic(head, path)
    if len(head) < _HEADER.size:
        found = f"the file has {size} bytes"
        raise bigwig_error("BW-03", path, found, f"a header of {_HEADER.size}", "copy it again, it was cut")
    _, _, num_zooms, contigs, data, index, _, _, _, summary, _, _ = _HEADER.unpack(head)
    places = {"BW-07": ("contig list", contigs), "BW-09": ("data", data), "BW-08": ("index", index)}
    outside = [
        (code, name, offset)
        for code, (name, offset) in places.items()
        if not _HEADER.size <= offset < size - 4
    ]
    file.seek(size - 4)
    if struct.unpack("<I", file.read(4))[0] != _MAGIC:
        if outside:
            found = f"the {outside[0][1]} would begin at offset {outside[0][2]} of {size} bytes"
            raise bigwig_error("BW-04", path, found, "a whole file", "copy it again, it was cut")
        found = "the last 4 bytes are not the magic number"
        raise bigwig_error("BW-05", path, found, "the end of a bigWig", "copy it again, it was cut")
    if num_zooms > _MOST_ZOOMS or _HEADER.size + 24 * num_zooms > size:
        found = f"the header has {num_zooms} zoom levels"
        raise bigwig_error("BW-06", path, found, f"at most {_MOST_ZOOMS}", "make the file again")
    for code, name, offset in outside:
        found = f"the {name} would begin at offset {offset} of {size} bytes"
        raise bigwig_error(code, path, found, "an offset within the file", "copy or make the file again")
    if summary == 0:
        return None
    if not _HEADER.size <= summary <= size - 4 - _SUMMARY.size:
        found = f"the summary would begin at offset {summary} of {size} bytes"
        raise bigwig_error("BW-09", path, found, "an offset within the file", "copy or make the file again")
    file.seek(summary)
    return Summary(*_SUMMARY.unpack(file.read(_SUMMARY.size)))


def _check_magic(head: bytes, path: Path) -> None:
    expected = "a bigWig file"
    if not head:
        raise bigwig_error("BW-01", path, "the file is empty", expected, "give another file")
    if head.startswith(struct.pack("<I", _MAGIC)):
        return
    if head.startswith(struct.pack(">I", _MAGIC)):
        fix = "convert it with bigWigToBedGraph and bedGraphToBigWig"
        raise bigwig_error("BW-14", path, "the file is big-endian", "little-endian, as tools write", fix)
    if head.startswith(struct.pack("<I", _BIGBED)):
        raise bigwig_error("BW-02", path, "this is a bigBed file", expected, "convert it with bigBedToBed")
    if head.startswith(_TEXTS):
        fix = "give bedGraph the suffix .bedgraph; convert wiggle with wigToBigWig"
        raise bigwig_error("BW-02", path, "this is text", expected, fix)
    found = f"the file begins with bytes {head[:4].hex(' ')}"
    raise bigwig_error("BW-02", path, found, "the magic number of bigWig", "give another file")
