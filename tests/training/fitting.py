"""A trainer and a plan for tests, as a session makes them but for checkpoints."""

from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger

from dnalm.data import BatchPlan
from dnalm.tokenizers import Tokenizer
from dnalm.training import LinearWarmupDecay, MetricsFile, Throughput, TrainerRecipe, TrainingPlan
from dnalm.training.callbacks import ProgressBar


def plan_of(tokenizer: Tokenizer, *, global_batch: int, lr: float) -> TrainingPlan:
    """Plain gradient descent, so that an update shows the gradient."""
    return TrainingPlan(
        token_bases=tokenizer.token_bases,
        overlap=tokenizer.overlap,
        optimizer=lambda groups: torch.optim.SGD(groups, lr=lr),
        schedule=LinearWarmupDecay(warmup_steps=0, total_steps=1000),
        seed=1,
        global_batch=global_batch,
    )


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
        stop_flags=plan.stop_flags(),
    )
