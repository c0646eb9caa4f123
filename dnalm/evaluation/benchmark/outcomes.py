"""What a job of a benchmark has left: its figures, its answers, and what made them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

from dnalm.evaluation.benchmark.task_list import ListedTask
from dnalm.evaluation.resampling import Labels, Scores

_PROVENANCE = "model/dnalm.yaml"


@dataclass(frozen=True, eq=False)
class Outcome:
    """A task, a model and a seed that ran to the end.

    Attributes:
        task: name of the task.
        model: as it was given.
        seed: of the job.
        value: of the declared metric on the test set; NaN where it is not defined.
        seconds: that the job took.
        peak_memory: bytes.
        parameters: of the model.
        labels: of the test set, (R,).
        scores: of the test set, (R,) or (R, C).
        provenance: what made it, by name.
    """

    task: str
    model: str
    seed: int
    value: float
    seconds: float
    peak_memory: float
    parameters: float
    labels: Labels
    scores: Scores
    provenance: Mapping[str, str]


def read_outcome(
    run: Path, task: ListedTask, *, model: str, seed: int, made_by: Mapping[str, str]
) -> Outcome | None:
    """Read a run directory.

    Args:
        run: of `dnalm finetune` or `dnalm baseline`.
        task: what was asked.
        model: as it was given.
        seed: of the job.
        made_by: what the job was made of, by name: checksums, the command.

    Returns:
        What it has left; None while it is not whole.
    """
    try:
        summary: dict[str, Any] = json.loads((run / "summary.json").read_text())
        table = pq.read_table(run / "predictions.parquet")
        config = yaml.safe_load((run / "config.yaml").read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return None
    names = [name for name in table.column_names if name.startswith("score")]
    columns = [table.column(name).to_numpy().copy() for name in names]
    value = summary.get("test", {}).get(task.metric)
    return Outcome(
        task=task.name,
        model=model,
        seed=seed,
        value=np.nan if value is None else float(value),
        seconds=float(summary["seconds"]),
        peak_memory=float(summary["peak_memory"]),
        parameters=float(summary["parameters"]),
        labels=table.column("label").to_numpy().copy(),
        scores=columns[0] if len(columns) == 1 else np.stack(columns, axis=1),
        provenance={**made_by, **_made_with(run, config, summary)},
    )


def _made_with(run: Path, config: dict[str, Any], summary: dict[str, Any]) -> dict[str, str]:
    """Hash of the config, precision and versions, as the run says."""
    kept = {name: value for name, value in config.items() if name != "run"}
    text = json.dumps(kept, sort_keys=True)
    try:
        versions = yaml.safe_load((run / _PROVENANCE).read_text())
    except OSError:
        versions = {"versions": summary.get("versions", {}), "precision": "32-true"}
    listed = {"dnalm": versions.get("dnalm"), **versions["versions"]}
    return {
        "config_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "precision": str(versions["precision"]),
        "versions": " ".join(f"{name} {number}" for name, number in listed.items() if number),
    }


def by_cell(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], list[Outcome]]:
    """Outcomes of each task and model, by seed."""
    cells: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda each: each.seed):
        cells.setdefault((outcome.task, outcome.model), []).append(outcome)
    return cells
