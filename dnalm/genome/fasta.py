"""FASTA as a stream of (contig name, codes), in bounded memory and checked line by line.

Plain, gzip or bgzip. A record's name is its header up to the first white space. Lower case is kept
as the soft-mask bit. The IUPAC letters for two or three bases (RYSWKMBDHV) become N and are counted.
A UTF-8 byte order mark is passed over. Whatever else a sequence may hold is an error that names its
place; the size of the chunks changes neither the bases nor the errors.

Lines of one buffer of FASTA text, and whether their lengths agree: vectorised, without a loop over lines.

A buffer may begin and end in the middle of a line, except in the middle of a header.

What is wrong with a buffer of FASTA text: line endings, wrapping and letters.

Every check finds its earliest problem. The reader raises the one that shows first, so that the same
file gives the same error whatever the size of the buffers.

What can be wrong with a FASTA file, one function for each sentence a user may read.

Codes are those of the corpus in `tests/genome/malformed_fasta.py`, which holds a case for each.

The `.fai` index that may lie beside a FASTA file.

Nothing here reads through an index; but one that does not fit betrays that the FASTA was replaced or
cut after it was made, and other programs would then read wrong bases from it without a word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dnalm.errors import DataError
from dnalm.genome.alphabet import AMBIGUOUS, FIRST_AMBIGUOUS, ILLEGAL, LETTER_TABLE, STORED_TABLE, Codes
from dnalm.genome.bgzf import CHUNK_BYTES, read_chunks
from dnalm.genome.text import BYTE_ORDER_MARK, FAIDX, read_lines

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


_REWRAP = "rewrap the file, for instance with `seqkit seq -w 60 in.fa > out.fa`"
_OTHER_FORMATS = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"ustar": "a tar archive",
    b"BAM\x01": "a BAM file",
    b"LOCUS ": "a GenBank file",
    b"ID   ": "an EMBL file",
    b"##gff": "a GFF file",
    b"##fileformat=VCF": "a VCF file",
}


class Place(NamedTuple):
    """Where a letter stands: line and position are counted from 1, the offset from 0."""

    line: int
    contig: str
    position: int
    offset: int


def _error(code: str, path: Path, line: int | None, found: str, expected: str, fix: str) -> DataError:
    where = f"{path}:{line}" if line else str(path)
    return DataError(code, where=where, found=found, expected=expected, fix=fix)


def check_head(path: Path, head: bytes) -> None:
    """Judge a file by the beginning of its text.

    Raises:
        DataError: it is empty, begins with no header line, or is a file of another kind.
    """
    head = head.removeprefix(BYTE_ORDER_MARK)
    if not head:
        raise no_records(path)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _error(
            "FASTA-16", path, 1, "this is text in UTF-16", "FASTA is ASCII or UTF-8", "save it as UTF-8"
        )  # fmt: skip
    if head.startswith(b">"):
        return
    for magic, kind in _OTHER_FORMATS.items():
        if head.startswith(magic):
            raise _not_fasta(path, f"this is {kind}, not a FASTA file")
    if any(byte >= 0x80 or (byte < 0x20 and byte not in b"\t\r\n") for byte in head):
        raise _not_fasta(path, f"not a FASTA file, its first byte is 0x{head[0]:02X}")
    if head.startswith(b"@"):
        raise _error(
            "FASTA-18", path, 1, "this is FASTQ, its first line starts with `@`",
            "FASTA headers start with `>`", "convert it, for instance with `seqtk seq -A in.fq > out.fa`",
        )  # fmt: skip
    if head.startswith(b";"):
        raise comment(path, 1)
    raise _error(
        "FASTA-04", path, 1, "line 1 is not a header", "the first line starts with `>` and a name",
        "remove what stands before the first `>`, or add the missing header",
    )  # fmt: skip


def _not_fasta(path: Path, found: str) -> DataError:
    fix = "give a FASTA (plain, gzip or bgzip) or a UCSC 2bit file"
    return _error("FASTA-27", path, None, found, "the text starts with `>`", fix)


def no_records(path: Path) -> DataError:
    """FASTA-01: nothing in the file."""
    return _error(
        "FASTA-01", path, None, "the file is empty, it has no records", "at least one record",
        "check how the file was made or downloaded",
    )  # fmt: skip


def no_sequence(path: Path, line: int, name: str, *, last: bool = False) -> DataError:
    """FASTA-02, FASTA-03: a header without bases, at the end of the file or before another header."""
    return _error(
        "FASTA-02" if last else "FASTA-03", path, line, f"record `{name}` has no sequence",
        "every record has bases", "remove the record, or get the file again if it should have some",
    )  # fmt: skip


def duplicate_name(path: Path, name: str, first: int, second: int) -> DataError:
    """FASTA-05: two records share a name."""
    return _error(
        "FASTA-05", path, second, f"record name `{name}` stands at lines {first} and {second}",
        "names, up to the first space, are unique", "rename or remove one of the two records",
    )  # fmt: skip


def ragged(path: Path, line: int, name: str, length: int, width: int) -> DataError:
    """FASTA-06, FASTA-07: a line inside a record shorter or longer than the record's first, or blank."""
    if length == 0:
        return _error(
            "FASTA-07", path, line, f"line {line} is blank inside record `{name}`",
            "a record's lines are filled", f"remove blank lines, or {_REWRAP}",
        )  # fmt: skip
    return _error(
        "FASTA-06", path, line, f"line {line} of record `{name}` has {length} letters",
        f"expected {width}, all lines of a record but the last are equally long", _REWRAP,
    )  # fmt: skip


def mixed_endings(path: Path, line: int, *, first_is_crlf: bool) -> DataError:
    """FASTA-09: CRLF on some lines, LF on others."""
    kinds = ("LF", "CRLF") if first_is_crlf else ("CRLF", "LF")
    return _error(
        "FASTA-09", path, line, f"mixed line endings: line {line} ends in {kinds[0]}",
        f"{kinds[1]} as on line 1", "make them all alike, for instance with `dos2unix`",
    )  # fmt: skip


def stray_return(path: Path, line: int) -> DataError:
    """FASTA-09: a carriage return that no line feed follows."""
    return _error(
        "FASTA-09", path, line, f"a carriage return without line feed inside line {line}",
        "lines end in LF or CRLF", "convert the line endings, for instance with `mac2unix` or `dos2unix`",
    )  # fmt: skip


def bad_header(path: Path, line: int, reason: str) -> DataError:
    """FASTA-17, FASTA-11, FASTA-27: a header without a name, or one that is no text."""
    code, found = {
        "empty": ("FASTA-17", "empty record name"),
        "nul": ("FASTA-11", "byte 0x00 in the header"),
        "binary": ("FASTA-27", "not a FASTA file, the header is no text"),
        "long": ("FASTA-27", "not a FASTA file, the header line is longer than 1 MB"),
    }[reason]
    return _error(
        code, path, line, f"{found}, line {line}", "a header is `>`, a name, and optional text",
        "give the record a name in plain text, or get the file again",
    )  # fmt: skip


def comment(path: Path, line: int) -> DataError:
    """FASTA-29: a line that starts with a semicolon."""
    return _error(
        "FASTA-29", path, line, f"line {line} starts with `;`", "comment lines are not supported",
        "remove them, for instance with `grep -v '^;'`",
    )  # fmt: skip


def illegal_letters(path: Path, letter: int, place: Place, count: int, *, starts_line: bool) -> DataError:
    """FASTA-11, 12, 13, 15, 29: what the first illegal letter of a record and their number tell."""
    at = f"{place.contig}:{place.position}"
    where = f"{path}:{place.line} {at}"
    expected, fix = "sequence is A C G T N, either case, or IUPAC letters", "remove or replace them by N"
    if letter == ord(";") and starts_line:
        return comment(path, place.line)
    if letter == 0:
        code, found = "FASTA-11", f"byte 0x00 at offset {place.offset} of the text, at {at}"
        fix = "get the file again, it is damaged"
    elif letter >= 0x80:
        code, found = "FASTA-12", f"byte 0x{letter:02X} at {at} is not a nucleotide"
    elif letter in b" \t":
        code, found = "FASTA-15", f"{'space' if letter == 32 else 'tab'} at {at} inside the sequence"
        fix = "remove white space from the sequence lines"
    else:
        plural = "letter" if count == 1 else "letters"
        name = chr(letter) if letter >= 0x20 else f"\\x{letter:02x}"
        code, found = "FASTA-13", f"{count} illegal {plural} in `{place.contig}`, first `{name}` at {at}"
        fix = "RNA? convert U to T" if letter in b"Uu" else fix
    return DataError(code, where=where, found=found, expected=expected, fix=fix)


def protein(path: Path, line: int, name: str, share: float) -> DataError:
    """FASTA-14: amino acids."""
    return _error(
        "FASTA-14", path, line, f"record `{name}` looks like protein ({100 * share:.0f} % non-ACGTN)",
        "nucleotide sequence", "give the genome's FASTA instead of its proteins",
    )  # fmt: skip


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
        yield Problem(line, 1, 0, lambda: mixed_endings(path, line, first_is_crlf=first_is_crlf))
    if lines.buffer.count(b"\r") > np.count_nonzero(is_crlf):
        text = np.frombuffer(lines.buffer + b" ", dtype=np.uint8)  # none that ends a buffer has a line feed
        returns = np.flatnonzero(text == ord("\r"))
        offset = int(returns[text[returns + 1] != ord("\n")][0])
        at = lines.first + lines.buffer.count(b"\n", 0, offset)
        yield Problem(at, 0, offset, lambda: stray_return(path, at))


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
        yield Problem(seen, -1, 0, lambda: ragged(path, line, before.name, length, before.width))
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
    return lambda: ragged(path, lines.first + index, name, int(lines.lengths[index]), width)


def empty_record_problem(path: Path, lines: Lines, records: list[Record]) -> Problem | None:
    """FASTA-03: a header that another header follows."""
    lengths = lines.region_letters[: len(records)].copy()
    lengths[0] += records[0].length
    for record, following, length in zip(records, records[1:], lengths.tolist(), strict=False):
        if record.line and not length:
            return Problem(following.line, 3, 0, partial(no_sequence, path, record.line, record.name))
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
    place = Place(
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
            return protein(path, place.line, record.name, float(share))
        count = int(counts[_IS_ILLEGAL].sum())
        return illegal_letters(path, letter, place, count, starts_line=starts_line)

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


HEAD_BYTES = 512
_HEADER_LIMIT = 1 << 20


class FastaReader:
    """Reads one FASTA file, once, by iterating.

    Args:
        path: plain, gzip or bgzip FASTA.
        keep_records: hold all records rather than the last, for comparison with an index.
        chunk_bytes: text read at a time; bounds the memory.
        on_read: called with every piece of the file as it lies on disk.

    Attributes:
        records: what was read so far, or the last of it.
        ambiguous: number of each ambiguous letter read so far.
        num_text_bytes: bytes of decompressed text read so far.
        line_end_bytes: 2 where lines end in CRLF, else 1.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep_records: bool = False,
        chunk_bytes: int = CHUNK_BYTES,
        on_read: Callable[[bytes], None] | None = None,
    ) -> None:
        self.path = path
        self.records: list[Record] = []
        self.ambiguous: Counter[str] = Counter()
        self.num_text_bytes = 0
        self._keep_records = keep_records
        self._chunks = read_chunks(path, chunk_bytes=chunk_bytes, on_read=on_read)
        self._carry = b""
        self._line = 1
        self._column = 0
        self._is_crlf: bool | None = None
        self._line_of: dict[str, int] = {}

    @property
    def line_end_bytes(self) -> int:
        """Length of a line's ending."""
        return 2 if self._is_crlf else 1

    def __iter__(self) -> Iterator[tuple[str, Codes]]:
        """Yield contigs in order, each in one or more pieces of (length,) codes, none of them empty.

        Raises:
            DataError: FASTA-01 to FASTA-22, FASTA-27, FASTA-29; see `fasta_errors`.
        """
        head = next(read_chunks(self.path, chunk_bytes=HEAD_BYTES), b"")
        check_head(self.path, head)
        if head.startswith(BYTE_ORDER_MARK):
            self.num_text_bytes = len(BYTE_ORDER_MARK)
            self._chunks = _without_first(self._chunks, self.num_text_bytes)
        for chunk in self._chunks:
            buffer = self._carry + chunk if self._carry else chunk
            stop = self._hold_back(buffer)
            buffer, self._carry = (buffer, b"") if stop == len(buffer) else (buffer[:stop], buffer[stop:])
            if buffer:
                yield from self._feed(buffer)
        if self._carry or self._column:  # the last line has no ending
            ending = b"\r\n" if self._is_crlf and not self._carry.endswith(b"\r") else b"\n"
            buffer, self._carry = self._carry + ending, b""
            yield from self._feed(buffer)
        if not self.records[-1].length:
            raise no_sequence(self.path, self.records[-1].line, self.records[-1].name, last=True)

    def _hold_back(self, buffer: bytes) -> int:
        """Where to cut a buffer so that no header and no CRLF is torn."""
        start = buffer.rfind(b"\n") + 1
        if buffer.startswith(b">", start) and (start or not self._column):
            if len(buffer) - start > _HEADER_LIMIT:
                line = self._line + buffer.count(b"\n")
                raise bad_header(self.path, line, "long")
            return start
        return len(buffer) - buffer.endswith(b"\r")

    def _feed(self, buffer: bytes) -> Iterator[tuple[str, Codes]]:
        lines = split_lines(buffer, first=self._line, column=self._column)
        if self._is_crlf is None and lines.num_closed:
            self._is_crlf = bool(lines.is_crlf[0])
        wrapping = check_wrapping(lines, self.records[-1].width if self.records else -1)
        regions = zip(lines.region_starts, lines.region_stops, strict=True)
        text = b"".join([buffer[start:stop] for start, stop in regions]) if lines.headers.size else buffer
        codes = np.frombuffer(text.translate(LETTER_TABLE, b"\r\n"), dtype=np.uint8)
        records = self._check(lines, wrapping, codes)
        if codes.max(initial=0) >= FIRST_AMBIGUOUS:
            codes = self._replace_ambiguous(codes, lines, records[-1])
        self._advance(lines, wrapping, records)
        start = 0
        for record, length in zip(records, lines.region_letters.tolist(), strict=True):
            if length:
                yield record.name, codes[start : start + length]
            start += length

    def _check(self, lines: Lines, wrapping: Wrapping, codes: Codes) -> list[Record]:
        """The records with lines in a buffer, first the one continued from before; raises what is wrong."""
        records, bad_header = self._read_headers(lines)
        problems = [
            bad_header,
            *ending_problems(self.path, lines, first_is_crlf=bool(self._is_crlf)),
            *wrapping_problems(self.path, lines, wrapping, records),
            empty_record_problem(self.path, lines, records),
        ]
        if codes.max(initial=0) == ILLEGAL:
            following = chain([self._carry], self._chunks)
            problems.append(
                letter_problem(
                    self.path, lines, codes, records, text_offset=self.num_text_bytes, following=following
                )
            )
        found = [problem for problem in problems if problem]
        if found:
            raise min(found, key=lambda problem: problem[:3]).error()
        return records

    def _read_headers(self, lines: Lines) -> tuple[list[Record], Problem | None]:
        """The records of a buffer up to the first bad header, and that header."""
        records = [self.records[-1] if self.records else Record("", 0, 0)]
        starts, stops = lines.starts.tolist(), lines.stops.tolist()
        for index, offset in zip(lines.headers.tolist(), lines.region_starts[1:], strict=True):
            line = lines.first + index
            try:
                name = self._read_name(lines.buffer[starts[index] + 1 : stops[index]], line)
            except DataError as error:
                return records, Problem(line, 0, 0, partial(_same, error))
            records.append(Record(name, line, self.num_text_bytes + offset))
        return records, None

    def _read_name(self, header: bytes, line: int) -> str:
        if len(header) >= _HEADER_LIMIT:
            raise bad_header(self.path, line, "long")
        if b"\0" in header:
            raise bad_header(self.path, line, "nul")
        try:
            words = header.decode("utf-8").split(maxsplit=1)
        except UnicodeDecodeError:
            raise bad_header(self.path, line, "binary") from None
        if not words or header[:1].isspace():
            raise bad_header(self.path, line, "empty")
        first = self._line_of.setdefault(words[0], line)
        if first != line:
            raise duplicate_name(self.path, words[0], first, line)
        return words[0]

    def _replace_ambiguous(self, codes: Codes, lines: Lines, last: Record) -> Codes:
        """Count the ambiguous letters, for the whole file and for its last record, and make them N."""
        counts = np.bincount(codes[codes >= FIRST_AMBIGUOUS], minlength=3 * FIRST_AMBIGUOUS)
        for index, letter in enumerate(AMBIGUOUS, start=FIRST_AMBIGUOUS):
            if count := int(counts[index] + counts[index + FIRST_AMBIGUOUS]):
                self.ambiguous[letter] += count
        start = codes.size - int(lines.region_letters[-1])
        last.num_ambiguous += int(np.count_nonzero(codes[start:] >= FIRST_AMBIGUOUS))
        return np.frombuffer(codes.tobytes().translate(STORED_TABLE), dtype=np.uint8)

    def _advance(self, lines: Lines, wrapping: Wrapping, records: list[Record]) -> None:
        """Remember where the buffer ends."""
        letters, widths = lines.region_letters.tolist(), wrapping.widths.tolist()
        for record, length, width in zip(records, letters, widths, strict=True):
            record.length += length
            record.width = width
        self.records.extend(records[1:])
        if not self._keep_records:
            del self.records[:-1]
        last, index = records[-1], wrapping.open_short
        if index is not None and not last.short:
            last.short = lines.first + index, int(lines.lengths[index])
        self._column = int(lines.lengths[-1]) if lines.num_closed < lines.starts.size else 0
        self._line += lines.num_closed
        self.num_text_bytes += len(lines.buffer)


def _without_first(chunks: Iterator[bytes], count: int) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk[count:]
        count = max(0, count - len(chunk))


def _same(error: DataError) -> DataError:
    return error


_FIX = "delete the index or make it anew with `samtools faidx`"


class IndexEntry(NamedTuple):
    """One line of a `.fai`.

    Attributes:
        name: the record's name.
        length: its bases.
        offset: byte of the decompressed text where its sequence starts.
        line_bases: letters a line.
        line_bytes: bytes a line, its ending included.
    """

    name: str
    length: int
    offset: int
    line_bases: int
    line_bytes: int


def index_path(fasta: Path) -> Path:
    """Where the index of a FASTA file would lie."""
    return fasta.with_name(fasta.name + ".fai")


def read_index(path: Path) -> list[IndexEntry]:
    """Read a `.fai`.

    Raises:
        DataError: FASTA-25, FASTA-26; a line has other than five columns, or numbers that cannot be.
    """
    entries = []
    for _, number, line, _ in read_lines(path, FAIDX):
        columns = line.split("\t")
        if len(columns) != 5:
            found = f"index line {number} has {len(columns)} column{'s' if len(columns) > 1 else ''}"
            raise _index_error("FASTA-26", path, number, found, "expected 5 columns separated by tabs")
        try:
            length, offset, line_bases, line_bytes = (int(column) for column in columns[1:])
        except ValueError:
            length = offset = line_bases = line_bytes = -1
        if length < 1 or offset < 1 or line_bases < 1 or line_bytes < line_bases:
            rule = "columns 2 to 5 are positive whole numbers"
            raise _index_error("FASTA-25", path, number, f"invalid index line {number}, {line!r}", rule)
        entries.append(IndexEntry(columns[0], length, offset, line_bases, line_bytes))
    return entries


def check_index(path: Path, index: list[IndexEntry], actual: list[IndexEntry], text_bytes: int) -> None:
    """Compare an index with what was read from its FASTA.

    Args:
        path: the index.
        index: its entries.
        actual: the entries it should have, of which there is at least one.
        text_bytes: length of the decompressed text.

    Raises:
        DataError: FASTA-23, FASTA-24; it belongs to another file.
    """
    for number, entry in enumerate(index, start=1):
        last_line, column = divmod(entry.length - 1, entry.line_bases)
        end = entry.offset + last_line * entry.line_bytes + column + 1
        if end > text_bytes:
            found = f"index entry {entry.name} ends past the end of the file (byte {end} of {text_bytes})"
            raise _index_error("FASTA-24", path, number, found, "entries lie within the file")
    for number, (entry, truth) in enumerate(zip(index, actual, strict=False), start=1):
        one_line = truth.length <= truth.line_bases  # its line length does not matter, and tools differ
        if entry[: 3 if one_line else 5] != truth[: 3 if one_line else 5]:
            found = f"the index does not belong to this file: {_spell(entry)}"
            raise _index_error("FASTA-23", path, number, found, f"the file has {_spell(truth)}")
    if len(index) != len(actual):
        found = f"the index does not belong to this file: it has {len(index)} records"
        raise _index_error(
            "FASTA-23", path, min(len(index), len(actual)) + 1, found, f"the file has {len(actual)}"
        )


def _spell(entry: IndexEntry) -> str:
    return (
        f"`{entry.name}` of {entry.length} bases at byte {entry.offset}, "
        f"lines of {entry.line_bases} letters, {entry.line_bytes} bytes"
    )


def _index_error(code: str, path: Path, line: int, found: str, expected: str) -> DataError:
    return DataError(code, where=f"{path}:{line}", found=found, expected=expected, fix=_FIX)
