"""When a run is saved, and when it stops: between two micro-batches, on all ranks at once.

What is saved is always the last complete optimizer step; one that was under way is repeated. A step that is
validated is saved after its validation, so that a checkpoint knows its figures and a resumed run has missed
nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from dnalm.errors import NumericsError
from dnalm.models.weights import not_finite
from dnalm.training.checkpoint import CheckpointFolder, SaveFailed, SavePolicy, state_tensors, write_state
from dnalm.training.distributed import done_by_first, patient_group
from dnalm.training.launcher import RunFolder
from dnalm.training.loggers import RunLogger
from dnalm.training.optim import how_to_stay_finite
from dnalm.training.step import StepTraining
from dnalm.training.stop_flags import RunStopped, StopFlags


@dataclass(frozen=True)
class SaveTimes:
    """Which steps are saved and validated.

    Attributes:
        checkpoint_every: steps between saves.
        validate_every: steps between validations.
        steps: of the run.
        branch: a further step that is saved, if any.
    """

    checkpoint_every: int
    validate_every: int
    steps: int
    branch: int | None = None

    def saved(self, step: int) -> bool:
        """Whether a step leaves a checkpoint."""
        return step % self.checkpoint_every == 0 or step in (self.steps, self.branch)

    def validated(self, step: int) -> bool:
        """Whether a step is validated."""
        return step % min(self.validate_every, self.steps) == 0


class Checkpointing(Callback):
    """Save the run, and end it, by `RunStopped`, where all ranks have agreed to.

    Args:
        folder: where checkpoints go.
        times: which steps are saved.
        guard: what the ranks have agreed upon.
        describe: further entries of `state.json`: the data contract, versions.
        policy: what happens if saving fails.
        run: the run directory; what replaces it is not written into.

    Attributes:
        save_s: seconds that the last save took.
    """

    def __init__(
        self,
        folder: CheckpointFolder,
        times: SaveTimes,
        guard: StopFlags,
        describe: Callable[[Trainer], Mapping[str, Any]],
        policy: SavePolicy,
        run: RunFolder,
    ) -> None:
        self.folder, self.times, self.guard, self.describe = folder, times, guard, describe
        self.policy, self.run = policy, run
        self._seen = 0  # last step that has ended; a step has several micro-batches
        self._settled = 0  # last step of which it is decided whether it is saved
        self._saved, self.save_s = 0, 0.0

    def on_train_start(self, trainer: Trainer, *_: object) -> None:
        """What is restored is saved already."""
        self._seen = self._settled = self._saved = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        """Take note of a step; its metrics are logged after this, so that it is saved a little later."""
        if trainer.global_step != self._seen:
            self._seen = trainer.global_step

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, _: object, batch_idx: int
    ) -> None:
        """Save the step before if it is time, or if the run is to stop; then stop."""
        self._settle(trainer, pl_module)
        is_within = batch_idx % trainer.accumulate_grad_batches > 0
        if is_within:
            self.guard.update_from_all_ranks()
        self._stop_if_agreed(trainer, pl_module, is_within=is_within)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last step, unless it was with its validation."""
        self._settle(trainer, pl_module)

    def _settle(self, trainer: Trainer, module: LightningModule) -> None:
        step = trainer.global_step
        if step != self._settled:
            self._settled = step
            if self.guard.stopping or (self.times.saved(step) and not self.times.validated(step)):
                self.save(trainer, module)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Stop within validation too; the ranks have equally many batches."""
        self.guard.update_from_all_ranks()
        self._stop_if_agreed(trainer, pl_module)

    def on_test_batch_end(self, trainer: Trainer, *_: object) -> None:
        """Stop within the test of a run; its last step is saved, and these may be weights of another."""
        self.guard.update_from_all_ranks()
        self._stop_if_agreed(trainer)

    def _stop_if_agreed(
        self, trainer: Trainer, module: LightningModule | None = None, *, is_within: bool = False
    ) -> None:
        if self.guard.stopping:
            if module is not None:
                self.save(trainer, module)
            raise RunStopped(self.guard.stopping, trainer.global_step, is_within=is_within)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a step that was waiting for its figures."""
        if self._seen and self.times.saved(self._seen):
            self.save(trainer, pl_module)

    def save(self, trainer: Trainer, module: LightningModule) -> None:
        """Write a checkpoint of the last complete step, on all ranks; nothing before the first.

        Raises:
            NumericsError: NUM-04, a weight is not finite; nothing is kept.
            NumericsError, RolledBack: the step is judged here, see `StepTraining.settle`; nothing is kept.
            CheckpointError: saving has failed too often; CKPT-15, another folder lies at the run's path.
        """
        step = trainer.global_step
        if step == self._saved:
            return
        if isinstance(module, StepTraining):
            module.settle()
        with suppress(OSError):  # a file system that does not answer makes the save fail and be tried again
            if self.run.is_replaced() and (lost := self.run.fault()):
                raise lost
        for logger in trainer.loggers:
            logger.flush() if isinstance(logger, RunLogger) else logger.save()
        began = time.perf_counter()
        self.policy.attempt(lambda: self._write(trainer, module, step))
        self._saved, self.save_s = step, time.perf_counter() - began

    def _write(self, trainer: Trainer, module: LightningModule, step: int) -> None:
        """Write, or fail on all ranks alike."""
        tensors = state_tensors(module, trainer.optimizers[0])
        bad = not_finite(tensors)
        on_ranks = trainer.strategy.reduce(
            torch.tensor(float(bool(bad)), device=module.device), reduce_op="sum"
        )
        if on_ranks:
            raise NumericsError(
                "NUM-04",
                where=f"step {step}",
                found=f"{bad[0]} has values that are not finite"
                if bad
                else "another rank's weights are not finite",
                expected="finite weights, since training could not continue from others",
                fix=f"{how_to_stay_finite(trainer.optimizers[0])}; the last checkpoint is from before",
            )
        first, group = trainer.is_global_zero, patient_group()
        path = Path(done_by_first(lambda: str(self.folder.begin(step)), first=first, group=group))
        try:
            write_state(path, tensors, group)
        except OSError as error:
            if first:
                self.folder.abandon(step)
            raise SaveFailed.by_system(path, error) from error

        done_by_first(
            lambda: str(self.folder.finish(step, self.describe(trainer)).written), first=first, group=group
        )
