"""A step of fine-tuning waits for no value of the device, whatever is predicted and however it is pooled."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from dnalm.data import BatchPlan
from dnalm.data.labelled import SequenceRecipe, Task, TaskKind, divide
from dnalm.data.labelled.module import SequenceData
from dnalm.models.layers import PoolingName
from dnalm.training import Tuning
from dnalm.training.finetuning import FinetuneModule
from dnalm.training.optim import LinearWarmupDecay
from dnalm.training.step import StepPlan
from tests.conftest import random_sequence
from tests.training.fitting import trainer_of
from tests.training.test_masked_lm import TOKENIZER, network
from tests.training.test_step import Watched

ROWS, STEPS = 24, 3
BATCH = BatchPlan(global_size=8, micro_size=4)
LABELS: dict[TaskKind, list[str]] = {
    "binary": ["0", "1"],
    "multiclass": ["0", "1", "2"],
    "multilabel": ["[0, 1]", "[1, 1]", "[1, 0]"],
    "regression": ["0.5", "-1.25", "3"],
}


def data_of(folder: Path, kind: TaskKind, *, pooling: PoolingName) -> SequenceData:
    """Sequences of several lengths, of which the longer ones are read in pieces."""
    sequences = [random_sequence(20 + 3 * (n % 8), n) for n in range(ROWS)]
    if kind == "segmentation":
        labels = ["".join("012"[base % 3] for base in range(len(sequence))) for sequence in sequences]
    else:
        labels = [LABELS[kind][n % len(LABELS[kind])] for n in range(ROWS)]
    path = folder / "task.tsv"
    rows = [f"{sequence}\t{label}" for sequence, label in zip(sequences, labels, strict=True)]
    path.write_text("\n".join(["sequence\tlabel", *rows]) + "\n")
    task = Task(train=str(path), val=str(path), kind=kind)
    division = divide(task, seed=1)
    return SequenceData(
        task,
        division,
        tokenizer=TOKENIZER,
        recipe=SequenceRecipe(reverse_complement=True),
        batch=BATCH,
        seed=1,
        limit=30,
        first_tokens=pooling == "cls",
    )


def waits_of(folder: Path, kind: TaskKind, *, pooling: PoolingName = "mean") -> list[dict[str, int]]:
    """What each micro-batch waits for, where steps are read late, as on a GPU."""
    data = data_of(folder, kind, pooling=pooling)
    model = Tuning(pooling=pooling).network(network(dropout=0.1), num_outputs=data.division.num_classes)
    plan = StepPlan(
        optimizer=partial(torch.optim.AdamW, lr=1e-3, fused=True),
        schedule=LinearWarmupDecay(warmup_steps=0, total_steps=STEPS),
        seed=1,
        global_batch=BATCH.global_size,
    )
    module = FinetuneModule(model, data.task, data.division, plan, balanced=kind != "regression")
    module.late_devices = ("cpu",)  # type: ignore[misc]
    watched = Watched()
    trainer = trainer_of(
        folder / "run", BATCH, steps=STEPS, callbacks=(watched,), log_every=100, gradient_clip=1.0
    )
    trainer.fit(module, datamodule=data)
    return watched.waits


@pytest.mark.parametrize("kind", [*LABELS, "segmentation"])
def test_no_step_waits(kind: TaskKind, tmp_path: Path) -> None:
    assert waits_of(tmp_path, kind) == [{}] * (STEPS * 2)


@pytest.mark.parametrize("pooling", ["cls", "max", "attention"])
def test_no_step_waits_for_what_it_pools(pooling: PoolingName, tmp_path: Path) -> None:
    assert waits_of(tmp_path, "binary", pooling=pooling) == [{}] * (STEPS * 2)
