"""Batch arithmetic, and the slice of each global batch that a rank computes.

A global batch is samples [n B, (n + 1) B) of the run. Ranks take equal contiguous slices of it and
cut them into micro-batches, so neither the number of ranks nor of workers changes what a step sees.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from torch.utils.data import Sampler

from dnalm.errors import ConfigError
from dnalm.limits import BatchSize, Workers


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """How many samples an optimizer step takes, and how many fit one forward pass.

    Args:
        global_size: samples per optimizer step, over all ranks.
        micro_size: samples per forward pass on one rank.
        num_workers: loader processes per rank; 0 loads in the training process.
    """

    global_size: BatchSize
    micro_size: BatchSize
    num_workers: Workers = 0

    def __post_init__(self) -> None:
        for name in ("global_size", "micro_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; a batch holds at least one sample")

    def accumulation(self, world_size: int) -> int:
        """Forward passes per optimizer step on each rank.

        Raises:
            ConfigError: the global batch does not divide evenly.
        """
        per_pass = world_size * self.micro_size
        if self.global_size % per_pass:
            below = self.global_size // per_pass * per_pass
            nearest = [str(size) for size in (below, below + per_pass) if size]
            raise ConfigError(
                "CFG-19",
                where="batch.global_size",
                found=f"{self.global_size} samples",
                expected=f"a multiple of {world_size} ranks x batch.micro_size={self.micro_size}",
                fix=f"set batch.global_size={' or '.join(nearest)}, or another batch.micro_size",
            )
        return self.global_size // per_pass


class StepBatches(Sampler[list[int]]):
    """Sample indices of one rank's micro-batches, without end and without state.

    Args:
        plan: the batch arithmetic.
        rank: this process.
        world_size: number of processes.
        start_step: optimizer step to begin with.
    """

    def __init__(self, plan: BatchPlan, *, rank: int, world_size: int, start_step: int) -> None:
        self.plan, self.rank, self.world_size, self.start_step = plan, rank, world_size, start_step

    def __iter__(self) -> Iterator[list[int]]:
        """Yield `micro_size` indices at a time, `accumulation` times a step."""
        passes = self.plan.accumulation(self.world_size)
        for step in itertools.count(self.start_step):
            first = step * self.plan.global_size + self.rank * passes * self.plan.micro_size
            for number in range(passes):
                begin = first + number * self.plan.micro_size
                yield list(range(begin, begin + self.plan.micro_size))


def validation_batches(num_samples: int, *, micro_size: int, rank: int, world_size: int) -> list[list[int]]:
    """Every validation sample exactly once over all ranks, in micro-batches.

    Ranks have equally many batches, since they work together on each; what is missing is filled up with
    indices from `num_samples` on, of which `ValidationSamples` makes samples that count nothing.
    """
    each = -(-num_samples // (world_size * micro_size)) * micro_size if world_size > 1 else num_samples
    mine = list(range(rank, world_size * each, world_size))
    return [mine[i : i + micro_size] for i in range(0, len(mine), micro_size)]
