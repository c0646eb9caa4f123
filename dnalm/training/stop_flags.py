"""What all ranks decide alike: to stop, at the next micro-batch, or to drop an optimizer step.

A signal or a loss is seen by one rank. It raises a flag there; the flags of all ranks are summed, at the end
of a step together with its counts, and every rank acts on the sums. Signal handlers record that a signal has
come and do nothing else.
"""

from __future__ import annotations

import itertools
import math
import os
import signal
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Literal

import torch
import torch.distributed as dist

from dnalm.errors import NumericsError
from dnalm.lifetime import STOP_CODES, STOPPING, SignalCount, install_handlers, say_at_once, signal_handlers

NotFinite = Literal["raise", "skip", "rollback"]
_PREEMPTED, _INTERRUPTED = STOP_CODES[signal.SIGTERM], STOP_CODES[signal.SIGINT]


class RunStopped(Exception):  # noqa: N818 -- it is no error
    """All ranks have saved the same step and stop.

    Args:
        exit_code: 143 if the run was preempted, 130 if it was interrupted.
        step: the step that is saved, the last that is complete; nothing is saved before the first one is.
        is_within: whether the next step had begun, which will be repeated.
    """

    def __init__(self, exit_code: int, step: int, *, is_within: bool = False) -> None:
        saved = f"after step {step:,}, which is saved" if step else "before the first step was complete"
        repeated = f"; step {step + 1:,} was left unfinished and will be repeated" if is_within else ""
        super().__init__(f"stopped {saved}{repeated}")
        self.exit_code, self.step = exit_code, step


class RolledBack(Exception):  # noqa: N818 -- the run continues
    """A step was not finite on some rank; all ranks go back to the last checkpoint and leave it out."""

    def __init__(self, step: int) -> None:
        super().__init__(f"step {step} is left out")
        self.step = step


_WINDOW, _FEWEST = 50, 20  # steps that are looked at, and below which nothing is said
_ERRORS, _SHARE = 3.5, 0.02  # of the error of the difference, and of the first loss
_OF_MEDIAN = 1.2533  # the root of pi / 2: standard error of a median over that of a mean


@dataclass(kw_only=True)
class LossHistory:
    """The training losses of the first steps and of the last, by which it is judged whether a run diverged.

    Args:
        first: losses of the first 50 finite steps; the very first is the untrained model's.
        last: of the last 50.
        steps: how many there were.
        spread: standard deviation of the very first loss over its mean, at most.
    """

    first: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    steps: int = 0
    spread: float = 1.0

    def append(self, loss: float, *, spread: float = 1.0) -> None:
        """Take the loss of a step, if it is finite, and what is known of the spread of such losses."""
        if math.isfinite(loss):
            self.spread = self.spread if self.steps else spread
            self.steps += 1
            self.first = [*self.first, loss][:_WINDOW]
            self.last = [*self.last, loss][-_WINDOW:]

    @property
    def end(self) -> float:
        """The median of the last steps, 50 or half of all."""
        return statistics.median(self.last[-self._window :])

    @property
    def has_diverged(self) -> bool:
        """Whether the loss ended above its start.

        That is when `end` is above the first loss by more than 2 % of it and by more than 3.5 times the
        error of that difference. The noise of one step is the root mean square of successive differences over
        the root of 2, among the first or the last 50 steps or half of all, or what the number of targets lets
        expect of an untrained model, whichever is least. Fewer than 20 steps are not judged.
        """
        if self.steps < _FEWEST or self.end <= self.first[0]:
            return False
        late = _noise(self.last[-self._window :])
        early = min(late, _noise(self.first[: self._window]), self.spread * self.end)
        error = math.hypot(early, _OF_MEDIAN * late / math.sqrt(self._window))
        return self.end - self.first[0] > max(_ERRORS * error, _SHARE * self.first[0])

    @property
    def _window(self) -> int:
        return min(_WINDOW, max(1, self.steps // 2))

    def summary(self) -> dict[str, object]:
        """The entries of `summary.json`; losses in the unit of the training loss."""
        return {
            "diverged": self.has_diverged,
            "first_train_loss": self.first[0] if self.first else None,
            "end_train_loss": self.end if self.last else None,
        }

    def spike_limit(self, factor: float | None) -> float:
        """So many times the median of the last 50 steps, once there are 20; infinite before that."""
        if factor is None or self.steps < _FEWEST:
            return math.inf
        return factor * statistics.median(self.last)

    def is_spike(self, loss: float, factor: float | None) -> bool:
        """Whether a loss is above `spike_limit`."""
        return loss > self.spike_limit(factor)


def _noise(losses: Sequence[float]) -> float:
    differences = [later - earlier for earlier, later in itertools.pairwise(losses)]
    return math.sqrt(statistics.fmean(difference**2 for difference in differences) / 2)


@dataclass(kw_only=True)
class StopFlags:
    """The flags of this rank, and what is done once those of all ranks are summed.

    Args:
        not_finite: what to do when loss or gradients are not finite: `raise` ends the run, `skip` leaves the
            weights as they are for that step, `rollback` continues from the last checkpoint without it.
        max_skipped: steps that may be left out before the run ends after all.
        loss_spike: a step whose loss is above so many times the median of the last 50 is treated as one that
            is not finite; none if absent.
        left_out: steps that a rollback has found and that change nothing.
        announces: whether this process says that a signal has come; else the one that started it does.
    """

    not_finite: NotFinite = "raise"
    max_skipped: int = 10
    loss_spike: float | None = None
    left_out: list[int] = field(default_factory=list)
    announces: bool = True
    requested_exit_code: int = 0  # exit code that a signal to this rank asks for
    stopping: int = 0  # exit code that all ranks have agreed upon
    _count: SignalCount = field(default_factory=SignalCount)

    def flags(self) -> tuple[int, int]:
        """Whether this rank has been preempted, and interrupted."""
        return int(self.requested_exit_code == _PREEMPTED), int(self.requested_exit_code == _INTERRUPTED)

    def update(self, preempted: int, interrupted: int) -> None:
        """Set the exit code from the sums over all ranks."""
        if preempted or interrupted:
            self.stopping = _PREEMPTED if preempted else _INTERRUPTED

    def update_from_all_ranks(self) -> None:
        """Sum the flags between two micro-batches; on the CPU, so that no GPU is waited for."""
        flags = torch.tensor(self.flags())
        if dist.is_initialized():
            dist.all_reduce(flags)
        self.update(*flags.tolist())

    def drops(self, step: int, *, is_bad: bool, reason: Callable[[], NumericsError]) -> bool:
        """Whether the step is to change nothing; the same on every rank.

        Args:
            step: the step.
            is_bad: whether its loss or gradients are not finite on some rank, or its loss is a spike.
            reason: makes the error that says so; it may read a device.

        Raises:
            NumericsError: the policy ends the run.
            RolledBack: the policy goes back.
        """
        if step in self.left_out:
            return True
        if not is_bad:
            return False
        if self.not_finite == "raise" or len(self.left_out) >= self.max_skipped:
            raise reason()
        if self.not_finite == "rollback":
            raise RolledBack(step)
        self.left_out.append(step)
        return True

    @contextmanager
    def install_signal_handlers(self) -> Iterator[None]:
        """Record signals in the block; afterwards earlier handlers are back."""
        self._count = SignalCount()
        with signal_handlers(self._on_signal):
            yield

    def reinstall_handlers(self) -> None:
        """Install them again where Lightning has put its own, which talk to other ranks."""
        install_handlers(self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        name = signal.Signals(number)
        if self._count.is_second(number):
            os._exit(STOP_CODES[name])  # at once, without a checkpoint
        if self.announces and not self.requested_exit_code:
            say_at_once(f"{name.name}: {STOPPING}")
        self.requested_exit_code = STOP_CODES[name]
