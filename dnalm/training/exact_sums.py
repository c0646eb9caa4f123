"""Gradients summed in an order that does not depend on how many processes there are.

Floating-point sums depend on their order, so that ordinary data parallelism gives other last bits with other
numbers of ranks. Here the micro-batches of a step are the leaves of a binary tree: each rank sums the
subtree of its own, in the order they come, and the subtrees of the ranks are summed likewise. For one, two
or four processes the tree is the same, so are the bits; it costs log2 of the number of micro-batches in
gradients held, and a gradient of each rank in traffic.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dnalm.errors import ConfigError


class ExactSums:
    """The gradients of the step under way, on this rank."""

    def __init__(self) -> None:
        self._subtrees: list[tuple[int, list[Tensor]]] = []  # (leaves, sums), fewer leaves each

    def take(self, parameters: Sequence[nn.Parameter]) -> None:
        """Take over the gradients of a micro-batch, which are gone from the parameters then."""
        leaf = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        for parameter in parameters:
            parameter.grad = None
        self._subtrees.append((1, leaf))
        while len(self._subtrees) > 1 and self._subtrees[-1][0] == self._subtrees[-2][0]:
            (leaves, later), (_, earlier) = self._subtrees.pop(), self._subtrees.pop()
            self._subtrees.append((2 * leaves, list(torch._foreach_add(earlier, later))))

    def give(self, parameters: Sequence[nn.Parameter], world_size: int) -> None:
        """Set each parameter's gradient to the sum over all micro-batches of all ranks."""
        ((_, sums),) = self._subtrees
        self._subtrees = []
        for parameter, mine in zip(parameters, sums, strict=True):
            parameter.grad = tree_sum(_gathered(mine, world_size))


def tree_sum(parts: Sequence[Tensor]) -> Tensor:
    """The sum of a power of two of tensors: of neighbours first, then of those sums."""
    sums = list(parts)
    while len(sums) > 1:
        sums = [sums[i] + sums[i + 1] for i in range(0, len(sums), 2)]
    return sums[0]


def check_exact(world_size: int, passes: int) -> None:
    """Refuse numbers that make no such tree.

    Raises:
        ConfigError: ranks or micro-batches a step are not powers of two.
    """
    for name, number in (("ranks", world_size), ("micro-batches of a step on each rank", passes)):
        if number & (number - 1):
            raise ConfigError(
                "CFG-18",
                where="trainer.strategy",
                found=f"exact, with {number} {name}",
                expected="powers of two",
                fix="change batch.global_size, batch.micro_size or trainer.devices, or use strategy=ddp",
            )


def _gathered(mine: Tensor, world_size: int) -> list[Tensor]:
    if world_size == 1:
        return [mine]
    parts = [torch.empty_like(mine) for _ in range(world_size)]
    dist.all_gather(parts, mine.contiguous())
    return parts
