"""MEME's minimal format: what is written is read, what is wrong is reported with its line."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.errors import DataError
from dnalm.genome.meme import read_meme, write_meme

HEAD = "MEME version 4\n\nALPHABET= ACGT\n\n"


@given(widths=st.lists(st.integers(1, 12), min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, widths: list[int], seed: int
) -> None:
    draw = np.random.default_rng(seed)
    motifs = {f"m{n} a b": draw.dirichlet(np.ones(4), width) for n, width in enumerate(widths)}
    path = tmp_path_factory.mktemp("meme") / "m.meme"
    write_meme(path, motifs, num_sites=dict.fromkeys(motifs, 5))
    found = read_meme(path)
    assert list(found) == list(motifs)
    for name, table in motifs.items():
        np.testing.assert_allclose(found[name], table, atol=1e-5)


def test_jaspar_is_read(shared_data: Path) -> None:
    found = read_meme(shared_data / "motifs/jaspar_2024_consensus.meme")
    assert len(found) == 182
    assert found["C001:HES_SREBF:bHLH"].shape == (6, 4)
    assert all(np.allclose(table.sum(axis=1), 1) for table in found.values())


ROW = "0.25 0.25 0.25 0.25\n"
WIDE = "letter-probability matrix: alength=4 w=2\n"
MATRIX = "letter-probability matrix: alength= 4 w= 1 nsites= 1 E= 0\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD, "MEME-01 {path}:1: no line that begins with MOTIF"),
        ("ALPHABET= ACDEF\n", "MEME-02 {path}:1: the line 'ALPHABET= ACDEF'"),
        (f"{HEAD}MOTIF a\n{MATRIX}0.5 0.5\n", "MEME-03 {path}:7: the row '0.5 0.5'"),
        (f"{HEAD}MOTIF a\n{MATRIX}0.5 0.5 0.5 0.5\n", "MEME-03 {path}:7: the row '0.5 0.5 0.5 0.5'"),
        (f"{HEAD}MOTIF a\n{MATRIX}0.5 x 0 0.5\n", "MEME-03 {path}:7: the row '0.5 x 0 0.5'"),
        (f"{HEAD}MOTIF a\nMOTIF b\n{MATRIX}{ROW}", "MEME-04 {path}:5: a has no rows"),
        (f"{HEAD}MOTIF a\n{WIDE}{ROW}", "MEME-04 {path}:5: a has 1 rows; 2, as its w= says"),
        (f"{HEAD}MOTIF a\n{WIDE}{ROW}{ROW}{ROW}MOTIF b\n", "MEME-04 {path}:5: a has 3 rows; 2, as its w="),
        (f"{HEAD}MOTIF a\n{MATRIX}{ROW}MOTIF a\n", "MEME-05 {path}:8: the name 'a' again or none"),
    ],
)
def test_what_is_wrong_is_reported_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.meme"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        read_meme(path)
    assert str(error.value).startswith(message.format(path=path))


def test_the_full_text_output_of_meme_is_read(tmp_path: Path) -> None:
    """Its log-odds come before the probabilities, and rules of dashes stand between."""
    rule = "-" * 80
    (tmp_path / "meme.txt").write_text(
        f"{rule}\nMEME version 5.4.1\n{rule}\nALPHABET= ACGT\n{rule}\nMOTIF CA MEME-1\twidth = 2 sites = 10\n"
        f"{rule}\nlog-odds matrix: alength= 4 w= 2 n= 10 E= 1\n -100 20 30 -200\n 1 2 3 4\n{rule}\n"
        f"{WIDE} {ROW} {ROW}{rule}\nSUMMARY OF MOTIFS\n{rule}\nA 0.1 [+1]\n"
    )
    found = read_meme(tmp_path / "meme.txt")
    assert {name: table.tolist() for name, table in found.items()} == {
        "CA MEME-1 width = 2 sites = 10": [[0.25] * 4] * 2
    }


def test_a_compressed_file_is_read_and_a_damaged_one_refused(tmp_path: Path) -> None:
    path, motif = tmp_path / "m.meme", {"a": np.full((2, 4), 0.25)}
    write_meme(path, motif, num_sites={"a": 9})
    whole = gzip.compress(path.read_bytes())
    path.write_bytes(whole)
    np.testing.assert_array_equal(read_meme(path)["a"], motif["a"])
    path.write_bytes(whole[:-9])
    with pytest.raises(DataError, match=r"MEME-06 .*before its end"):
        read_meme(path)
