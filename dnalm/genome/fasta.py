"""FASTA as a stream of (contig name, codes), in bounded memory and checked line by line.

Plain, gzip or bgzip. A record's name is its header up to the first white space. Lower case is kept
as the soft-mask bit. The IUPAC letters for two or three bases (RYSWKMBDHV) become N and are counted.
A UTF-8 byte order mark is skipped. Anything else is an error that names its place.

Reading and explaining are apart. `FastaReader` decides with a few array operations a buffer whether the text
is right. Where it is not, `_explain` reads the file once more, line by line, up to the first mistake; so the
size of the buffers changes neither the bases nor the error. pysam and pyfastx accept ragged lines, repeated
names and any letter, which is why neither is used. The codes are those of the corpus in
`tests/genome/malformed_fasta.py`, which holds a case for each.

Nothing here reads through the `.fai` that may lie beside a FASTA file. But an index that does not fit shows
that the FASTA was replaced or cut after it was made, and other programs would silently read wrong bases.
"""

from __future__ import annotations

import io
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from dnalm.errors import DataError
from dnalm.genome.alphabet import AMBIGUOUS, FIRST_AMBIGUOUS, ILLEGAL, LETTER_TABLE, STORED_TABLE, Codes
from dnalm.genome.text import BYTE_ORDER_MARK, CHUNK_BYTES, FAIDX, read_chunks, read_lines

HEAD_BYTES = 512
_HEADER_LIMIT = 1 << 20
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
_PROTEIN_SHARE = 0.2
_IS_LINE_END = np.isin(np.arange(256), [ord("\r"), ord("\n")])
_IS_ILLEGAL = (np.frombuffer(LETTER_TABLE, dtype=np.uint8) == ILLEGAL) & ~_IS_LINE_END
_AMINO_ACIDS = b"DEFHIKLMPQRSVWY*"  # less those that are bases; X hides repeats in some genomes, - is a gap
_IS_FOREIGN = np.isin(np.arange(256), list(_AMINO_ACIDS + _AMINO_ACIDS.lower()))


Ints = npt.NDArray[np.int64]


@dataclass(slots=True)
class Record:
    """A record as it is being read.

    Attributes:
        name: up to the first white space of its header.
        offset: byte of the text where its sequence starts.
        length: bases read so far.
        width: letters on its first line, -1 while that line is open.
    """

    name: str
    offset: int
    length: int = 0
    width: int = -1


class _Lines(NamedTuple):
    """The n lines of a buffer: where each starts and stops, its ending left out."""

    starts: Ints
    stops: Ints
    is_header: npt.NDArray[np.bool_]
    num_ended: int  # n, or n - 1 where the last line continues in the next buffer


class FastaReader:
    """Reads one FASTA file, once, by iterating.

    Args:
        path: plain, gzip or bgzip FASTA.
        keep_records: list all records, for comparison with an index.
        chunk_bytes: text read at a time; bounds the memory.
        on_read: called with every piece of the file as it lies on disk.

    Attributes:
        records: what was read so far, if they are kept.
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
        self.line_end_bytes = 0  # not known yet
        self._keep_records = keep_records
        self._chunk_bytes, self._on_read = chunk_bytes, on_read
        self._record = Record("", 0)  # the one that the next buffer continues; before the first, none
        self._names: set[str] = set()
        self._column = 0  # letters of the line that the next buffer continues
        self._is_short = False  # the line before is shorter than its record's first, or blank

    def __iter__(self) -> Iterator[tuple[str, Codes]]:
        """Yield contigs in order, each in one or more pieces of (length,) codes, none of them empty.

        Raises:
            DataError: FASTA-01 to FASTA-22, FASTA-27, FASTA-29; see `check_head` and `_LineChecker`.
        """
        self.num_text_bytes = _check_beginning(self.path)
        for buffer in _buffers(self.path, self.num_text_bytes, self._chunk_bytes, self._on_read):
            pieces = self._read(buffer)
            if pieces is None:
                _explain(self.path)
            yield from pieces
        if not self._record.length:
            _explain(self.path)

    def _read(self, buffer: bytes) -> list[tuple[str, Codes]] | None:
        """The contigs' pieces in a buffer, whose headers and CRLFs are whole; None if any of it is wrong."""
        lines = self._split(buffer)
        if lines is None:
            return None
        headers = np.flatnonzero(lines.is_header)
        names = self._new_names(buffer, lines.starts[headers].tolist(), lines.stops[headers].tolist())
        widths = self._widths(lines, headers)
        if names is None or widths is None:
            return None
        edges = np.append(lines.starts, len(buffer))
        begins = [0, *edges[headers + 1].tolist()]  # of the text of each record's sequence
        ends = [*lines.starts[headers].tolist(), len(buffer)]
        letters = np.where(lines.is_header, 0, lines.stops - lines.starts)
        num_letters = np.add.reduceat(letters, np.append(0, headers)).tolist()
        records = [self._record]
        records += [
            Record(name, self.num_text_bytes + at) for name, at in zip(names, begins[1:], strict=True)
        ]
        for record, count, width in zip(records, num_letters, widths, strict=True):
            record.length += count
            record.width = width
        if any(record.name and not record.length for record in records[:-1]):
            return None
        text = b"".join([buffer[begin:end] for begin, end in zip(begins, ends, strict=True)])
        codes = np.frombuffer(text.translate(LETTER_TABLE, b"\r\n"), dtype=np.uint8)
        highest = codes.max(initial=0)
        if highest == ILLEGAL:
            return None
        if highest >= FIRST_AMBIGUOUS:
            codes = self._replace_ambiguous(codes)
        self._record = records[-1]
        self.records += records[1:] if self._keep_records else []
        self.num_text_bytes += len(buffer)
        stops = itertools.accumulate(num_letters)
        parts = zip(records, num_letters, stops, strict=True)
        return [(record.name, codes[stop - count : stop]) for record, count, stop in parts if count]

    def _split(self, buffer: bytes) -> _Lines | None:
        """The lines of a buffer; None where they end differently."""
        text = np.frombuffer(buffer, dtype=np.uint8)
        newlines = np.flatnonzero(text == ord("\n"))
        if not self.line_end_bytes:
            self.line_end_bytes = 1 + buffer[: buffer.find(b"\n")].endswith(b"\r")
        if buffer.count(b"\r") != (newlines.size if self.line_end_bytes == 2 else 0):
            return None
        if self.line_end_bytes == 2 and (text[newlines - 1] != ord("\r")).any():
            return None
        starts, stops = np.append(0, newlines + 1), np.append(newlines + 1 - self.line_end_bytes, text.size)
        if starts[-1] == text.size:
            starts, stops = starts[:-1], stops[:-1]
        is_header = text[starts] == ord(">")
        is_header[0] &= not self._column
        return _Lines(starts, stops, is_header, newlines.size)

    def _widths(self, lines: _Lines, headers: Ints) -> list[int] | None:
        """Letters on the first line of each record, the continued one first, -1 where that line is open.

        None where a line is longer than its record's first, or one that is shorter or blank is not the last.
        """
        lengths = lines.stops - lines.starts
        lengths[0] += self._column
        is_line = ~lines.is_header
        is_filled = is_line & (lengths > 0)
        is_line[lines.num_ended :] = False
        widths = np.append(np.where(is_line, lengths, -1), -1)[np.append(0, headers + 1)]
        if self._record.width >= 0:
            widths[0] = self._record.width
        expected = widths[np.cumsum(lines.is_header)]
        is_short = is_line & ((lengths < expected) | (lengths == 0))
        is_long = is_line & (lengths > expected)
        if is_long.any() or (is_filled[1:] & is_short[:-1]).any() or (self._is_short and is_filled[0]):
            return None
        if lines.num_ended:
            self._is_short = bool(is_short[lines.num_ended - 1])
        self._column = int(lengths[-1]) if lines.num_ended < lengths.size else 0
        found: list[int] = widths.tolist()
        return found

    def _new_names(self, buffer: bytes, starts: list[int], stops: list[int]) -> list[str] | None:
        """The names of a buffer's headers; None if one is not a name or comes twice."""
        headers = [buffer[start + 1 : stop] for start, stop in zip(starts, stops, strict=True)]
        if any(map(_header_fault, headers)):
            return None
        names = [header.decode().split(maxsplit=1)[0] for header in headers]
        num_names = len(self._names) + len(names)
        self._names.update(names)
        return names if len(self._names) == num_names else None

    def _replace_ambiguous(self, codes: Codes) -> Codes:
        """Count the ambiguous letters and make them N."""
        counts = np.bincount(codes[codes >= FIRST_AMBIGUOUS], minlength=3 * FIRST_AMBIGUOUS)
        for index, letter in enumerate(AMBIGUOUS, start=FIRST_AMBIGUOUS):
            if count := int(counts[index] + counts[index + FIRST_AMBIGUOUS]):
                self.ambiguous[letter] += count
        return np.frombuffer(codes.tobytes().translate(STORED_TABLE), dtype=np.uint8)


def _buffers(
    path: Path,
    skip: int,
    chunk_bytes: int = CHUNK_BYTES,
    on_read: Callable[[bytes], None] | None = None,
) -> Iterator[bytes]:
    """A file's text from byte `skip`, cut so that no header and no CRLF is torn; its last line is ended."""
    carry, is_crlf, is_ended = b"", None, True
    for chunk in read_chunks(path, chunk_bytes=chunk_bytes, on_read=on_read):
        chunk, skip = chunk[skip:], max(0, skip - len(chunk))
        buffer = carry + chunk if carry else chunk
        start = buffer.rfind(b"\n") + 1
        if is_crlf is None and start:
            is_crlf = buffer[: buffer.find(b"\n")].endswith(b"\r")
        stop = len(buffer) - buffer.endswith(b"\r")
        if buffer.startswith(b">", start) and (start or is_ended) and len(buffer) - start <= _HEADER_LIMIT:
            stop = start
        buffer, carry = (buffer, b"") if stop == len(buffer) else (buffer[:stop], buffer[stop:])
        if buffer:
            is_ended = buffer.endswith(b"\n")
            yield buffer
    if carry or not is_ended:
        yield carry + (b"\r\n" if is_crlf and not carry.endswith(b"\r") else b"\n")


def _header_fault(header: bytes) -> str | None:
    """What is wrong with a header, the `>` left out."""
    if len(header) >= _HEADER_LIMIT:
        return "long"
    if b"\0" in header:
        return "nul"
    try:
        words = header.decode().split(maxsplit=1)
    except UnicodeDecodeError:
        return "binary"
    return "empty" if not words or header[:1].isspace() else None


def _check_beginning(path: Path) -> int:
    """Judge a file by its first bytes; the bytes of its byte order mark."""
    head = next(read_chunks(path, chunk_bytes=HEAD_BYTES), b"")
    check_head(path, head)
    return len(BYTE_ORDER_MARK) if head.startswith(BYTE_ORDER_MARK) else 0


def check_head(path: Path, head: bytes) -> None:
    """Judge a file by the beginning of its text.

    Raises:
        DataError: it is empty, begins with no header line, or is a file of another kind.
    """
    head = head.removeprefix(BYTE_ORDER_MARK)
    if not head:
        fix = "check how the file was made or downloaded"
        raise _error(
            "FASTA-01", path, None, "the file is empty, it has no records", "at least one record", fix
        )
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        rule = "FASTA is ASCII or UTF-8"
        raise _error("FASTA-16", path, 1, "this is text in UTF-16", rule, "save it as UTF-8")
    if head.startswith(b">"):
        return
    for magic, kind in _OTHER_FORMATS.items():
        if head.startswith(magic):
            raise _not_fasta(path, f"this is {kind}, not a FASTA file")
    if any(byte >= 0x80 or (byte < 0x20 and byte not in b"\t\r\n") for byte in head):
        raise _not_fasta(path, f"not a FASTA file, its first byte is 0x{head[0]:02X}")
    if head.startswith(b"@"):
        found, rule = "this is FASTQ, its first line starts with `@`", "FASTA headers start with `>`"
        fix = "convert it, for instance with `seqtk seq -A in.fq > out.fa`"
        raise _error("FASTA-18", path, 1, found, rule, fix)
    if head.startswith(b";"):
        raise _comment(path, 1)
    rule = "the first line starts with `>` and a name"
    fix = "remove what stands before the first `>`, or add the missing header"
    raise _error("FASTA-04", path, 1, "line 1 is not a header", rule, fix)


def _not_fasta(path: Path, found: str) -> DataError:
    fix = "give a FASTA (plain, gzip or bgzip) or a UCSC 2bit file"
    return _error("FASTA-27", path, None, found, "the text starts with `>`", fix)


def _comment(path: Path, line: int) -> DataError:
    found, rule = f"line {line} starts with `;`", "comment lines are not supported"
    return _error("FASTA-29", path, line, found, rule, "remove them, for instance with `grep -v '^;'`")


def _error(code: str, path: Path, line: int | None, found: str, expected: str, fix: str) -> DataError:
    where = f"{path}:{line}" if line else str(path)
    return DataError(code, where=where, found=found, expected=expected, fix=fix)


def _explain(path: Path) -> NoReturn:
    """Raise the first mistake of a file that has one; reading by lines takes seconds a gigabyte."""
    start = _check_beginning(path)
    checker = _LineChecker(path, start)
    for buffer in _buffers(path, start):
        for piece in io.BytesIO(buffer):
            checker.check(piece)
    raise checker.no_sequence(is_last=True)


class _LineChecker:
    """Looks for the first mistake in the pieces of lines, which come in order.

    Args:
        path: the file, for messages and for reading a record once more.
        offset: byte of the text where the first piece starts.
    """

    def __init__(self, path: Path, offset: int) -> None:
        self._path, self._offset = path, offset
        self._line, self._column = 1, 0  # its number; letters of it in earlier pieces
        self._is_crlf: bool | None = None
        self._line_of: dict[str, int] = {}
        self._name, self._header_line, self._start = "", 0, 0  # of the record; where its sequence starts
        self._length, self._width = 0, -1  # its letters so far, those of its first line once that has ended
        self._short: tuple[int, int] | None = None  # number and length of a line that has to be its last

    def check(self, piece: bytes) -> None:
        """Check a line or a part of one, which has its end where the line ends.

        Raises:
            DataError: it has a mistake.
        """
        is_ended, is_crlf = piece.endswith(b"\n"), piece.endswith(b"\r\n")
        text = piece[: len(piece) - is_ended - is_crlf]
        is_header = text.startswith(b">") and not self._column
        name = self._check_header(text) if is_header else ""
        if not is_header:
            self._check_letters(text)
        self._check_line_end(text, is_ended=is_ended, is_crlf=is_crlf)
        self._offset += len(piece)
        length = self._column + len(text)
        if is_header:
            if self._name and not self._length:
                raise self.no_sequence()
            self._name, self._header_line, self._start = name, self._line, self._offset
            self._length, self._width, self._short = 0, -1, None
        else:
            self._length += len(text)
            if is_ended and length > self._width >= 0:
                raise self._ragged(self._line, length)
            if is_ended:
                self._width = length if self._width < 0 else self._width
                if not self._short and (length < self._width or not length):
                    self._short = self._line, length
        self._column = 0 if is_ended else length
        self._line += is_ended

    def _check_line_end(self, text: bytes, *, is_ended: bool, is_crlf: bool) -> None:
        if self._is_crlf is None:
            self._is_crlf = is_crlf
        if b"\r" in text:
            found = f"a carriage return without line feed inside line {self._line}"
            fix = "convert the line endings, for instance with `mac2unix` or `dos2unix`"
            raise self._error("FASTA-09", found, "lines end in LF or CRLF", fix)
        if is_ended and is_crlf != self._is_crlf:
            kinds = ("CRLF", "LF") if is_crlf else ("LF", "CRLF")
            found = f"mixed line endings: line {self._line} ends in {kinds[0]}"
            fix = "make them all alike, for instance with `dos2unix`"
            raise self._error("FASTA-09", found, f"{kinds[1]} as on line 1", fix)

    def no_sequence(self, *, is_last: bool = False) -> DataError:
        """FASTA-02, FASTA-03: a header without bases, at the end of the file or before another header."""
        fix = "remove the record, or get the file again if it should have some"
        found, code = f"record `{self._name}` has no sequence", "FASTA-02" if is_last else "FASTA-03"
        return _error(code, self._path, self._header_line, found, "every record has bases", fix)

    def _check_header(self, line: bytes) -> str:
        """The record's name."""
        fault = _header_fault(line[1:])
        if fault is not None:
            code, found = {
                "empty": ("FASTA-17", "empty record name"),
                "nul": ("FASTA-11", "byte 0x00 in the header"),
                "binary": ("FASTA-27", "not a FASTA file, the header is no text"),
                "long": ("FASTA-27", "not a FASTA file, the header line is longer than 1 MB"),
            }[fault]
            rule = "a header is `>`, a name, and optional text"
            fix = "give the record a name in plain text, or get the file again"
            raise self._error(code, f"{found}, line {self._line}", rule, fix)
        name = line[1:].decode().split(maxsplit=1)[0]
        first = self._line_of.setdefault(name, self._line)
        if first != self._line:
            found = f"record name `{name}` stands at lines {first} and {self._line}"
            rule = "names, up to the first space, are unique"
            raise self._error("FASTA-05", found, rule, "rename or remove one of the two records")
        return name

    def _check_letters(self, text: bytes) -> None:
        if self._short and text:
            raise self._ragged(*self._short)
        at = text.translate(LETTER_TABLE).find(ILLEGAL)
        if at >= 0 and text[at] != ord("\r"):
            raise self._illegal_letters(text[at], at)

    def _ragged(self, line: int, length: int) -> DataError:
        """FASTA-06, FASTA-07: a line inside a record shorter or longer than the record's first, or blank."""
        if not length:
            found, fix = (
                f"line {line} is blank inside record `{self._name}`",
                f"remove blank lines, or {_REWRAP}",
            )
            return _error("FASTA-07", self._path, line, found, "a record's lines are filled", fix)
        found = f"line {line} of record `{self._name}` has {length} letters"
        rule = f"expected {self._width}, all lines of a record but the last are equally long"
        return _error("FASTA-06", self._path, line, found, rule, _REWRAP)

    def _illegal_letters(self, letter: int, at: int) -> DataError:
        """FASTA-11 to 15, 29: what the first illegal letter of a record and their number say."""
        if letter == ord(";") and not at and not self._column:
            return _comment(self._path, self._line)
        counts = _count_letters(self._path, self._start)
        share = float(counts[_IS_FOREIGN].sum() / counts.sum())
        if self._header_line == 1 and share >= _PROTEIN_SHARE and _IS_FOREIGN[letter]:
            found = f"record `{self._name}` looks like protein ({100 * share:.0f} % non-ACGTN)"
            fix = "give the genome's FASTA instead of its proteins"
            return self._error("FASTA-14", found, "nucleotide sequence", fix)
        place = f"{self._name}:{self._length + at + 1}"
        expected, fix = "sequence is A C G T N, either case, or IUPAC letters", "remove or replace them by N"
        if letter == 0:
            code, found = "FASTA-11", f"byte 0x00 at offset {self._offset + at} of the text, at {place}"
            fix = "get the file again, it is damaged"
        elif letter >= 0x80:
            code, found = "FASTA-12", f"byte 0x{letter:02X} at {place} is not a nucleotide"
        elif letter in b" \t":
            code, found = "FASTA-15", f"{'space' if letter == 32 else 'tab'} at {place} inside the sequence"
            fix = "remove white space from the sequence lines"
        else:
            count = int(counts[_IS_ILLEGAL].sum())
            letters = f"{count} illegal letter{'' if count == 1 else 's'} in `{self._name}`"
            name = chr(letter) if letter >= 0x20 else f"\\x{letter:02x}"
            code, found = "FASTA-13", f"{letters}, first `{name}` at {place}"
            fix = "RNA? convert U to T" if letter in b"Uu" else fix
        where = f"{self._path}:{self._line} {place}"
        return DataError(code, where=where, found=found, expected=expected, fix=fix)

    def _error(self, code: str, found: str, expected: str, fix: str) -> DataError:
        return _error(code, self._path, self._line, found, expected, fix)


def _count_letters(path: Path, start: int) -> Ints:
    """How often each byte stands in the record whose sequence starts at a byte of the text: (256,)."""
    counts = np.zeros(256, dtype=np.int64)
    is_line_start = True
    for buffer in _buffers(path, start):
        if is_line_start and buffer.startswith(b">"):
            break
        stop = buffer.find(b"\n>")
        counts += np.bincount(
            np.frombuffer(buffer[: stop % (len(buffer) + 1)], dtype=np.uint8), minlength=256
        )
        if stop >= 0:
            break
        is_line_start = buffer.endswith(b"\n")
    counts[_IS_LINE_END] = 0
    return counts


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

    def __str__(self) -> str:
        return (
            f"`{self.name}` of {self.length} bases at byte {self.offset}, "
            f"lines of {self.line_bases} letters, {self.line_bytes} bytes"
        )


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


def check_index(path: Path, reader: FastaReader) -> None:
    """Compare an index with what was read from its FASTA, all records of which the reader has kept.

    Raises:
        DataError: FASTA-23, FASTA-24; it belongs to another file. FASTA-25, FASTA-26; it is no index.
    """
    index = read_index(path)
    actual = [
        IndexEntry(
            record.name, record.length, record.offset, record.width, record.width + reader.line_end_bytes
        )
        for record in reader.records
    ]
    for number, entry in enumerate(index, start=1):
        last_line, column = divmod(entry.length - 1, entry.line_bases)
        end = entry.offset + last_line * entry.line_bytes + column + 1
        if end > reader.num_text_bytes:
            place = f"byte {end} of {reader.num_text_bytes}"
            found = f"index entry {entry.name} ends past the end of the file ({place})"
            raise _index_error("FASTA-24", path, number, found, "entries lie within the file")
    for number, (entry, truth) in enumerate(zip(index, actual, strict=False), start=1):
        one_line = truth.length <= truth.line_bases  # its line length does not matter, and tools differ
        if entry[: 3 if one_line else 5] != truth[: 3 if one_line else 5]:
            found = f"the index does not belong to this file: {entry}"
            raise _index_error("FASTA-23", path, number, found, f"the file has {truth}")
    if len(index) != len(actual):
        number = min(len(index), len(actual)) + 1
        found = f"the index does not belong to this file: it has {len(index)} records"
        raise _index_error("FASTA-23", path, number, found, f"the file has {len(actual)}")


def _index_error(code: str, path: Path, line: int, found: str, expected: str) -> DataError:
    return _error(code, path, line, found, expected, "delete the index or make it anew with `samtools faidx`")
