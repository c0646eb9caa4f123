"""What a run shows while it works: one bar with loss, bits per base, tokens/s and time left.

Without a terminal, where a bar would fill the log with control characters, a line is printed at
every validation and every `lines_every` steps instead.
"""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from dnalm.console import stderr, text_column
from dnalm.training.throughput import Throughput


class ProgressBar(Callback):
    """Show the run on rank 0.

    Args:
        throughput: counts the tokens.
        lines_every: without a terminal, steps between lines.
    """

    def __init__(self, throughput: Throughput, *, lines_every: int = 100) -> None:
        self.throughput, self.lines_every = throughput, lines_every
        self._progress: Progress | None = None
        self._shown_at = 0  # optimizer step; a step has several micro-batches

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Open the bar."""
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

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:  # noqa: ARG002
        """Move on by one optimizer step."""
        if not trainer.is_global_zero or trainer.global_step == self._shown_at:
            return
        self._shown_at = trainer.global_step
        if self._progress:
            self._progress.update(self._task, completed=trainer.global_step, description=self._text(trainer))
        elif trainer.global_step % self.lines_every == 0:
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
