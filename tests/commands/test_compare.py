"""`dnalm compare` end to end: the figures it leaves are those of its parts, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from dnalm.cli import main
from dnalm.models import save_pretrained
from tests.conftest import random_sequence
from tests.evaluation.embedding.models import save, tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two models, and a genome of three contigs of which the last is held out."""
    save("kmer", tmp_path / "kmer")
    save("six_mer", tmp_path / "six_mer")
    contigs = {f"chr{number}": random_sequence(3000 if number < 3 else 600, number) for number in (1, 2, 3)}
    (tmp_path / "genome.fa").write_text("".join(f">{name}\n{text}\n" for name, text in contigs.items()))
    return tmp_path


def program(folder: Path, models: list[str], *words: str) -> int:
    listed = ",".join(f"{folder}/{name}" for name in models)
    data = ["data=fasta", f"data.fasta={folder}/genome.fa", f"data.cache={folder}/cache"]
    with pytest.raises(SystemExit) as ended:
        main(["compare", f"models=[{listed}]", *data, f"run.dir={folder}/run", *words])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_figures_agree(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["places=30", "draws=2", "stretch_bp=3", "window_bp=24"]
    assert program(folder, ["kmer", "six_mer"], *words) == 0
    summary = json.loads((folder / "run/summary.json").read_text())
    assert (summary["num_places"], summary["num_bases"], summary["window_bp"]) == (60, 180, 24)
    kmer, six_mer = (summary["models"][f"{folder}/{name}"] for name in ("kmer", "six_mer"))
    assert kmer["hidden_bp"] == 3
    assert six_mer["hidden_bp"] > 3
    assert kmer["counts"] == pytest.approx(summary["two_sided"])
    for each in (kmer, six_mer):
        assert each["bits"] == pytest.approx(sum(each["draws"]) / 2)  # draws of equally many bases
        assert each["over_counts"]["mean"] == pytest.approx(each["bits"] - each["counts"])
        assert each["over_tokens"]["mean"] == pytest.approx(each["bits"] - each["of_tokens"])
        assert each["over_order0"]["mean"] == pytest.approx(each["bits"] - summary["order0"])
    (difference,) = summary["differences"]
    assert difference["mean"] == pytest.approx(kmer["bits"] - six_mer["bits"])
    with (folder / "run/comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    order = sorted((each["bits"], name) for name, each in summary["models"].items())
    assert [row["model"] for row in rows] == [name for _, name in order]
    said = capsys.readouterr().out
    assert f"{folder}/kmer: {kmer['bits']:.4f}" in said
    assert "180 bases in 60 stretches of 3, in windows of 24" in said
    for name in ("comparison.png", "comparison.svg", "comparison.md", "differences.csv", "report.html"):
        assert (folder / "run" / name).stat().st_size


def test_the_shortest_training_window_is_everyones(folder: Path) -> None:
    assert program(folder, ["kmer", "six_mer"], "places=5", "draws=1") == 0
    # 24 positions less [CLS] and [SEP] are 22 3-mers of 24 bases; of 6-mers 23 and one [CLS], 138 bases
    assert json.loads((folder / "run/summary.json").read_text())["window_bp"] == 24


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["places=100000"], 3, "lower places or window_bp"),
        (["stretch_bp=7"], 3, "set stretch_bp=6 or less"),
        (["data/split=fraction", "data.split.fraction=0.5", "stretch_bp=0"], 2, "stretch_bp"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_any_work(
    folder: Path, words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(folder, ["kmer"], *words) == code
    assert said in capsys.readouterr().err
    assert not (folder / "run").exists()


def test_a_stretch_that_a_model_cannot_take_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(folder, ["kmer"], "window_bp=160", "stretch_bp=40", "places=2", "draws=1") == 3
    assert "CMP-03" in (said := capsys.readouterr().err)
    assert "at most 24, which the model takes. Fix: lower stretch_bp" in said


def test_a_model_that_sees_one_side_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, tokenizer = tiny("kmer", causal=True)
    save_pretrained(model, folder / "causal")
    tokenizer.save(folder / "causal")
    assert program(folder, ["causal"]) == 4
    assert "MODEL-15" in capsys.readouterr().err
