"""How much a run has read, and how fast.

Speeds stay out of `metrics.csv`, whose every bit is the same when a run is repeated; they go to
the summary and to the other loggers.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from dnalm.data import Batch
from dnalm.training.metrics_file import MetricsFile

_COUNTED = ("tokens", "bases", "masked", "content", "seconds")


class Throughput(Callback):
    """Count tokens, bases and training seconds; validation is not counted.

    Counts are of all ranks, supposing that they compute alike; tokens include special ones.
    """

    def __init__(self) -> None:
        self.tokens, self.bases, self.seconds = 0, 0, 0.0
        self.masked, self.content = 0, 0
        self._since = 0.0
        self._logged_at = 0  # optimizer step; a step has several micro-batches
        self._counts: dict[str, float] = {}
        self._counted_at = 0

    def counts(self) -> dict[str, float]:
        """What a run that goes on after the last complete step is to count from."""
        return self._counts

    def load(self, counts: Mapping[str, float]) -> None:
        """Count from what an earlier start has counted."""
        for name in _COUNTED:
            setattr(self, name, counts.get(name, 0))
        self._counts = dict(counts)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """What is restored is of this step."""
        self._counted_at = trainer.global_step

    def on_train_batch_start(self, *_: object) -> None:
        """Start the clock of a micro-batch unless it runs already."""
        if self._since == 0.0:
            self._since = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: object,  # noqa: ARG002
        batch: Batch,
        *_: object,
    ) -> None:
        """Count a micro-batch, and log the speed with the metrics."""
        self.tokens += len(batch.ids_N) * trainer.world_size
        self.bases += batch.num_bases * trainer.world_size
        self.masked += batch.num_masked
        self.content += batch.num_content
        now = time.perf_counter()
        self.seconds += now - self._since
        self._since = now
        if trainer.global_step != self._counted_at:
            self._counted_at = trainer.global_step
            self._counts = {name: getattr(self, name) for name in _COUNTED}
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # its connector sets it
        if trainer.global_step != self._logged_at and trainer.global_step % every == 0:
            self._logged_at = trainer.global_step
            speed = {"tokens_per_s": self.tokens_per_s, "bases_per_s": self.bases_per_s}
            for logger in trainer.loggers:
                if not isinstance(logger, MetricsFile):
                    logger.log_metrics(speed, step=trainer.global_step)

    def on_validation_start(self, *_: object) -> None:
        """Stop the clock."""
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


def peak_memory_bytes() -> int:
    """The most memory this process has held: on the GPU where there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
