"""Lines of one buffer of FASTA text, and whether their lengths agree: vectorised, without a loop over lines.

A buffer may begin and end in the middle of a line, except in the middle of a header.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Lines:
    """The n lines of a buffer, each without its ending.

    Attributes:
        buffer: the text.
        starts: (n,) where a line starts in the buffer.
        stops: (n,) one past its last letter.
        is_header: (n,) whether it starts with `>`.
        is_crlf: (n,) whether it ends in CRLF.
        num_closed: lines whose ending is in the buffer: n or n - 1.
        first: number of line 0 in the file, counted from 1.
        column: letters of line 0 that were in earlier buffers.
    """

    buffer: bytes
    starts: Ints
    stops: Ints
    is_header: Bools
    is_crlf: Bools
    num_closed: int
    first: int
    column: int

    @cached_property
    def headers(self) -> Ints:
        """Indices of the header lines."""
        return np.flatnonzero(self.is_header)

    @cached_property
    def lengths(self) -> Ints:
        """(n,) letters of a line, those of earlier buffers included."""
        lengths = self.stops - self.starts
        if lengths.size:
            lengths[0] += self.column
        return lengths

    @cached_property
    def letters_up_to(self) -> Ints:
        """(n,) sequence letters in the buffer up to a line's end."""
        return np.cumsum(np.where(self.is_header, 0, self.stops - self.starts))

    @cached_property
    def region_starts(self) -> list[int]:
        """Byte where each record's sequence starts: the continued record's, then one for each header."""
        ends = np.append(self.starts, len(self.buffer))
        return [0, *ends[self.headers + 1].tolist()]

    @cached_property
    def region_stops(self) -> list[int]:
        """Byte where each record's sequence stops."""
        return [*self.starts[self.headers].tolist(), len(self.buffer)]

    @cached_property
    def region_letters(self) -> Ints:
        """(1 + headers,) sequence letters of each record in the buffer."""
        total = self.letters_up_to[-1:] if self.letters_up_to.size else np.zeros(1, dtype=np.int64)
        return np.diff(np.concatenate([self.letters_up_to[self.headers], total]), prepend=0)


def split_lines(buffer: bytes, *, first: int, column: int) -> Lines:
    """Find the lines of a buffer; see `Lines` for the arguments."""
    text = np.frombuffer(buffer, dtype=np.uint8)
    newlines = np.flatnonzero(text == ord("\n"))
    starts = np.concatenate([[0], newlines + 1])
    stops = np.concatenate([newlines, [text.size]])
    if starts[-1] == text.size:
        starts, stops = starts[:-1], stops[:-1]
    is_crlf = np.zeros(starts.size, dtype=np.bool_)
    if b"\r" in buffer:
        is_crlf[: newlines.size] = (newlines > 0) & (text[newlines - 1] == ord("\r"))
        stops = stops - is_crlf
    is_header = text[starts] == ord(">")
    if column and is_header.size:
        is_header[0] = False
    return Lines(buffer, starts, stops, is_header, is_crlf, newlines.size, first, column)


@dataclass(frozen=True)
class Wrapping:
    """How a buffer's records are wrapped; record 0 is the one continued from earlier buffers.

    Attributes:
        widths: letters on each record's first line, -1 while that is not known.
        too_long: first line longer than its record's first line, or None.
        too_short: first line that is shorter, or blank, and has sequence after it, or None.
        too_short_seen: the line of that sequence.
        open_short: first line of the last record that is shorter or blank, which only its end may be.
        continues: first line with letters of record 0, or None.
    """

    widths: Ints
    too_long: int | None
    too_short: int | None
    too_short_seen: int | None
    open_short: int | None
    continues: int | None


def check_wrapping(lines: Lines, width: int) -> Wrapping:
    """Compare every line with the first line of its record.

    Args:
        lines: the lines of a buffer.
        width: letters on the first line of the continued record, -1 where it has not been closed.
    """
    index = np.arange(lines.starts.size)
    record = np.cumsum(lines.is_header)
    widths = np.full(lines.headers.size + 1, -1, dtype=np.int64)
    widths[0] = width
    firsts = np.concatenate([[0], lines.headers + 1])  # line 0 is a first line if width is -1
    known = firsts < lines.num_closed
    known[known] = ~lines.is_header[firsts[known]]
    known[0] &= width < 0
    widths[known] = lines.lengths[firsts[known]]

    expected = widths[record]
    closed = ~lines.is_header & (index < lines.num_closed) & (expected >= 0)
    short = closed & ((lines.lengths < expected) | (lines.lengths == 0))
    filled = np.flatnonzero(~lines.is_header & (lines.lengths > 0))
    last_filled = np.full(widths.size, -1, dtype=np.int64)
    last_filled[record[filled]] = filled
    too_short = _first(short & (index < last_filled[record]))
    seen = None if too_short is None else int(filled[np.searchsorted(filled, too_short, side="right")])
    return Wrapping(
        widths,
        too_long=_first(closed & (lines.lengths > expected)),
        too_short=too_short,
        too_short_seen=seen,
        open_short=_first(short & (record == lines.headers.size)),
        continues=int(filled[0]) if last_filled[0] >= 0 else None,
    )


def _first(where: Bools) -> int | None:
    return int(where.argmax()) if where.any() else None
