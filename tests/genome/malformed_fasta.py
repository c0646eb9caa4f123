"""FASTA-01 to FASTA-30: what users' files hold, and what each error must say.

FASTA-28 (no regular file) needs a file system rather than bytes, and is tested beside.
"""

from __future__ import annotations

import gzip
import random
import struct
import zlib
from typing import NamedTuple


class Case(NamedTuple):
    """A file, and either the error it gives or the bases it is read as.

    code: the error's code, "" where the file is accepted.
    words: what the message must contain, the line among them.
    contigs: the text of each contig where accepted.
    """

    name: str
    code: str
    content: bytes
    words: tuple[str, ...] = ()
    contigs: dict[str, str] | None = None
    index: str | None = None


def bgzip(text: bytes, *, block_bytes: int = 16, marker: bool = True) -> bytes:
    """Compress in blocks of a given size, so that small texts have several."""
    parts = [text[start : start + block_bytes] for start in range(0, len(text), block_bytes)]
    return b"".join(map(_block, [*parts, b""] if marker else parts))


def _block(text: bytes) -> bytes:
    deflater = zlib.compressobj(6, zlib.DEFLATED, -15)
    data = deflater.compress(text) + deflater.flush()
    head = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + struct.pack("<H2sHH", 6, b"BC", 2, len(data) + 25)
    return head + data + struct.pack("<II", zlib.crc32(text), len(text))


GOOD = b">chr1 first\nACGTACGT\nACGTacgt\nNN\n>chr2\nGGCC\n"
GOOD_CONTIGS = {"chr1": "ACGTACGTACGTacgtNN", "chr2": "GGCC"}
GOOD_INDEX = "chr1\t18\t12\t8\t9\nchr2\t4\t39\t4\t5\n"
PROTEIN = b">sp|P1\nMKVLAAGIVGLCAKELFQRS\nWYHPDNTILE\n"
_BGZIP = bgzip(GOOD)
_LAST_BLOCK = len(bgzip(GOOD[:-12], marker=False))
_FLIPPED = bytearray(_BGZIP)
_FLIPPED[len(bgzip(GOOD[:16], marker=False)) + 20] ^= 0xFF
_GZIP = gzip.compress(GOOD, mtime=0)


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at:][1:]


CASES = [
    Case("empty file", "FASTA-01", b"", ("no records",)),
    Case("empty gzip", "FASTA-01", gzip.compress(b"", mtime=0), ("no records",)),
    Case("header only", "FASTA-02", b">chr1\n", (":1:", "`chr1` has no sequence")),
    Case("header only, no newline", "FASTA-02", b">chr1", (":1:", "`chr1` has no sequence")),
    Case("last record empty", "FASTA-02", b">chr1\nAC\n>chr2\n\n", (":3:", "`chr2` has no sequence")),
    Case("header on header", "FASTA-03", b">chr1\n>chr2\nAC\n", (":1:", "`chr1` has no sequence")),
    Case("header, blank, header", "FASTA-03", b">chr0\nA\n>chr1\n\n>chr2\nAC\n", (":3:", "`chr1` has no")),
    Case("text first", "FASTA-04", b"ACGT\n>chr1\nACGT\n", (":1:", "line 1 is not a header")),
    Case("blank line first", "FASTA-04", b"\n>chr1\nACGT\n", (":1:", "line 1 is not a header")),
    Case("duplicate name", "FASTA-05", b">chr1 a\nAC\n>chr1 b\nGT\n", ("`chr1` stands at lines 1 and 3",)),
    Case("short line", "FASTA-06", b">chr1\nACGTACGT\nACG\nACGTACGT\n",
         (":3:", "line 3 of record `chr1` has 3 letters", "expected 8", "seqkit seq -w 60")),
    Case("long line", "FASTA-06", b">chr0\nA\n>chr1\nACGT\nACGTACGT\n",
         (":5:", "line 5 of record `chr1` has 8 letters", "expected 4")),
    Case("blank line inside", "FASTA-07", b">chr1\nACGT\n\nACGT\n",
         (":3:", "line 3 is blank inside record `chr1`")),
    Case("CRLF", "", GOOD.replace(b"\n", b"\r\n"), contigs=GOOD_CONTIGS),
    Case("CRLF, no final newline", "", GOOD.replace(b"\n", b"\r\n")[:-2], contigs=GOOD_CONTIGS),
    Case("CRLF, cut between CR and LF", "", GOOD.replace(b"\n", b"\r\n")[:-1], contigs=GOOD_CONTIGS),
    Case("LF after CRLF", "FASTA-09", b">chr1\r\nACGT\r\nACGT\nAC\r\n",
         (":3:", "line 3 ends in LF", "CRLF as on")),
    Case("CRLF after LF", "FASTA-09", b">chr1\nACGT\nACGT\r\nAC\r\n",
         (":3:", "line 3 ends in CRLF", "LF as on")),
    Case("CR inside a line", "FASTA-09", b">chr1\r\nAC\rGT\r\n", (":2:", "carriage return", "line 2")),
    Case("old Mac file", "FASTA-09", b">chr1\rACGT\rACGT\r", (":1:", "carriage return without line feed")),
    Case("no newline at the end", "", GOOD[:-1], contigs=GOOD_CONTIGS),
    Case("blank lines between and after", "", b">chr1\nACGT\n\n>chr2\nGG\n\n\n",
         contigs={"chr1": "ACGT", "chr2": "GG"}),
    Case("NUL byte", "FASTA-11", b">chr1\nACGT\0ACG\n", (":2 chr1:5", "byte 0x00 at offset 10")),
    Case("NUL byte in a header", "FASTA-11", b">chr1\nAC\n>ch\0r2\nAC\n", (":3:", "byte 0x00")),
    Case("non-ASCII letter", "FASTA-12", ">chr1\nACGTÃACGT\n".encode(), (":2 chr1:5", "byte 0xC3")),
    Case("digits, gaps, stops", "FASTA-13", b">chr1\nACGT1234\n*-XACGTA\n>chr2\nQ\n",
         (":2 chr1:5", "7 illegal letters in `chr1`, first `1` at chr1:5")),
    Case("one illegal letter", "FASTA-13", b">chr1\nACGTACGT\n>chr2\nACGT\nACQT\n",
         (":5 chr2:7", "1 illegal letter in `chr2`, first `Q` at chr2:7")),
    Case("RNA", "FASTA-13", b">chr1\nACGUACGU\n", (":2 chr1:4", "2 illegal letters", "RNA? convert U to T")),
    Case("protein", "FASTA-14", PROTEIN, (":2:", "looks like protein (73 % non-ACGTN)")),
    Case("space inside", "FASTA-15", b">chr1\nACGT ACGT\nACGT\n", (":2 chr1:5", "space at chr1:5")),
    Case("byte order mark", "", b"\xef\xbb\xbf" + GOOD, contigs=GOOD_CONTIGS),
    Case("byte order mark, and a wrong letter", "FASTA-11", b"\xef\xbb\xbf>chr1\nACGT\0ACG\n",
         (":2 chr1:5", "byte 0x00 at offset 13")),
    Case("byte order mark and nothing else", "FASTA-01", b"\xef\xbb\xbf", ("the file is empty",)),
    Case("UTF-16", "FASTA-16", ">chr1\nACGT\n".encode("utf-16"), (":1:", "text in UTF-16")),
    Case("empty name", "FASTA-17", b">\nACGT\n", (":1:", "empty record name, line 1")),
    Case("space before the name", "FASTA-17", b">chr1\nAC\n> chr2\nACGT\n",
         (":3:", "empty record name, line 3")),
    Case("FASTQ", "FASTA-18", b"@read1\nACGT\n+\nIIII\n", (":1:", "this is FASTQ")),
    Case("gzip", "", _GZIP, contigs=GOOD_CONTIGS),
    Case("gzip of several members", "", gzip.compress(GOOD[:20], mtime=0) + gzip.compress(GOOD[20:], mtime=0),
         contigs=GOOD_CONTIGS),
    Case("gzip with padding", "", _GZIP + bytes(100), contigs=GOOD_CONTIGS),
    Case("bgzip", "", _BGZIP, contigs=GOOD_CONTIGS),
    Case("bgzip cut inside a block", "FASTA-20", _BGZIP[: _LAST_BLOCK + 20],
         (f"block at offset {_LAST_BLOCK} is incomplete",)),
    Case("gzip cut", "FASTA-20", _GZIP[:-12], (f"stops at offset {len(_GZIP) - 12}",)),
    Case("bgzip without marker", "FASTA-21", bgzip(GOOD, marker=False),
         ("end-of-file marker is missing", "may be cut")),
    Case("bgzip, flipped byte", "FASTA-22", bytes(_FLIPPED),
         (f"block at offset {len(bgzip(GOOD[:16], marker=False))}",)),
    Case("bgzip, flipped checksum", "FASTA-22", _flip(_BGZIP, len(_BGZIP) - 28 - 8),
         ("CRC mismatch in the block",)),
    Case("gzip, flipped checksum", "FASTA-22", _flip(_GZIP, len(_GZIP) - 8), ("CRC mismatch", "offset")),
    Case("right index", "", GOOD, contigs=GOOD_CONTIGS, index=GOOD_INDEX),
    Case("right index of CRLF", "", GOOD.replace(b"\n", b"\r\n"), contigs=GOOD_CONTIGS,
         index="chr1\t18\t13\t8\t10\nchr2\t4\t44\t4\t6\n"),
    Case("right index beside bgzip", "", _BGZIP, contigs=GOOD_CONTIGS, index=GOOD_INDEX),
    Case("index of another file", "FASTA-23", GOOD, ("fai:1:", "does not belong to this file"),
         index="chr1\t16\t12\t8\t9\nchr2\t4\t39\t4\t5\n"),
    Case("index lacks a record", "FASTA-23", GOOD, ("fai:2:", "has 1 records", "the file has 2"),
         index=GOOD_INDEX.splitlines()[0] + "\n"),
    Case("index past the end", "FASTA-24", GOOD, ("fai:2:", "chr2 ends past the end of the file"),
         index=GOOD_INDEX.replace("chr2\t4", "chr2\t400")),
    Case("index with line length 0", "FASTA-25", GOOD, ("fai:1:", "invalid index line 1"),
         index="chr1\t18\t12\t0\t1\n"),
    Case("index with negative length", "FASTA-25", GOOD, ("fai:2:", "invalid index line 2"),
         index=GOOD_INDEX.replace("chr2\t4", "chr2\t-5")),
    Case("index with two columns", "FASTA-26", GOOD,
         ("fai:1:", "has 2 columns", "expected 5"), index="chr1\t18\n"),
    Case("index is text", "FASTA-26", GOOD, ("fai:1:", "has 1 column;"), index="not an index\n"),
    Case("random bytes", "FASTA-27", b"\x9c" + random.Random(1).randbytes(4000), ("not a FASTA file",)),
    Case("zip archive", "FASTA-27", b"PK\x03\x04" + bytes(60), ("a zip archive, not a FASTA",)),
    Case("binary header", "FASTA-27", b">chr1\nAC\n>\xff\xfe\x80\nAC\n", (":3:", "not a FASTA file")),
    Case("comment first", "FASTA-29", b";comment\n>chr1\nACGT\n", (":1:", "comment lines are not supported")),
    Case("comment inside", "FASTA-29", b">chr1\nACGT\n;note\nACGT\n",
         (":3:", "comment lines are not supported")),
    Case("soft-masked and IUPAC", "", b">chr1\nACGTacgtNn\nRYSWKMBDHV\nryswkmbdhv\n",
         contigs={"chr1": "ACGTacgtNn" + "N" * 10 + "n" * 10}),
]  # fmt: skip
