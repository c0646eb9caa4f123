"""Which tensors have left the finite numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors with a NaN or an infinity in them.

    Each is read once and nothing of its size is made, and a device is waited for once, not once a tensor.
    Of a tensor that is sharded, this process's shard is looked at.
    """
    names: defaultdict[torch.device, list[str]] = defaultdict(list)
    finite: defaultdict[torch.device, list[Tensor]] = defaultdict(list)
    for name, tensor in tensors.items():
        values = _real_values(tensor)
        if values.numel() and values.is_floating_point():
            names[values.device].append(name)
            # The least and the largest are NaN if any value is.
            finite[values.device].append(torch.stack(torch.aminmax(values)).isfinite().all())
    found: set[str] = set()
    for device, flags in finite.items():
        good = torch.stack(flags).tolist()
        found |= {name for name, is_good in zip(names[device], good, strict=True) if not is_good}
    return [name for name in tensors if name in found]


def _real_values(tensor: Tensor) -> Tensor:
    to_local = getattr(tensor, "to_local", None)
    local: Tensor = to_local() if to_local else tensor
    local = local.detach()
    if local.is_complex():
        return torch.view_as_real(local)
    return local.float() if local.dtype.itemsize == 1 and local.is_floating_point() else local
