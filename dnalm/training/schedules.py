"""Learning-rate schedules as pure functions of the optimizer step, so that none has state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """A factor for the peak learning rate."""

    def __call__(self, step: int) -> float:
        """The factor of optimizer step `step`, counted from 0."""


@dataclass(frozen=True, kw_only=True)
class LinearWarmupDecay:
    """Rise linearly from 0, then fall linearly to a floor.

    The first step's factor is 0, as in the published recipes, which use the schedule of the
    `transformers` library.

    Args:
        warmup_steps: steps of the rise.
        total_steps: step at which the floor is reached; a run may stop before it.
        floor: factor from then on, in [0, 1].
    """

    warmup_steps: int
    total_steps: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup_steps < self.total_steps:
            raise ValueError(
                f"warmup_steps is {self.warmup_steps} and total_steps {self.total_steps}; "
                "0 <= warmup_steps < total_steps must hold"
            )
        if not 0 <= self.floor <= 1:
            raise ValueError(f"floor is {self.floor}; a factor lies between 0 and 1")

    def __call__(self, step: int) -> float:
        """The factor of optimizer step `step`, counted from 0."""
        if step < self.warmup_steps:
            return step / self.warmup_steps
        left = max(0.0, (self.total_steps - step) / (self.total_steps - self.warmup_steps))
        return self.floor + (1 - self.floor) * left
