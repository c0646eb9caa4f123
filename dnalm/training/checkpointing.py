"""When a run is saved, and when it stops: between two micro-batches, on all ranks at once.

What is saved is always the last complete optimizer step; one that was under way is repeated. A step that is
validated is saved after its validation, so that a checkpoint knows its figures and a run that goes on from it
has missed nothing.

What a checkpoint holds of a model and its optimizer: named tensors, in safetensors files, without pickle.

Every rank writes what it holds: all of the model where it is replicated, a shard where it is sharded. Reading
fills the tensors of whatever layout asks, so a run that was saved on two ranks goes on on one or on four, and
one that was sharded goes on replicated; every bit is the same. Nothing else is stored of an optimizer: its
settings come from the config, its learning rate from the step.

`model.<name>` are weights, `optimizer.state.<name>.<slot>` the optimizer's. Weights that are tied have one
name.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import Optimizer

from dnalm.errors import CheckpointError, NumericsError
from dnalm.faults import fault
from dnalm.models.weights import not_finite
from dnalm.training.callbacks import save_logger
from dnalm.training.checkpoint import CheckpointFolder, SavePolicy, save_failed
from dnalm.training.distributed import done_by_first, patient_group
from dnalm.training.launcher import RunFolder
from dnalm.training.optim import how_to_stay_finite
from dnalm.training.stop_flags import RunStopped, StopFlags

MODEL, OPTIMIZER = "model.", "optimizer."
NETWORK = f"{MODEL}model."  # what a training module has as `model`
_BY_NAME = StateDictOptions(flatten_optimizer_state_dict=True)
_TOLD = 3  # tensors that are named
_TIED = StateDictOptions(strict=False)


def state_tensors(module: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """The tensors themselves; of a sharded module, this rank's shards as DTensors.

    Args:
        module: whose weights are held.
        optimizer: of the module's parameters; its state is made if no step has been taken.
    """
    untied = {name for name, _ in module.named_parameters()} | {name for name, _ in module.named_buffers()}
    held = get_model_state_dict(module)
    weights = {MODEL + name: cast(Tensor, held[name]) for name in held if name in untied}
    slots: Mapping[str, object] = get_optimizer_state_dict(module, optimizer, options=_BY_NAME)
    return {**weights, **{OPTIMIZER + name: slot for name, slot in slots.items() if isinstance(slot, Tensor)}}


def write_state(folder: Path, tensors: Mapping[str, Tensor], group: ProcessGroup | None = None) -> None:
    """Write this rank's part; called on every rank.

    Args:
        folder: on a file system that all ranks see.
        tensors: what `state_tensors` gave.
        group: of the ranks, which wait in it until all have written.
    """
    files = {name: 1 if name.startswith(MODEL) else 2 for name in tensors}
    writer = HuggingFaceStorageWriter(str(folder), fqn_to_index_mapping=files, save_distributed=True)
    with _quietly():
        save(dict(tensors), storage_writer=writer, process_group=group)


def read_state(folder: Path, module: nn.Module, optimizer: Optimizer) -> None:
    """Fill a module and its optimizer; called on every rank.

    Args:
        folder: of any layout.
        module: of the shapes that were saved.
        optimizer: of its parameters.
    """
    tensors = state_tensors(module, optimizer)
    _check_fit(folder, tensors)
    with _quietly():
        load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)))
    weights: dict[str, Any] = {
        name.removeprefix(MODEL): t for name, t in tensors.items() if name.startswith(MODEL)
    }
    set_model_state_dict(module, weights, options=_TIED)
    settings: dict[str, Any] = get_optimizer_state_dict(module, optimizer, options=_BY_NAME)
    slots: dict[str, Any] = {
        name.removeprefix(OPTIMIZER): t for name, t in tensors.items() if name.startswith(OPTIMIZER)
    }
    set_optimizer_state_dict(module, optimizer, {**settings, **slots}, options=_BY_NAME)


def read_weights(folder: Path, module: nn.Module) -> None:
    """Fill a network that lies whole in this process with the weights of a checkpoint of any layout."""
    tensors = {NETWORK + name: parameter.detach() for name, parameter in module.named_parameters()}
    _check_fit(folder, tensors, only=NETWORK)
    with _quietly(), torch.no_grad():
        load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)


def _named(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Any]:
    return {name.removeprefix(kind): tensor for name, tensor in tensors.items() if name.startswith(kind)}


def _check_fit(folder: Path, wanted: Mapping[str, Tensor], *, only: str = "") -> None:
    """Refuse a checkpoint of another model or optimizer.

    Raises:
        CheckpointError: CKPT-07, tensors are missing, too many, or of another shape.
    """
    found = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    shapes = {name: tuple(getattr(of, "size", ())) for name, of in found.items() if name.startswith(only)}
    faults = [f"{name} is missing" for name in wanted if name not in shapes]
    faults += [f"{name} is not wanted" for name in shapes if name not in wanted]
    faults += [
        f"{name} has shape {shapes[name]}, not {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in shapes and shapes[name] != tuple(tensor.shape)
    ]
    if faults:
        more = f" and {len(faults) - _TOLD} more" if len(faults) > _TOLD else ""
        raise CheckpointError(
            "CKPT-07",
            where=str(folder),
            found=", ".join(faults[:_TOLD]) + more,
            expected="the weights and the optimizer of this config",
            fix="set model, optim and objectives to those of the run's config.yaml, or start a new run",
        )


@contextmanager
def _quietly() -> Iterator[None]:
    """Without torch's remarks on single processes and on metadata that safetensors do not need.

    What failed on one rank is raised on all, and as what it was there.
    """
    logger = logging.getLogger("torch.distributed.checkpoint")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            yield
    except CheckpointException as failed:
        error, _ = next(iter(failed.failures.values()))
        raise error from failed
    finally:
        logger.setLevel(level)


@dataclass(frozen=True)
class SaveTimes:
    """Which steps are saved and validated."""

    checkpoint_every: int
    validate_every: int
    steps: int

    def saved(self, step: int) -> bool:
        """Whether a step leaves a checkpoint."""
        return step % self.checkpoint_every == 0 or step == self.steps

    def validated(self, step: int) -> bool:
        """Whether a step is validated."""
        return step % min(self.validate_every, self.steps) == 0


class Checkpointing(Callback):
    """Save the run, and end it where all ranks have agreed to.

    Args:
        folder: where checkpoints go.
        times: which steps are saved.
        guard: what the ranks have agreed upon.
        describe: further entries of `state.json`: the data contract, versions.
        policy: what happens if saving fails.
        run: the run directory; what replaces it is not written into.
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
        self._saved = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """What is restored is saved already."""
        self._seen = self._settled = self._saved = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:  # noqa: ARG002
        """Take note of a step; its metrics are logged after this, so that it is saved a little later."""
        if trainer.global_step != self._seen:
            self._seen = trainer.global_step
            fault("train.step_end")

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: object,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """Save the step before if it is time, or if the run is to stop; then stop."""
        self._settle(trainer, pl_module)
        is_within = batch_idx % trainer.accumulate_grad_batches > 0
        if is_within:
            self.guard.update_from_all_ranks()
        if self.guard.stopping:
            self.save(trainer, pl_module)
            raise RunStopped(self.guard.stopping, trainer.global_step, is_within=is_within)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last step, unless it was with its validation."""
        self._settle(trainer, pl_module)

    def _settle(self, trainer: Trainer, module: LightningModule) -> None:
        step = trainer.global_step
        if step == self._settled:
            return
        self._settled = step
        if self.guard.stopping or (self.times.saved(step) and not self.times.validated(step)):
            self.save(trainer, module)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Stop within validation too; the ranks have equally many batches."""
        self.guard.update_from_all_ranks()
        if self.guard.stopping:
            self.save(trainer, pl_module)
            raise RunStopped(self.guard.stopping, trainer.global_step)

    def on_test_batch_end(self, trainer: Trainer, *_: object) -> None:
        """Stop within the test of a run whose last step is saved."""
        self.guard.update_from_all_ranks()
        if self.guard.stopping:
            raise RunStopped(self.guard.stopping, trainer.global_step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a step that was waiting for its figures."""
        if self._seen and self.times.saved(self._seen):
            self.save(trainer, pl_module)

    def save(self, trainer: Trainer, module: LightningModule) -> None:
        """Write a checkpoint of the last complete step, on all ranks; nothing before the first.

        Raises:
            NumericsError: CKPT-08, a weight is not finite; nothing is kept.
            CheckpointError: saving has failed too often; CKPT-15, another folder lies at the run's path.
        """
        step = trainer.global_step
        if step == self._saved:
            return
        self._check_place()
        for logger in trainer.loggers:
            save_logger(logger)
        self.policy.attempt(lambda: self._write(trainer, module, step))
        self._saved = step

    def _check_place(self) -> None:
        with suppress(
            OSError
        ):  # a file system that does not answer makes the save fail, which is tried again
            if self.run.is_replaced() and (lost := self.run.fault()):
                raise lost

    def _write(self, trainer: Trainer, module: LightningModule, step: int) -> None:
        """Write, or fail on all ranks alike."""
        tensors = state_tensors(module, trainer.optimizers[0])
        bad = not_finite(tensors)
        on_ranks = trainer.strategy.reduce(
            torch.tensor(float(bool(bad)), device=module.device), reduce_op="sum"
        )
        if on_ranks:
            what = (
                f"{bad[0]} has values that are not finite" if bad else "another rank's weights are not finite"
            )
            raise _broken(step, what, how_to_stay_finite(trainer.optimizers[0]))
        first, group = trainer.is_global_zero, patient_group()
        path = Path(done_by_first(lambda: str(self.folder.begin(step)), first=first, group=group))
        try:
            fault("checkpoint.writing")
            write_state(path, tensors, group)
        except OSError as error:
            if first:
                self.folder.abandon(step)
            raise save_failed(path, error) from error
        done_by_first(lambda: str(self._finish(trainer, step)), first=first, group=group)

    def _finish(self, trainer: Trainer, step: int) -> Path:
        return self.folder.finish(step, self.describe(trainer)).checkpoint.path


def _broken(step: int, found: str, fix: str) -> NumericsError:
    return NumericsError(
        "CKPT-08",
        where=f"step {step}",
        found=found,
        expected="finite weights, since training could not go on from others",
        fix=f"{fix}; the last checkpoint is from before",
    )
