"""What a checkpoint holds of a model and its optimizer: named tensors, in safetensors files, without pickle.

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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
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

from dnalm.errors import CheckpointError

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
