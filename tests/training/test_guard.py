"""What ranks decide together, and what a signal does."""

import math
import os
import signal

import pytest
import torch

from dnalm.errors import NumericsError
from dnalm.training.guard import RolledBack, StepGuard, are_finite

REASON = NumericsError("NUM-01", where="step", found="nan", expected="finite", fix="lower optim.lr")


@pytest.mark.parametrize(
    ("number", "flags", "code"),
    [(signal.SIGTERM, (1, 0), 143), (signal.SIGUSR1, (1, 0), 143), (signal.SIGINT, (0, 1), 130)],
)
def test_a_signal_is_a_wish_until_all_have_heard(
    number: signal.Signals, flags: tuple[int, int], code: int
) -> None:
    guard = StepGuard()
    with guard.listening():
        os.kill(os.getpid(), number)
        assert guard.flags() == flags
        assert guard.stopping == 0
        guard.hear(*flags)
        assert guard.stopping == code


def test_another_handler_in_between_is_replaced() -> None:
    guard = StepGuard()
    with guard.listening():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        guard.hold_on()
        os.kill(os.getpid(), signal.SIGTERM)
        assert guard.flags() == (1, 0)


def test_handlers_are_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    guard = StepGuard()
    with guard.listening():
        pass
    after = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    assert after == before


def test_raise_ends_the_run() -> None:
    guard = StepGuard(not_finite="raise")
    assert not guard.drops(3, ranks_not_finite=0, reason=REASON)
    with pytest.raises(NumericsError, match="NUM-01"):
        guard.drops(3, ranks_not_finite=1, reason=REASON)


def test_skip_leaves_steps_out_until_there_are_too_many() -> None:
    guard = StepGuard(not_finite="skip", max_skipped=2)
    assert guard.drops(3, ranks_not_finite=1, reason=REASON)
    assert guard.drops(7, ranks_not_finite=2, reason=REASON)
    assert guard.left_out == [3, 7]
    with pytest.raises(NumericsError):
        guard.drops(8, ranks_not_finite=1, reason=REASON)


def test_rollback_goes_back_once_and_then_leaves_the_step_out() -> None:
    guard = StepGuard(not_finite="rollback")
    with pytest.raises(RolledBack) as back:
        guard.drops(5, ranks_not_finite=1, reason=REASON)
    guard.left_out.append(back.value.step)
    assert guard.drops(5, ranks_not_finite=1, reason=REASON)
    assert guard.drops(5, ranks_not_finite=0, reason=REASON), "whether it is finite this time or not"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_element_among_many_is_found(bad: float) -> None:
    tensors = [torch.zeros(3, 4), torch.zeros(0), torch.ones(5)]
    assert are_finite(tensors)
    tensors[2][4] = bad
    assert not are_finite(tensors)
    assert are_finite([])
