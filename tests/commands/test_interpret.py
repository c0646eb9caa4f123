"""`dnalm interpret` runs whole: every study leaves its data, both pictures and a summary."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from dnalm.cli import main
from dnalm.evaluation.inference import LoadedModel
from dnalm.evaluation.interpretation.reader import HiddenBase, Reader
from dnalm.genome.meme import write_meme
from dnalm.models import Pretrained, save_pretrained
from dnalm.tokenizers import KmerTokenizer
from tests.conftest import random_sequence
from tests.evaluation.interpretation.small import make_model
from tests.faults import install

GENOME = random_sequence(120, 4)


def program(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*words])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interpret")
    tokenizer = KmerTokenizer(k=3)
    save_pretrained(make_model(tokenizer), folder / "model")
    tokenizer.save(folder / "model")
    (folder / "genome.fa").write_text(f">chr1\n{GENOME}\n")
    (folder / "r.bed").write_text("chr1\t50\t58\tone\nchr1\t80\t86\ttwo\n")
    return folder


def words(folder: Path, what: str, run: Path, *more: str) -> list[str]:
    given = [f"what={what}", f"model={folder}/model", f"input={folder}/r.bed", f"run.dir={run}"]
    return ["interpret", *given, f"reference={folder}/genome.fa", f"cache={folder}/cache", *more]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_mutagenesis(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert program(*words(folder, "mutagenesis", run, "neighbours_bp=1", "window_bp=30")) == 0
    rows = rows_of(run / "mutagenesis.tsv")
    assert len(rows) == 3 * (8 + 6)
    assert {row["ref"] for row in rows if row["position"] == "50"} == {GENOME[50]}
    reader = Reader(LoadedModel.open(Pretrained(source=str(folder / "model"))), window_bp=30, batch_tokens=64)
    codes = np.array(["ACGT".index(base) for base in GENOME], dtype=np.uint8)
    log_p = reader.log_probabilities([HiddenBase(codes, 53)])[0]
    for row in rows:
        if row["position"] == "53":
            effect = log_p["ACGT".index(row["alt"])] - log_p["ACGT".index(row["ref"])]
            assert float(row["effect"]) == pytest.approx(effect, abs=1e-5)
    assert {path.name for path in run.glob("*.[ps][nv]g")} == {
        "0001-one.png", "0001-one.svg", "0002-two.png", "0002-two.svg",
    }  # fmt: skip
    assert json.loads((run / "summary.json").read_text())["substitutions"] == 42


def test_precision_is_chosen(folder: Path, tmp_path: Path) -> None:
    effects = []
    for name in ("float32", "bfloat16"):
        run = tmp_path / name
        assert program(*words(folder, "mutagenesis", run, "neighbours_bp=0", f"precision={name}")) == 0
        assert json.loads((run / "summary.json").read_text())["precision"] == name
        effects.append([float(row["effect"]) for row in rows_of(run / "mutagenesis.tsv")])
    assert effects[0] != effects[1]
    np.testing.assert_allclose(effects[0], effects[1], atol=0.1)


def test_dependency(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert program(*words(folder, "dependency", run)) == 0
    found = np.load(run / "0002-two.npz")
    assert (found["dependency"].shape, int(found["start"])) == ((6, 6), 80)
    first = rows_of(run / "strongest.tsv")[0]
    one = np.load(run / "0001-one.npz")["dependency"]
    assert float(first["log2_odds"]) == pytest.approx(one.max(), abs=1e-6)
    assert one[int(first["substituted"]) - 50, int(first["hidden"]) - 50] == one.max()
    assert (run / "0001-one.svg").is_file()


def test_attention(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert program(*words(folder, "attention", run)) == 0
    found = np.load(run / "0001-one.npz")
    assert (found["tokens"].shape, found["bases"].shape) == ((2, 2, 8, 8), (2, 2, 8, 8))  # 6 k-mers and 2
    heads = rows_of(run / "heads.tsv")
    assert [(row["region"], row["layer"], row["head"]) for row in heads[:3]] == [
        ("one", "1", "1"), ("one", "1", "2"), ("one", "2", "1"),
    ]  # fmt: skip
    assert (run / "heads.png").is_file()
    assert (run / "0002-two.svg").is_file()


def test_motifs_of_two_short_regions_are_none(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    table = np.full((6, 4), 0.25)
    table[:, 0], table[:, 1] = 0.4, 0.1
    write_meme(folder / "known.meme", {"m1": table, "m2": table[::-1]}, num_sites={"m1": 9, "m2": 9})
    assert program(*words(folder, "motifs", run, f"known={folder}/known.meme")) == 0
    assert [row["known"] for row in rows_of(run / "sites.tsv")] == ["m1", "m2"]
    assert json.loads((run / "summary.json").read_text())["found"] == 0
    assert len(rows_of(run / "scores.tsv")) == 8 + 6
    assert rows_of(run / "found.tsv") == []
    assert (run / "found.png").is_file()


def test_a_table_is_read_as_its_fasta_is(folder: Path, tmp_path: Path) -> None:
    (folder / "t.csv").write_text("name,dna\none,ACGTTGCA\ntwo,GATTACA\n")
    (folder / "t.fa").write_text(">one\nACGTTGCA\n>two\nGATTACA\n")
    for kind, more in (("csv", ["sequence=dna", "id=name"]), ("fa", [])):
        given = [f"model={folder}/model", f"input={folder}/t.{kind}", f"run.dir={tmp_path / kind}"]
        assert program("interpret", "what=mutagenesis", *given, *more) == 0
    tables = [(tmp_path / kind / "mutagenesis.tsv").read_bytes() for kind in ("csv", "fa")]
    assert tables[0] == tables[1]


def test_a_region_of_nothing_but_n_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "n.fa").write_text(">empty\nNNNN\n")
    given = [f"model={folder}/model", f"input={folder}/n.fa", f"run.dir={tmp_path / 'run'}"]
    assert program("interpret", "what=motifs", *given) == 3
    assert "no base but N in empty; a region with known bases" in capsys.readouterr().err


def test_a_region_too_long_to_be_read_whole_is_reported(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(*words(folder, "attention", tmp_path / "run", "window_bp=7")) == 3
    assert "INT-01 one: 8 bases; at most 7" in capsys.readouterr().err


def test_a_full_disk_is_reported_in_a_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("interpret.region=enospc", monkeypatch)
    assert program(*words(folder, "attention", tmp_path / "run")) == 3
    assert "DISK-01 " in (said := capsys.readouterr().err.replace("\n", " "))
    assert "the disk is full (No space left on device" in said
