"""What a run logs and shows: progress, `metrics.csv`, speed, the ledger of micro-batches, early stopping.

The bar shows steps and time left, and below it loss, bits per base of the last validation, tokens/s, model
FLOP utilisation (MFU) and the most memory so far. Without a terminal, where it would fill the log with
control characters, a line is printed at every validation and, between them, every half minute at first and
every ten minutes in a long run. A run that will take more than an hour prints that once, after its first
steps.

`metrics.csv` has a row for each step at which something was logged, empty where a metric was not. A run that
continues from a checkpoint drops the rows of later steps first, so the file is that of a run that was never
interrupted. Rows are appended; a new metric makes the file be written anew, beside and renamed, so whoever
reads it sees whole rows always. Rows that a full disk does not take wait for the next save, for no figure is
worth a checkpoint. Speeds stay out of it, for its every bit is the same when a run is repeated; they go to
the summary and to the other loggers.

The ledger has a line for each micro-batch of each rank: which samples, which masks, which loss, to the last
bit. Two runs of one config have the same lines, whatever killed one of them between; `ledger-<rank>.jsonl` in
the run directory is the evidence. It is an observation and never read by a run.
"""

from __future__ import annotations

import csv
import json
import resource
import time
import zlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from rich.progress import BarColumn, Progress

from dnalm.console import live_display, print_progress, stderr, text_column
from dnalm.data import Batch
from dnalm.durable import append
from dnalm.models import MaskedLM
from dnalm.models.flops import count_flops
from dnalm.models.gpus import find_gpu, matrix_rate
from dnalm.system_errors import disk_reason, translate
from dnalm.tables import csv_text, replace_text
from dnalm.training.launcher import RunFolder


class MetricsFile(Logger):
    """Write metrics of rank 0.

    Args:
        path: the file.
        run: the run directory, if it is watched; rows wait while another folder lies at its path.
    """

    def __init__(self, path: Path, run: RunFolder | None = None) -> None:
        super().__init__()
        self.path, self.run = path, run
        self._columns: list[str] = []
        self._step: int | None = None  # of the row that is not written yet
        self._row: dict[str, float] = {}
        self._waiting: list[dict[str, Any]] = []
        self._warned = False

    @property
    def name(self) -> str:
        """Lightning asks for one."""
        return "metrics"

    @property
    def version(self) -> str:
        """Lightning asks for one."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, *_: object) -> None:
        """They are in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add metrics to the row of a step."""
        if step != self._step:
            self.save()
            self._step = step
        self._row.update({name: float(value) for name, value in metrics.items() if name != "epoch"})

    @rank_zero_only
    def save(self) -> None:
        """Append the row under way, and those that could not be written before."""
        if self._row:
            self._waiting.append({"step": self._step, **self._row})
            self._row = {}
        if not self._waiting:
            return
        try:
            if self.run and self.run.is_replaced():
                return
            self._append(self._waiting)
        except OSError as error:
            if disk_reason(error.errno, self.path) is None:
                raise
            if not self._warned:
                stderr.print(
                    f"Not written yet: {translate(error)} Training continues; rows wait for the next save."
                )
            self._warned = True
        else:
            self._waiting, self._warned = [], False

    @rank_zero_only
    def finalize(self, status: str) -> None:  # noqa: ARG002 -- Lightning's signature
        """Write what is left, or say how much of it is lost."""
        self.save()
        if self._waiting:
            stderr.print(f"{self.path} lacks its last {len(self._waiting)} rows, which could not be written.")

    def _append(self, rows: list[dict[str, Any]]) -> None:
        names = dict.fromkeys(["step", *self._columns, *(name for row in rows for name in row)])
        if list(names) != self._columns:
            _write(self.path, list(names), _read(self.path))
            self._columns = list(names)
        append(self.path, csv_text([row.get(name, "") for name in self._columns] for row in rows))

    @rank_zero_only
    def drop_rows_after(self, step: int) -> None:
        """Drop the rows of later steps; that of optimizer step n is numbered n - 1, as Lightning counts."""
        rows = [row for row in _read(self.path) if row["step"].isdecimal() and int(row["step"]) < step]
        if rows or self.path.exists():
            self._columns = list(rows[0]) if rows else []
            _write(self.path, self._columns, rows)


def _read(path: Path) -> list[dict[str, str]]:
    """The whole rows; one that a kill has cut short is left out."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if None not in row.values() and None not in row]


def _write(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    table = [columns, *([row.get(name, "") for name in columns] for row in rows)] if columns else []
    replace_text(path, csv_text(table))


_COUNTED = ("tokens", "bases", "masked", "content", "pairs", "predicted", "seconds", "waited_s")


class Throughput(Callback):
    """Count tokens, bases, training seconds and those that wait for data; validation is not counted.

    Counts are of all ranks, supposing that they compute alike; tokens include special ones. The wait is this
    rank's; without loader workers it is the time in which batches are made. What a pretraining asks of the
    processors is counted from these numbers, without the heads of annotation tracks, which are small.
    """

    def __init__(self) -> None:
        self.tokens, self.bases, self.seconds, self.waited_s = 0, 0, 0.0, 0.0
        self.masked, self.content, self.pairs, self.predicted = 0, 0, 0, 0
        self._rate: float | None = None  # FLOP/s of a matrix product here
        self._since, self._waited_before = 0.0, 0.0
        self._logged_at = 0  # optimizer step; a step has several micro-batches
        self._counts: dict[str, float] = {}
        self._counted_at = 0
        self.latest: dict[str, float] = {}  # speeds between the last two rows
        self._before: dict[str, float] = {}  # what was counted at the last row

    def counts(self) -> dict[str, float]:
        """What a run that continues after the last complete step counts from."""
        return self._counts

    def load(self, counts: Mapping[str, float]) -> None:
        """Count from what an earlier start has counted."""
        for name in _COUNTED:
            setattr(self, name, counts.get(name, 0))
        self._counts = self._before = dict(counts)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """What is restored is of this step."""
        self._counted_at = self._logged_at = trainer.global_step
        if isinstance(module.model, MaskedLM):  # of a fine-tuning no operations are counted
            dtype = torch.bfloat16 if "bf16" in str(trainer.precision) else torch.float32
            self._rate = matrix_rate(module.device, dtype)

    def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
        """Start the clocks of a micro-batch unless they run already."""
        if self._since == 0.0:
            self._since, self._waited_before = time.perf_counter(), _waited_s(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, _: object, batch: Batch, *__: object
    ) -> None:
        """Count a micro-batch, and log the speed with the metrics."""
        self.tokens += batch.num_tokens * trainer.world_size
        self.bases += batch.num_bases * trainer.world_size
        self.masked += batch.num_masked
        self.content += batch.num_content
        if self._rate is not None:
            self.pairs += batch.num_pairs * trainer.world_size
            self.predicted += batch.num_targets * trainer.world_size
        now, waited = time.perf_counter(), _waited_s(trainer)
        self.seconds += now - self._since
        self.waited_s += waited - self._waited_before
        self._since, self._waited_before = now, waited
        if trainer.global_step != self._counted_at:
            self._counted_at = trainer.global_step
            self._counts = {name: getattr(self, name) for name in _COUNTED}
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # its connector sets it
        if trainer.global_step != self._logged_at and trainer.global_step % every == 0:
            self._logged_at = trainer.global_step
            self.latest = self.speeds(module, trainer.world_size, since=self._before)
            self._before = {name: getattr(self, name) for name in _COUNTED}
            figures = {**self.latest, "peak_memory": peak_memory_bytes(device_of(module))}
            for logger in trainer.loggers:
                if not isinstance(logger, MetricsFile):
                    logger.log_metrics(figures, step=trainer.global_step - 1)  # as rows of metrics.csv count

    def on_validation_start(self, *_: object) -> None:
        """Stop the clocks."""
        self._since = 0.0

    @property
    def realised_mask_rate(self) -> float:
        """Share of the tokens that spell bases which were hidden."""
        return self.masked / self.content if self.content else 0.0

    @property
    def tokens_per_s(self) -> float:
        """Packed tokens per second of training."""
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def bases_per_s(self) -> float:
        """Bases under the windows per second of training."""
        return self.bases / self.seconds if self.seconds else 0.0

    @property
    def data_wait(self) -> float:
        """Share of the training seconds in which this rank waited for its loader."""
        return self.waited_s / self.seconds if self.seconds else 0.0

    def speeds(
        self, module: LightningModule, world_size: int, *, since: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Tokens and bases per second, the share of waiting, and the utilisation, since counts of before."""
        part = self._since_counts(since)
        if not (seconds := part["seconds"]):
            return {}
        return {
            "tokens_per_s": part["tokens"] / seconds,
            "bases_per_s": part["bases"] / seconds,
            "data_wait": part["waited_s"] / seconds,
            **self.utilisation(module, world_size, since=since),
        }

    def utilisation(
        self, module: LightningModule, world_size: int, *, since: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Model FLOP/s of all ranks, and their share of what the processors give; of a pretraining alone.

        `mfu_of_measured` is of the rate of a large product in the run's precision, measured at its start;
        `mfu_of_listed` of the dense bfloat16 peak that the maker of a GPU lists, where it is known.
        """
        part = self._since_counts(since)
        if not part["pairs"] or not part["seconds"] or self._rate is None:
            return {}
        assert isinstance(module.model, MaskedLM), "there is a rate of no other"
        counted = count_flops(
            module.model.encoder,
            tokens=int(part["tokens"]),
            pairs=int(part["pairs"]),
            predicted=int(part["predicted"]),
        )
        each = counted.training / part["seconds"]
        found = {"model_flops_per_s": each, "mfu_of_measured": each / (self._rate * world_size)}
        name = torch.cuda.get_device_name(module.device) if module.device.type == "cuda" else ""
        gpu = find_gpu(name)
        return found if gpu is None else {**found, "mfu_of_listed": each / (gpu.peak * world_size)}

    def _since_counts(self, since: Mapping[str, float] | None) -> dict[str, float]:
        before = since or {}
        return {name: getattr(self, name) - before.get(name, 0) for name in _COUNTED}


def _waited_s(trainer: Trainer) -> float:
    """Seconds that this rank has waited for training batches since its loader was made."""
    loader: Any = trainer.train_dataloader  # a `Loader` or `CountedSteps`
    return float(loader.waited_s)


class StepClock(Callback):
    """Seconds of each optimizer step, until its device has computed it.

    Args:
        done: called after each.

    Attributes:
        seconds: of the steps so far.
        updates: seconds of these that the optimizer took, however many samples a step has.
    """

    def __init__(self, done: Callable[[], None] = lambda: None) -> None:
        self.seconds: list[float] = []
        self.updates: list[float] = []
        self._done, self._since, self._updating, self._step = done, 0.0, 0.0, 0

    def on_train_start(self, trainer: Trainer, *_: object) -> None:
        """Start the clock."""
        self._since, self._step = time.perf_counter(), trainer.global_step

    def on_before_optimizer_step(self, _: Trainer, module: LightningModule, *__: object) -> None:
        """Gradients are there."""
        self._updating = _now(module)

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: object) -> None:
        """Take the time of a step whose last micro-batch this was."""
        if trainer.global_step == self._step:
            return
        now = _now(module)
        self.seconds.append(now - self._since)
        self.updates.append(now - self._updating)
        self._since, self._step = now, trainer.global_step
        self._done()


def _now(module: LightningModule) -> float:
    """The time at which a module's device has computed what it was given."""
    if module.device.type == "cuda":
        torch.cuda.synchronize(module.device)
    return time.perf_counter()


def device_of(module: LightningModule) -> Literal["cpu", "cuda"]:
    """What a module computes on."""
    return "cuda" if module.device.type == "cuda" else "cpu"


def peak_memory_bytes(device: Literal["cpu", "cuda"] = "cpu") -> int:
    """The most memory this process has held: on its GPU if it computes there, else resident."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


_STEPS, _SECONDS, _ENOUGH_SECONDS = 5, 5.0, 30.0  # of training before a forecast
_REDRAWN_S = 0.5  # between two looks at the figures, which may wait for a GPU
_OFTEN_S, _RARELY_S, _SHARE = 30.0, 600.0, 0.05  # between two lines: a share of the time so far, within these
_LABELS = {"val_bits_per_base": "bits/base"}


class ProgressBar(Callback):
    """Show the run on rank 0: a bar and a line of figures on a terminal, lines of the same figures elsewhere.

    Args:
        throughput: counts the tokens.
        figure: the figure of a validation that is shown.
        place: what the run computes on, for the forecast.
        advice: how to have a shorter run, for the forecast.
    """

    def __init__(
        self,
        throughput: Throughput,
        *,
        figure: str = "val_bits_per_base",
        place: str = "",
        advice: str = "",
    ) -> None:
        self.throughput, self.figure = throughput, figure
        self.place, self.advice = place, advice
        self._progress: Progress | None = None
        self._figures = ""  # the line below the bar
        self._shown_at = 0  # optimizer step; a step has several micro-batches
        self._has_forecast = False
        self._began_at, self._began_s = 0, 0.0  # the first step, and seconds of training before it
        self._batches, self._warm_s = 0, 0.0  # since then, and seconds of the first of them
        self._started = self._said = 0.0  # on the clock: training, and the last line
        self._warm: tuple[int, float] | None = None  # the first step that has ended here, and the clock then

    def on_train_start(self, trainer: Trainer, *_: object) -> None:
        """Open the bar."""
        self._shown_at = self._began_at = trainer.global_step
        self._began_s, self._batches, self._has_forecast = self.throughput.seconds, 0, False
        self._started = self._said = time.perf_counter()
        self._warm, self._figures = None, ""
        if not trainer.is_global_zero or not stderr.is_terminal:
            return
        columns = (text_column("Training"), BarColumn(30), text_column("{task.description}"))
        self._progress = live_display(*columns, below=lambda: self._figures)
        self._progress.start()
        self._task = self._progress.add_task("", total=trainer.max_steps)
        self._draw(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, _: LightningModule, __: object, ___: object, batch_idx: int
    ) -> None:
        """Move on by one optimizer step."""
        if not trainer.is_global_zero:
            return
        self._print_forecast(trainer)
        step, now = trainer.global_step, time.perf_counter()
        if step == self._shown_at:
            return
        self._shown_at = step
        self._warm = self._warm or (step, now)
        every = trainer.val_check_batch or float("inf")
        is_validated_next = step == trainer.max_steps or (batch_idx + 1) % every == 0  # which is shown then
        between = min(max(_OFTEN_S, _SHARE * (now - self._started)), _RARELY_S)
        if now - self._said >= (_REDRAWN_S if self._progress else between) and not is_validated_next:
            self._show(trainer)

    def on_validation_start(self, trainer: Trainer, *_: object) -> None:
        """Show which step is validated."""
        if self._progress:
            self._draw(trainer)

    def on_validation_end(self, trainer: Trainer, *_: object) -> None:
        """Show the validation's result."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            self._show(trainer)

    def on_train_end(self, trainer: Trainer, *_: object) -> None:
        """Close the bar."""
        if self._progress:
            self._draw(trainer)
        self.on_exception()

    def on_exception(self, *_: object) -> None:
        """Close the bar as it is, so that the error stands below it."""
        if self._progress:
            self._progress.stop()
            self._progress = None

    def _print_forecast(self, trainer: Trainer) -> None:
        """Once, if the rest of the run will take hours, judged without its very first micro-batch."""
        if self._has_forecast:
            return
        self._batches += 1
        seconds = self.throughput.seconds - self._began_s
        if self._batches == 1:
            self._warm_s = seconds
        few = trainer.global_step - self._began_at < _STEPS or seconds < _SECONDS
        if few and seconds < _ENOUGH_SECONDS:
            return
        self._has_forecast = True
        each = (seconds - self._warm_s) / (self._batches - 1) if self._batches > 1 else seconds
        steps = trainer.max_steps - trainer.global_step
        hours = steps * trainer.accumulate_grad_batches * each / 3600
        if hours > 1:
            number = f"{hours:,.0f}" if hours >= 10 else f"{hours:.1f}"
            stderr.print(
                f"forecast: about {number} hours for the {steps:,} steps left on this machine "
                f"({self.place}); {self.advice}",
            )

    def _show(self, trainer: Trainer) -> None:
        self._said = time.perf_counter()
        if self._progress:
            self._draw(trainer)
        else:
            print_progress(f"step {self._place(trainer)}  {self._text(trainer)}")

    def _draw(self, trainer: Trainer) -> None:
        assert self._progress is not None, "it is open"
        self._figures = self._text(trainer)
        self._progress.update(
            self._task, completed=trainer.global_step, description=self._place(trainer), refresh=True
        )

    def _place(self, trainer: Trainer) -> str:
        """Steps done, of how many, and the time left by the clock, saves and validations included."""
        step, steps = trainer.global_step, trainer.max_steps
        place = f"{step:,}/{steps:,}"
        if self._warm is None or step == self._warm[0]:
            return place
        each = (time.perf_counter() - self._warm[1]) / (step - self._warm[0])
        return f"{place}  {timedelta(seconds=round(each * (steps - step)))} left"

    def _text(self, trainer: Trainer) -> str:
        """The figures, and the speed between the last two rows of `metrics.csv`."""
        metrics, module = trainer.callback_metrics, trainer.lightning_module
        parts = []
        if "train_loss" in metrics:
            parts.append(f"loss {float(metrics['train_loss']):.3f}")
        if self.figure in metrics:
            label = _LABELS.get(self.figure, self.figure.replace("_", " "))
            parts.append(f"{label} {float(metrics[self.figure]):.4f}")
        if speeds := self.throughput.latest or self.throughput.speeds(module, trainer.world_size):
            parts.append(f"{speeds['tokens_per_s']:,.0f} tokens/s")
            if mfu := speeds.get("mfu_of_listed") or speeds.get("mfu_of_measured"):
                parts.append(f"MFU {mfu:.0%}")
        parts.append(f"{peak_memory_bytes(device_of(module)) / 1e9:.1f} GB")
        return "  ".join(parts)


class Ledger(Callback):
    """Write the ledger: `trainer.callbacks=[{_target_: dnalm.training.Ledger}]`.

    Each line has `step` (optimizer step under way), `rank`, `world`, `samples`, `mask` (CRC-32 of what the
    model sees and of what it is to predict), `loss` (of the micro-batch, hexadecimal) and `rate` (learning
    rate, hexadecimal).
    """

    def __init__(self) -> None:
        self._file: IO[str] | None = None

    def on_train_start(self, trainer: Trainer, *_: object) -> None:
        """Append to the file; later lines of a step replace earlier ones."""
        path = Path(trainer.default_root_dir) / f"ledger-{trainer.global_rank}.jsonl"
        self._file = path.open("a")

    def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
        """Remember the step, which the batch may complete."""
        self._step = trainer.global_step
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self,
        trainer: Trainer,
        _: LightningModule,
        outputs: Any,  # noqa: ANN401 -- Lightning's signature
        batch: Batch,
        *__: object,
    ) -> None:
        """Write the line of a micro-batch."""
        assert self._file is not None, "on_train_start opens it"
        line = {
            "step": self._step,
            "rank": trainer.global_rank,
            "world": trainer.world_size,
            "samples": list(batch.samples),
            "mask": zlib.crc32(
                b"".join(t.cpu().numpy().tobytes() for t in (batch.ids_N, batch.targets_M, batch.labels_M))
            ),
            "loss": (float(outputs["loss"]) * trainer.accumulate_grad_batches).hex(),
            "rate": float(self._rate).hex(),
        }
        print(json.dumps(line), file=self._file, flush=True)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class EarlyStop(EarlyStopping):
    """Lightning's early stopping without state of its own, since checkpoints hold none of callbacks.

    A run that continues reads in `metrics.csv` how its validations went; a NaN is never better.

    Args:
        metrics: the run's `metrics.csv`.
        figure: the column that is watched.
        mode: whether lower or higher is better.
        patience: so many validations in a row without a better figure end the run.
    """

    def __init__(self, metrics: Path, figure: str, mode: Literal["min", "max"], patience: int) -> None:
        super().__init__(
            figure, mode=mode, patience=patience, check_finite=False, check_on_train_epoch_end=False
        )
        self.metrics = metrics

    def on_train_start(self, trainer: Trainer, *_: object) -> None:
        """Count the validations so far."""
        for figure in past_figures(self.metrics, self.monitor, steps=trainer.global_step):
            self._evaluate_stopping_criteria(torch.tensor(figure))
        if self.wait_count >= self.patience:
            trainer.should_stop = True


def past_figures(metrics: Path, figure: str, *, steps: int) -> list[float]:
    """The values of a column in the rows of the first `steps` steps, in their order."""
    return [float(row[figure]) for row in _read(metrics) if row.get(figure) and int(row["step"]) < steps]
