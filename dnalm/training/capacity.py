"""What of a training step a GPU's memory has room for, decided before the first step and said in one line.

The largest pack that a config can make is counted by `count_memory` and held against the memory of the GPU.
Where the activations of all blocks fit they are kept; else blocks are computed again in the backward pass,
which takes about a third more time. A CPU keeps them: its memory may be swapped, and its runs are small.

Every rank decides by itself from the same figures: the whole memory of a GPU, not what is free at the time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dnalm.durable import size_text
from dnalm.models import EncoderConfig
from dnalm.models.memory import Machine, PackSize, count_memory
from dnalm.training.distributed import Ranks
from dnalm.training.trainer import TrainerRecipe

# CUDA's context and modules take 0.5 to 1 GiB, workspaces of cuBLAS 32 MiB a stream, buffers of NCCL 0.5 GiB.
RESERVED = 2 * 2**30
# Gaps between blocks of memory, and what is not counted: heads of tracks, channels, more masked tokens than
# the rate says. An estimate, as no GPU was measured.
SPARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """How much of its device's memory a run's largest pack takes.

    Attributes:
        pack: the largest.
        recomputes: whether activations are computed again.
        kept: bytes at the peak of a step that keeps them.
        needed: bytes at the peak as it is.
        available: bytes of the GPU that tensors may take; None on a CPU.
        is_asked: whether the config leaves the decision to these figures.
    """

    pack: PackSize
    recomputes: bool
    kept: int
    needed: int
    available: int | None
    is_asked: bool

    def sentence(self) -> str | None:
        """What was decided, and from which figures; None where nothing was."""
        if not self.is_asked or self.available is None:
            return None
        step = f"a step of {self.pack.tokens:,} tokens a micro-batch"
        of = f"of {size_text(self.available)} that the GPU has for them"
        if not self.recomputes:
            return f"activations are kept: {step} needs {size_text(self.needed)} {of}"
        less = "" if self.needed <= self.available else "; that is too much still: use smaller micro-batches"
        return (
            f"activations are computed again: {step} would need {size_text(self.kept)} {of}, and needs "
            f"{size_text(self.needed)} so{less}"
        )

    def figures(self) -> dict[str, object]:
        """What `summary.json` says of it."""
        return {
            "activation_checkpointing": self.recomputes,
            "memory_counted": self.needed,
            "memory_available": self.available,
        }


def decide(trainer: TrainerRecipe, encoder: EncoderConfig, pack: PackSize, *, passes: int) -> Capacity:
    """Decide whether activations are computed again.

    Args:
        trainer: how the run is computed.
        encoder: what is trained.
        pack: the largest that it is trained on.
        passes: micro-batches of a step on each rank.
    """
    has_gpu = trainer.device == "cuda"
    total = memory_of(trainer) if has_gpu else None
    kept, recomputed = (
        _needed(trainer, encoder, pack, passes, total, recomputes=each) for each in (False, True)
    )
    available = None if total is None else int((total - RESERVED) * (1 - SPARE))
    asked = trainer.activation_checkpointing
    recomputes = (available is not None and kept > available) if asked == "auto" else asked
    return Capacity(
        pack=pack,
        recomputes=recomputes,
        kept=kept,
        needed=recomputed if recomputes else kept,
        available=available,
        is_asked=asked == "auto",
    )


def memory_of(trainer: TrainerRecipe) -> int:
    """All bytes of the GPU of this process."""
    return int(torch.cuda.get_device_properties(trainer.gpu_of(_ranks(trainer).local_rank)).total_memory)


def _needed(
    trainer: TrainerRecipe,
    encoder: EncoderConfig,
    pack: PackSize,
    passes: int,
    total: int | None,
    *,
    recomputes: bool,
) -> int:
    """Bytes at the peak of a step, with what its strategy holds besides."""
    ranks = _ranks(trainer)
    machine = Machine(
        device=trainer.device,
        arithmetic=trainer.arithmetic,
        shards=ranks.sharing if trainer.strategy == "fsdp" else 1,
        recomputes=recomputes,
        bf16_residual=trainer.bf16_residual,
    )
    counted = count_memory(encoder, pack, machine).total
    whole = count_memory(encoder, pack, Machine(arithmetic=trainer.arithmetic))
    if trainer.strategy == "exact":  # sums of subtrees, and those of all ranks
        counted += whole.gradients * (passes.bit_length() + ranks.world_size)
    if machine.shards > 1 and passes > 1:  # see `Sharded.block_backward_sync`
        both = whole.weights + whole.weights // machine.weight * 4
        counted += both if total is None or 4 * both <= total else 0
    return counted


def _ranks(trainer: TrainerRecipe) -> Ranks:
    """This process's place; one that only starts the others is not asked."""
    ranks = trainer.ranks()
    assert ranks is not None, "processes are started before they decide"
    return ranks
