"""Every family and kernel forward on CUDA tensors that hold nothing, on a machine without a GPU.

    python -m tests.models.fake_cuda <guard library>

PyTorch's fake tensors know shape, dtype and device, and refuse what mixes devices and what would wait for a
value from the device. Indexing them wants a device guard for CUDA, which the library has: it does nothing.
Prints one JSON object a case: what it came to. What the kernels compute, gradients, and FlexAttention, which
asks for a device, only a GPU can show.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nested._internal.sdpa as jagged_sdpa
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.nn import functional as F  # noqa: N812 -- its usual name
from torch.nn.attention import SDPBackend
from torch.utils._python_dispatch import TorchDispatchMode

from dnalm.models import MaskedLM, Packed
from tests.models import zoo

RAGGED, FULL = [16, 1, 13, 7], [16, 16, 16]
# Kernel, lengths, dropout, whether in bf16
CASES = [
    ("eager", RAGGED, 0.1, True),
    ("sdpa", RAGGED, 0.1, True),
    ("auto", RAGGED, 0.1, True),
    ("auto", RAGGED, 0.0, True),
    ("auto", FULL, 0.1, True),
    ("auto", RAGGED, 0.0, False),
]
MASKED, ALIBI = 9, "dnabert2"


_COPIES = ("_to_copy", "copy_", "lift_fresh")


class Crossings(TorchDispatchMode):
    """Collects the copies between devices."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN204
        out = func(*args, **(kwargs or {}))
        kinds = {x.device.type for x in (*args, out) if isinstance(x, Tensor)}
        if len(kinds) > 1 and func.overloadpacket.__name__ in _COPIES:
            self.seen.append(f"{func}: {sorted(kinds)}")
        return out


@contextmanager
def autocast(enabled: bool) -> Iterator[None]:
    """As torch.autocast("cuda"), which switches itself off where there is no GPU."""
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_enabled("cuda", enabled)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)


def case(family: str, kernel: str, lengths: list[int], *, dropout: float, in_bf16: bool) -> dict[str, object]:
    """What the forward pass of a training step came to."""
    # Nothing may ask for a value that lies on the device
    shapes = ShapeEnv(allow_scalar_outputs=False, allow_dynamic_output_shape_ops=False)
    with FakeTensorMode(shape_env=shapes), Crossings() as crossings:
        with torch.device("cuda"):
            widths = {"hidden_size": 64, "num_layers": 2, "max_positions": 16}
            model = MaskedLM(
                zoo.encoder(family, kernel=kernel, dropout=0.1, attention_dropout=dropout, **widths)
            )
            ids, ends = torch.randint(3, 9, (sum(lengths),)), torch.zeros(len(lengths) + 1, dtype=torch.int32)
            masked = torch.zeros(MASKED, dtype=torch.int64)
        crossings.seen.clear()  # of the initial weights
        packed = Packed(ends, max(lengths))
        with autocast(in_bf16):
            chosen = model.encoder._layout(ids, packed).kernel
            logits = model.train()(ids, packed, masked)
            loss = F.cross_entropy(logits, masked, reduction="sum")
    return {
        "kernel": chosen,
        "shape": list(logits.shape),
        "logits": f"{logits.dtype} {logits.device.type}",
        "loss": f"{loss.dtype} {loss.device.type}",
        "crossings": crossings.seen,
    }


def main(library: str) -> None:
    """Print what all cases came to."""
    ctypes.CDLL(library)
    # It would ask what the GPU can do
    jagged_sdpa._select_sdp_backend = lambda *_: SDPBackend.FLASH_ATTENTION
    for family in zoo.ARCHITECTURES:
        for kernel, lengths, dropout, in_bf16 in CASES:
            if family == ALIBI and not dropout:
                continue  # FlexAttention
            about = {"family": family, "asked": kernel, "full": lengths is FULL, "bf16": in_bf16}
            try:
                found = case(family, kernel, lengths, dropout=dropout, in_bf16=in_bf16)
            except Exception as error:
                found = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(about | found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
