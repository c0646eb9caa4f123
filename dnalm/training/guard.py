"""What all ranks decide alike: to stop, at the next micro-batch, or to drop an optimizer step.

A signal or a loss is seen by one rank. It raises a flag there; the flags of all ranks are summed, at the end
of a step together with its counts, and every rank acts on the sums. Signal handlers say that a signal has
come and do nothing else.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

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


class RolledBack(Exception):  # noqa: N818 -- the run goes on
    """A step was not finite on some rank; all ranks go back to the last checkpoint and leave it out."""

    def __init__(self, step: int) -> None:
        super().__init__(f"step {step} is left out")
        self.step = step


@dataclass
class StepGuard:
    """The flags of this rank, and what is done when all have heard of them.

    Args:
        not_finite: what to do when loss or gradients are not finite: `raise` ends the run, `skip` leaves the
            weights as they are for that step, `rollback` goes on from the last checkpoint without it.
        max_skipped: steps that may be left out before the run ends after all.
        left_out: steps that a rollback has found and that change nothing.
        announces: whether this process says that a signal has come; else the one that started it does.
    """

    not_finite: NotFinite = "raise"
    max_skipped: int = 10
    left_out: list[int] = field(default_factory=list)
    announces: bool = True
    wish: int = 0  # exit code that a signal to this rank asks for
    stopping: int = 0  # exit code that all ranks have agreed upon
    _count: SignalCount = field(default_factory=SignalCount)

    def flags(self) -> tuple[int, int]:
        """Whether this rank has been preempted, and interrupted."""
        return int(self.wish == _PREEMPTED), int(self.wish == _INTERRUPTED)

    def hear(self, preempted: int, interrupted: int) -> None:
        """Take note of the sums over all ranks."""
        if preempted or interrupted:
            self.stopping = _PREEMPTED if preempted else _INTERRUPTED

    def update_from_all_ranks(self) -> None:
        """Sum the flags between two micro-batches; on the CPU, so that no GPU is waited for."""
        flags = torch.tensor(self.flags())
        if dist.is_initialized():
            dist.all_reduce(flags)
        self.hear(*flags.tolist())

    def drops(self, step: int, *, ranks_not_finite: int, reason: NumericsError) -> bool:
        """Whether the step is to change nothing; the same on every rank.

        Raises:
            NumericsError: the policy ends the run.
            RolledBack: the policy goes back.
        """
        if step in self.left_out:
            return True
        if not ranks_not_finite:
            return False
        if self.not_finite == "raise" or len(self.left_out) >= self.max_skipped:
            raise reason
        if self.not_finite == "rollback":
            raise RolledBack(step)
        self.left_out.append(step)
        return True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Heed signals until the end; afterwards whoever did before does again."""
        self._count = SignalCount()
        with signal_handlers(self._heed):
            yield

    def hold_on(self) -> None:
        """Install the handlers again where Lightning has put its own, which talk to other ranks."""
        install_handlers(self._heed)

    def _heed(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        name = signal.Signals(number)
        if self._count.is_second(number):
            os._exit(STOP_CODES[name])  # at once, without a checkpoint
        if self.announces and not self.wish:
            say_at_once(f"{name.name}: {STOPPING}")
        self.wish = STOP_CODES[name]


def are_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether every element is, of sharded ones this rank's; one wait for the device."""
    local = [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]
    local = [tensor for tensor in local if tensor.numel()]
    if not local:
        return True
    return bool(torch.stack(torch._foreach_norm(local, ord=float("inf"))).isfinite().all())
