"""What `dnalm finetune` says before training and after, and writes to `summary.json`."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from dnalm.console import stdout
from dnalm.data.labelled.module import SequenceData
from dnalm.paths import as_typed
from dnalm.training import RunDirectory, peak_memory_bytes
from dnalm.training.finetuning import Finetuning, Verdict
from dnalm.training.session import Session

_MOST_CLASSES = 20


def introduce(data: SequenceData, steps: int, module: Finetuning) -> None:
    """Say what trains on what, and how the labels are balanced."""
    parameters = list(module.model.parameters())
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    total = sum(parameter.numel() for parameter in parameters)
    stdout.print(f"model of {total:,} parameters, of which {trained:,} train, {steps:,} steps")
    for name, rows in data.division.parts.items():
        lengths = rows.lengths
        stdout.print(
            f"{name}: {len(rows):,} sequences of {lengths.min():,} to {lengths.max():,} bases from "
            f"{rows.table.source}; {_balance(data, rows.labels)}",
        )
    for note in data.division.notes:
        stdout.print(note)


def _balance(data: SequenceData, labels: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
    if data.task.kind == "regression":
        values = labels.astype(np.float64)
        return f"values {values.mean():.4g} with standard deviation {values.std():.4g}"
    if data.task.kind == "multilabel":
        return "labels " + ", ".join(f"{share:.1%}" for share in labels.astype(np.float64).mean(axis=0))
    counts = np.bincount(labels.astype(np.int64), minlength=data.division.num_classes)
    if len(counts) > _MOST_CLASSES:
        return f"{len(counts):,} classes, the most frequent of {counts.max() / counts.sum():.2%}"
    return "classes " + ", ".join(f"{number}: {count:,}" for number, count in enumerate(counts))


def summarize(
    session: Session[SequenceData, Finetuning], module: Finetuning, data: SequenceData, *, best_step: int
) -> dict[str, object]:
    """The figures of `summary.json`."""
    model = session.work.config["model"]
    return {
        "task": data.task.title,
        "kind": data.task.kind,
        "metric": data.task.declared,
        "score": _figures(module.verdicts["test"])[data.task.declared],
        "majority": _majority(data),
        "test": _figures(module.verdicts["test"]),
        "val": _figures(module.verdicts["val"]),
        "rows": {name: len(rows) for name, rows in data.division.parts.items()},
        "data": {name: rows.fingerprint for name, rows in data.division.parts.items()},
        "steps": session.work.steps,
        "steps_done": session.fitter.global_step,
        **module.losses.summary(),
        "best_step": best_step,
        "seed": data.seed,
        "model": model.get("source", "random") if isinstance(model, dict) else "random",
        "tokens_per_s": round(session.throughput.tokens_per_s),
        "peak_memory": peak_memory_bytes(),
    }


def _majority(data: SequenceData) -> float | None:
    """The accuracy on the test set of whoever always says the most frequent class of training."""
    if data.task.kind not in ("binary", "multiclass", "segmentation"):
        return None
    train, test = data.division.train.labels, data.division.test.labels
    return float((test == np.bincount(train.astype(np.int64)).argmax()).mean())


def _figures(verdict: Verdict) -> dict[str, float | None]:
    figures: list[tuple[str, float]] = [*verdict.figures.items(), ("loss", verdict.loss)]
    return {name: value if math.isfinite(value) else None for name, value in figures}


def conclude(
    run: RunDirectory,
    data: SequenceData,
    module: Finetuning,
    summary: Path,
    *,
    predictions: Path,
    retry: str | None = None,
) -> None:
    """Say how good the model is, where it lies, and what to try next: of a run that diverged, `retry`."""
    for part in ("val", "test"):
        figures = ", ".join(f"{name} {value:.4f}" for name, value in module.verdicts[part].figures.items())
        stdout.print(f"{part}: {figures}")
    stdout.print(f"the metric of {data.task.title} is {data.task.declared}")
    stdout.print(f"model directory: {run.model}")
    stdout.print(f"predictions: {predictions}")
    following = f"dnalm embed {as_typed('model', run.as_path)} input=sequences.fa out=vectors.parquet"
    twin = "the same with model=random, which shows what pretraining gave"
    stdout.print(f"next: {retry or f'{following}; or {twin}'}")
    stdout.print(f"summary: {summary}")
