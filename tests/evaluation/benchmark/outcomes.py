"""Outcomes of jobs that never ran."""

import hashlib

import numpy as np

from dnalm.evaluation.benchmark.benchmark import ListedTask
from dnalm.evaluation.benchmark.report import Outcome
from dnalm.evaluation.statistics import metric_of

ROWS = 40


def listed(name: str, *, labels: int = 2) -> ListedTask:
    """A task of a list."""
    return ListedTask(
        name=name,
        path=f"{name}/{{split}}.csv",
        hub_path="",
        sha256="",
        labels=labels,
        length=100,
        metric="mcc",
        recipe="short",
    )


def outcome(task: ListedTask, model: str, seed: int, *, right: float = 0.8) -> Outcome:
    """A model that says the true class with some probability, a function of names and seed."""
    digest = hashlib.sha256(f"{task.name} {model} {seed}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    labels = np.arange(ROWS) % task.labels
    said = np.where(rng.random(ROWS) < right, labels, rng.integers(0, task.labels, ROWS))
    scores = np.eye(task.labels)[said] * 0.8 + 0.1
    if task.labels == 2:
        scores = scores[:, 1]
    return Outcome(
        task=task.name,
        model=model,
        seed=seed,
        value=metric_of(task.kind, task.metric, num_outputs=task.labels)(labels, scores),
        seconds=10.0 + seed,
        peak_memory=2.0**20 * seed,
        parameters=100.0,
        labels=labels,
        scores=scores,
        provenance={"command": f"dnalm finetune model={model}"},
    )
