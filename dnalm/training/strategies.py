"""How a run's processes share the work: alone, replicated (DDP), or sharded (FSDP2).

These are Lightning's strategies but for where a checkpoint is read from: a folder of `training_state`, once
the model lies where it will train, whatever layout had written it. What else Lightning wants to know is
told from the step alone, so that a run may go on with other numbers of ranks and of micro-batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, cast

import lightning
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import (
    DDPStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
    Strategy,
)

from dnalm.training.guard import StepGuard
from dnalm.training.ranks import Ranks
from dnalm.training.training_state import read_state

StrategyName = Literal["ddp", "fsdp", "exact"]


class _FromFolder(Strategy):
    """Restores model and optimizer in place, after setup."""

    resumed_step = 0
    passes = 1
    guard: StepGuard | None = None

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        return True

    @property
    def lightning_restore_optimizer(self) -> bool:
        return False

    def barrier(self, name: str | None = None) -> None:
        """Wait for all ranks; before a stage begins, take the signals back from Lightning's handlers."""
        if name == "run-stage" and self.guard is not None:
            self.guard.hold_on()
        super().barrier(name)  # type: ignore[safe-super]

    def load_checkpoint(
        self,
        checkpoint_path: str | Path,
        weights_only: bool | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Fill model and optimizer; what is returned tells Lightning's loops their place."""
        module = cast(LightningModule, self.lightning_module)
        read_state(Path(checkpoint_path), module, self.optimizers[0])
        return {
            "pytorch-lightning_version": lightning.__version__,
            "loops": {"fit_loop": loops_after(module.trainer, self.resumed_step, self.passes)},
            "lr_schedulers": [],
        }

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """`load_checkpoint` has done it."""

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """`load_checkpoint` has done it."""


class SingleProcess(_FromFolder, SingleDeviceStrategy):
    """One process."""


class Replicated(_FromFolder, DDPStrategy):
    """The whole model in each process, gradients averaged as they come."""


class ReplicatedExactly(_FromFolder, DDPStrategy):
    """The whole model in each process; `exact_sums` adds up the gradients."""

    def configure_ddp(self) -> None:
        """Leave the model as it is."""


class Sharded(_FromFolder, ModelParallelStrategy):
    """Each process holds a part of weights, gradients and optimizer state."""


def make_strategy(
    name: StrategyName,
    ranks: Ranks,
    *,
    device: str,
    timeout_s: float,
    guard: StepGuard,
    resumed_step: int,
    passes: int,
) -> Strategy:
    """The strategy of a run.

    Args:
        name: how several processes share the work.
        ranks: this process.
        device: `cpu`, or `cuda`.
        timeout_s: longest wait for the other processes.
        guard: heeds signals.
        resumed_step: optimizer step of the checkpoint to start from.
        passes: micro-batches of an optimizer step on each rank.
    """
    made: _FromFolder
    timeout = timedelta(seconds=timeout_s)
    if name == "fsdp":
        made = Sharded(data_parallel_size=ranks.world_size, tensor_parallel_size=1, timeout=timeout)
    elif ranks.world_size > 1:
        made = (ReplicatedExactly if name == "exact" else Replicated)(timeout=timeout)
    else:
        made = SingleProcess(device=f"{device}:{ranks.local_rank}" if device == "cuda" else device)
    made.resumed_step, made.passes, made.guard = resumed_step, passes, guard
    return made


def loops_after(trainer: Trainer, step: int, passes: int) -> dict[str, Any]:
    """The state of Lightning's loops when optimizer step number `step` is complete.

    It is what Lightning itself saves from `on_train_batch_end`: the last micro-batch is processed, and
    counts as completed once the hook returns.
    """
    batches = step * passes
    progress = {"ready": batches, "started": batches, "processed": batches, "completed": batches - 1}
    steps = {"ready": step, "completed": step}
    epoch = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    loops: dict[str, Any] = trainer.fit_loop.state_dict()
    loops["epoch_loop.state_dict"] = {"_batches_that_stepped": step - 1}
    loops["epoch_loop.batch_progress"] = {"total": progress, "current": progress, "is_last_batch": False}
    loops["epoch_loop.scheduler_progress"] = {"total": steps, "current": steps}
    loops["epoch_loop.automatic_optimization.optim_progress"] = {
        "optimizer": {
            "step": {"total": steps, "current": steps},
            "zero_grad": {"total": {**steps, "started": step}, "current": {**steps, "started": step}},
        }
    }
    loops["epoch_progress"] = {"total": epoch, "current": epoch}
    return loops
