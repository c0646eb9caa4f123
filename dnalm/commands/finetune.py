"""`dnalm finetune`: teach a pretrained model a task of labelled sequences, and judge it.

The run directory holds `config.yaml`, `metrics.csv`, `checkpoints/`, `model/` (the encoder in Hugging Face
layout, its head in `heads.safetensors`, described in `dnalm.yaml`), `predictions.parquet`, `summary.json`.

`summary.json` has `task`, `kind`, `metric` (the name of the declared one), `test` and `val` (every metric
of that kind of task by name, and `loss`; null where it is not defined), `score` (the declared metric on the
test set), `majority` (the accuracy there of the most frequent class of training), `rows` and `data` (number
and checksum, by part), `steps`, `steps_done`, `diverged` (with `first_train_loss` and
`end_train_loss`, by which that is judged), `best_step` (of the checkpoint that is left), `seed`, `model`,
`seconds`, `parameters`, `trained_parameters`, `tokens_per_s` and `peak_memory` (bytes).

`predictions.parquet` has a row for each of the test set, in its order: `id`, `label`, `score` (or
`score_0` to `score_k`); see `dnalm.evaluation.predictions`.

What `dnalm finetune` says before training and after, and writes to `summary.json`.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from lightning.pytorch.loggers import Logger
from pydantic import PositiveFloat
from torch.optim import Optimizer

from dnalm.console import stdout
from dnalm.data import BatchPlan, Corpus
from dnalm.data.labelled import AnyTask, SequenceRecipe, divide
from dnalm.data.labelled.module import SequenceData
from dnalm.evaluation.predictions import write_predictions
from dnalm.limits import Seed, Steps
from dnalm.models import Encoder, Pretrained
from dnalm.paths import as_typed
from dnalm.tokenizers import Tokenizer
from dnalm.training import RunDirectory, Schedule, TrainerRecipe, Tuning, peak_memory_bytes, quiet_frameworks
from dnalm.training.callbacks import Patience
from dnalm.training.finetuning import Finetuning, Preparation, Verdict, choose_weights, criterion
from dnalm.training.run import Session, Work

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


def finetune(
    *,
    run: RunDirectory,
    model: Pretrained | Callable[..., Encoder],
    task: AnyTask,
    tuning: Tuning,
    batch: BatchPlan,
    optim: Callable[..., Optimizer],
    schedule: Callable[..., Schedule],
    trainer: TrainerRecipe,
    config: dict[str, object],
    data: Corpus | None = None,
    tokenizer: Tokenizer | None = None,
    sequences: SequenceRecipe = SequenceRecipe(),  # noqa: B008 -- it is frozen
    epochs: PositiveFloat = 3.0,
    steps: Steps | None = None,
    logger: Callable[..., Logger] | None = None,
    seed: Seed = 1,
    resume: str = "auto",
    resume_allow: tuple[str, ...] = (),
) -> None:
    """Fine-tune, judge, and leave the run directory.

    Args:
        run: the run directory.
        model: the pretrained model, or what makes one that has learned nothing.
        task: what is asked: tables, columns, the meaning of labels, the metric.
        tuning: what of the model trains, and which checkpoint is left.
        batch: the batch arithmetic.
        optim: makes the optimizer.
        schedule: makes the factor of the learning rate by step.
        trainer: how the run is computed, by how many processes.
        config: the composed config.
        data: the genomes of a task that reads genomes; others have tables.
        tokenizer: bases to ids; that of the model if absent, overlapping 6-mers where it has none.
        sequences: how sequences are read.
        epochs: how often each row is seen.
        steps: optimizer steps, in place of epochs.
        logger: makes a further logger beside `metrics.csv`.
        seed: of everything random.
        resume: `auto` goes on with a run that lies in the run directory, `never` refuses to; a path
            begins the run with the checkpoint there.
        resume_allow: what may have changed since the checkpoint, of what decides which samples are seen.
    """
    quiet_frameworks()
    began = time.perf_counter()
    division = divide(task, seed=seed, data=data)
    steps = steps or math.ceil(epochs * len(division.train) / batch.global_size)
    trainer = _with_patience(trainer, run, task, tuning)
    tuning.check(trainer)
    trainer.check(batch)
    stop_flags, factor = trainer.stop_flags(), schedule(total_steps=steps)
    made = Preparation(
        model,
        tokenizer,
        task,
        division,
        sequences,
        tuning,
        optim,
        factor,
        batch,
        trainer,
        stop_flags,
        config,
        seed,
    )
    work = _work(made, steps, logger, resume, resume_allow)
    session = Session(run, trainer, batch, stop_flags, work)
    with session.opened() as read:
        if read is not None:
            module = session.fit(read, introduce=partial(introduce, read, steps))
            _judge(session, module, read, tuning, began=began)


def _work(
    made: Preparation,
    steps: int,
    logger: Callable[..., Logger] | None,
    resume: str,
    allowed: tuple[str, ...],
) -> Work[SequenceData, Finetuning]:
    figure, mode = criterion(made.task, made.tuning)
    return Work(
        command="finetune",
        config=made.config,
        steps=steps,
        lay_out=made.lay_out,
        make_module=made.make_module,
        contract=made.contract,
        write_model=made.write_model,
        logger=logger,
        resume=resume,
        allowed=allowed,
        best_metric=figure,
        best_mode=mode,
    )


def _with_patience(trainer: TrainerRecipe, run: RunDirectory, task: AnyTask, tuning: Tuning) -> TrainerRecipe:
    """The recipe, which stops early if that is asked for."""
    if tuning.patience is None:
        return trainer
    early = Patience(run.metrics, *criterion(task, tuning), tuning.patience)
    return dataclasses.replace(trainer, callbacks=(*trainer.callbacks, early))


def _judge(
    session: Session[SequenceData, Finetuning],
    module: Finetuning,
    data: SequenceData,
    tuning: Tuning,
    *,
    began: float,
) -> None:
    """Take the chosen checkpoint, leave its model, and write what it says of the test set."""
    counts = {
        "parameters": sum(p.numel() for p in module.model.parameters()),
        "trained_parameters": sum(p.numel() for p in module.model.parameters() if p.requires_grad),
    }
    best_step = choose_weights(session, module, tuning)
    session.fitter.test(module, datamodule=data, verbose=False)
    session.leave_model(module, data)
    if not session.ranks.first:
        return
    test = module.verdicts["test"]
    path = session.run.path / "predictions.parquet"
    write_predictions(path, data.task, data.division.test, test.scores.numpy())
    summary = summarize(session, module, data, best_step=best_step)
    summary |= {**counts, "seconds": round(time.perf_counter() - began, 1)}
    written = session.run.write_summary(summary)
    conclude(session.run, data, module, written, predictions=path, retry=session.retry)
