"""Stored tensors whose names have a prefix more or less than published: found, and put right.

A network that is saved from inside another one (`model.`, `encoder.`), from a wrapper of PyTorch (`module.`,
`_orig_mod.`) or without its own first part (a BertModel saved alone lacks `bert.`) has all its tensors, each
under a name that is changed alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from dnalm.errors import CheckpointError
from dnalm.models.family import Family

# Parts that DistributedDataParallel, torch.compile, activation checkpointing and FSDP put into names.
_WRAPPERS = {"module", "_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"}
_ANCHOR = "encoder.embeddings.token.weight"  # a parameter that every model has


def rename(
    stored: Mapping[str, Tensor], ours: Mapping[str, Tensor], family: Family, path: Path
) -> dict[str, Tensor]:
    """The tensors by the family's names, as far as one change of prefix makes them, without guards.

    Args:
        stored: by the names in the file.
        ours: the model's, by our names.
        family: its layout.
        path: of the file, for the error.

    Raises:
        CheckpointError: CKPT-07, two tensors would have one name.
    """
    wanted = set(family.parts(ours))
    known = wanted | set(family.copies)
    plain = {name: _plain(name) for name, tensor in stored.items() if tensor.numel()}
    change = _common_change(plain.values(), family.name_of(_ANCHOR), wanted)
    renamed: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for name, short in plain.items():
        new = short
        if short not in known and not family.leaves_out(short):
            new = _changed(short, change)
            new = new if new in known or family.leaves_out(new) else short
        if new in renamed:
            raise CheckpointError(
                "CKPT-07",
                where=str(path),
                found=f"{origin[new]} and {name}, which are both {new}",
                expected="each tensor once",
                fix="save the weights of one model alone",
            )
        renamed[new], origin[new] = stored[name], name
    return renamed


def _plain(name: str) -> str:
    """Without wrappers, and since PyTorch BERT dropped TensorFlow's names of the layer norm's parameters."""
    name = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _common_change(names: Iterable[str], anchor: str, wanted: set[str]) -> tuple[str, str]:
    """What to take off the front of names and what to put there, so that most are wanted ones."""
    names = list(names)
    parts = anchor.split(".")
    tails = [".".join(parts[first:]) for first in range(len(parts) - 1)]
    changes = {("", "")} | {
        (name[: -len(tail)], anchor[: -len(tail)])
        for name in names
        for tail in tails
        if name == tail or name.endswith(f".{tail}")
    }
    return max(sorted(changes), key=lambda change: sum(_changed(name, change) in wanted for name in names))


def _changed(name: str, change: tuple[str, str]) -> str:
    old, new = change
    return new + name.removeprefix(old) if name.startswith(old) else name
