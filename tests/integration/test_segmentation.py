"""Fine-tuning on labels of bases runs whole."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn import metrics

from dnalm.cli import main
from tests.conftest import random_sequence
from tests.integration.test_finetune import SMALL, program

ROWS = {"train": 40, "val": 8, "test": 12}
TASK = ["task.kind=segmentation", "task.classes=[n,A,C]", *(f"task.{part}={part}.csv" for part in ROWS)]


@pytest.fixture(autouse=True)
def _tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base's label is what it is, G and T being one class."""
    monkeypatch.chdir(tmp_path)
    for seed, (part, rows) in enumerate(ROWS.items()):
        with Path(f"{part}.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["sequence", "label"])
            for row in range(rows):
                text = random_sequence(20 + row % 5, 1000 * seed + row)
                table.writerow([text, text.translate(str.maketrans("GT", "nn"))])


@pytest.mark.parametrize("words", [["tokenizer=kmer3"], ["tokenizer=logo", "sequences.average_strands=true"]])
def test_figures_are_of_bases_and_follow_from_the_predictions(words: list[str]) -> None:
    program("finetune", *SMALL, *TASK, *words, "sequences.reverse_complement=true", "run.dir=run")
    summary = json.loads(Path("run/summary.json").read_text())
    table = pq.read_table("run/predictions.parquet").to_pydict()
    scores = np.stack([table[f"score_{n}"] for n in range(3)], axis=1)
    with Path("test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert table["label"] == ["nAC".index(letter) for row in rows for letter in row["label"]]
    assert table["base"] == [place for row in rows for place in range(len(row["sequence"]))]
    assert table["id"] == [str(number) for number, row in enumerate(rows) for _ in row["sequence"]]
    labels, said = np.array(table["label"]), scores.argmax(1)
    expected = {
        "mcc": metrics.matthews_corrcoef(labels, said),
        "f1_macro": metrics.f1_score(labels, said, average="macro", zero_division=0),
        "accuracy": metrics.accuracy_score(labels, said),
        "auroc": metrics.roc_auc_score(np.eye(3)[labels], scores),
        "auprc": metrics.average_precision_score(np.eye(3)[labels], scores),
        "loss": metrics.log_loss(labels, scores),
    }
    assert summary["test"] == pytest.approx(expected, abs=1e-5)


def test_what_each_base_is_can_be_learned() -> None:
    words = ["tokenizer=char", "steps=60", "optim.lr=1e-2", "trainer.validate_every=30"]
    program("finetune", *SMALL, *TASK, *words, "run.dir=run")
    assert json.loads(Path("run/summary.json").read_text())["test"]["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("sequences.long=truncate", "CFG-18 sequences.long: truncate, and every base has a label"),
        ("tuning.pooling=cls", "CFG-18 tuning.pooling: cls, which has no vector for a base"),
        ("tuning=probe", "CFG-18 tuning.encoder: cached, which keeps a vector a sequence"),
    ],
)
def test_what_answers_for_no_base_is_refused(
    word: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["finetune", *SMALL, *TASK, word])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
