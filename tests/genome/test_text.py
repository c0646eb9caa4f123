"""Text files of every kind are opened alike: compression by content, marks, line ends, bounds."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.errors import DataError
from dnalm.genome.text import BED, GFF, VCF, CompressionCodes, TextFormat, read_lines

SMALL = TextFormat(
    name="list",
    unreadable="T-01",
    compression=CompressionCodes("T-02", "T-03", "T-04"),
    not_text="T-05",
    long_line="T-06",
    longest_line=100,
)


def texts(path: Path, data: bytes, kind: TextFormat = SMALL) -> list[str]:
    path.write_bytes(data)
    lines = list(read_lines(path, kind))
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    return [line.text for line in lines]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_lines_end_in_feeds_returns_or_both(tmp_path: Path, end: str, closed: bool, mark: bytes) -> None:
    data = mark + (end.join(["a\tü", "", "b"]) + end * closed).encode()
    for whole in (
        data,
        gzip.compress(data, mtime=0),
        gzip.compress(data[:5], mtime=0) + gzip.compress(b"", mtime=0) + gzip.compress(data[5:], mtime=0),
    ):
        assert texts(tmp_path / "x.txt", whole) == ["a\tü", "", "b"]


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0\n\r\ufeff", exclude_categories=["Cs"]), max_size=20)
    )
)
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.txt"
    first = "first"
    assert texts(path, "\n".join([first, *lines, "last"]).encode()) == [first, *lines, "last"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\nb\0c\n", r"T-05 .*x.txt:2: byte 0x00 at offset 3; "),
        (b"\xef\xbb\xbfa\nb\xe9\n", r"T-05 .*x.txt:2: byte 0xe9 at offset 6; the text of a list, in UTF-8"),
        ("a\n".encode("utf-16"), r"T-05 .*x.txt:1: this is text in UTF-16; .* Fix: save it as UTF-8\."),
        (b"PK\x03\x04rest", r"T-05 .*x.txt:1: this is a zip archive \(Excel workbooks are\)"),
        (gzip.compress(gzip.compress(b"a\n", mtime=0), mtime=0), r"T-05 .*x.txt:1: this is compressed twice"),
        (b"a\n# b\rc\n", r"T-05 .*x.txt:2: a carriage return inside the line, and other lines end in LF; "),
        (b"a\rb\nc\r", r"T-05 .*x.txt:2: a line feed inside the line, and other lines end in CR; "),
        (b"a\n" + b"b" * 101, r"T-06 .*x.txt:2: a line of over 100 bytes; the lines of a list\. Fix"),
        (b"a\n" + b"b" * 101 + b"\nc", r"T-06 .*x.txt:2: a line of over 100 bytes"),
        (gzip.compress(b"a\n" * 50, mtime=0)[:-9], r"T-02 .*x.txt: "),
        (gzip.compress(b"a\n", mtime=0)[:-8] + b"\0" * 8, r"T-04 .*CRC mismatch"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_an_error_that_says_where(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        texts(tmp_path / "x.txt", data)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match=r"T-01 .*the file cannot be read"):
            list(read_lines(path, SMALL))


def test_latin_letters_are_kept_apart_where_a_format_allows_them(tmp_path: Path) -> None:
    path = tmp_path / "x.gff"
    path.write_bytes("a\nü\n".encode() + b"\xe9\n\xe8\n")
    lines = list(read_lines(path, GFF))
    assert [line.text for line in lines] == ["a", "ü", "é", "è"]
    assert [line.is_utf8 for line in lines] == [True, True, False, False]


@pytest.mark.parametrize(("kind", "code"), [(BED, "BED-25"), (VCF, "VCF-21")])
def test_a_line_that_never_ends_is_refused_quickly_and_in_bounded_memory(
    tmp_path: Path, kind: TextFormat, code: str
) -> None:
    path = tmp_path / "bomb.gz"
    deflater = zlib.compressobj(wbits=31)
    with path.open("wb") as file:
        for _ in range(300):  # 300 MiB in 0.3
            file.write(deflater.compress(b"A" * (1 << 20)))
        file.write(deflater.flush())
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(DataError, match=rf"{code} .*:1: a line of more than {kind.longest_line >> 20} MiB"):
        list(read_lines(path, kind))
    assert time.perf_counter() - began < 20
    assert tracemalloc.get_traced_memory()[1] < kind.longest_line + (32 << 20)
    tracemalloc.stop()


def test_lines_cross_chunks(tmp_path: Path) -> None:
    lines = [str(number) * 50 for number in range(9000)]  # over two MiB
    for end in ("\r\n", "\r", "\n"):
        assert texts(tmp_path / "x.txt", end.join(lines).encode(), VCF) == lines


def test_progress_is_counted_in_bytes_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"a\nb\n", mtime=0))
    seen: list[int] = []
    list(read_lines(path, SMALL, on_read=lambda piece: seen.append(len(piece))))
    assert sum(seen) == path.stat().st_size
