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

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

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
from dnalm.training.finetuning import FinetuneModule, Finetuning, Verdict

_MOST_CLASSES = 20  # whose numbers are listed one by one


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
        resume: `auto` continues a run that lies in the run directory, `never` refuses to; a path
            starts the run from the checkpoint there.
        resume_allow: what may have changed since the checkpoint, of what decides which samples are seen.
    """
    quiet_frameworks()
    began = time.perf_counter()
    division = divide(task, seed=seed, data=data)
    steps = steps or math.ceil(epochs * len(division.train) / batch.global_size)
    JudgedFinetuning(
        directory=run,
        began=began,
        model=model,
        tokenizer=tokenizer,
        task=task,
        division=division,
        sequences=sequences,
        tuning=tuning,
        batch=batch,
        optim=optim,
        schedule=schedule(total_steps=steps),
        trainer=trainer,
        steps=steps,
        config=config,
        logger=logger,
        seed=seed,
        resume=resume,
        resume_allow=resume_allow,
    ).train()


@dataclass(kw_only=True, eq=False)
class JudgedFinetuning(Finetuning):
    """A fine-tuning whose answers on the test set are written and judged at its end."""

    _parameters: dict[str, int] = field(default_factory=dict, init=False)  # before adapters are merged

    def introduce(self, data: SequenceData, module: FinetuneModule) -> None:
        """Print what trains on what, and how the labels are balanced."""
        parameters = list(module.model.parameters())
        trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
        total = sum(parameter.numel() for parameter in parameters)
        self._parameters = {"parameters": total, "trained_parameters": trained}
        stdout.print(f"model of {total:,} parameters, of which {trained:,} train, {self.steps:,} steps")
        for name, rows in data.division.parts.items():
            lengths = rows.lengths
            stdout.print(
                f"{name}: {len(rows):,} sequences of {lengths.min():,} to {lengths.max():,} bases from "
                f"{rows.table.source}; {_balance(data, rows.labels)}",
            )
        for note in data.division.notes:
            stdout.print(note)

    def finish(self, data: SequenceData, module: FinetuneModule) -> None:
        """Write predictions and the summary, and print how good the model is, on the first process."""
        if not self.ranks.first:
            return
        predictions = self.directory.path / "predictions.parquet"
        write_predictions(predictions, data.task, data.division.test, module.verdicts["test"].scores.numpy())
        summary = self.directory.write_summary(self._summary(data, module))
        for part in ("val", "test"):
            figures = ", ".join(
                f"{name} {value:.4f}" for name, value in module.verdicts[part].figures.items()
            )
            stdout.print(f"{part}: {figures}")
        stdout.print(f"the metric of {data.task.title} is {data.task.declared}")
        stdout.print(f"model directory: {self.directory.model}")
        stdout.print(f"predictions: {predictions}")
        model = as_typed("model", self.directory.as_path)
        following = f"dnalm embed {model} input=sequences.fa out=vectors.parquet"
        twin = "the same with model=random, which shows what pretraining gave"
        stdout.print(f"next: {self.retry or f'{following}; or {twin}'}")
        stdout.print(f"summary: {summary}")

    def _summary(self, data: SequenceData, module: FinetuneModule) -> dict[str, object]:
        model = self.config["model"]
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
            "steps": self.steps,
            "steps_done": self.fitter.global_step,
            **self.losses,
            "best_step": self.best_step,
            "seed": self.seed,
            "model": model.get("source", "random") if isinstance(model, dict) else "random",
            "tokens_per_s": round(self.throughput.tokens_per_s),
            "peak_memory": peak_memory_bytes(),
            **self._parameters,
            "seconds": round(time.perf_counter() - self.began, 1),
        }


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


def _majority(data: SequenceData) -> float | None:
    """The accuracy on the test set of whoever always says the most frequent class of training."""
    if data.task.kind not in ("binary", "multiclass", "segmentation"):
        return None
    train, test = data.division.train.labels, data.division.test.labels
    return float((test == np.bincount(train.astype(np.int64)).argmax()).mean())


def _figures(verdict: Verdict) -> dict[str, float | None]:
    figures: list[tuple[str, float]] = [*verdict.figures.items(), ("loss", verdict.loss)]
    return {name: value if math.isfinite(value) else None for name, value in figures}
