"""Which parameters weight decay acts on, what to do where numbers are not finite, learning-rate schedules.

Schedules are pure functions of the optimizer step, so that none has state.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import nn
from torch.optim import Optimizer

from dnalm.errors import ConfigError

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
        if 0 < self.warmup_steps < 1:
            object.__setattr__(self, "warmup_steps", int(self.warmup_steps * self.total_steps))
        _check(self.warmup_steps, self.total_steps, self.floor)

    def __call__(self, step: int) -> float:
        """The factor of optimizer step `step`, counted from 0."""
        if step < self.warmup_steps:
            return step / self.warmup_steps
        left = max(0.0, (self.total_steps - step) / (self.total_steps - self.warmup_steps))
        return self.floor + (1 - self.floor) * left


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
