"""FASTA as a stream of (contig name, codes), in bounded memory and checked line by line.

Plain, gzip or bgzip. A record's name is its header up to the first white space. Lower case is kept
as the soft-mask bit. The IUPAC letters for two or three bases (RYSWKMBDHV) become N and are counted.
A UTF-8 byte order mark is passed over. Whatever else a sequence may hold is an error that names its
place; the size of the chunks changes neither the bases nor the errors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from dnalm.errors import DataError
from dnalm.genome import fasta_errors as errors
from dnalm.genome.alphabet import AMBIGUOUS, FIRST_AMBIGUOUS, ILLEGAL, LETTER_TABLE, STORED_TABLE, Codes
from dnalm.genome.bgzf import CHUNK_BYTES, read_chunks
from dnalm.genome.fasta_checks import (
    Problem,
    Record,
    empty_record_problem,
    ending_problems,
    letter_problem,
    wrapping_problems,
)
from dnalm.genome.fasta_lines import Lines, Wrapping, check_wrapping, split_lines
from dnalm.genome.text import BYTE_ORDER_MARK

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
        errors.check_head(self.path, head)
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
            raise errors.no_sequence(self.path, self.records[-1].line, self.records[-1].name, last=True)

    def _hold_back(self, buffer: bytes) -> int:
        """Where to cut a buffer so that no header and no CRLF is torn."""
        start = buffer.rfind(b"\n") + 1
        if buffer.startswith(b">", start) and (start or not self._column):
            if len(buffer) - start > _HEADER_LIMIT:
                line = self._line + buffer.count(b"\n")
                raise errors.bad_header(self.path, line, "long")
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
            raise errors.bad_header(self.path, line, "long")
        if b"\0" in header:
            raise errors.bad_header(self.path, line, "nul")
        try:
            words = header.decode("utf-8").split(maxsplit=1)
        except UnicodeDecodeError:
            raise errors.bad_header(self.path, line, "binary") from None
        if not words or header[:1].isspace():
            raise errors.bad_header(self.path, line, "empty")
        first = self._line_of.setdefault(words[0], line)
        if first != line:
            raise errors.duplicate_name(self.path, words[0], first, line)
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
