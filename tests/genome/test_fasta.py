"""FASTA in, codes out: what is wrong with a malformed file is reported, whatever the chunk size."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dnalm.errors import DataError
from dnalm.genome.alphabet import to_text
from dnalm.genome.fasta import FastaReader
from dnalm.genome.store import build_store, check_source
from tests.genome.malformed_fasta import CASES, GOOD, PROTEIN, Case, bgzip

in_one_folder = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read(path: Path, chunk_bytes: int) -> dict[str, str] | str:
    """The contigs of a file as text, or the error as text."""
    contigs: dict[str, str] = {}
    try:
        for name, codes in FastaReader(path, chunk_bytes=chunk_bytes):
            contigs[name] = contigs.get(name, "") + to_text(codes)
    except DataError as error:
        return str(error)
    return contigs


def write(case: Case, folder: Path) -> Path:
    path = folder / "genome.fa"
    path.write_bytes(case.content)
    if case.index is not None:
        (folder / "genome.fa.fai").write_text(case.index)
    return path


@pytest.mark.parametrize("case", [case for case in CASES if case.code], ids=lambda case: case.name)
def test_malformed_file_gives_its_code_place_and_cause_and_leaves_nothing(case: Case, tmp_path: Path) -> None:
    source = write(case, tmp_path)
    target = tmp_path / "stores" / "genome"
    with pytest.raises(DataError) as caught:
        build_store(source, target)
    message = str(caught.value)
    assert message.startswith(f"{case.code} {source}")
    assert [word for word in case.words if word not in message] == []
    assert "Fix: " in message
    assert "\n" not in message
    assert caught.value.exit_code == 3
    left = [path.name for path in target.parent.iterdir()] if target.parent.exists() else []
    assert [name for name in left if not name.endswith(".lock")] == []


@pytest.mark.parametrize("case", [case for case in CASES if not case.code], ids=lambda case: case.name)
def test_accepted_file_gives_its_bases(case: Case, tmp_path: Path) -> None:
    store = build_store(write(case, tmp_path), tmp_path / "store")
    assert {name: to_text(store.fetch(name, 0, store.contig(name).length)) for name in store} == case.contigs


def test_every_code_of_the_corpus_has_a_case() -> None:
    accepted = {8, 10, 19, 30}
    elsewhere = {28}
    expected = {f"FASTA-{number:02}" for number in set(range(1, 31)) - accepted - elsewhere}
    assert {case.code for case in CASES if case.code} == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_chunk_size_changes_neither_bases_nor_error(case: Case, tmp_path: Path) -> None:
    path = write(case, tmp_path)
    whole = read(path, 1 << 20)
    for chunk_bytes in (1, 2, 3, 5, 8, 13, 50):
        assert read(path, chunk_bytes) == whole


letters = st.sampled_from(
    [b">", b">x\n", b"\n>y\n", b"A", b"ACGT", b"acgt\n", b"\n", b"\r\n", b"\r", b"NN", b"R", b"1", b";"]
)


@in_one_folder
@example(parts=[b"\r", b"\r\n"], chunk_bytes=1)
@example(parts=[b">x\n", b"\r\n", b">y\n", b"A"], chunk_bytes=9)
@given(parts=st.lists(letters, max_size=30), chunk_bytes=st.integers(1, 50))
def test_any_text_reads_alike_in_any_chunk_size(tmp_path: Path, parts: list[bytes], chunk_bytes: int) -> None:
    path = tmp_path / "any.fa"
    path.write_bytes(b">a\nACGT\n" + b"".join(parts))
    assert read(path, chunk_bytes) == read(path, 1 << 20)


sequences = st.text("ACGTNacgtn", min_size=1, max_size=200)


@in_one_folder
@given(
    texts=st.lists(sequences, min_size=1, max_size=5),
    width=st.integers(1, 70),
    chunk_bytes=st.integers(1, 50),
    ending=st.sampled_from(["\n", "\r\n"]),
    compress=st.sampled_from([bytes, gzip.compress, bgzip]),
    final=st.booleans(),
)
def test_what_is_written_is_read(
    tmp_path: Path,
    texts: list[str],
    width: int,
    chunk_bytes: int,
    ending: str,
    compress: Callable[[bytes], bytes],
    final: bool,
) -> None:
    lines = []
    for number, text in enumerate(texts):
        lines += [f">contig{number} {number}", *(text[i : i + width] for i in range(0, len(text), width))]
    path = tmp_path / "round.fa"
    path.write_bytes(compress((ending.join(lines) + ending * final).encode()))
    assert read(path, chunk_bytes) == {f"contig{number}": text for number, text in enumerate(texts)}


def test_ambiguous_letters_are_counted_by_letter(tmp_path: Path) -> None:
    path = tmp_path / "iupac.fa"
    path.write_bytes(b">chr1\nRYrACGT\nNNRM\n")
    store = build_store(path, tmp_path / "store", chunk_bytes=4)
    assert store.manifest.ambiguous_counts == {"M": 1, "R": 3, "Y": 1}
    assert store.manifest.base_counts == {"A": 1, "C": 1, "G": 1, "T": 1, "N": 7}
    assert store.manifest.num_soft_masked == 1


def test_share_of_foreign_letters_decides_protein_only_in_the_first_record(tmp_path: Path) -> None:
    path = tmp_path / "second.fa"
    path.write_bytes(b">dna\nACGT\n" + PROTEIN)
    assert "FASTA-13" in str(read(path, 7))


def test_header_longer_than_its_limit_is_no_fasta(tmp_path: Path) -> None:
    path = tmp_path / "long.fa"
    path.write_bytes(b">chr1 " + b"x" * (2 << 20) + b"\nACGT\n")
    assert "FASTA-27" in str(read(path, 1 << 16))
    assert "line 1" in str(read(path, 1 << 16))


def test_sources_that_are_no_regular_file_are_named_so(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.fa")
    for name, word in (("", "is a directory"), ("pipe.fa", "no regular file"), ("absent.fa", "not found")):
        with pytest.raises(DataError, match=rf"FASTA-28 .*{word}.*Fix: "):
            check_source(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_source_is_named_so(tmp_path: Path) -> None:
    path = tmp_path / "secret.fa"
    path.write_bytes(GOOD)
    path.chmod(0)
    with pytest.raises(DataError, match=r"FASTA-28 .*permission denied.*Fix: "):
        check_source(path)


def test_cheap_check_accepts_every_kind_of_source(tmp_path: Path) -> None:
    for name, content in (("a.fa", GOOD), ("a.fa.gz", gzip.compress(GOOD)), ("b.fa.gz", bgzip(GOOD))):
        (tmp_path / name).write_bytes(content)
        check_source(tmp_path / name)
    build_store(tmp_path / "a.fa", tmp_path / "store")
    check_source(tmp_path / "store")


@pytest.mark.parametrize("chunk_bytes", [1 << 16, 4 << 20])
def test_a_header_line_without_end_is_refused_whatever_the_chunks(tmp_path: Path, chunk_bytes: int) -> None:
    path = tmp_path / "long.fa"
    path.write_bytes(b">chr1 " + b"x" * (2 << 20) + b"\nACGT\n")
    with pytest.raises(DataError, match=r"FASTA-27 .*:1: .*the header line is longer than 1 MB"):
        list(FastaReader(path, chunk_bytes=chunk_bytes))
