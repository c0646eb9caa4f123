"""What is wrong with a buffer of FASTA text: line endings, wrapping and letters.

Every check finds its earliest problem. The reader raises the one that shows first, so that the same
file gives the same error whatever the size of the buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dnalm.errors import DataError
from dnalm.genome import fasta_errors as errors
from dnalm.genome.alphabet import ILLEGAL, LETTER_TABLE, Codes
from dnalm.genome.fasta_lines import Ints, Lines, Wrapping

_PROTEIN_SHARE = 0.2
_IS_LINE_END = np.isin(np.arange(256), [ord("\r"), ord("\n")])
_IS_ILLEGAL = (np.frombuffer(LETTER_TABLE, dtype=np.uint8) == ILLEGAL) & ~_IS_LINE_END
_AMINO_ACIDS = b"DEFHIKLMPQRSVWY*"  # less those that are bases; X hides repeats in some genomes, - is a gap
_IS_FOREIGN = np.isin(np.arange(256), list(_AMINO_ACIDS + _AMINO_ACIDS.lower()))


@dataclass(slots=True)
class Record:
    """A record as it is being read.

    Attributes:
        name: up to the first white space of its header.
        line: number of its header line, counted from 1.
        offset: byte of the text where its sequence starts.
        length: bases read so far.
        width: letters on its first line, -1 while that line is open.
        num_ambiguous: ambiguous letters read so far.
        short: number and length of a line after which no sequence may come.
    """

    name: str
    line: int
    offset: int
    length: int = 0
    width: int = -1
    num_ambiguous: int = 0
    short: tuple[int, int] | None = None


class Problem(NamedTuple):
    """An error found in a buffer.

    The one to raise is that which shows on the earliest line (not always the line it names), there
    with the least rank, and then at the least offset.
    """

    line: int
    rank: int
    offset: int
    error: Callable[[], DataError]


def ending_problems(path: Path, lines: Lines, *, first_is_crlf: bool) -> Iterator[Problem]:
    """FASTA-09: an ending unlike the first line's, a carriage return inside a line."""
    is_crlf = lines.is_crlf[: lines.num_closed]
    different = np.flatnonzero(is_crlf != first_is_crlf)
    if different.size:
        line = lines.first + int(different[0])
        yield Problem(line, 1, 0, lambda: errors.mixed_endings(path, line, first_is_crlf=first_is_crlf))
    if lines.buffer.count(b"\r") > np.count_nonzero(is_crlf):
        text = np.frombuffer(lines.buffer + b" ", dtype=np.uint8)  # none that ends a buffer has a line feed
        returns = np.flatnonzero(text == ord("\r"))
        offset = int(returns[text[returns + 1] != ord("\n")][0])
        at = lines.first + lines.buffer.count(b"\n", 0, offset)
        yield Problem(at, 0, offset, lambda: errors.stray_return(path, at))


def wrapping_problems(
    path: Path, lines: Lines, wrapping: Wrapping, records: list[Record]
) -> Iterator[Problem]:
    """FASTA-06, FASTA-07: lines shorter than their record's first inside the record, longer, or blank.

    Args:
        path: for the message.
        lines: the lines of a buffer.
        wrapping: their lengths compared.
        records: the records of the buffer, first the continued one, up to the first bad header.
    """
    before = records[0]
    if before.short and wrapping.continues is not None:
        line, length = before.short
        seen = lines.first + wrapping.continues
        yield Problem(seen, -1, 0, lambda: errors.ragged(path, line, before.name, length, before.width))
    for index, seen_index, rank in (
        (wrapping.too_long, wrapping.too_long, 2),
        (wrapping.too_short, wrapping.too_short_seen, -1),
    ):
        which = int(np.count_nonzero(lines.is_header[:index]))
        if index is not None and seen_index is not None and which < len(records):
            error = _ragged_error(path, lines, wrapping, index, records[which].name)
            yield Problem(lines.first + seen_index, rank, 0, error)


def _ragged_error(
    path: Path, lines: Lines, wrapping: Wrapping, index: int, name: str
) -> Callable[[], DataError]:
    width = int(wrapping.widths[np.count_nonzero(lines.is_header[:index])])
    return lambda: errors.ragged(path, lines.first + index, name, int(lines.lengths[index]), width)


def empty_record_problem(path: Path, lines: Lines, records: list[Record]) -> Problem | None:
    """FASTA-03: a header that another header follows."""
    lengths = lines.region_letters[: len(records)].copy()
    lengths[0] += records[0].length
    for record, following, length in zip(records, records[1:], lengths.tolist(), strict=False):
        if record.line and not length:
            return Problem(following.line, 3, 0, partial(errors.no_sequence, path, record.line, record.name))
    return None


def letter_problem(
    path: Path,
    lines: Lines,
    codes: Codes,
    records: list[Record],
    *,
    text_offset: int,
    following: Iterator[bytes],
) -> Problem | None:
    """FASTA-11 to FASTA-15: the first illegal letter, and on raising how many its record has.

    Args:
        path: for the message.
        lines: the lines of a buffer.
        codes: the codes of all its sequence lines.
        records: the records of the buffer, first the continued one, up to the first bad header.
        text_offset: offset of the buffer in the text.
        following: the text after the buffer, read up to the end of the record on raising.
    """
    position = int(np.argmax(codes == ILLEGAL))
    line = int(np.searchsorted(lines.letters_up_to, position, side="right"))
    letters_before_line = int(lines.letters_up_to[line - 1]) if line else 0
    offset = int(lines.starts[line]) + position - letters_before_line
    which = int(np.count_nonzero(lines.is_header[:line]))
    if which >= len(records):
        return None
    record, letter = records[which], lines.buffer[offset]
    length_before = record.length if which == 0 else 0
    place = errors.Place(
        lines.first + line,
        record.name,
        length_before + position - int(lines.region_letters[:which].sum()) + 1,
        text_offset + offset,
    )
    starts_line = position == letters_before_line and not (line == 0 and lines.column)
    rest = lines.buffer[lines.region_starts[which] :]

    def error() -> DataError:
        counts = _count_bytes(rest, following)
        share = (counts[_IS_FOREIGN].sum() + record.num_ambiguous) / (counts.sum() + length_before)
        if record.line == 1 and share >= _PROTEIN_SHARE and _IS_FOREIGN[letter]:
            return errors.protein(path, place.line, record.name, float(share))
        count = int(counts[_IS_ILLEGAL].sum())
        return errors.illegal_letters(path, letter, place, count, starts_line=starts_line)

    return Problem(place.line, 0, offset, error)


def _count_bytes(rest: bytes, following: Iterator[bytes]) -> Ints:
    """How often each byte comes in a record, line ends left out: (256,)."""
    counts = np.zeros(256, dtype=np.int64)
    part, at_line_start = rest, False
    while not (at_line_start and part.startswith(b">")):
        stop = part.find(b"\n>")
        text = np.frombuffer(part if stop < 0 else part[:stop], dtype=np.uint8)
        counts += np.bincount(text, minlength=256)
        at_line_start = part.endswith(b"\n") if part else at_line_start
        following_part = next(following, None)
        if stop >= 0 or following_part is None:
            break
        part = following_part
    counts[_IS_LINE_END] = 0
    return counts
