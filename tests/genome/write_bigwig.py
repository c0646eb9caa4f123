"""A second writer of bigWig, one data block a contig, that can also write what no tool should.

Format: Kent et al. 2010, Bioinformatics 26:2204, supplement.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

MAGIC, TREE_MAGIC, INDEX_MAGIC = 0x888FFC26, 0x78CA8C91, 0x2468ACE0
Rows = list[tuple[int, int, float]]
HEADER_BYTES = 64


@dataclass
class BigWig:
    """Contigs with their lengths and rows (start, end, value), and how to write them."""

    lengths: dict[str, int]
    rows: dict[str, Rows]
    compressed: bool = True
    order: str = "<"  # byte order
    kind: int = 1  # of sections: 1 bedGraph, 2 variable step, 3 fixed step; the latter of even rows
    summary: tuple[int, float, float, float, float] | None = None
    _parts: list[bytes] = field(default_factory=list)

    def content(self) -> bytes:
        """The file."""
        self._parts = [bytes(HEADER_BYTES)]
        summary = self._add(self._pack("Qdddd", *(self.summary or self._summary())))
        tree = self._add(self._tree())
        data = self._add(self._pack("Q", len(self.rows)))
        blocks = []
        for number, name in enumerate(self.lengths):
            if self.rows.get(name):
                text = self._block(number, self.rows[name])
                text = zlib.compress(text) if self.compressed else text
                blocks.append((number, self.rows[name], self._add(text), len(text)))
        index = self._add(self._index(blocks, self._size()))
        self._add(self._pack("I", MAGIC))
        size = max(len(rows) for rows in self.rows.values()) * 12 + 24 if self.compressed else 0
        self._parts[0] = self._pack("IHHQQQHHQQIQ", MAGIC, 4, 0, tree, data, index, 0, 0, 0, summary, size, 0)
        return b"".join(self._parts)

    def _size(self) -> int:
        return sum(map(len, self._parts))

    def _add(self, part: bytes) -> int:
        offset = self._size()
        self._parts.append(part)
        return offset

    def _pack(self, form: str, *values: float | bytes) -> bytes:
        return struct.pack(self.order + form, *values)

    def _summary(self) -> tuple[int, float, float, float, float]:
        rows = [row for rows in self.rows.values() for row in rows]
        values = [struct.unpack("<f", struct.pack("<f", value))[0] for _, _, value in rows]
        widths = [end - start for start, end, _ in rows]
        pairs = list(zip(widths, values, strict=True))
        total, squares = sum(w * v for w, v in pairs), sum(w * v * v for w, v in pairs)
        return sum(widths), min(values), max(values), total, squares

    def _tree(self) -> bytes:
        key = max(map(len, self.lengths))
        head = self._pack("IIIIQQ", TREE_MAGIC, len(self.lengths), key, 8, len(self.lengths), 0)
        leaf = self._pack("BBH", 1, 0, len(self.lengths))
        items = [
            name.encode().ljust(key, b"\0") + self._pack("II", number, length)
            for number, (name, length) in enumerate(self.lengths.items())
        ]
        return head + leaf + b"".join(items)

    def _block(self, contig: int, rows: Rows) -> bytes:
        span = 0 if self.kind == 1 else rows[0][1] - rows[0][0]
        step = rows[1][0] - rows[0][0] if self.kind == 3 else 0
        ends = (rows[0][0], rows[-1][1])
        head = self._pack("IIIIIBBH", contig, *ends, step, span, self.kind, 0, len(rows))
        form, fields = {1: ("IIf", (0, 1, 2)), 2: ("If", (0, 2)), 3: ("f", (2,))}[self.kind]
        return head + b"".join(self._pack(form, *(row[field] for field in fields)) for row in rows)

    def _index(self, blocks: list[tuple[int, Rows, int, int]], end: int) -> bytes:
        first, last = blocks[0], blocks[-1]
        head = self._pack("IIQIIIIQII", INDEX_MAGIC, 256, len(blocks), first[0], first[1][0][0], last[0],
                          last[1][-1][1], end, 1, 0)  # fmt: skip
        leaf = self._pack("BBH", 1, 0, len(blocks))
        items = [
            self._pack("IIIIQQ", number, rows[0][0], number, rows[-1][1], offset, size)
            for number, rows, offset, size in blocks
        ]
        return head + leaf + b"".join(items)
