"""What can be wrong with a FASTA file, one function for each sentence a user may read.

Codes are those of the corpus in `tests/genome/malformed_fasta.py`, which holds a case for each.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dnalm.errors import DataError
from dnalm.genome.text import BYTE_ORDER_MARK

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
