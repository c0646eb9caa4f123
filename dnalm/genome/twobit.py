"""UCSC 2bit as a stream of (contig name, codes), in bounded memory.

Both byte orders; version 0, and version 1, whose index has 64-bit offsets. The format is described
at https://genome.ucsc.edu/FAQ/FAQformat.html#format7. It keeps N and lower case as blocks, and no
IUPAC letters. No two records may share bytes, so that a store is at most four times as large as its
file.
"""

from __future__ import annotations

import bisect
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from dnalm.errors import DataError
from dnalm.genome.alphabet import SOFT_MASK, UNKNOWN, A, C, Codes, G, T
from dnalm.genome.intervals import Intervals, merge
from dnalm.genome.text import CHUNK_BYTES

_MAGIC = 0x1A412743
_BASES = np.array([T, C, A, G], dtype=np.uint8)
_SHIFTS = np.array([6, 4, 2, 0])
_FOUR_BASES = _BASES[(np.arange(256)[:, None] >> _SHIFTS) & 3].reshape(-1).view(np.uint32)  # by packed byte


def is_twobit(head: bytes) -> bool:
    """Whether a file's first bytes are 2bit's, in either byte order."""
    return head[:4] in (struct.pack("<I", _MAGIC), struct.pack(">I", _MAGIC))


class _Header(NamedTuple):
    """What precedes a record's bases."""

    length: int
    unknown: Intervals
    soft_masked: Intervals
    packed_offset: int


class TwoBitReader:
    """Reads one 2bit file.

    Args:
        path: the file.
        chunk_bytes: bases decoded at a time; bounds the memory, with the blocks of one contig.
        on_read: called with the number of bytes done, for progress.

    Attributes:
        ambiguous: always empty, 2bit holds none.

    Raises:
        DataError: TWOBIT-01 (not 2bit), 02 (version), 03 (index cut), 06 (duplicate name), 07 (no
            contig), 09 (bad name).
    """

    def __init__(
        self,
        path: Path,
        *,
        chunk_bytes: int = CHUNK_BYTES,
        on_read: Callable[[int], None] | None = None,
    ) -> None:
        self.path = path
        self.ambiguous: Counter[str] = Counter()
        self._chunk_bases = max(4, chunk_bytes - chunk_bytes % 4)
        self._on_read = on_read or (lambda _: None)
        self._num_bytes = path.stat().st_size
        with path.open("rb") as file:
            self._order, self._offsets = self._read_index(file)
            self._index_bytes = file.tell()

    def __iter__(self) -> Iterator[tuple[str, Codes]]:
        """Yield contigs in order, each in one or more pieces of (length,) codes, none of them empty.

        Raises:
            DataError: TWOBIT-04 (record past the end of the file), 05 (block past the contig's end),
                08 (contig without bases), 10 (records that overlap).
        """
        taken = [(0, self._index_bytes, "the index")]
        with self.path.open("rb") as file:
            for name, offset in self._offsets.items():
                header = self._read_header(file, name, offset)
                self._check_apart(taken, (offset, header.packed_offset + (header.length + 3) // 4, name))
                for codes in self._read_bases(file, header):
                    yield name, codes

    def _read_index(self, file: BinaryIO) -> tuple[str, dict[str, int]]:
        head = file.read(16)
        if not is_twobit(head):
            found, rule = (
                f"the first bytes are {head[:4].hex(' ')}",
                "2bit starts with 43 27 41 1a or its reverse",
            )
            raise self._error("TWOBIT-01", found, rule, "give a UCSC 2bit or a FASTA file")
        if len(head) < 16:
            raise self._cut("TWOBIT-03", "the header is cut")
        order = "<" if head[:4] == struct.pack("<I", _MAGIC) else ">"
        version, num_contigs = struct.unpack(order + "2I", head[4:12])
        if version > 1:
            fix = "convert it with `twoBitToFa` and give the FASTA"
            raise self._error("TWOBIT-02", f"the file's version is {version}", "version 0 or 1", fix)
        if num_contigs == 0:
            fix = "check how the file was made"
            raise self._error("TWOBIT-07", "the file has no contigs", "at least one", fix)
        offset_format = struct.Struct(order + ("Q" if version else "I"))
        offsets: dict[str, int] = {}
        for number in range(1, num_contigs + 1):
            name_bytes = file.read(1)
            raw = file.read(name_bytes[0]) if name_bytes else b""
            offset = file.read(offset_format.size)
            if len(offset) < offset_format.size:
                raise self._cut("TWOBIT-03", f"the index is cut in entry {number} of {num_contigs}")
            name = self._read_name(raw, number)
            if name in offsets:
                fix = "make the file again from FASTA with unique names"
                raise self._error("TWOBIT-06", f"contig name `{name}` comes twice", "names are unique", fix)
            offsets[name] = offset_format.unpack(offset)[0]
        return order, offsets

    def _read_name(self, raw: bytes, number: int) -> str:
        name = raw.decode("utf-8", errors="replace")
        if not name or not name.isprintable() or any(map(str.isspace, name)) or "\ufffd" in name:
            found = f"the name of contig {number} is {raw!r}"
            raise self._error("TWOBIT-09", found, "names are printable, without spaces", "get the file again")
        return name

    def _read_header(self, file: BinaryIO, name: str, offset: int) -> _Header:
        if offset + 16 > self._num_bytes:
            raise self._cut("TWOBIT-04", f"contig `{name}` starts at byte {offset}")
        file.seek(offset)
        (length,) = self._read_numbers(file, 1, name).tolist()
        if length == 0:
            fix = "remove the contig from the file"
            raise self._error("TWOBIT-08", f"contig `{name}` has no bases", "contigs have bases", fix)
        unknown = self._read_blocks(file, name, length, "N")
        soft_masked = self._read_blocks(file, name, length, "mask")
        self._read_numbers(file, 1, name)  # reserved
        packed_offset = file.tell()
        end = packed_offset + (length + 3) // 4
        if end > self._num_bytes:
            raise self._cut("TWOBIT-04", f"the bases of contig `{name}` end at byte {end}")
        self._on_read(packed_offset - offset)
        return _Header(length, unknown, soft_masked, packed_offset)

    def _check_apart(self, taken: list[tuple[int, int, str]], record: tuple[int, int, str]) -> None:
        """Add the first and the last byte and the name of a record to a sorted list of those before."""
        place = bisect.bisect(taken, record)
        for start, end, name in taken[place - 1 : place + 1]:
            if record[0] < end and start < record[1]:
                found = (
                    f"contig `{record[2]}` starts at byte {record[0]}, and {name} has bytes {start} to {end}"
                )
                rule = "each contig has its own record"
                raise self._error("TWOBIT-10", found, rule, "make the file again from FASTA")
        taken.insert(place, record)

    def _read_blocks(self, file: BinaryIO, name: str, length: int, kind: str) -> Intervals:
        (count,) = self._read_numbers(file, 1, name).tolist()
        starts = self._read_numbers(file, count, name)
        ends = starts + self._read_numbers(file, count, name)
        past = np.flatnonzero(ends > length)
        if past.size:
            block = f"{starts[past[0]]}-{ends[past[0]]}"
            found = f"{kind} block {block} of contig `{name}` ends past its {length} bases"
            raise self._error("TWOBIT-05", found, "blocks lie within the contig", "get the file again")
        return merge(np.stack([starts, ends], axis=1))

    def _read_numbers(self, file: BinaryIO, count: int, name: str) -> Intervals:
        if file.tell() + 4 * count > self._num_bytes:
            raise self._cut("TWOBIT-04", f"the record of contig `{name}` is cut")
        return np.frombuffer(file.read(4 * count), dtype=self._order + "u4").astype(np.int64)

    def _read_bases(self, file: BinaryIO, header: _Header) -> Iterator[Codes]:
        file.seek(header.packed_offset)
        for start in range(0, header.length, self._chunk_bases):
            stop = min(start + self._chunk_bases, header.length)
            packed = np.frombuffer(file.read((stop - start + 3) // 4), dtype=np.uint8)
            codes = _FOUR_BASES[packed].view(np.uint8)[: stop - start]
            for first, last in _within(header.unknown, start, stop):
                codes[first:last] = UNKNOWN
            for first, last in _within(header.soft_masked, start, stop):
                codes[first:last] |= SOFT_MASK
            self._on_read(packed.size)
            yield codes

    def _cut(self, code: str, found: str) -> DataError:
        found = f"{found}, but the file ends at byte {self._num_bytes}"
        return self._error(code, found, "the file holds all it announces", "get the file again, it was cut")

    def _error(self, code: str, found: str, expected: str, fix: str) -> DataError:
        return DataError(code, where=str(self.path), found=found, expected=expected, fix=fix)


def _within(blocks: Intervals, start: int, stop: int) -> list[list[int]]:
    """The parts of sorted, disjoint blocks that lie in a chunk, counted from its start."""
    first = np.searchsorted(blocks[:, 1], start, side="right")
    last = np.searchsorted(blocks[:, 0], stop, side="left")
    parts: list[list[int]] = (blocks[first:last].clip(start, stop) - start).tolist()
    return parts
