"""A classical baseline leaves what a fine-tuned model leaves, and its figures are those of its answers."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn import metrics

from dnalm.cli import main
from tests.conftest import random_sequence


def baseline(folder: Path, *words: str, classes: int) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Run it on random sequences with a planted letter run by class; its summary, labels and scores."""
    for seed, (part, rows) in enumerate({"train": 60, "val": 20, "test": 30}.items()):
        with (folder / f"{part}.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["sequence", "label"])
            for row in range(rows):
                label = row % classes
                table.writerow([random_sequence(30, 1000 * seed + row) + "ACG"[label] * 4, label])
    parts = [f"task.{part}={folder}/{part}.csv" for part in ("train", "val", "test")]
    with pytest.raises(SystemExit) as ended:
        main(["baseline", *words, *parts, f"run.dir={folder}/run", "--debug"])
    assert ended.value.code == 0
    found = pq.read_table(folder / "run/predictions.parquet")
    scores = [found.column(name).to_numpy() for name in found.column_names if name.startswith("score")]
    summary: dict[str, Any] = json.loads((folder / "run/summary.json").read_text())
    return summary, found.column("label").to_numpy(), np.stack(scores, axis=1)


def test_of_two_classes(tmp_path: Path) -> None:
    summary, labels, scores = baseline(tmp_path, "baseline=kmer_logistic", "baseline.k=4", classes=2)
    assert scores.shape == (30, 1)
    expected = metrics.matthews_corrcoef(labels, scores[:, 0] > 0.5)
    assert summary["test"]["mcc"] == pytest.approx(expected, abs=1e-6)
    assert summary["test"]["auroc"] == pytest.approx(metrics.roc_auc_score(labels, scores[:, 0]), abs=1e-6)
    assert (summary["metric"], summary["parameters"]) == ("mcc", 4**4 + 1)
    assert summary["rows"] == {"train": 60, "val": 20, "test": 30}


def test_of_three_classes(tmp_path: Path) -> None:
    words = ["baseline=cnn", "baseline.epochs=2", "task.kind=multiclass", "task.metric=f1_macro"]
    summary, labels, scores = baseline(tmp_path, *words, classes=3)
    assert scores.shape == (30, 3)
    expected = metrics.f1_score(labels, scores.argmax(axis=1), average="macro")
    assert summary["test"]["f1_macro"] == pytest.approx(expected, abs=1e-6)
    assert {"task", "kind", "val", "data", "seconds", "peak_memory", "versions"} <= set(summary)
