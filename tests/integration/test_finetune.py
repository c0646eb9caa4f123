"""Fine-tuning runs whole: what it leaves is complete, right, and loads back."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy import stats
from sklearn import metrics

from dnalm.cli import main
from dnalm.data.labelled import SequenceRecipe
from dnalm.data.labelled.samples import cut
from dnalm.genome.alphabet import from_text
from dnalm.models import Packed, Pretrained
from dnalm.small_files import read_provenance, window_tokens
from dnalm.training.model_directory import load_finetuned
from tests.conftest import random_sequence

SMALL = ["model=tiny", "model.hidden_size=16", "model.num_layers=1", "model.num_heads=2"]
SMALL += ["model.intermediate_size=32", "tokenizer=kmer3", "budget=tiny", "steps=6"]
SMALL += ["batch.global_size=8", "batch.micro_size=4", "trainer.validate_every=2", "trainer.log_every=1"]
KINDS = {
    "binary": [],
    "multiclass": ["task.kind=multiclass", "task.label=class"],
    "multilabel": ["task.kind=multilabel", "task.label=[label,other]"],
    "regression": ["task.kind=regression", "task.label=value"],
}


def program(*words: str) -> None:
    last = {word[: word.find("=") + 1] or word: word for word in words}  # of several for a key
    with pytest.raises(SystemExit) as ended:
        main([*last.values(), "--debug"])
    assert ended.value.code == 0


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random sequences of several lengths; class and value are the share of A, coarse and fine."""
    folder = tmp_path_factory.mktemp("tables")
    for seed, (part, rows) in enumerate({"train": 40, "val": 16, "test": 24}.items()):
        with (folder / f"{part}.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["name", "sequence", "label", "other", "class", "value"])
            for row in range(rows):
                text = random_sequence(30 + row % 7, 1000 * seed + row)
                share = text.count("A") / len(text)
                table.writerow([f"{part}{row}", text, row % 2, row // 2 % 2, row % 3, share])
    return folder


def finetune(tables: Path, run: Path, *words: str) -> dict[str, Any]:
    parts = [f"task.{part}={tables}/{part}.csv" for part in ("train", "val", "test")]
    program("finetune", *SMALL, *parts, "task.id=name", f"task.cache={run.parent}", f"run.dir={run}", *words)
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return summary


def recomputed(kind: str, run: Path) -> dict[str, float]:
    """The figures of the test set by scikit-learn and scipy, of the saved predictions alone."""
    table = pq.read_table(run / "predictions.parquet").to_pydict()
    scores = np.stack([values for name, values in table.items() if name.startswith("score")], axis=1)
    labels = np.stack([values for name, values in table.items() if name.startswith("label")], axis=1)
    if kind == "regression":
        value, score = labels[:, 0], scores[:, 0]
        return {
            "spearman": stats.spearmanr(score, value).statistic,
            "pearson": stats.pearsonr(score, value).statistic,
            "r2": metrics.r2_score(value, score),
        }
    if kind == "multilabel":
        return {
            "auroc": metrics.roc_auc_score(labels, scores),
            "auprc": metrics.average_precision_score(labels, scores),
            "f1_macro": metrics.f1_score(labels, scores > 0.5, average="macro", zero_division=0),
            "accuracy": float(((scores > 0.5) == labels).mean()),
        }
    truth = labels[:, 0]
    said = scores.argmax(1) if kind == "multiclass" else (scores[:, 0] > 0.5).astype(int)
    one_hot = np.eye(3)[truth] if kind == "multiclass" else truth
    ranked = scores if kind == "multiclass" else scores[:, 0]
    of_one_class = {"f1": metrics.f1_score(truth, said)} if kind == "binary" else {}
    return {
        **of_one_class,
        "mcc": metrics.matthews_corrcoef(truth, said),
        "f1_macro": metrics.f1_score(truth, said, average="macro", zero_division=0),
        "accuracy": metrics.accuracy_score(truth, said),
        "auroc": metrics.roc_auc_score(one_hot, ranked),
        "auprc": metrics.average_precision_score(one_hot, ranked),
    }


def check_card(run: Path, test: dict[str, float]) -> None:
    """The model card has the figures, and an interval around each that is defined."""
    card = (run / "model/README.md").read_text()
    results = read_provenance(run / "model")["results"]
    for name, value in test.items():
        if name != "loss":
            low, high = results["intervals"][name]
            assert low <= value <= high
            declared = " (declared)" if name == results["metric"] else ""
            row = f"| {name}{declared} | {value:.4f} | {low:.4f} to {high:.4f} |"
            assert row.replace("_", r"\_") in card
    assert results["files"] == {"train": "train.csv", "val": "val.csv", "test": "test.csv"}
    assert str(run.parent) not in card


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_are_those_of_scikit_learn_on_the_saved_predictions(
    kind: str, tables: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    test = finetune(tables, run, *KINDS[kind])["test"]
    check_card(run, test)
    expected = recomputed(kind, run)
    assert {name: value for name, value in test.items() if name != "loss"} == pytest.approx(
        expected, abs=1e-5
    )


@pytest.mark.parametrize("tuning", ["full", "head", "lora", "probe", "gue"])
def test_the_model_directory_answers_as_the_predictions_say(
    tuning: str, tables: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    summary = finetune(tables, run, f"tuning={tuning}")
    dense, output = 16 * 16 + 16, 16 * 2 + 2
    expected = {"head": dense + output, "probe": output}
    assert summary["trained_parameters"] == expected.get(tuning, summary["trained_parameters"])
    saved = pq.read_table(run / "predictions.parquet").to_pydict()
    assert saved["id"] == [f"test{row}" for row in range(24)]
    found = load_finetuned(Pretrained(source=str(run)))
    with (tables / "test.csv").open(newline="") as file:
        texts = [row["sequence"] for row in csv.DictReader(file)]
    scores = []
    for text in texts:
        pieces = cut(from_text(text), found.tokenizer, SequenceRecipe(), limit=found.head.limit, where="")
        tokens = torch.from_numpy(pieces.ids)
        used = torch.arange(len(tokens)) == 0 if tuning == "gue" else torch.from_numpy(pieces.spells)
        packed = Packed(torch.tensor([0, len(tokens)], dtype=torch.int32), len(tokens))
        with torch.no_grad():
            outputs = found.model(tokens, packed, used, torch.zeros(1, dtype=torch.int64), 1, None)
        scores.append(float(outputs.softmax(1)[0, 1]))
    assert scores == pytest.approx(saved["score"], abs=1e-4)


@pytest.mark.parametrize(("select", "column", "best"), [("f1", "val_f1", max), ("loss", "val_loss", min)])
def test_the_weights_that_are_left_are_the_best_by_what_is_asked_for(
    select: str, column: str, best: Callable[[list[float]], float], tables: Path, tmp_path: Path
) -> None:
    words = [f"tuning.select={select}", "steps=6", "trainer.validate_every=2", "optim.lr=0.01"]
    summary = finetune(tables, tmp_path / "run", *words)
    with (tmp_path / "run/metrics.csv").open(newline="") as file:
        found = {int(row["step"]) + 1: float(row[column]) for row in csv.DictReader(file) if row[column]}
    assert sorted(found) == [2, 4, 6]
    assert found[summary["best_step"]] == best(list(found.values()))


def test_a_figure_that_the_task_does_not_have_chooses_nothing(
    tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*KINDS["multiclass"], f"task.train={tables}/train.csv", f"run.dir={tmp_path}/run"]
    with pytest.raises(SystemExit) as ended:
        main(["finetune", *SMALL, *words, "tuning.select=f1"])
    assert ended.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "CFG-18 tuning.select: f1, a figure that a multiclass task does not have; metric, loss, last" in said
    )


def test_a_run_that_stopped_continues_as_if_it_had_not(tables: Path, tmp_path: Path) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    words = ["sequences.reverse_complement=true", "schedule.warmup_steps=0", "schedule.floor=1.0"]
    finetune(tables, whole, *words)
    finetune(tables, parted, *words, "steps=2")
    finetune(tables, parted, *words)
    columns = ("loss", "val_loss", "val_mcc")
    read = []
    for run in (whole, parted):
        with (run / "metrics.csv").open(newline="") as file:
            read.append([tuple(row.get(name) for name in columns) for row in csv.DictReader(file)])
    assert read[0] == read[1]
    assert (whole / "predictions.parquet").read_bytes() == (parted / "predictions.parquet").read_bytes()


def test_a_sequence_longer_than_a_piece_is_read_whole(tables: Path, tmp_path: Path) -> None:
    summary = finetune(tables, tmp_path / "run", "sequences.max_tokens=10", "sequences.average_strands=true")
    assert summary["rows"] == {"train": 40, "val": 16, "test": 24}


def test_the_model_directory_tells_the_longest_piece_that_it_was_trained_on(
    tables: Path, tmp_path: Path
) -> None:
    """Rows have 28 to 34 overlapping 3-mers: 34 make 4 pieces of 8 or 9, but 30 make 3 of 10."""
    finetune(tables, tmp_path / "whole", "tuning=probe")
    finetune(tables, tmp_path / "parted", "sequences.max_tokens=10")
    assert window_tokens(tmp_path / "whole/model") == 34
    assert window_tokens(tmp_path / "parted/model") == 10


def test_what_is_wrong_in_a_table_ends_the_program_with_3(
    tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "finetune",
                *SMALL,
                f"task.train={tables}/train.csv",
                "task.label=state",
                f"run.dir={tmp_path}/run",
            ]
        )
    assert ended.value.code == 3
    said = capsys.readouterr().err
    assert said.startswith("dnalm: CSV-01")
    assert "train.csv:2" in said
