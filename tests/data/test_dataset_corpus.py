"""A dataset of sequences as a corpus: rows become contigs, faults name the row, some rows judge at random."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dnalm.data import DatasetCorpus, SplitByRandomContigs
from dnalm.errors import DataError
from dnalm.genome.alphabet import to_text
from dnalm.genome.store import open_or_build
from tests.conftest import random_sequence

ROWS = [random_sequence(60 + i, i) for i in range(40)]


def parquet(folder: Path, column: str = "sequence", rows: list[str] | None = None) -> Path:
    path = folder / "rows.parquet"
    pq.write_table(pa.table({column: rows or ROWS, "label": list(range(len(rows or ROWS)))}), path)
    return path


def json_lines(folder: Path, rows: list[object]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"sequence": row}) + "\n" for row in rows))
    return path


def test_rows_of_a_parquet_file_are_contigs(tmp_path: Path) -> None:
    (genome,) = DatasetCorpus(source=str(parquet(tmp_path)), cache=tmp_path / "cache").genomes()
    store = genome.store
    assert [contig.name for contig in store.contigs] == [f"row{i}" for i in range(40)]
    read = [to_text(store.codes[c.offset : c.offset + c.length]) for c in store.contigs]
    assert read == ROWS


def test_json_lines_and_another_column(tmp_path: Path) -> None:
    (genome,) = DatasetCorpus(source=str(json_lines(tmp_path, ["ACGT", "acgn"])), cache=tmp_path).genomes()
    assert to_text(np.asarray(genome.store.codes)) == "ACGTacgn"
    corpus = DatasetCorpus(source=str(parquet(tmp_path, "dna")), column="dna", cache=tmp_path)
    assert len(corpus.genomes()[0].store.contigs) == 40


def test_rows_are_held_out_whole_and_at_random(tmp_path: Path) -> None:
    split = SplitByRandomContigs(fraction=0.25, seed=4)
    corpus = DatasetCorpus(source=str(parquet(tmp_path)), split=split, cache=tmp_path / "cache")
    (genome,) = corpus.genomes()
    held = {tuple(row) for row in genome.division.validation.tolist()}
    rest = {tuple(row) for row in genome.division.train.tolist()}
    contigs = {(c.offset, c.offset + c.length) for c in genome.store.contigs}
    assert len(held) == 10
    assert held | rest == contigs
    assert not held & rest
    assert genome.division.description == "validation on 10 of 40 contigs, drawn at random"
    again = {tuple(row) for row in corpus.genomes()[0].division.validation.tolist()}
    assert again == held


def test_the_dataset_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = DatasetCorpus(source=str(parquet(tmp_path)), cache=tmp_path / "cache")
    corpus.prepare()
    monkeypatch.setattr("dnalm.genome.dataset_text._rows", None)  # calling it would fail
    assert len(corpus.genomes()[0].store.contigs) == 40


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["ACGT", None], "DSET-03 {path}: row 1 has None in column 'sequence'; a sequence in every row"),
        (["ACGT", ""], "DSET-03 {path}: row 1 has '' in column 'sequence'"),
    ],
)
def test_a_row_without_a_sequence_is_named(rows: list[object], message: str, tmp_path: Path) -> None:
    path = json_lines(tmp_path, rows)
    with pytest.raises(DataError) as refused:
        DatasetCorpus(source=str(path), cache=tmp_path / "cache").prepare()
    assert str(refused.value).startswith(message.format(path=path))
    assert not list((tmp_path / "cache/datasets").glob("*.fa"))


def test_an_illegal_letter_is_named_by_its_row(tmp_path: Path) -> None:
    path = json_lines(tmp_path, ["ACGT", "ACGU"])
    with pytest.raises(DataError, match=r"^FASTA-13 .*row1:4"):
        DatasetCorpus(source=str(path), cache=tmp_path / "cache").prepare()


def test_a_column_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    corpus = DatasetCorpus(source=str(parquet(tmp_path, "dna")), cache=tmp_path / "cache")
    with pytest.raises(DataError, match=r"no column 'sequence'; it has dna, label; .*set data.column"):
        corpus.prepare()


def test_a_hub_dataset_without_a_network_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach the hub.\nMore lines")

    monkeypatch.setattr("datasets.load_dataset", offline)
    with pytest.raises(DataError) as refused:
        DatasetCorpus(source="owner/sequences", cache=tmp_path).prepare()
    assert str(refused.value) == (
        "DSET-01 owner/sequences: cannot be read (Couldn't reach the hub); a dataset's file or hub id. "
        "Fix: check the path, the hub id and the network."
    )


def test_a_file_that_is_cut_short_is_an_error(tmp_path: Path) -> None:
    path = parquet(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="DSET-01"):
        DatasetCorpus(source=str(path), cache=tmp_path / "cache").prepare()


def test_one_contig_cannot_be_held_out_at_random(tmp_path: Path) -> None:
    (tmp_path / "one.fa").write_text(">a\nACGT\n")
    with pytest.raises(DataError, match=r"DATA-06 one.fa: a single contig; contigs for both sides"):
        SplitByRandomContigs().divide(open_or_build(tmp_path / "one.fa", tmp_path / "cache"))
