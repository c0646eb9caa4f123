"""A trainer for tests, as a session makes it but for checkpoints."""

from pathlib import Path

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger

from dnalm.data import BatchPlan
from dnalm.training import MetricsFile, Throughput, TrainerRecipe
from dnalm.training.progress import ProgressBar


def trainer_of(
    folder: Path,
    batch: BatchPlan,
    *,
    steps: int,
    throughput: Throughput | None = None,
    loggers: tuple[Logger, ...] = (),
    callbacks: tuple[Callback, ...] = (),
    **recipe: object,
) -> Trainer:
    """One that logs every step into `folder` and does not clip, unless the recipe says otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    counted = throughput or Throughput()
    plan = TrainerRecipe(**{"gradient_clip": 0.0, "log_every": 1, **recipe})
    return plan.make(
        batch=batch,
        steps=steps,
        loggers=[MetricsFile(folder / "metrics.csv"), *loggers],
        callbacks=[counted, ProgressBar(counted), *callbacks],
        root=folder,
        guard=plan.guard(),
    )
