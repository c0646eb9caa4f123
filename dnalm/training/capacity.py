"""What of a training step a GPU's memory has room for, decided before the first step and said in one line.

The largest pack that a config can make is counted by `count_memory` and held against the memory of the GPU.
Where the activations of all blocks fit they are kept; else blocks are computed again in the backward pass,
which takes about a third more time. A CPU keeps them: its memory may be swapped, and its runs are small.
`batch.micro_tokens=auto` makes packs as large as fit so, up to a size beyond which little speed is gained.

Every rank decides by itself from the same figures: the whole memory of a GPU, not what is free at the time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import torch

from dnalm.data import BatchPlan
from dnalm.data.batch import PackPlan
from dnalm.durable import size_text
from dnalm.models import EncoderConfig
from dnalm.models.memory import GPU_TOKENS, Machine, PackSize, count_run, room
from dnalm.training.distributed import Ranks
from dnalm.training.trainer import TrainerRecipe

CPU_TOKENS = 4_096  # on a CPU, where tokens of larger packs take up to half as long again: experiments/LOG.md

PackOf = Callable[[int], PackSize]


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
            "micro_batch_tokens": self.pack.tokens,
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
    available = None if total is None else room(total)
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


def fit_tokens(
    trainer: TrainerRecipe, encoder: EncoderConfig, pack_of: PackOf, batch: BatchPlan, *, decides: bool
) -> BatchPlan:
    """Say how many samples the forward passes of a plan by tokens take.

    Args:
        trainer: how the run is computed.
        encoder: what is trained.
        pack_of: the largest pack of so many samples.
        batch: the plan.
        decides: whether this process decides what depends on its GPU; `auto` is left as it is if not.

    Raises:
        ConfigError: CFG-18, a sample has more tokens than a forward pass may.
    """
    longest = pack_of(1).tokens
    if batch.micro_tokens != "auto":
        return PackPlan.of(batch, longest=longest)
    if not decides:
        return batch
    most = _most_samples(trainer, encoder, pack_of, batch.of_rank(_ranks(trainer).world_size))
    return PackPlan.of(batch, longest=longest, most=most)


def _most_samples(trainer: TrainerRecipe, encoder: EncoderConfig, pack_of: PackOf, of_rank: int) -> int:
    """Samples of the largest pack whose activations fit; if no sample fits, of those computed again; or one.

    Args:
        trainer: how the run is computed.
        encoder: what is trained.
        pack_of: the largest pack of so many samples.
        of_rank: samples of a step on each rank.
    """
    limit = GPU_TOKENS if trainer.device == "cuda" else CPU_TOKENS
    numbers = range(1, max(1, min(of_rank, limit // pack_of(1).tokens)) + 1)
    if trainer.device == "cpu":
        return numbers[-1]
    total, asked = memory_of(trainer), trainer.activation_checkpointing
    for recomputes in (False, True) if asked == "auto" else (asked,):

        def is_too_much(samples: int, *, recomputes: bool = recomputes) -> bool:
            passes, pack = -(-of_rank // samples), pack_of(samples)
            return _needed(trainer, encoder, pack, passes, total, recomputes=recomputes) > room(total)

        if fitting := bisect_left(numbers, True, key=is_too_much):
            return fitting
    return 1


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
    counted = count_run(
        encoder,
        pack,
        machine,
        strategy=trainer.strategy,
        world_size=ranks.world_size,
        passes=passes,
        total=total,
    )
    return counted.total


def _ranks(trainer: TrainerRecipe) -> Ranks:
    """This process's place; one that only starts the others is not asked."""
    ranks = trainer.ranks()
    assert ranks is not None, "processes are started before they decide"
    return ranks
