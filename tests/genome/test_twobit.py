"""2bit in, codes out: the same bases an independent reader finds, and an error for what is damaged."""

from __future__ import annotations

import struct
from pathlib import Path

import py2bit
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnalm.errors import DataError
from dnalm.genome.alphabet import to_text
from dnalm.genome.store import build_store
from dnalm.genome.twobit import TwoBitReader
from tests.genome.write_twobit import twobit_bytes, write_twobit

CONTIGS = {"chr1": "ACGTNNNNacgtnnACGTAC", "chr2": "GGCCA", "chrM": "nnnnn"}
GOOD = twobit_bytes(CONTIGS)
RECORDS = 16 + 3 * (1 + 4 + 4)  # where chr1's record starts


def put(data: bytes, at: int, number: int) -> bytes:
    """Overwrite a 32-bit number."""
    return data[:at] + struct.pack("<I", number) + data[at + 4 :]


def read(path: Path, chunk_bytes: int) -> dict[str, str]:
    contigs: dict[str, str] = {}
    for name, codes in TwoBitReader(path, chunk_bytes=chunk_bytes):
        contigs[name] = contigs.get(name, "") + to_text(codes)
    return contigs


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text("ACGTNacgtn", min_size=1, max_size=100), min_size=1, max_size=4),
    order=st.sampled_from("<>"),
    version=st.integers(0, 1),
    chunk_bytes=st.integers(1, 50),
)
def test_what_is_written_is_read(
    tmp_path: Path, texts: list[str], order: str, version: int, chunk_bytes: int
) -> None:
    contigs = {f"contig{number}": text for number, text in enumerate(texts)}
    path = write_twobit(tmp_path / "a.2bit", contigs, order=order, version=version)
    assert read(path, chunk_bytes) == contigs


def test_two_contigs_may_not_share_a_record(tmp_path: Path) -> None:
    """Else 200 contigs of one record make a store of 800 times their file."""
    (tmp_path / "a.2bit").write_bytes(put(GOOD, 16 + 9 + 5, RECORDS))
    with pytest.raises(DataError) as refused:
        read(tmp_path / "a.2bit", 1000)
    assert str(refused.value) == (
        f"TWOBIT-10 {tmp_path}/a.2bit: contig `chr2` starts at byte 43, and chr1 has bytes 43 to 88; "
        "each contig has its own record. Fix: make the file again from FASTA."
    )


def test_a_record_may_not_lie_in_another(tmp_path: Path) -> None:
    """chr2's record is written over the packed bases of a long chr1."""
    data = twobit_bytes({"chr1": "A" * 400, "chr2": "C"})
    at = struct.unpack_from("<I", data, 16 + 9 + 5)[0]
    inner = at - 60
    data = data[:inner] + data[at:] + data[inner + len(data) - at :]
    (tmp_path / "a.2bit").write_bytes(put(data, 16 + 9 + 5, inner))
    with pytest.raises(
        DataError, match=rf"TWOBIT-10 .*`chr2` starts at byte {inner}, and chr1 has bytes 34 to {at}"
    ):
        read(tmp_path / "a.2bit", 1000)


def test_the_order_of_records_is_free(tmp_path: Path) -> None:
    """The index may name the second record first."""
    first, second = (GOOD[16 + 9 * n + 5 : 16 + 9 * n + 9] for n in (0, 1))
    data = GOOD[:21] + second + GOOD[25:30] + first + GOOD[34:]
    (tmp_path / "a.2bit").write_bytes(data)
    assert read(tmp_path / "a.2bit", 1000) == {
        "chr1": CONTIGS["chr2"], "chr2": CONTIGS["chr1"], "chrM": CONTIGS["chrM"],
    }  # fmt: skip


def test_bases_are_those_py2bit_reads(tmp_path: Path) -> None:
    path = write_twobit(tmp_path / "a.2bit", CONTIGS)
    other = py2bit.open(str(path), True)
    store = build_store(path, tmp_path / "store")
    for name, length in other.chroms().items():
        text = to_text(store.fetch(name, 0, length)).replace("n", "N")  # py2bit drops an N's soft-mask
        assert text == other.sequence(name, 0, length)
    other.close()


DAMAGED = [
    ("magic", "TWOBIT-01", b"ABCD" + GOOD[4:], "first bytes are 41 42 43 44"),
    ("version", "TWOBIT-02", put(GOOD, 4, 2), "version is 2"),
    ("header cut", "TWOBIT-03", GOOD[:10], "header is cut"),
    ("index cut", "TWOBIT-03", GOOD[:30], "index is cut in entry 2 of 3"),
    ("count too high", "TWOBIT-03", put(GOOD[:RECORDS], 8, 4), "index is cut in entry 4 of 4"),
    ("offset past the end", "TWOBIT-04", put(GOOD, 21, 10**6), "`chr1` starts at byte 1000000"),
    ("bases cut", "TWOBIT-04", GOOD[:-1], "the bases of contig `chrM` end at byte"),
    ("blocks cut", "TWOBIT-04", put(GOOD, RECORDS + 4, 10**8), "the record of contig `chr1` is cut"),
    ("block past the contig", "TWOBIT-05", put(GOOD, RECORDS + 8, 18),
     "N block 18-22 of contig `chr1` ends past its 20"),
    ("duplicate name", "TWOBIT-06", GOOD.replace(b"chr2", b"chr1"), "`chr1` comes twice"),
    ("no contigs", "TWOBIT-07", twobit_bytes({}), "no contigs"),
    ("contig without bases", "TWOBIT-08", twobit_bytes({"a": ""}), "`a` has no bases"),
    ("empty name", "TWOBIT-09", twobit_bytes({"": "ACGT"}), "name of contig 1 is b''"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "data", "words"), [row[1:] for row in DAMAGED], ids=[row[0] for row in DAMAGED]
)
def test_damaged_file_gives_its_code_and_cause(code: str, data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.2bit"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        build_store(path, tmp_path / "store")
    assert str(caught.value).startswith(f"{code} {path}: ")
    assert words in str(caught.value)
    assert not (tmp_path / "store").exists()
