"""`dnalm baseline`: let a classical model learn a task of labelled sequences, and judge it.

It leaves `config.yaml`, `summary.json` and `predictions.parquet` in the form of `dnalm finetune`, and of a
task from peaks its table and picture.
"""

from __future__ import annotations

import importlib.metadata
import math
import time

import torch

from dnalm import __version__
from dnalm.console import stdout
from dnalm.data.labelled import Division, PeakTask, TablePart, Task, divide
from dnalm.evaluation.classical import Fitted, KmerLogistic, SmallCnn, refuse_other_kinds
from dnalm.evaluation.finetuning_report import Scores, write_predictions
from dnalm.evaluation.peak_report import balance, write_peaks
from dnalm.evaluation.report import leave_report
from dnalm.limits import Seed
from dnalm.tables import readable
from dnalm.training import RunDirectory, peak_memory_bytes
from dnalm.training.metrics import judge


def baseline(
    *,
    run: RunDirectory,
    task: Task | PeakTask,
    baseline: KmerLogistic | SmallCnn,
    config: dict[str, object],
    seed: Seed = 1,
) -> None:
    """Learn, judge, and leave the run directory.

    Args:
        run: the run directory.
        task: what is asked.
        baseline: the model.
        config: the composed config.
        seed: of everything random.
    """
    began = time.perf_counter()
    refuse_other_kinds(baseline.name, task.kind)
    with run.opened(config, resumable=False):
        division = divide(task, seed=seed)
        run.create(config)
        written = write_peaks(division, run.path, labels=tuple(task.label_columns))
        fitted = baseline.fit(division, seed=seed)
        test = _scores(fitted, task, division.test)
        predictions = run.path / "predictions.parquet"
        write_predictions(predictions, task, division.test, test)
        figures = {
            "val": _figures(task, division, division.val, _scores(fitted, task, division.val)),
            "test": _figures(task, division, division.test, test),
        }
        summary = run.write_summary(
            {
                "task": task.title,
                "kind": task.kind,
                "metric": task.declared,
                **figures,
                "rows": {name: len(rows) for name, rows in division.parts.items()},
                "data": {name: rows.fingerprint for name, rows in division.parts.items()},
                **balance(division),
                "seed": seed,
                "model": baseline.name,
                "chosen": fitted.chosen,
                "parameters": fitted.parameters,
                "versions": {"dnalm": __version__}
                | {name: importlib.metadata.version(name) for name in ("torch", "scikit-learn", "numpy")},
                "seconds": round(time.perf_counter() - began, 1),
                "peak_memory": peak_memory_bytes(),
            }
        )
        for note in division.notes:
            stdout.print(note)
        for path in written:
            stdout.print(f"task: {path}")
        for name, values in figures.items():
            stdout.print(
                f"{name}: " + ", ".join(f"{each} {readable(value)}" for each, value in values.items())
            )
        stdout.print(f"predictions: {predictions}")
        leave_report(run.path)
        stdout.print("next: dnalm finetune model=runs/mine with the same task shows what pretraining gives")
        stdout.print(f"summary: {summary}")


def _scores(fitted: Fitted, task: Task | PeakTask, part: TablePart) -> Scores:
    """As predictions hold them: of two classes the second's probability."""
    answers = fitted.answer(part)
    return answers[:, 1] if task.kind == "binary" else answers


def _figures(
    task: Task | PeakTask, division: Division, part: TablePart, scores: Scores
) -> dict[str, float | None]:
    found = judge(
        task.metrics,
        task.kind,
        torch.from_numpy(scores),
        torch.from_numpy(part.labels),
        num_outputs=division.num_classes,
    )
    return {name: value if math.isfinite(value) else None for name, value in found.items()}
