"""Optuna's proposals are a function of the seed and the trials so far."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnalm.sweeps import Axis, Ledger, LocalLauncher, OptunaSearch, SweepFolder, Trial, read_axes, run_sweep
from dnalm.sweeps.search import Interval, _rounded
from tests.sweeps.tiny_jobs import check, make_job

AXES, _ = read_axes(
    ["lr=tag(log,interval(1e-5,1e-1))", "depth=int(interval(1,8))", "name=a,b", "k=range(3,7)"]
)


def search(number: int, *, seed: int = 1) -> list[Trial]:
    chooser, trials = OptunaSearch(num_trials=number, num_random=5, seed=seed), []
    while (proposal := chooser.following(AXES, trials, "minimize")) is not None:
        trials.append(Trial(proposal, value=(float(proposal["lr"]) - 1e-2) ** 2 + int(proposal["depth"])))
    return trials


def test_proposals_lie_on_the_axes_and_differ() -> None:
    trials = search(12)
    assert len({tuple(trial.overrides.items()) for trial in trials}) == 12
    for trial in trials:
        assert 1e-5 <= float(trial.overrides["lr"]) <= 1e-1
        assert 1 <= int(trial.overrides["depth"]) <= 8
        assert trial.overrides["name"] in ("a", "b")
        assert trial.overrides["k"] in ("3", "4", "5", "6")


@pytest.mark.parametrize(
    ("low", "high", "value", "text"),
    [
        (1e-5, 1e-1, 0.00022648794663989027, "0.0002265"),
        (0.0, 1.0, 0.22648794663989027, "0.2265"),
        (0.0, 1.0, 0.5, "0.5"),
        (0.0, 0.12345678, 0.12345678, "0.12345678"),  # 0.1235 lies beyond the interval
        (0.9999, 0.99999, 0.99994567891, "0.99994568"),  # four digits would leave one number
        (1e6, 3e6, 1234567.891, "1234600.0"),
    ],
)
def test_proposals_have_no_digits_that_nobody_reads(low: float, high: float, value: float, text: str) -> None:
    assert _rounded(value, Interval(low, high, log=False)) == float(text)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.floats(0, 1))
def test_rounding_stays_on_the_interval_and_near(low: float, width: float, part: float) -> None:
    value = min(low + width, low + part * width)
    rounded = _rounded(value, Interval(low, low + width, log=False))
    assert low <= rounded <= low + width
    assert abs(rounded - value) <= 1e-4 * width


@settings(max_examples=5)
@given(kept=st.integers(0, 9))
def test_a_search_continues_as_if_it_had_not_been_cut(kept: int) -> None:
    trials = search(10)
    chooser = OptunaSearch(num_trials=10, num_random=5)
    assert chooser.following(AXES, trials[:kept], "minimize") == trials[kept].overrides


def test_a_sweep_with_more_trials_runs_those_that_are_missing(tmp_path: Path) -> None:
    axes = [Axis("what", ("good", "exits_3")), Axis("number", tuple("0123456789"), ordered=True)]
    for number in (4, 7):
        run_sweep(
            sweep=SweepFolder(dir=tmp_path),
            launcher=LocalLauncher(),
            hparams_search=OptunaSearch(num_trials=number),
            name="unused",
            axes=axes,
            make_job=make_job,
            check=check,
        )
        assert json.loads((tmp_path / "summary.json").read_text())["jobs"] == number
    assert len(Ledger(tmp_path / "sweep.jsonl").last) == 7
    assert {path.read_text() for path in tmp_path.glob("*.runs")} == {"x"}


def test_it_learns() -> None:
    # At random, depth is 1 or 2 in a quarter of the trials.
    late = [int(trial.overrides["depth"]) for trial in search(40)[20:]]
    assert sum(depth <= 2 for depth in late) > len(late) / 2


def test_a_space_that_is_used_up_ends_the_search() -> None:
    axes, _ = read_axes(["a=1,2", "b=range(0,2)"])
    chooser, trials = OptunaSearch(num_trials=50), []
    while (proposal := chooser.following(axes, trials, "maximize")) is not None:
        trials.append(Trial(proposal, 1.0))
    assert len(trials) == 4


@pytest.mark.parametrize(
    "odd", [Trial({"a": "9", "b": "0"}, 1.0), Trial({"c": "1"}, 1.0), Trial({"a": "1", "b": "0"})]
)
def test_trials_off_the_axes_or_without_a_metric_teach_nothing(odd: Trial) -> None:
    axes, _ = read_axes(["a=1,2", "b=range(0,2)"])
    assert OptunaSearch().following(axes, [odd], "minimize") is not None
