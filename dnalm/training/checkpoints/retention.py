"""Which checkpoints are kept: the last ones, the best ones, every n-th, and never fewer than two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

LEAST_KEPT = 2


@dataclass(frozen=True)
class Retention:
    """Which checkpoints are kept.

    Attributes:
        last: so many of the newest.
        best: so many of the best by the metric; a checkpoint without it takes no part.
        every: all whose step is a multiple; none if None.
        metric: its name in the `metrics` of the state.
        mode: whether the lowest or the highest is best.
    """

    last: int = 3
    best: int = 1
    every: int | None = None
    metric: str = "val_bits_per_base"
    mode: Literal["min", "max"] = "min"

    def __post_init__(self) -> None:
        assert self.last >= 1, "the newest checkpoint is always kept"
        assert self.best >= 0
        assert self.every is None or self.every >= 1

    def kept(self, states: Mapping[int, Mapping[str, Any]]) -> set[int]:
        """Steps that are kept, of the good checkpoints by step, with their states."""
        newest = sorted(states, reverse=True)
        kept = set(newest[: self.last])
        kept |= {step for step in newest if self.every and step % self.every == 0}
        kept |= set(self.ranked(states)[: self.best])
        spare = (step for step in newest if step not in kept)
        while len(kept) < min(LEAST_KEPT, len(newest)):
            kept.add(next(spare))
        return kept

    def ranked(self, states: Mapping[int, Mapping[str, Any]]) -> list[int]:
        """Steps that have the figure, from the best to the worst, of equals the later first."""
        sign = 1 if self.mode == "min" else -1
        scored = {step: state.get("metrics", {}).get(self.metric) for step, state in states.items()}
        return [-step for _, step in sorted((sign * s, -step) for step, s in scored.items() if s is not None)]
