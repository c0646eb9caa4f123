"""What a run shows while it works: one bar with loss, bits per base, tokens/s and time left.

Without a terminal, where a bar would fill the log with control characters, a line is printed at
every validation and every `lines_every` steps instead. A run that will take more than an hour says so once,
after its first steps.
"""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from dnalm.console import stderr, text_column
from dnalm.training.throughput import Throughput

_STEPS, _SECONDS, _ENOUGH_SECONDS = 5, 5.0, 30.0


class ProgressBar(Callback):
    """Show the run on rank 0.

    Args:
        throughput: counts the tokens.
        lines_every: without a terminal, steps between lines.
        place: what the run computes on, for the forecast.
        advice: how to have a shorter run, for the forecast.
    """

    def __init__(
        self, throughput: Throughput, *, lines_every: int = 100, place: str = "", advice: str = ""
    ) -> None:
        self.throughput, self.lines_every = throughput, lines_every
        self.place, self.advice = place, advice
        self._forecast: Forecast | None = None  # until it is made
        self._progress: Progress | None = None
        self._shown_at = 0  # optimizer step; a step has several micro-batches

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Open the bar."""
        self._shown_at = trainer.global_step
        self._forecast = Forecast(trainer, self.throughput)
        if not trainer.is_global_zero or not stderr.is_terminal:
            return
        columns = (
            text_column("Training"),
            BarColumn(),
            MofNCompleteColumn(),
            text_column("{task.description}"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=stderr)
        self._progress.start()
        self._task = self._progress.add_task("", total=trainer.max_steps, completed=trainer.global_step)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: object,  # noqa: ARG002
        batch: object,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """Move on by one optimizer step."""
        if not trainer.is_global_zero:
            return
        self._say_forecast(trainer)
        if trainer.global_step == self._shown_at:
            return
        self._shown_at = trainer.global_step
        if self._progress:
            self._progress.update(self._task, completed=trainer.global_step, description=self._text(trainer))
        elif trainer.global_step % self.lines_every == 0 and not _is_validated_next(trainer, batch_idx):
            stderr.print(self._line(trainer))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Tell the validation result where there is no bar."""
        if trainer.is_global_zero and self._progress is None and not trainer.sanity_checking:
            stderr.print(self._line(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Close the bar."""
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """Close the bar, so that the error stands below it."""
        self._stop()

    def _say_forecast(self, trainer: Trainer) -> None:
        hours = self._forecast.hours(trainer) if self._forecast else None
        if hours is None:
            return
        self._forecast = None
        if hours > 1:
            number = f"{hours:,.0f}" if hours >= 10 else f"{hours:.1f}"
            steps = trainer.max_steps - trainer.global_step
            stderr.print(
                f"forecast: about {number} hours for the {steps:,} steps left on this machine "
                f"({self.place}); {self.advice}",
            )

    def _stop(self) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None

    def _line(self, trainer: Trainer) -> str:
        return f"step {trainer.global_step}/{trainer.max_steps}  {self._text(trainer)}"

    def _text(self, trainer: Trainer) -> str:
        metrics = trainer.callback_metrics
        parts = []
        if "train_loss" in metrics:
            parts.append(f"loss {float(metrics['train_loss']):.3f}")
        if "val_bits_per_base" in metrics:
            parts.append(f"bits/base {float(metrics['val_bits_per_base']):.4f}")
        if self.throughput.seconds > 0:
            parts.append(f"{self.throughput.tokens_per_s:,.0f} tokens/s")
        return "  ".join(parts)


class Forecast:
    """How long the rest of a run will take, judged by its first steps without the very first micro-batch.

    Args:
        trainer: at the start of training.
        throughput: counts the seconds of training.
    """

    def __init__(self, trainer: Trainer, throughput: Throughput) -> None:
        self._throughput, self._from = throughput, throughput.seconds
        self._start = trainer.global_step
        self._batches, self._warm = 0, 0.0

    def hours(self, trainer: Trainer) -> float | None:
        """Called after every micro-batch; None until 5 steps and 5 seconds, or 30 seconds, have passed."""
        self._batches += 1
        seconds = self._throughput.seconds - self._from
        if self._batches == 1:
            self._warm = seconds
        few = trainer.global_step - self._start < _STEPS or seconds < _SECONDS
        if few and seconds < _ENOUGH_SECONDS:
            return None
        each = (seconds - self._warm) / (self._batches - 1) if self._batches > 1 else seconds
        left = (trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches
        return left * each / 3600


def _is_validated_next(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a line of the validation will follow that of the step: within training, or at its end."""
    every = trainer.val_check_batch or float("inf")
    return trainer.global_step == trainer.max_steps or (batch_idx + 1) % every == 0
