"""Sums whose bits do not depend on how many processes share the work."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dnalm.errors import ConfigError
from dnalm.training.distributed import ExactSums, check_exact, tree_sum


def subtree(gradients: list[torch.Tensor]) -> torch.Tensor:
    """What one rank sums of its micro-batches."""
    parameter = nn.Parameter(torch.zeros_like(gradients[0]))
    sums = ExactSums()
    for gradient in gradients:
        parameter.grad = gradient.clone()
        sums.accumulate([parameter])
        assert parameter.grad is None
    sums.reduce_into([parameter], world_size=1)
    assert parameter.grad is not None
    return parameter.grad


@given(seed=st.integers(0, 10_000), log2=st.integers(0, 5))
def test_the_bits_are_those_of_one_process_for_any_power_of_two(seed: int, log2: int) -> None:
    """Values over twelve orders of magnitude, so that another order would show."""
    generator = torch.Generator().manual_seed(seed)
    exponents = torch.randint(-6, 7, (2**log2, 5), generator=generator)
    gradients = list(torch.randn(2**log2, 5, generator=generator) * 10.0**exponents)
    alone = subtree(gradients)
    for world in (2**k for k in range(log2 + 1)):
        each = len(gradients) // world
        ranks = [subtree(gradients[r * each : (r + 1) * each]) for r in range(world)]
        assert torch.equal(tree_sum(ranks), alone)


def test_summing_in_turn_would_differ() -> None:
    """A mutant: one rank after the other instead of the tree."""
    gradients = [torch.tensor([value]) for value in (1.0, 2.0**-24, 2.0**-24, 2.0**-24)]
    in_turn = ((gradients[0] + gradients[1]) + gradients[2]) + gradients[3]
    assert subtree(gradients).item() == 1.0 + 2.0**-23
    assert in_turn.item() == 1.0


@pytest.mark.parametrize(
    ("world", "passes", "found"), [(3, 1, "exact, with 3 ranks"), (2, 6, "exact, with 6 micro-batches")]
)
def test_other_numbers_are_refused(world: int, passes: int, found: str) -> None:
    with pytest.raises(ConfigError, match=f"CFG-18 trainer.strategy: {found}"):
        check_exact(world, passes)
