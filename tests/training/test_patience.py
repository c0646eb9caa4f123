"""Early stopping counts validations since the best, also of a run that was begun before."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnalm.training.callbacks import EarlyStop, past_figures


def waited(history: list[float], mode: Literal["min", "max"], folder: Path) -> int:
    """Validations without a better one that a run counts which continues after all of these."""
    path = folder / "metrics.csv"
    path.write_text("step,val\n" + "".join(f"{step},{value}\n" for step, value in enumerate(history)))
    stop = EarlyStop(path, "val", mode, patience=2)
    trainer = SimpleNamespace(global_step=len(history), should_stop=False)
    stop.on_train_start(trainer, None)  # type: ignore[arg-type]
    assert trainer.should_stop == (stop.wait_count >= 2)
    return stop.wait_count


@pytest.mark.parametrize(
    ("history", "low", "high"),
    [
        ([], 0, 0),
        ([0.5], 0, 0),
        ([0.5, 0.4, 0.4], 1, 2),
        ([0.5, 0.6, 0.7], 2, 0),
        ([0.5, math.nan, 0.6], 2, 0),
        ([math.nan, math.nan], 2, 2),
        ([math.nan, 0.1, 0.2, 0.05], 0, 1),
    ],
)
def test_validations_without_a_better_one(history: list[float], low: int, high: int, tmp_path: Path) -> None:
    assert waited(history, "min", tmp_path) == low
    assert waited(history, "max", tmp_path) == high


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(st.floats(-9, 9, width=32), min_size=1), mode=st.sampled_from(["min", "max"]))
def test_the_count_begins_at_the_first_of_the_best(
    history: list[float], mode: Literal["min", "max"], tmp_path: Path
) -> None:
    best = min(history) if mode == "min" else max(history)
    assert waited(history, mode, tmp_path) == len(history) - 1 - history.index(best)


def test_past_figures_are_those_of_steps_that_the_checkpoint_has(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss,val_loss\n1,0.9,\n1,,0.8\n2,0.7,\n3,,0.6\n5,,0.5\n")
    assert past_figures(path, "val_loss", steps=4) == [0.8, 0.6]
    assert past_figures(path, "val_loss", steps=0) == []
    assert past_figures(tmp_path / "none.csv", "val_loss", steps=4) == []
