"""The Lightning trainer of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger
from pydantic import NonNegativeFloat, PositiveInt

from dnalm.data import BatchPlan
from dnalm.training.progress import ProgressBar
from dnalm.training.run_directory import RunDirectory
from dnalm.training.throughput import Throughput


def build_trainer(
    *,
    run: RunDirectory,
    batch: BatchPlan,
    steps: int,
    throughput: Throughput,
    logger: Logger | None = None,
    accelerator: Literal["cpu", "gpu"] = "cpu",
    precision: Literal["32-true", "bf16-mixed", "bf16-true"] = "32-true",
    gradient_clip: NonNegativeFloat = 1.0,
    validate_every: PositiveInt = 1000,
    checkpoint_every: PositiveInt = 1000,
    keep_checkpoints: PositiveInt = 2,
    log_every: PositiveInt = 10,
    callbacks: Sequence[Callback] = (),
) -> Trainer:
    """Make the trainer; everything is counted in optimizer steps.

    Args:
        run: where metrics and checkpoints go.
        batch: the batch arithmetic; gives the gradient accumulation.
        steps: optimizer steps of the run.
        throughput: counts tokens and time.
        logger: a further logger beside `metrics.csv`.
        accelerator: what to compute on.
        precision: of weights and arithmetic.
        gradient_clip: largest norm of the whole gradient; 0 does not clip.
        validate_every: steps between validations.
        checkpoint_every: steps between checkpoints.
        keep_checkpoints: how many of the newest checkpoints stay.
        log_every: steps between rows of `metrics.csv`.
        callbacks: further callbacks.

    Raises:
        ConfigError: the global batch does not divide evenly.
    """
    csv = CSVLogger(save_dir=run.path, name="", version="")
    passes = batch.accumulation(world_size=1)
    checkpoints = ModelCheckpoint(
        dirpath=run.checkpoints,
        filename="{step:08d}",
        auto_insert_metric_name=False,
        monitor="step",
        mode="max",
        save_top_k=keep_checkpoints,
        every_n_train_steps=checkpoint_every,
        enable_version_counter=False,
    )
    return Trainer(
        accelerator=accelerator,
        devices=1,
        precision=precision,
        logger=[csv, *([logger] if logger else [])],
        callbacks=[throughput, ProgressBar(throughput), checkpoints, *callbacks],
        max_steps=steps,
        max_epochs=-1,
        accumulate_grad_batches=passes,
        gradient_clip_val=gradient_clip or None,
        val_check_interval=min(validate_every, steps) * passes,
        check_val_every_n_epoch=None,
        log_every_n_steps=log_every,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
