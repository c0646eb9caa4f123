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
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from functools import partial

from lightning.pytorch.loggers import Logger
from pydantic import PositiveFloat
from torch.optim import Optimizer

from dnalm.commands.finetune_report import conclude, introduce, summarize
from dnalm.data import BatchPlan, Corpus
from dnalm.data.labelled import AnyTask, SequenceRecipe, divide
from dnalm.data.labelled.module import SequenceData
from dnalm.evaluation.predictions import write_predictions
from dnalm.limits import Seed, Steps
from dnalm.models import Encoder, Pretrained
from dnalm.tokenizers import Tokenizer
from dnalm.training import RunDirectory, Schedule, TrainerRecipe, Tuning, quiet_frameworks
from dnalm.training.beginning import Work
from dnalm.training.finetuning import Finetuning
from dnalm.training.patience import Patience
from dnalm.training.preparation import Preparation
from dnalm.training.selection import choose_weights, criterion
from dnalm.training.session import Session


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
    guard, factor = trainer.guard(), schedule(total_steps=steps)
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
        guard,
        config,
        seed,
    )
    work = _work(made, steps, logger, resume, resume_allow)
    session = Session(run, trainer, batch, guard, work)
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
