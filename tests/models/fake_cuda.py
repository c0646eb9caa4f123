"""Every family, kernel and head forward and backward on CUDA tensors that hold nothing, without a GPU.

    LD_PRELOAD=<guard library> python -m tests.models.fake_cuda

PyTorch's fake tensors know shape, dtype and device, and refuse what mixes devices and what would wait for a
value from the device. Indexing them wants a device guard for CUDA; the backward pass wants an accelerator
that torch is built with, and orders work by its streams and events. The library has both, and they do
nothing; torch looks for accelerators when it is imported, hence LD_PRELOAD. FlexAttention is called
uncompiled, since dynamo does not trace fake tensors of a mode. Prints one JSON object a case: what it came
to. What the kernels compute only a GPU can show.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, get_args

import torch
import torch.nested._internal.sdpa as jagged_sdpa
from torch import Tensor, nn
from torch._ops import HigherOrderOperator
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.nn.attention import SDPBackend, flex_attention
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode
from torch.utils._pytree import tree_leaves

from dnalm.models import Encoder, HeadShape, MaskedLM, Packed, SequenceModel, kernels
from dnalm.models.layers import PoolingName
from dnalm.training.metrics import mean_loss
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
    ("flex", RAGGED, 0.0, True),
]
MASKED = 9

# How a head pools, and whether it judges bases
HEADS: list[tuple[PoolingName, bool]] = [*((kind, False) for kind in get_args(PoolingName)), ("mean", True)]
OUTPUTS = 3
# Families whose launches are counted
LAUNCHES = ["bert", "dnabert2", "nt_v2"]

_COPIES = ("_to_copy", "copy_", "lift_fresh")
# These neither alias their arguments nor launch a kernel
_WITHOUT_KERNEL = (
    "detach",
    "lift_fresh",
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "_unsafe_view",
)


class Watch(TorchDispatchMode):
    """Collects the copies between devices, and counts the operations that launch a kernel on a GPU."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.crossings: list[str] = []
        self.launches = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN204
        out = func(*args, **(kwargs or {}))
        if isinstance(func, HigherOrderOperator):  # FlexAttention
            self.launches += 1
            return out
        name = func.overloadpacket.__name__
        kinds = {x.device.type for x in (*args, out) if isinstance(x, Tensor)}
        if len(kinds) > 1 and name in _COPIES:
            self.crossings.append(f"{func}: {sorted(kinds)}")
        tensors = [each for each in tree_leaves(out) if isinstance(each, Tensor)]
        aliases = [each.alias_info for each in func._schema.returns]
        is_view = any(alias is not None and not alias.is_write for alias in aliases)
        self.launches += bool(tensors) and not is_view and name not in _WITHOUT_KERNEL
        return out


def as_one_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a GPU would run compiled; what it traces on its way is not counted."""

    def call(*inputs: object, **options: object) -> object:
        watch = _get_current_dispatch_mode()
        assert isinstance(watch, Watch)
        launches = watch.launches
        out = function(*inputs, **options)
        watch.launches = launches + 1
        return out

    return call


@contextmanager
def autocast(enabled: bool) -> Iterator[None]:
    """As torch.autocast("cuda"), which switches itself off where there is no GPU."""
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_enabled("cuda", enabled)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.clear_autocast_cache()


def case(encoder: Callable[[], Encoder], lengths: list[int], *, in_bf16: bool) -> dict[str, object]:
    """What the forward and backward pass of a training step came to."""
    with no_values():
        with torch.device("cuda"):
            model = MaskedLM(encoder()).train()
            ids, ends = torch.randint(3, 9, (sum(lengths),)), torch.zeros(len(lengths) + 1, dtype=torch.int32)
            masked = torch.zeros(MASKED, dtype=torch.int64)
        packed = Packed(ends, max(lengths))
        with autocast(in_bf16), Watch() as forward:
            loss = model.loss(ids, packed, masked, masked)
        with Watch() as backward:
            loss.backward()  # type: ignore[no-untyped-call]
        with autocast(in_bf16), Watch():
            chosen = model.encoder._layout(ids, packed).kernel
            logits = model(ids, packed, masked)
    return {
        "alibi": model.encoder.positions == "alibi",
        "dropout": model.encoder.attention_dropout > 0,
        "asked": model.encoder.kernel,
        "kernel": chosen,
        "shape": list(logits.shape),
        "stride": list(logits.stride()),
        "logits": f"{logits.dtype} {logits.device.type}",
        "loss": f"{loss.dtype} {loss.device.type}",
        "gradients": gradients_of(model),
        "crossings": forward.crossings + backward.crossings,
        "launches": [forward.launches, backward.launches],
    }


def no_values() -> FakeTensorMode:
    """A mode in which nothing may ask for a value that lies on the device."""
    shapes = ShapeEnv(allow_scalar_outputs=False, allow_dynamic_output_shape_ops=False)
    return FakeTensorMode(shape_env=shapes)


def gradients_of(model: nn.Module) -> list[str]:
    """The kinds of its gradients."""
    gradients = [weight.grad for weight in model.parameters() if weight.requires_grad]
    return sorted({"none" if x is None else f"{x.dtype} {x.device.type}" for x in gradients})


def head_case(pooling: PoolingName, *, of_bases: bool) -> dict[str, object]:
    """What a step of fine-tuning came to, of three sequences in four pieces, or of 40 bases."""
    shape = HeadShape(num_outputs=OUTPUTS, pooling=pooling)
    with no_values():
        with torch.device("cuda"):
            model = SequenceModel(MaskedLM(encoder_of("bert", "auto", 0.1)), shape).train()
            ids, ends = torch.randint(3, 9, (sum(RAGGED),)), torch.zeros(len(RAGGED) + 1, dtype=torch.int32)
            used, owner = torch.zeros(30, dtype=torch.int64), torch.zeros(len(RAGGED), dtype=torch.int64)
            covers = torch.zeros(90, 2, dtype=torch.int64) if of_bases else None
            labels, weights = torch.zeros(40 if of_bases else 3, dtype=torch.int64), torch.ones(OUTPUTS)
        with autocast(True), Watch() as watch:
            packed = Packed(ends, max(RAGGED))
            outputs = model(ids, packed, used, owner, len(labels), covers)
            loss = mean_loss("multiclass", outputs.float(), labels, weights_O=weights).sum()
            loss.backward()  # type: ignore[no-untyped-call]
    return {
        "shape": list(outputs.shape),
        "loss": f"{loss.dtype} {loss.device.type}",
        "gradients": gradients_of(model),
        "crossings": watch.crossings,
    }


def encoder_of(family: str, kernel: str, attention_dropout: float) -> Encoder:
    """A narrow one of two layers."""
    widths = {"hidden_size": 64, "num_layers": 2, "max_positions": 16}
    return zoo.encoder(family, kernel=kernel, dropout=0.1, attention_dropout=attention_dropout, **widths)


def published(family: str) -> Encoder:
    """One of twelve layers with the dropout of its recipe, but for that of attention, which is none."""
    sizes = zoo.SIZES | {"hidden_size": 64, "num_layers": 12, "attention_dropout": 0.0, "kernel": "auto"}
    return Encoder(**zoo.switches(family) | sizes)  # type: ignore[arg-type]


def main() -> None:
    """Print what all cases came to."""
    # It would ask what the GPU can do
    jagged_sdpa._select_sdp_backend = lambda *_: SDPBackend.FLASH_ATTENTION
    kernels._compile_once = as_one_kernel  # type: ignore[assignment]
    flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = True
    for family in zoo.ARCHITECTURES:
        for kernel, lengths, dropout, in_bf16 in CASES:
            about = {"name": family, "full": lengths is FULL, "bf16": in_bf16}
            report(
                about, partial(case, partial(encoder_of, family, kernel, dropout), lengths, in_bf16=in_bf16)
            )
    for family in LAUNCHES:
        about = {"name": f"published {family}", "full": False, "bf16": True}
        report(about, partial(case, partial(published, family), RAGGED, in_bf16=True))
    for pooling, of_bases in HEADS:
        report({"head": pooling, "of_bases": of_bases}, partial(head_case, pooling, of_bases=of_bases))


def report(about: dict[str, object], found: Callable[[], dict[str, object]]) -> None:
    """Print one."""
    try:
        print(json.dumps(about | found()), flush=True)
    except Exception as error:
        print(json.dumps(about | {"error": f"{type(error).__name__}: {error}"}), flush=True)


if __name__ == "__main__":
    main()
    os._exit(0)  # threads of the backward pass abort where they want Python while it ends
