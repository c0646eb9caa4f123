"""What is done to a model for the machine it trains on, from outside: recomputing, compiling, sharding.

In this order: a block that recomputes its activations is compiled as a whole, and what is compiled is
sharded. Names of weights stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.utils.checkpoint import checkpoint

from dnalm.models import MaskedLM, SequenceModel


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """How a model is made to fit.

    Args:
        activation_checkpointing: keep only the input of each block and compute the rest again in the backward
            pass: about a third more time, memory for one block's activations rather than for all.
        compile: let torch.compile fuse each block.
        bf16: gather sharded weights in bfloat16; gradients are still reduced in float32.
    """

    activation_checkpointing: bool = False
    compile: bool = False
    bf16: bool = False

    def apply(self, model: MaskedLM | SequenceModel, heads: list[nn.Module], mesh: DeviceMesh | None) -> None:
        """Change the model in place.

        Args:
            model: on any device.
            heads: further modules that train, each sharded by itself.
            mesh: of the ranks that shard it; it stays whole if absent.
        """
        for block in model.encoder.blocks:
            if self.activation_checkpointing:
                recompute(block)
            if self.compile:
                block.compile(dynamic=True)
        if mesh is None:
            return
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if self.bf16 else None,
            reduce_dtype=torch.float32 if self.bf16 else None,
            cast_forward_inputs=False,
        )
        for module in (*model.encoder.blocks, model, *heads):
            fully_shard(module, mesh=mesh, mp_policy=policy)
        for method in ("encode", "predict"):
            if hasattr(model, method):
                register_fsdp_forward_method(model, method)


def recompute(block: nn.Module) -> None:
    """Let a block compute its activations again in the backward pass, with the same dropout."""
    block.forward = partial(checkpoint, block.forward, use_reentrant=False)
