"""What all ranks hold of a trained run, brought to the first of them."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from dnalm.training.masked_lm import HiddenBits

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def whole_weights(module: nn.Module) -> dict[str, Tensor]:
    """All weights on the CPU, by name, on the first rank; others have none. Called on every rank."""
    return cast(dict[str, Tensor], get_model_state_dict(module, options=_WHOLE))


def all_hidden(hidden: HiddenBits) -> HiddenBits:
    """The hidden bases of every rank on the first, in the order of their windows, whoever judged them.

    On other ranks, what they have themselves. Called on every rank.
    """
    mine = [np.concatenate(part) if part else np.zeros(0) for part in vars(hidden).values()]
    parts: list[Any] = [mine]
    if dist.is_initialized() and dist.get_world_size() > 1:
        first = dist.get_rank() == 0
        parts = [None] * dist.get_world_size()
        dist.gather_object(mine, parts if first else None)
        if not first:
            return hidden
    positions, windows, bits = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order: npt.NDArray[np.int64] = np.argsort(windows, kind="stable")
    return HiddenBits([positions[order]], [windows[order]], [bits[order]])
