"""What a fine-tuning says of itself: what trains on what, and at its end its answers and how good they are.

`predictions.parquet` has a row for each of the test set, in its order, from which any metric can be computed.
Columns: `id`; `label`, or `label_<column>` for each of a multi-label task (`label_<column>_0` and so on where
one column lists them); `score`, the probability of the second of two classes or the value of a regression, or
`score_0` to `score_k`, the probabilities of more classes or of the labels in their order. Of more than 64
classes a row has `predicted`, the most probable one, `score`, its probability, and `score_of_label`, that of
the right one. Of segmentation there is a row for each base, with `base`, its place in the sequence from 0.

`summary.json` has `task`, `kind`, `metric` (the name of the declared one), `test` and `val` (every metric
of that kind of task by name, and `loss`; null where it is not defined), `score` (the declared metric on the
test set), `majority` (the accuracy there of the most frequent class of training), `rows` and `data` (number
and checksum, by part), `steps`, `steps_done`, `diverged` (with `first_train_loss` and
`end_train_loss`, by which that is judged), `best_step` (of the checkpoint that is left), `seed`, `model`,
`seconds`, `parameters`, `trained_parameters`, `tokens_per_s`, `data_wait` (share of the time of training in
which it waited for the loader) and `peak_memory` (bytes). Where the encoder trains there are
`activation_checkpointing` (whether activations were computed again), `memory_counted` (bytes of a step by the
sizes of the model and of the largest micro-batch) and `memory_available` (bytes of a GPU that tensors may
take; null on a CPU). Of a probe there are `probe` (the chosen `layer` and `inverse_penalty`, by which figure
they were chosen, and every candidate with its validation figures, as `probe.csv` has them) and `contract`
(what they follow from). Of a task from peaks there are `balance`, and the
files that `dnalm.evaluation.peak_report` describes.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dnalm.console import stdout
from dnalm.data.labelled import AnyTask, TablePart
from dnalm.data.labelled.module import SequenceData
from dnalm.data.labelled.table import label_names
from dnalm.durable import atomic_write
from dnalm.evaluation.model_card import SCRATCH, FinetuningResults, leave_results
from dnalm.evaluation.peak_report import balance, write_peaks
from dnalm.evaluation.report import leave_report
from dnalm.evaluation.statistics import bootstrap_interval, metric_of
from dnalm.models import Pretrained
from dnalm.paths import UNTRAINED, as_typed, split_twin
from dnalm.small_files import read_provenance
from dnalm.tables import csv_text, replace_text
from dnalm.training.callbacks import peak_memory_bytes
from dnalm.training.finetuning import FinetuneModule, Finetuning, Verdict

_MOST_CLASSES = 20  # whose numbers are listed one by one
_MOST_COLUMNS = 64
_RESAMPLES = 200
_MOST_RESAMPLED = 20_000_000  # numbers in all resamples of a metric
Scores = npt.NDArray[np.float64]


def introduce_finetuning(finetuning: Finetuning, data: SequenceData, module: FinetuneModule) -> None:
    """Print what trains on what, and how the labels are balanced; leave the table of a task from peaks."""
    total, trained = module.num_parameters, module.num_trained
    how = f"{finetuning.num_steps:,} steps" if finetuning.num_steps else "solved without steps or optim"
    stdout.print(f"model of {total:,} parameters, of which {trained:,} train, {how}")
    for name, rows in data.division.parts.items():
        lengths = rows.lengths
        stdout.print(
            f"{name}: {len(rows):,} sequences of {lengths.min():,} to {lengths.max():,} bases from "
            f"{rows.table.source}; {describe_labels(data.task, data.division.num_classes, rows.labels)}",
        )
    for note in data.division.notes:
        stdout.print(note)
    for path in write_peaks(data.division, finetuning.run.path, labels=tuple(data.task.label_columns)):
        stdout.print(f"task: {path}")


def report_finetuning(finetuning: Finetuning, data: SequenceData, module: FinetuneModule) -> None:
    """Write predictions and the summary, and print how good the model is, on the first process."""
    if not finetuning.ranks.first:
        return
    run = finetuning.run
    predictions = run.path / "predictions.parquet"
    write_predictions(predictions, data.task, data.division.test, module.verdicts["test"].scores.numpy())
    summary = run.write_summary(_summary(finetuning, data, module))
    leave_results(run.model, _results(finetuning, data, module))
    for part in ("val", "test"):
        figures = ", ".join(f"{name} {value:.4f}" for name, value in module.verdicts[part].figures.items())
        stdout.print(f"{part}: {figures}")
    stdout.print(f"the metric of {data.task.title} is {data.task.declared}")
    if finetuning.probe is not None:
        replace_text(run.path / "probe.csv", csv_text(finetuning.probe.table()))
        for sentence in finetuning.probe.sentences():
            stdout.print(sentence)
        stdout.print(f"all probes: {run.path / 'probe.csv'}")
    stdout.print(f"model directory: {run.model}")
    stdout.print(f"predictions: {predictions}")
    leave_report(run.path)
    following = f"dnalm predict {as_typed('model', run.as_path)} input=sequences.fa out=predictions.tsv"
    if isinstance(finetuning.model, Pretrained) and not finetuning.model.is_twin:
        twin = as_typed("model", finetuning.model.source + UNTRAINED)
        following += f"; or the same with {twin}, which shows what pretraining gave"
    stdout.print(f"next: {finetuning.retry or following}")
    stdout.print(f"summary: {summary}")


def _summary(finetuning: Finetuning, data: SequenceData, module: FinetuneModule) -> dict[str, object]:
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
        **balance(data.division),
        "steps": finetuning.num_steps,
        "steps_done": finetuning.steps_done,
        **finetuning.losses,
        "best_step": finetuning.best_step,
        "seed": finetuning.seed,
        "model": finetuning.model.title if isinstance(finetuning.model, Pretrained) else SCRATCH,
        "tokens_per_s": round(finetuning.throughput.tokens_per_s),
        "data_wait": round(finetuning.throughput.data_wait, 4),
        "peak_memory": peak_memory_bytes(finetuning.trainer.device),
        **(finetuning.capacity.figures() if finetuning.capacity else {}),
        "parameters": module.num_parameters,
        "trained_parameters": module.num_trained,
        **_of_probe(finetuning, data),
        "seconds": round(time.perf_counter() - finetuning.began, 1),
    }


def _of_probe(finetuning: Finetuning, data: SequenceData) -> dict[str, object]:
    """What was tried and chosen, and what the folder holds the result of."""
    if finetuning.probe is None:
        return {}
    return {"probe": finetuning.probe.summary(), "contract": finetuning.contract(data)}


def _results(finetuning: Finetuning, data: SequenceData, module: FinetuneModule) -> FinetuningResults:
    """What the model card says."""
    figures = _figures(module.verdicts["test"])
    del figures["loss"]
    model = finetuning.model if isinstance(finetuning.model, Pretrained) else None
    files = read_provenance(model.folder()).get("files") if model and not model.is_twin else None
    parts = data.division.parts
    return FinetuningResults(
        base=_public_name(model.source) if model else SCRATCH,
        base_sha256=(files or {}).get("model.safetensors"),
        rows={name: len(rows) for name, rows in parts.items()},
        files={name: Path(str(rows.table.source)).name for name, rows in parts.items()},
        fingerprints={name: rows.fingerprint for name, rows in parts.items()},
        metric=data.task.declared,
        test=dict(figures),
        intervals=intervals_on_test(data, module.verdicts["test"].scores.numpy()),
        majority=_majority(data),
        best_step=finetuning.best_step,
        seed=finetuning.seed,
        parameters=module.num_parameters,
        trained_parameters=module.num_trained,
    )


def _public_name(source: str) -> str:
    """A model of the hub as it is, of a folder the name alone; of `runs/first/model` that of the run."""
    name, is_twin = split_twin(source)
    path = Path(name)
    if not path.exists():
        return source
    path = path.resolve()
    return (path.parent.name if path.name == "model" else path.name) + UNTRAINED * is_twin


def intervals_on_test(data: SequenceData, scores: Scores) -> dict[str, tuple[float, float]]:
    """95 % intervals of the metrics of a task on its test set, by the bootstrap over its sequences.

    Of so many rows that it would take minutes there are none.

    Args:
        data: of the run.
        scores: (R,) or (R, O), as of `scores_of`, of the test set.
    """
    part, task = data.division.test, data.task
    resamples = min(_RESAMPLES, _MOST_RESAMPLED // max(1, scores.size))
    if resamples < _RESAMPLES // 4:
        return {}
    clusters = np.repeat(np.arange(len(part)), part.lengths) if part.table.per_base else None
    found = {}
    for name in task.metrics:
        metric = metric_of(task.kind, name, num_outputs=data.division.num_classes)
        rng = np.random.default_rng(0)
        interval = bootstrap_interval(
            metric, part.labels, scores, rng, clusters=clusters, resamples=resamples
        )
        if math.isfinite(interval.low) and math.isfinite(interval.high):
            found[str(name)] = (interval.low, interval.high)
    return found


def describe_labels(
    task: AnyTask, num_classes: int, labels: np.ndarray[tuple[int, ...], np.dtype[np.generic]]
) -> str:
    """The balance of the labels of some rows, in words."""
    if task.kind == "regression":
        values = labels.astype(np.float64)
        return f"values {values.mean():.4g} with standard deviation {values.std():.4g}"
    if task.kind == "multilabel":
        return "labels " + ", ".join(f"{share:.1%}" for share in labels.astype(np.float64).mean(axis=0))
    counts = np.bincount(labels.astype(np.int64), minlength=num_classes)
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


def write_predictions(path: Path, task: AnyTask, part: TablePart, scores: Scores) -> None:
    """Write the table, whole or not at all.

    Args:
        path: the file.
        task: whose columns name the labels.
        part: the rows.
        scores: (R,) or (R, O).
    """
    columns: dict[str, npt.NDArray[np.generic]] = {"id": part.names}
    if part.table.per_base:
        places = np.arange(part.lengths.sum()) - np.repeat(part.starts, part.lengths)
        columns = {"id": np.repeat(part.names, part.lengths), "base": places}
    if part.labels.ndim == 1:
        columns["label"] = part.labels
    else:
        names = label_names(task.label_columns, part.labels.shape[1])
        columns |= {f"label_{name}": part.labels[:, n] for n, name in enumerate(names)}
    if scores.ndim > 1 and part.labels.ndim == 1 and scores.shape[1] > _MOST_COLUMNS:
        best, rows = scores.argmax(axis=1), np.arange(len(scores))
        columns |= {"predicted": best, "score": scores[rows, best]}
        columns["score_of_label"] = scores[rows, part.labels.astype(np.int64)]
    elif scores.ndim == 1:
        columns["score"] = scores
    else:
        columns |= {f"score_{n}": scores[:, n] for n in range(scores.shape[1])}
    with atomic_write(path) as beside:
        pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), beside)
