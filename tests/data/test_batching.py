"""Batch arithmetic, and ranks that share a global batch."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.data.batch import BatchPlan, PackPlan, StepBatches, deal, validation_batches
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


@pytest.mark.parametrize("sizes", [{}, {"micro_size": 2, "micro_tokens": 1024}])
def test_one_key_says_how_much_a_pass_takes(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="one of them says how much a forward pass takes, and the other is"):
        BatchPlan(global_size=8, **sizes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("world", "tokens", "passes", "most"), [(1, 65_536, 16, 128), (8, 65_536, 2, 128), (8, 6_000, 23, 11)]
)
def test_dnaberts_arithmetic_by_tokens(world: int, tokens: int, passes: int, most: int) -> None:
    """2000 windows of up to 512 tokens; of 250 on a rank, 11 at once are 22.7 passes."""
    plan = PackPlan.of(BatchPlan(global_size=2000, micro_tokens=tokens), longest=512)
    assert (plan.accumulation(world), plan.most, plan.global_size) == (passes, most, 2000)
    each = -(-2000 // world // passes)
    assert plan.describe(world) == (
        f"{passes} micro-batches a step on each rank, of at most {each} samples and {512 * each:,} tokens"
    )


def test_what_a_plan_by_tokens_cannot_be() -> None:
    plan = BatchPlan(global_size=100, micro_tokens=511)
    with pytest.raises(ConfigError) as caught:
        PackPlan.of(plan, longest=512)
    assert str(caught.value) == (
        "CFG-18 batch.micro_tokens: 511, and samples of up to 512 tokens, special ones included; "
        "at least the tokens of one sample. Fix: set batch.micro_tokens=512 or more, or read shorter samples."
    )
    with pytest.raises(ConfigError, match=r"CFG-19 .*100 samples; a multiple of 3 ranks\..*=99 or 102, or"):
        plan.of_rank(3)


@given(lengths=st.lists(st.integers(1, 512), min_size=1, max_size=80), share=st.floats(0, 1))
def test_packs_are_about_equally_large(lengths: list[int], share: float) -> None:
    num_packs = 1 + round(share * (len(lengths) - 1))
    packs = deal(lengths, num_packs)
    assert sorted(place for pack in packs for place in pack) == list(range(len(lengths)))
    counts = [len(pack) for pack in packs]
    assert len(packs) == num_packs
    assert max(counts) - min(counts) <= 1
    tokens = [sum(lengths[place] for place in pack) for pack in packs]
    dealt = sorted(lengths, reverse=True) + [0] * (-len(lengths) % num_packs)
    rounds = [dealt[first : first + num_packs] for first in range(0, len(dealt), num_packs)]
    assert max(tokens) - min(tokens) <= max(each[0] - each[-1] for each in rounds)


@given(lengths=st.lists(st.integers(1, 512), min_size=1, max_size=80), tokens=st.integers(512, 8192))
def test_no_pack_holds_more_tokens_than_it_may(lengths: list[int], tokens: int) -> None:
    plan = PackPlan.of(BatchPlan(global_size=len(lengths), micro_tokens=tokens), longest=512)
    packs = deal(lengths, plan.accumulation(1))
    assert max(sum(lengths[place] for place in pack) for pack in packs) <= plan.micro_tokens <= tokens  # type: ignore[operator]


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
