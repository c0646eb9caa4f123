"""Schedules against the library whose formula the published recipes used."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import (
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
    get_wsd_schedule,
)

from dnalm.errors import CheckpointError, ConfigError
from dnalm.training import (
    InverseSquareRoot,
    LinearWarmupDecay,
    Schedule,
    WarmupCosine,
    WarmupStableDecay,
)
from dnalm.training.optim import DecayShape, check_branch, parameter_groups


def test_equals_the_schedule_of_transformers() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = get_linear_schedule_with_warmup(optimizer, num_warmup_steps=10, num_training_steps=50)
    ours = LinearWarmupDecay(warmup_steps=10, total_steps=50)
    for step in range(60):
        assert ours(step) == pytest.approx(reference.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        reference.step()


def test_a_floor_makes_a_run_that_stops_before_the_end_of_its_published_schedule() -> None:
    published = LinearWarmupDecay(warmup_steps=10_000, total_steps=200_000)
    ours = LinearWarmupDecay(warmup_steps=10_000, total_steps=120_000, floor=80_000 / 190_000)
    for step in (0, 9_999, 10_000, 64_321, 120_000):
        assert ours(step) == pytest.approx(published(step))


def test_inverse_square_root_is_noams_formula() -> None:
    # Vaswani et al. 2017, equation 3, at the width and warm-up of LOGO: d^-0.5 min(s^-0.5, s w^-1.5)
    schedule = InverseSquareRoot(warmup_steps=2500, total_steps=600_000)
    peak = 256**-0.5 * 2500**-0.5
    assert peak == pytest.approx(1.25e-3)
    for step in (1, 100, 2500, 2501, 40_000):
        noam = 256**-0.5 * min(step**-0.5, step * 2500**-1.5)
        assert peak * schedule(step) == pytest.approx(noam)


def test_inverse_square_root_starts_and_ends_where_configured() -> None:
    schedule = InverseSquareRoot(warmup_steps=10, total_steps=1000, start=0.5, floor=0.2)
    assert [schedule(0), schedule(5), schedule(10)] == [0.5, 0.75, 1.0]
    assert schedule(40) == 0.5
    assert schedule(999) == 0.2


def test_the_floor_is_kept() -> None:
    schedule = LinearWarmupDecay(warmup_steps=0, total_steps=10, floor=0.1)
    assert schedule(0) == 1.0
    assert schedule(5) == pytest.approx(0.55)
    assert schedule(10) == schedule(99) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"warmup_steps": 5, "total_steps": 5}, "warmup_steps: 5 in a run of 5 steps; 0 <= .*=1"),
        (
            {"warmup_steps": 0, "total_steps": 5, "floor": 2.0},
            r"floor is 2\.0; a factor lies between 0 and 1",
        ),
    ],
)
def test_impossible_schedules_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=message):
        LinearWarmupDecay(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [{"warmup_steps": 0}, {"warmup_steps": 1, "start": 1.5}])
def test_an_impossible_rise_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="the rise takes at least a step and begins between 0 and 1"):
        InverseSquareRoot(total_steps=9, **arguments)  # type: ignore[arg-type]


def test_vectors_do_not_decay_and_shared_weights_are_listed_once() -> None:
    module = nn.ModuleDict({"a": nn.Linear(3, 4), "norm": nn.LayerNorm(4), "b": nn.Linear(3, 4)})
    module["b"].weight = module["a"].weight
    decayed, kept = torch.optim.AdamW(parameter_groups(module), weight_decay=0.01).param_groups
    assert [p.shape for p in decayed["params"]] == [(4, 3)]
    assert len(kept["params"]) == 4
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.01, 0.0)


def test_equals_the_cosine_of_transformers() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=10, num_training_steps=50)
    ours = WarmupCosine(warmup_steps=10, total_steps=50)
    for step in range(51):
        assert ours(step) == pytest.approx(reference.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        reference.step()


def test_cosine_ends_at_its_floor() -> None:
    schedule = WarmupCosine(warmup_steps=0.1, total_steps=100, floor=0.2)
    assert [schedule(5), schedule(10)] == [0.5, 1.0]
    assert schedule(55) == pytest.approx(0.6)  # half the way from 1 to 0.2
    assert schedule(100) == schedule(999) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("shape", "quarter", "half"),
    [("linear", 0.75, 0.5), ("1-sqrt", 0.5, 1 - 0.5**0.5), ("cosine", (1 + 0.5**0.5) / 2, 0.5)],
)
def test_wsd_at_steps_computed_by_hand(shape: DecayShape, quarter: float, half: float) -> None:
    schedule = WarmupStableDecay(warmup_steps=10, total_steps=200, decay_steps=40, shape=shape, floor=0.1)
    assert [schedule(0), schedule(5), schedule(10)] == [0.0, 0.5, 1.0]
    assert {schedule(step) for step in range(10, 161)} == {1.0}
    assert schedule(170) == pytest.approx(0.1 + 0.9 * quarter)
    assert schedule(180) == pytest.approx(0.1 + 0.9 * half)
    assert schedule(200) == schedule(999) == pytest.approx(0.1)


def test_equals_the_wsd_of_transformers() -> None:
    """But for its rise, which begins at the floor there."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = get_wsd_schedule(
        optimizer, num_warmup_steps=10, num_stable_steps=20, num_decay_steps=20, min_lr_ratio=0.1
    )
    ours = WarmupStableDecay(warmup_steps=10, total_steps=50, decay_steps=0.4, shape="cosine", floor=0.1)
    for step in range(60):
        assert step < 10 or ours(step) == pytest.approx(reference.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        reference.step()


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    total = draw(st.integers(3, 5_000))
    warmup, floor = draw(st.integers(0, total - 3)), draw(st.floats(0, 1))
    if draw(st.booleans()):
        return WarmupCosine(warmup_steps=warmup, total_steps=total, floor=floor)
    return WarmupStableDecay(
        warmup_steps=warmup,
        total_steps=total,
        decay_steps=draw(st.integers(1, total - warmup - 1)),
        shape=draw(st.sampled_from(["linear", "1-sqrt", "cosine"])),
        floor=floor,
    )


@given(schedule=schedules())
def test_parts_join_without_a_jump_and_fall_steadily(schedule: WarmupCosine | WarmupStableDecay) -> None:
    """The rise ends at 1, the fall begins there, never rises, and ends at the floor."""
    rise, total = int(schedule.warmup_steps), schedule.total_steps
    factors = [schedule(step) for step in range(total + 2)]
    assert factors[rise] == 1
    assert factors[:rise] == [step / rise for step in range(rise)]
    fall = factors[rise:]
    assert all(later <= earlier for earlier, later in pairwise(fall))
    assert factors[total:] == pytest.approx([schedule.floor] * 2)
    if isinstance(schedule, WarmupStableDecay):
        assert set(factors[rise : schedule.stable_until + 1]) == {1.0}
        assert schedule.stable_until - rise >= 1
        assert factors[schedule.stable_until + 1] < 1 or schedule.floor > 1 - 1e-12


@given(stable=st.integers(11, 900), decay=st.integers(1, 900), longer=st.integers(1, 900))
def test_the_stable_part_does_not_depend_on_the_length_of_the_run(
    stable: int, decay: int, longer: int
) -> None:
    """So a run that branches from step `stable` of a longer one has taken the steps of a whole one."""
    whole = WarmupStableDecay(warmup_steps=10, total_steps=stable + decay, decay_steps=decay)
    long = WarmupStableDecay(warmup_steps=10, total_steps=stable + decay + longer, decay_steps=decay)
    assert [whole(step) for step in range(stable)] == [long(step) for step in range(stable)]
    state = {"rate_factor": long(stable - 1)}
    check_branch(whole, step=stable, state=state, where=Path("step"))


def test_a_share_of_few_steps_is_a_decay_of_one() -> None:
    schedule = WarmupStableDecay(warmup_steps=1, total_steps=4, decay_steps=0.1)
    assert [schedule(step) for step in range(5)] == [0.0, 1.0, 1.0, 1.0, 0.0]


WHOLE = WarmupStableDecay(warmup_steps=10, total_steps=100, decay_steps=20)


@pytest.mark.parametrize(
    ("step", "factor", "found"),
    [
        (5, 0.4, None),  # of the same warm-up
        (80, 1.0, None),
        (90, WHOLE(89), None),  # of the same decay
        (5, 0.9, r"last step took 0\.9 of the peak learning rate, where this run takes 0\.4; .* stable part"),
        (50, 0.3, r"last step took 0\.3 of the peak learning rate, where this run takes 1; .* stable part"),
        (50, None, "last step took an unknown share of the peak"),
        (90, 1.0, r"decay from step 80, before the 90 steps .*set steps=110 schedule\.decay_steps=20"),
    ],
)
def test_a_decay_branches_from_where_the_rate_has_been(
    step: int, factor: float | None, found: str | None
) -> None:
    state = {} if factor is None else {"rate_factor": factor}
    if found is None:
        check_branch(WHOLE, step=step, state=state, where=Path("step"))
    else:
        with pytest.raises(CheckpointError, match=f"CKPT-16 step: .*{found}"):
            check_branch(WHOLE, step=step, state=state, where=Path("step"))
    check_branch(LinearWarmupDecay(warmup_steps=1, total_steps=9), step=step, state=state, where=Path())


@pytest.mark.parametrize("decay", [0, 90, 1000, 0.95])
def test_a_decay_without_a_stable_part_is_refused(decay: float) -> None:
    with pytest.raises(ConfigError, match=r"after a stable part of at least a step.*resume=<checkpoint>"):
        WarmupStableDecay(warmup_steps=10, total_steps=100, decay_steps=decay)
