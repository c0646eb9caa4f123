"""Schedules against the library whose formula the published recipes used."""

import pytest
import torch
from torch import nn
from transformers import get_linear_schedule_with_warmup

from dnalm.training import LinearWarmupDecay
from dnalm.training.optimizers import parameter_groups


def test_equals_the_schedule_of_transformers() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = get_linear_schedule_with_warmup(optimizer, num_warmup_steps=10, num_training_steps=50)
    ours = LinearWarmupDecay(warmup_steps=10, total_steps=50)
    for step in range(60):
        assert ours(step) == pytest.approx(reference.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        reference.step()


def test_the_published_run_stops_before_the_end_of_its_schedule() -> None:
    schedule = LinearWarmupDecay(warmup_steps=10_000, total_steps=200_000)
    assert schedule(10_000) == 1.0
    assert schedule(120_000) == pytest.approx(80_000 / 190_000)


def test_the_floor_is_kept() -> None:
    schedule = LinearWarmupDecay(warmup_steps=0, total_steps=10, floor=0.1)
    assert schedule(0) == 1.0
    assert schedule(5) == pytest.approx(0.55)
    assert schedule(10) == schedule(99) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"warmup_steps": 5, "total_steps": 5}, "warmup_steps is 5 and total_steps 5; 0 <= warmup_steps <"),
        (
            {"warmup_steps": 0, "total_steps": 5, "floor": 2.0},
            r"floor is 2\.0; a factor lies between 0 and 1",
        ),
    ],
)
def test_impossible_schedules_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LinearWarmupDecay(**arguments)  # type: ignore[arg-type]


def test_vectors_do_not_decay_and_shared_weights_are_listed_once() -> None:
    module = nn.ModuleDict({"a": nn.Linear(3, 4), "norm": nn.LayerNorm(4), "b": nn.Linear(3, 4)})
    module["b"].weight = module["a"].weight
    decayed, kept = torch.optim.AdamW(parameter_groups(module), weight_decay=0.01).param_groups
    assert [p.shape for p in decayed["params"]] == [(4, 3)]
    assert len(kept["params"]) == 4
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.01, 0.0)
