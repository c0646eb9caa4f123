"""Early stopping: the run ends when its validations have not become better for a while."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn


class Patience(Callback):
    """Stop after so many validations in a row without a better figure.

    It has no state of its own: a run that goes on reads in `metrics.csv` how its validations went.

    Args:
        metrics: the run's `metrics.csv`.
        figure: the column that is watched.
        mode: whether lower or higher is better.
        patience: so many validations.
    """

    def __init__(self, metrics: Path, figure: str, mode: Literal["min", "max"], patience: int) -> None:
        self.metrics, self.figure, self.mode, self.patience = metrics, figure, mode, patience
        self._history: list[float] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Read how the validations so far went."""
        self._history = past_figures(self.metrics, self.figure, steps=trainer.global_step)
        self._decide(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Count one more."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._history.append(float(trainer.callback_metrics[self.figure]))
            self._decide(trainer)

    def _decide(self, trainer: Trainer) -> None:
        if waited(self._history, self.mode) >= self.patience:
            trainer.should_stop = True


def past_figures(metrics: Path, figure: str, *, steps: int) -> list[float]:
    """The values of a column in the rows of the first `steps` steps, in their order."""
    if not steps or not metrics.is_file():
        return []
    with metrics.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get(figure) and int(row["step"]) < steps]
    return [float(row[figure]) for row in rows]


def waited(history: Sequence[float], mode: Literal["min", "max"]) -> int:
    """How many figures at the end are none of them better than the best before; NaN is never better."""
    sign = 1 if mode == "min" else -1
    best, since = math.inf, 0
    for value in history:
        since = 0 if sign * value < best else since + 1
        best = min(best, sign * value) if not math.isnan(value) else best
    return since
