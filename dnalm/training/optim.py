"""Which parameters weight decay acts on, what to do where numbers are not finite, learning-rate schedules.

Schedules are pure functions of the optimizer step, so that none has state.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import nn
from torch.optim import Optimizer

from dnalm.errors import CheckpointError, ConfigError

ParameterGroup = dict[str, list[nn.Parameter] | float]


def parameter_groups(module: nn.Module) -> list[ParameterGroup]:
    """Two groups: matrices have the optimizer's weight decay; biases and norms, vectors, have none.

    A parameter shared by several modules is listed once.

    Source: DNABERT's released run_pretrain.py, which exempts `bias` and `LayerNorm.weight`.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1]},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def make_optimizer(make: Callable[..., Optimizer], trained: nn.Module, device: torch.device) -> Optimizer:
    """The optimizer of a module's parameters: on a GPU the fused one, one kernel for all, if there is one.

    Args:
        make: makes it from parameter groups, all else filled in.
        trained: whose parameters train.
        device: what the run computes on.
    """
    options = inspect.signature(make).parameters
    is_open = all(name in options and options[name].default is None for name in ("fused", "foreach"))
    groups = parameter_groups(trained)
    return make(groups, fused=True) if is_open and device.type == "cuda" else make(groups)


def how_to_stay_finite(optimizer: Optimizer) -> str:
    """What to change where losses, gradients or weights are not finite."""
    for group in optimizer.param_groups:
        eps = group.get("eps")
        if eps is not None and group["params"] and not torch.tensor(eps, dtype=group["params"][0].dtype):
            return (
                f"set optim.eps=1e-8: with {eps:g} a weight whose gradients were 0 so far is updated by 0/0"
            )
    return "lower optim.lr or lengthen the warm-up, or set trainer.not_finite=skip or rollback"


@runtime_checkable
class Schedule(Protocol):
    """A factor for the peak learning rate."""

    def __call__(self, step: int) -> float:
        """The factor of optimizer step `step`, counted from 0."""


@dataclass(frozen=True, kw_only=True)
class LinearWarmupDecay:
    """Rise linearly from 0, then fall linearly to a floor at the end of the run.

    The first step's factor is 0, as in the published recipes, which use the schedule of the
    `transformers` library.

    Args:
        warmup_steps: steps of the rise; a number below 1 is a share of the run.
        total_steps: steps of the run.
        floor: factor at its end, in [0, 1].
    """

    warmup_steps: int | float
    total_steps: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        _count_steps(self, "warmup_steps")
        _check(self.warmup_steps, self.total_steps, self.floor)

    def __call__(self, step: int) -> float:
        """The factor of optimizer step `step`, counted from 0."""
        if step < self.warmup_steps:
            return step / self.warmup_steps
        left = max(0.0, (self.total_steps - step) / (self.total_steps - self.warmup_steps))
        return self.floor + (1 - self.floor) * left


@dataclass(frozen=True, kw_only=True)
class WarmupCosine:
    """Rise linearly from 0, then fall by half a cosine to a floor at the end of the run.

    Args:
        warmup_steps: steps of the rise; a number below 1 is a share of the run.
        total_steps: steps of the run.
        floor: factor at its end, in [0, 1].

    Source: Loshchilov and Hutter 2017 (SGDR), equation 5, without restarts.
    """

    warmup_steps: int | float
    total_steps: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        _count_steps(self, "warmup_steps")
        _check(self.warmup_steps, self.total_steps, self.floor)

    def __call__(self, step: int) -> float:
        """The factor of optimizer step `step`, counted from 0."""
        if step < self.warmup_steps:
            return step / self.warmup_steps
        done = min(1.0, (step - self.warmup_steps) / (self.total_steps - self.warmup_steps))
        return self.floor + (1 - self.floor) * _left("cosine", done)


DecayShape = Literal["linear", "1-sqrt", "cosine"]


def _left(shape: DecayShape, done: float) -> float:
    """What is left of a decay of which a share is done; from 1 at 0 to 0 at 1."""
    if shape == "cosine":
        return (1 + math.cos(math.pi * done)) / 2
    return 1 - math.sqrt(done) if shape == "1-sqrt" else 1 - done


@dataclass(frozen=True, kw_only=True)
class WarmupStableDecay:
    """Rise linearly from 0, stay at the peak, and fall to a floor in the last steps of the run (WSD).

    Up to the decay the rate does not depend on the length of the run. So a decay may branch from any
    checkpoint of the stable part: a run of N + D steps that starts from the checkpoint of step N and decays
    in D is, to the bit, the one that was planned so from its first step.

    Args:
        warmup_steps: steps of the rise; a number below 1 is a share of the run.
        total_steps: steps of the run.
        decay_steps: steps of the fall, the last ones; a number below 1 is a share of the run. A tenth is
            enough in MiniCPM (section 4.2), 10 to 20 % come up to a cosine in Hägele et al. (section 4).
        shape: of the fall: `1-sqrt` is the best of those that Hägele et al. compare (section 4.1).
        floor: factor at the end, in [0, 1].

    Raises:
        ConfigError: CFG-18, the run has no stable part.

    Source: Hu et al. 2024 (MiniCPM), section 4; Hägele et al. 2024, Scaling laws and compute-optimal
    training beyond fixed training durations.
    """

    warmup_steps: int | float
    total_steps: int
    decay_steps: int | float = 0.1
    shape: DecayShape = "1-sqrt"
    floor: float = 0.0

    def __post_init__(self) -> None:
        _count_steps(self, "warmup_steps")
        _count_steps(self, "decay_steps", least=1)
        _check(self.warmup_steps, self.total_steps, self.floor)
        if not 0 < self.decay_steps < self.total_steps - self.warmup_steps:
            raise ConfigError(
                "CFG-18",
                where="schedule.decay_steps",
                found=f"{self.decay_steps} in a run of {self.total_steps} steps, {self.warmup_steps} of them "
                "warm-up",
                expected="a decay of at least a step, after a stable part of at least a step",
                fix="give schedule.decay_steps=0.1, a share of the run, or raise steps; a decay alone "
                "branches from a checkpoint, by resume=<checkpoint>",
            )

    @property
    def stable_until(self) -> int:
        """The step at which the decay begins, itself still at the peak."""
        return self.total_steps - int(self.decay_steps)

    def __call__(self, step: int) -> float:
        """The factor of optimizer step `step`, counted from 0."""
        if step < self.warmup_steps:
            return step / self.warmup_steps
        done = min(1.0, max(0, step - self.stable_until) / self.decay_steps)
        return self.floor + (1 - self.floor) * _left(self.shape, done)


def branch_step(schedule: Schedule) -> int | None:
    """The step whose checkpoint stays, so that other decays may branch from it; None of other schedules."""
    return schedule.stable_until if isinstance(schedule, WarmupStableDecay) else None


def check_branch(schedule: Schedule, *, step: int, state: Mapping[str, Any], where: Path) -> None:
    """Refuse to continue a checkpoint by a decay that does not begin where its rate has been.

    Args:
        schedule: of the run that continues.
        step: optimizer steps that the checkpoint has taken, at least 1.
        state: what it holds beside its tensors.
        where: its folder.

    Raises:
        CheckpointError: CKPT-16, the learning rate would jump; of `WarmupStableDecay` alone, since the other
            schedules depend on the length of the run at every step, and runs may be extended.
    """
    if not isinstance(schedule, WarmupStableDecay):
        return
    before, now = state.get("rate_factor"), schedule(step - 1)
    if before == now:
        return
    if before == 1 and step - 1 > schedule.stable_until:
        found = f"a decay from step {schedule.stable_until:,}, before the {step:,} steps that are done"
        decay = int(schedule.decay_steps)
        fix = f"set steps={step + decay} schedule.decay_steps={decay}, or take an earlier checkpoint"
    else:
        of = "an unknown share" if before is None else f"{before:.3g}"
        found = f"its last step took {of} of the peak learning rate, where this run takes {now:.3g}"
        fix = "take a checkpoint of the stable part, by resume=<checkpoint> and a new run.name"
    raise CheckpointError(
        "CKPT-16",
        where=str(where),
        found=found,
        expected="a decay that branches from the stable part of a run",
        fix=fix,
    )


def _count_steps(
    schedule: WarmupCosine | LinearWarmupDecay | WarmupStableDecay, name: str, *, least: int = 0
) -> None:
    """Write a share of a run as whole steps."""
    share = getattr(schedule, name)
    if 0 < share < 1:
        object.__setattr__(schedule, name, max(least, int(share * schedule.total_steps)))


@dataclass(frozen=True, kw_only=True)
class InverseSquareRoot:
    """Rise linearly, then fall with the inverse square root of the step (Vaswani et al. 2017, section 5.3).

    Args:
        warmup_steps: steps of the rise, at least 1.
        total_steps: steps of the run.
        start: factor of the first step, in [0, 1].
        floor: factor that it does not fall below, in [0, 1].
    """

    warmup_steps: int
    total_steps: int
    start: float = 0.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        _check(self.warmup_steps, self.total_steps, self.floor)
        if self.warmup_steps < 1 or not 0 <= self.start <= 1:
            raise ValueError(
                f"warmup_steps is {self.warmup_steps} and start {self.start}; "
                "the rise takes at least a step and begins between 0 and 1"
            )

    def __call__(self, step: int) -> float:
        """The factor of optimizer step `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.start + (1 - self.start) * step / self.warmup_steps
        return max(self.floor, float((self.warmup_steps / step) ** 0.5))


def _check(warmup_steps: float, total_steps: int, floor: float) -> None:
    """Refuse a rise that the run does not hold.

    Raises:
        ConfigError: CFG-18, the rise is longer than the run.
        ValueError: the floor is no factor.
    """
    if not 0 <= warmup_steps < total_steps:
        raise ConfigError(
            "CFG-18",
            where="schedule.warmup_steps",
            found=f"{warmup_steps} in a run of {total_steps} steps",
            expected="0 <= schedule.warmup_steps < steps",
            fix=f"give schedule.warmup_steps={max(total_steps // 10, min(1, total_steps - 1))}",
        )
    if not 0 <= floor <= 1:
        raise ValueError(f"floor is {floor}; a factor lies between 0 and 1")
