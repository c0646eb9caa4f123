"""What ranks decide together, and what a signal does."""

import json
import math
import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dnalm.errors import NumericsError
from dnalm.training.optim import how_to_stay_finite
from dnalm.training.stop_flags import LossHistory, RolledBack, StopFlags

ERROR = NumericsError("NUM-01", where="step", found="nan", expected="finite", fix="lower optim.lr")


@pytest.mark.parametrize(
    ("number", "flags", "code"),
    [(signal.SIGTERM, (1, 0), 143), (signal.SIGUSR1, (1, 0), 143), (signal.SIGINT, (0, 1), 130)],
)
def test_a_signal_is_this_ranks_request_until_all_ranks_know(
    number: signal.Signals, flags: tuple[int, int], code: int
) -> None:
    stop = StopFlags()
    with stop.install_signal_handlers():
        os.kill(os.getpid(), number)
        assert stop.flags() == flags
        assert stop.stopping == 0
        stop.update(*flags)
        assert stop.stopping == code


def test_another_handler_in_between_is_replaced() -> None:
    flags = StopFlags()
    with flags.install_signal_handlers():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        flags.reinstall_handlers()
        os.kill(os.getpid(), signal.SIGTERM)
        assert flags.flags() == (1, 0)


def test_handlers_are_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    flags = StopFlags()
    with flags.install_signal_handlers():
        pass
    after = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    assert after == before


def test_raise_ends_the_run() -> None:
    flags = StopFlags(not_finite="raise")
    assert not flags.drops(3, is_bad=False, reason=lambda: ERROR)
    with pytest.raises(NumericsError, match="NUM-01"):
        flags.drops(3, is_bad=True, reason=lambda: ERROR)


def test_skip_leaves_steps_out_until_there_are_too_many() -> None:
    flags = StopFlags(not_finite="skip", max_skipped=2)
    assert flags.drops(3, is_bad=True, reason=lambda: ERROR)
    assert flags.drops(7, is_bad=True, reason=lambda: ERROR)
    assert flags.left_out == [3, 7]
    with pytest.raises(NumericsError):
        flags.drops(8, is_bad=True, reason=lambda: ERROR)


def test_rollback_goes_back_once_and_then_leaves_the_step_out() -> None:
    flags = StopFlags(not_finite="rollback")
    with pytest.raises(RolledBack) as back:
        flags.drops(5, is_bad=True, reason=lambda: ERROR)
    flags.left_out.append(back.value.step)
    assert flags.drops(5, is_bad=True, reason=lambda: ERROR)
    assert flags.drops(5, is_bad=False, reason=lambda: ERROR), "whether it is finite this time or not"


def history(losses: Iterable[float], *, spread: float = 1.0) -> LossHistory:
    made = LossHistory()
    for loss in losses:
        made.append(float(loss), spread=spread)
    return made


def noise(seed: int, number: int, sd: float) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0, sd, number)


@pytest.mark.parametrize("number", [20, 60, 1000])
@pytest.mark.parametrize(
    ("curve", "diverged"),
    [
        (lambda t: 8.3 + 9.3 * t, True),
        (lambda t: 8.3 + 30 * np.exp(-5 * t) * (t > 0) + 9 * (t > 0), True),  # a spike, and no way back
        (
            lambda t: 8.3 + 20 * np.exp(-((t - 0.3) ** 2) * 100) - 2 * t,
            False,
        ),  # a spike that it recovers from
        (lambda t: 8.3 - 3 * t, False),
        (lambda t: np.full_like(t, 0.693), False),  # nothing is learned
        (lambda t: 1 + 0.01 * t, False),  # 1 % is no divergence
        (lambda t: 2.0 * np.exp(-3 * t) + 0.1, False),
    ],
)
def test_a_run_has_diverged_if_its_loss_ends_above_its_start(
    curve: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]], diverged: bool, number: int
) -> None:
    losses = curve(np.linspace(0, 1, number)) + noise(number, number, 0.05)
    assert history(losses).has_diverged == diverged


def test_noise_alone_is_no_divergence() -> None:
    """Squared errors of small batches that teach nothing, whose first may be low: at most 1 run in 1,000."""
    for targets in (4, 32):
        draws = np.random.default_rng(1).chisquare(targets, (2000, 80)) / targets
        found = sum(history(losses, spread=2 / targets**0.5).has_diverged for losses in draws)
        assert found <= len(draws) / 1000


def test_wild_losses_of_a_diverged_run_are_not_taken_for_noise() -> None:
    """Steps of 36 targets, whose loss was 8.3 and is anywhere between 0 and 140."""
    wild = np.random.default_rng(1).uniform(0, 140, 39)
    assert history([8.3, *wild], spread=1 / 6).has_diverged


def test_a_few_steps_are_not_judged() -> None:
    assert not history([1.0, *[100.0] * 18]).has_diverged
    assert history([1.0, *[100.0] * 19]).has_diverged


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=200), st.integers(0, 200))
def test_a_history_that_is_saved_and_read_in_between_says_the_same(losses: list[float], at: int) -> None:
    """As of a run that goes on from a checkpoint."""
    resumed = LossHistory(**json.loads(json.dumps(asdict(history(losses[:at])))))
    for loss in losses[at:]:
        resumed.append(loss)
    assert resumed == history(losses)


def test_a_spike_is_held_against_the_median() -> None:
    flat = history([2.0] * 20)
    assert flat.is_spike(6.1, 3.0)
    assert not flat.is_spike(5.9, 3.0)
    assert not flat.is_spike(math.inf, None), "not asked for"
    assert not history([2.0] * 19).is_spike(99.0, 3.0), "too early to say"


@pytest.mark.parametrize(
    ("eps", "dtype", "fix"),
    [
        (0.0, torch.float32, "set optim.eps=1e-8"),
        (1e-60, torch.float32, "set optim.eps=1e-8"),  # which is 0 in float32
        (1e-8, torch.float32, "lower optim.lr"),
        (1e-8, torch.bfloat16, "lower optim.lr"),
    ],
)
def test_the_advice_names_the_cause(eps: float, dtype: torch.dtype, fix: str) -> None:
    weight = torch.nn.Parameter(torch.zeros(2, dtype=dtype))
    assert how_to_stay_finite(torch.optim.AdamW([weight], eps=eps)).startswith(fix)
    assert how_to_stay_finite(torch.optim.SGD([weight])).startswith("lower optim.lr")
