"""Batch arithmetic, and ranks that share a global batch."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.data.batch import BatchPlan, StepBatches, validation_batches
from dnalm.errors import ConfigError


@given(
    passes=st.integers(1, 4),
    micro=st.integers(1, 5),
    world=st.sampled_from([1, 2, 4]),
    step=st.integers(0, 9),
)
def test_ranks_share_each_global_batch_in_order(passes: int, micro: int, world: int, step: int) -> None:
    plan = BatchPlan(global_size=passes * micro * world, micro_size=micro)
    seen: list[int] = []
    for rank in range(world):
        batches = StepBatches(plan, rank=rank, world_size=world, start_step=step)
        seen += [index for batch in islice(batches, passes) for index in batch]
    assert seen == list(range(step * plan.global_size, (step + 1) * plan.global_size))


def test_published_dnabert_arithmetic() -> None:
    # [D1] README: 10 per GPU x 25 accumulation x 8 GPUs = 2000.
    assert BatchPlan(global_size=2000, micro_size=10).accumulation(world_size=8) == 25


def test_an_uneven_global_batch_is_refused_with_the_nearest_sizes() -> None:
    with pytest.raises(ConfigError) as caught:
        BatchPlan(global_size=100, micro_size=8).accumulation(world_size=3)
    assert str(caught.value) == (
        "CFG-19 batch.global_size: 100 samples; a multiple of 3 ranks x batch.micro_size=8. "
        "Fix: set batch.global_size=96 or 120, or another batch.micro_size."
    )


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="micro_size is 0; a batch holds at least one sample"):
        BatchPlan(global_size=8, micro_size=0)


@given(samples=st.integers(0, 50), micro=st.integers(1, 7), world=st.sampled_from([1, 2, 4]))
def test_every_validation_sample_is_judged_once(samples: int, micro: int, world: int) -> None:
    ranks = [
        validation_batches(samples, micro_size=micro, rank=rank, world_size=world) for rank in range(world)
    ]
    indices = sorted(index for batches in ranks for batch in batches for index in batch)
    assert indices[:samples] == list(range(samples))
    assert len({len(batches) for batches in ranks}) == 1, "ranks work together on each batch"
    assert {index for index in indices[samples:] if index < samples} == set(), "what fills up counts nothing"
    assert all(0 < len(batch) <= micro for batches in ranks for batch in batches)
