"""Next-k-mer prediction runs whole, as a task and as what chooses a vocabulary."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dnalm.cli import main
from tests.conftest import random_sequence
from tests.integration.test_finetune import SMALL, program

pytestmark = pytest.mark.usefixtures("forked_programs")

TASK = ["task=next_kmer", "data=fasta", "data.fasta=genome.fa", "data.cache=cache"]
TASK += ["task.context_bp=12", "task.num_train=60", "task.num_val=10", "task.num_test=30"]


@pytest.fixture(autouse=True)
def _genome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("genome.fa").write_text(f">chr1\n{random_sequence(6000)}\n>chr2\n{random_sequence(900, 1)}\n")


@pytest.mark.parametrize("k", [2, 4])
def test_accuracy_and_loss_are_those_of_the_saved_predictions(k: int) -> None:
    program("finetune", *SMALL, *TASK, f"task.k={k}", "run.dir=run")
    summary = json.loads(Path("run/summary.json").read_text())
    table = pq.read_table("run/predictions.parquet").to_pydict()
    labels = np.array(table["label"])
    if k == 2:
        scores = np.stack([table[f"score_{n}"] for n in range(16)], axis=1)
        said, right = scores.argmax(1), scores[np.arange(30), labels]
    else:
        said, right = np.array(table["predicted"]), np.array(table["score_of_label"])
        assert np.array_equal(np.array(table["score"]) == right, said == labels), (
            "4^4 is more than 64 columns"
        )
    assert summary["test"] == pytest.approx(
        {"accuracy": (said == labels).mean(), "loss": -np.log(right).mean()}, abs=1e-6
    )
    assert summary["score"] == summary["test"]["accuracy"]
    assert summary["rows"] == {"train": 60, "val": 10, "test": 30}


def test_the_other_strand_is_refused_since_its_next_bases_come_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["finetune", *SMALL, *TASK, "sequences.reverse_complement=true"])
    assert ended.value.code == 2
    assert "CFG-18 sequences.reverse_complement" in capsys.readouterr().err


def test_a_vocabulary_is_chosen_by_real_jobs() -> None:
    network = {
        "model.hidden_size": 16,
        "model.num_layers": 1,
        "model.num_heads": 2,
        "model.intermediate_size": 32,
    }
    steps = {"steps": 2, "batch.global_size": 4, "batch.micro_size": 4, "windows.max_tokens": 20}
    steps |= {"windows.num_validation": 4, "masking.final_from": 1, "schedule.warmup_steps": 1}
    pretrain = [f"pretrain.{key}={value}" for key, value in {**network, **steps}.items()]
    finetune = [f"finetune.{word}" for word in ("steps=2", *(word for word in TASK[4:]))]
    words = ["merges=[10]", "kmers=[]", "ks=[1]", *TASK[1:4], "run.dir=out"]
    program("tokenizer", "select", *words, *pretrain, *finetune)
    summary = json.loads(Path("out/summary.json").read_text())
    assert (summary["chosen"], summary["statuses"]) == (10, {"done": 2})
    (of_task,) = Path("out/jobs").glob("*k_1*/summary.json")
    told = json.loads(of_task.read_text())
    assert summary["accuracy"]["10 merges"]["1"] == told["test"]["accuracy"]
    assert told["rows"]["test"] == 30
