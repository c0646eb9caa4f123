"""The values of a bigWig file, checked against everything that the file states about itself.

bigWig has no checksum of the whole. What it has is checked: a magic number at both ends, offsets that must
lie in the file, trees without circles, the checksums of zlib in compressed blocks, sorted intervals, and a
summary that all values must add up to. Not noticed is damage to values of files that were written without
compression, where the summary stays the same.

Read here and not by pybigtools, which writes bigWig for us: of 5,038 damaged files version 0.3.0
aborted the whole process on 46, for memory that a field asked for, and panicked on 3,138, which prints to
stderr; some it read wrongly. pyBigWig died of SIGSEGV on 45 of 1,500.

Codes of errors: BW-01 empty or unreadable, 02 not a bigWig, 03 cut in the header, 04 cut before a part,
05 cut at the end, 06 zoom levels, 07 contig list, 08 index, 09 data, 10 damaged, 11 another length of a
contig, 12 infinite values, 13 overlaps, 14 big-endian, 15 unknown contig. A value in the file that is NaN
counts as missing, as uncovered bases are (BW-12).

Format: Kent et al. 2010, Bioinformatics 26:2204, supplement.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from dnalm.errors import DataError
from dnalm.genome.bed import OtherContigs
from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.store import Contig, GenomeStore

Records = npt.NDArray[Any]  # (R,) of RECORD: an interval in its contig, and its value
RECORD = np.dtype([("start", np.int64), ("end", np.int64), ("value", np.float32)])
_BLOCK_RECORDS = 1 << 16  # yielded at once, where a contig has as many

_MAGIC, _BIGBED, _TREE_MAGIC, _INDEX_MAGIC = 0x888FFC26, 0x8789F2EB, 0x78CA8C91, 0x2468ACE0
_HEADER = struct.Struct("<IHHQQQHHQQIQ")
_SUMMARY = struct.Struct("<Qdddd")
_TREE = struct.Struct("<IIIIQQ")
_INDEX = struct.Struct("<IIQIIIIQII")
_NODE = struct.Struct("<BxH")
_SECTION = struct.Struct("<IIIIIBxH")
_SECTION_ROWS = {  # what a row of each kind of section is: bedGraph, variable step, fixed step
    1: np.dtype([("start", "<u4"), ("end", "<u4"), ("value", "<f4")]),
    2: np.dtype([("start", "<u4"), ("value", "<f4")]),
    3: np.dtype([("value", "<f4")]),
}
_MOST_ZOOMS = 32
_MOST_BLOCK_BYTES = 64 << 20  # a section has at most 65,535 rows of 12 bytes
_TEXTS = (b"track", b"browser", b"fixedStep", b"variableStep", b"#", b"chr")


class BigWigReader:
    """Iterates over the values of a file, contig by contig; afterwards knows what it skipped.

    Args:
        path: the file.
        store: the genome; contigs may be named by aliases, and must have the same lengths.
        other_contigs: whether a contig that the genome lacks is an error or skipped and counted.
    """

    def __init__(self, path: Path, store: GenomeStore, *, other_contigs: OtherContigs = "error") -> None:
        self.path, self._store = Path(path), store
        self._skips_others = other_contigs == "skip"
        self.aliases = ContigAliases(store, [])
        self.num_nan = 0

    def __iter__(self) -> Iterator[tuple[Contig, Records]]:
        """Yield contigs and blocks of their records, in the order of the file.

        Raises:
            DataError: BW-01 to BW-15. Values yielded before may be wrong if an error follows, so the
                caller must discard them then.
        """
        try:
            with self.path.open("rb") as file:
                yield from self._read(_File(self.path, file))
        except OSError as error:
            found = f"the file cannot be read ({error.strerror})"
            raise _error("BW-01", self.path, found, "a readable bigWig file", "check the path") from error

    def notes(self) -> list[str]:
        """Sentences about skipped contigs and missing values."""
        notes = []
        if self.aliases.unknown:
            notes.append(f"BW-15 {self.path}: {len(self.aliases.unknown)} other contigs skipped")
        absent = {contig.name for contig in self._store.contigs} - set(self.aliases.table.values())
        if absent:
            notes.append(f"BW-15 {self.path}: {len(absent)} contigs of the genome have no values there")
        if self.num_nan:
            notes.append(f"BW-12 {self.path}: {self.num_nan} values are NaN and count as missing")
        return notes

    def _read(self, file: _File) -> Iterator[tuple[Contig, Records]]:
        header = _read_header(file)
        rows = _contig_rows(file, header.contigs)
        contigs = dict(zip(rows, self._find_contigs(list(rows.values())), strict=True))
        ends = dict.fromkeys(rows, 0)
        sums, pending, current = _Sums(), list[Records](), -1
        for number, records in _sections(file, header):
            if number not in rows:
                raise _damaged(self.path, f"it has values of contig {number}, which it does not list")
            self._check(*rows[number], records, ends[number])
            ends[number] = int(records["end"][-1])
            sums.add(records)
            if number != current or sum(map(len, pending)) >= _BLOCK_RECORDS:
                if pending and (contig := contigs[current]):
                    yield contig, np.concatenate(pending)
                pending, current = [], number
            pending.append(records)
        if pending and (contig := contigs[current]):
            yield contig, np.concatenate(pending)
        self.num_nan = sums.num_nan
        if header.summary and sums.differ_from(header.summary):
            raise _damaged(
                self.path,
                f"its {sums.num_bases} values with sum {sums.total:.6g} are not the "
                f"{header.summary.num_bases} with sum {header.summary.total:.6g} of its own summary",
            )

    def _find_contigs(self, rows: list[tuple[str, int]]) -> list[Contig | None]:
        """The genome's contig of each of the file's, None of those to skip."""
        self.aliases = ContigAliases(self._store, (name for name, _ in rows))
        if not self.aliases.table and rows:
            raise self.aliases.error("BW-15", str(self.path), rows[0][0])
        contigs = []
        for name, length in rows:
            contig = self.aliases.find(name)
            if contig is None and not (self._skips_others and self.aliases.is_unknown(name)):
                raise self.aliases.error("BW-15", str(self.path), name)
            if contig and contig.length != length:
                found = f"contig `{name}` has {length} bases"
                expected = f"{contig.length}, as `{contig.name}` of {self._store.source.name}"
                raise _error("BW-11", self.path, found, expected, "give the file of this assembly")
            contigs.append(contig)
        return contigs

    def _check(self, name: str, length: int, records: Records, before: int) -> None:
        """Check a section's records; `before` is where the contig's last section ended."""
        starts, ends = records["start"], records["end"]
        if (starts >= ends).any() or ends.max() > length:
            raise _damaged(self.path, f"`{name}` has an empty interval or one past its end")
        overlaps = np.flatnonzero(starts < np.concatenate([[before], ends[:-1]]))
        if overlaps.size:
            at = int(overlaps[0])
            found = f"the interval {name}:{starts[at]}-{ends[at]} begins before the one before it ends"
            fix = "make one value a base and write the file again"
            raise _error("BW-13", self.path, found, "sorted intervals without overlap", fix)
        infinite = np.flatnonzero(np.isinf(records["value"]))
        if infinite.size:
            at = int(infinite[0])
            found = f"the value at {name}:{starts[at]}-{ends[at]} is infinite"
            fix = "write the file again without such values"
            raise _error("BW-12", self.path, found, "finite numbers, or NaN where there is none", fix)


def _error(code: str, path: Path, found: str, expected: str, fix: str) -> DataError:
    return DataError(code, where=str(path), found=found, expected=expected, fix=fix)


def _damaged(path: Path, reason: str) -> DataError:
    fix = "copy or make the file again"
    return _error("BW-10", path, f"the file is damaged: {reason}", "a sound bigWig", fix)


class _File:
    """Pieces of a file; one that would reach past the end is an error before it takes memory."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self._file = path, file
        self.size = path.stat().st_size

    def read(self, offset: int, size: int) -> bytes:
        if offset + size > self.size:
            raise _damaged(self.path, f"{size} bytes at offset {offset} would reach past its end")
        self._file.seek(offset)
        return self._file.read(size)

    def leaves(self, root: int, *, leaf_bytes: int, child_bytes: int) -> Iterator[bytes]:
        """The items of a tree's leaves in order; a child's item ends with its offset."""
        waiting, seen = [root], {root}
        while waiting:
            offset = waiting.pop()
            is_leaf, count = _NODE.unpack(self.read(offset, _NODE.size))
            width = leaf_bytes if is_leaf else child_bytes
            content = self.read(offset + _NODE.size, count * width)
            items = [content[place : place + width] for place in range(0, len(content), width)]
            if is_leaf:
                yield from items
                continue
            children = [int.from_bytes(item[-8:], "little") for item in items]
            if not seen.isdisjoint(children) or len(set(children)) < len(children):
                raise _damaged(self.path, f"the tree at offset {root} runs in a circle")
            seen.update(children)
            waiting += reversed(children)


class _Summary(NamedTuple):
    """A file's own statistics of all its values."""

    num_bases: int
    minimum: float
    maximum: float
    total: float
    total_squares: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """Where things lie; `block_bytes` is 0 where blocks are not compressed, `summary` None in version 1."""

    contigs: int
    index: int
    block_bytes: int
    summary: _Summary | None


def _read_header(file: _File) -> _Header:
    """Check a file's header and both ends: BW-01 to BW-09, BW-14."""
    path, size = file.path, file.size
    head = file.read(0, min(size, _HEADER.size))
    _check_magic(head, path)
    if len(head) < _HEADER.size:
        found = f"the file has {size} bytes"
        raise _error("BW-03", path, found, f"a header of {_HEADER.size}", "copy it again, it was cut")
    _, _, num_zooms, contigs, data, index, _, _, _, summary, block_bytes, _ = _HEADER.unpack(head)
    parts = {"contig list": ("BW-07", contigs), "data": ("BW-09", data), "index": ("BW-08", index)}
    outside = [
        (code, f"the {name} would begin at offset {offset} of {size} bytes")
        for name, (code, offset) in parts.items()
        if not _HEADER.size <= offset < size - 4
    ]
    if struct.unpack("<I", file.read(size - 4, 4))[0] != _MAGIC:
        fix = "copy it again, it was cut"
        if outside:
            raise _error("BW-04", path, outside[0][1], "a whole file", fix)
        raise _error("BW-05", path, "the last 4 bytes are not the magic number", "the end of a bigWig", fix)
    if num_zooms > _MOST_ZOOMS or _HEADER.size + 24 * num_zooms > size:
        found = f"the header has {num_zooms} zoom levels"
        raise _error("BW-06", path, found, f"at most {_MOST_ZOOMS}", "make the file again")
    if summary and not _HEADER.size <= summary <= size - 4 - _SUMMARY.size:
        outside.append(("BW-09", f"the summary would begin at offset {summary} of {size} bytes"))
    for code, found in outside:
        raise _error(code, path, found, "an offset within the file", "copy or make the file again")
    if block_bytes > _MOST_BLOCK_BYTES:
        raise _damaged(path, f"its blocks would have {block_bytes} bytes")
    of_all = _Summary(*_SUMMARY.unpack(file.read(summary, _SUMMARY.size))) if summary else None
    return _Header(contigs=contigs, index=index, block_bytes=block_bytes, summary=of_all)


def _check_magic(head: bytes, path: Path) -> None:
    expected = "a bigWig file"
    if not head:
        raise _error("BW-01", path, "the file is empty", expected, "give another file")
    if head.startswith(struct.pack("<I", _MAGIC)):
        return
    if head.startswith(struct.pack(">I", _MAGIC)):
        fix = "convert it with bigWigToBedGraph and bedGraphToBigWig"
        raise _error("BW-14", path, "the file is big-endian", "little-endian, as tools write", fix)
    if head.startswith(struct.pack("<I", _BIGBED)):
        raise _error("BW-02", path, "this is a bigBed file", expected, "convert it with bigBedToBed")
    if head.startswith(_TEXTS):
        fix = "give bedGraph the suffix .bedgraph; convert wiggle with wigToBigWig"
        raise _error("BW-02", path, "this is text", expected, fix)
    found = f"the file begins with bytes {head[:4].hex(' ')}"
    raise _error("BW-02", path, found, "the magic number of bigWig", "give another file")


def _contig_rows(file: _File, offset: int) -> dict[int, tuple[str, int]]:
    """Name and length of every contig by its number, in the order of the file."""
    magic, _, key_bytes, value_bytes, count, _ = _TREE.unpack(file.read(offset, _TREE.size))
    if magic != _TREE_MAGIC or value_bytes != 8:
        raise _damaged(file.path, "its contig list does not begin as one")
    rows: dict[int, tuple[str, int]] = {}
    root, width = offset + _TREE.size, key_bytes + 8
    for item in file.leaves(root, leaf_bytes=width, child_bytes=width):
        name = item[:key_bytes].rstrip(b"\0").decode("utf-8", errors="backslashreplace")
        number, length = struct.unpack("<II", item[key_bytes:])
        if number in rows or len(rows) == count:
            raise _damaged(file.path, f"its contig list has {name!r} beyond its {count} contigs")
        rows[number] = (name, length)
    num_names = len({name for name, _ in rows.values()})
    if num_names != count:
        raise _damaged(file.path, f"its contig list has {num_names} names, not {count}")
    return rows


def _sections(file: _File, header: _Header) -> Iterator[tuple[int, Records]]:
    """The number of a contig and its records, of every section that has any, in the order of the index."""
    if _INDEX.unpack(file.read(header.index, _INDEX.size))[0] != _INDEX_MAGIC:
        raise _damaged(file.path, "its index does not begin as one")
    for item in file.leaves(header.index + _INDEX.size, leaf_bytes=32, child_bytes=24):
        offset, size = struct.unpack("<QQ", item[16:])
        content = file.read(offset, size)
        try:
            if header.block_bytes:
                unpacker = zlib.decompressobj()
                content = unpacker.decompress(content, header.block_bytes)
                if not unpacker.eof and unpacker.decompress(unpacker.unconsumed_tail, 1):
                    raise ValueError(f"it has more than {header.block_bytes} bytes")
                if not unpacker.eof:
                    raise ValueError("its compressed data is cut")
            number, start, _, step, span, kind, count = _SECTION.unpack_from(content)
            if kind not in _SECTION_ROWS:
                raise ValueError(f"sections of kind {kind} do not exist")
            rows = np.frombuffer(content, _SECTION_ROWS[kind], count, _SECTION.size)
        except (zlib.error, struct.error, ValueError) as error:
            raise _damaged(file.path, f"of the block at offset {offset}, {error}") from None
        records = np.empty(count, dtype=RECORD)
        records["start"] = start + step * np.arange(count) if kind == 3 else rows["start"]
        records["end"] = rows["end"] if kind == 1 else records["start"] + span
        records["value"] = rows["value"]
        if count:
            yield number, records


class _Sums:
    """Adds up what was read, to compare with the file's own summary."""

    def __init__(self) -> None:
        self.num_bases = self.num_nan = 0
        self.minimum, self.maximum = np.inf, -np.inf
        self.total = self.total_squares = self.total_size = 0.0

    def add(self, records: Records) -> None:
        widths = (records["end"] - records["start"]).astype(np.float64)
        values = records["value"].astype(np.float64)
        known = ~np.isnan(values)
        self.num_bases += int(widths.sum())
        self.num_nan += int(widths[~known].sum())
        values, widths = values[known], widths[known]
        if values.size:
            self.minimum = min(self.minimum, float(values.min()))
            self.maximum = max(self.maximum, float(values.max()))
            self.total += float((values * widths).sum())
            self.total_size += float((np.abs(values) * widths).sum())
            self.total_squares += float((values**2 * widths).sum())

    def differ_from(self, summary: _Summary) -> bool:
        if self.num_bases != summary.num_bases:
            return True
        if self.num_nan or not self.num_bases:
            return False
        pairs = (
            (self.minimum, summary.minimum, abs(self.minimum)),
            (self.maximum, summary.maximum, abs(self.maximum)),
            (self.total, summary.total, self.total_size),
            (self.total_squares, summary.total_squares, self.total_squares),
        )
        return not all(abs(mine - its) <= 1e-5 * scale + 1e-30 for mine, its, scale in pairs)
