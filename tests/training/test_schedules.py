"""Schedules against the library whose formula the published recipes used."""

import pytest
import torch
from torch import nn
from transformers import get_linear_schedule_with_warmup

from dnalm.errors import ConfigError
from dnalm.training import InverseSquareRoot, LinearWarmupDecay
from dnalm.training.optim import parameter_groups


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
