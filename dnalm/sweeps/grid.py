"""The plain sweep: every combination of the values of all axes, the last axis fastest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from dnalm.errors import ConfigError
from dnalm.sweeps.axes import Axis, axis_error

Direction = Literal["minimize", "maximize"]
_MOST_JOBS = 10_000


@dataclass(frozen=True)
class Trial:
    """A job of the sweep so far, with its metric if it is done and has one."""

    overrides: Mapping[str, str]
    value: float | None = None


class Search(Protocol):
    """Chooses the jobs of a sweep."""

    def known(self, axes: Sequence[Axis], tried: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
        """The overrides of jobs that need no results; they are all checked before one starts.

        Args:
            axes: what varies.
            tried: overrides of the jobs that the ledger knows.
        """

    def following(
        self, axes: Sequence[Axis], trials: Sequence[Trial], direction: Direction
    ) -> Mapping[str, str] | None:
        """One job more, given the trials so far; None if there is none."""


class Grid:
    """All combinations."""

    def known(
        self,
        axes: Sequence[Axis],
        tried: Sequence[Mapping[str, str]],  # noqa: ARG002 -- the interface of searches that learn
    ) -> list[Mapping[str, str]]:
        """Every combination once.

        Raises:
            ConfigError: an interval has no list of values, or there are too many combinations.
        """
        for axis in axes:
            if axis.interval:
                fix = "list values, or let Optuna search: hparams_search=optuna"
                raise axis_error(f"{axis.key}=interval(…)", "an interval on a grid", fix)
        if (number := math.prod(len(axis.values) for axis in axes)) > _MOST_JOBS:
            raise ConfigError(
                "SWEEP-02",
                where="-m",
                found=f"{number:,} jobs",
                expected=f"at most {_MOST_JOBS:,}",
                fix="choose fewer values, or let Optuna search: hparams_search=optuna",
            )
        keys = [axis.key for axis in axes]
        return [
            dict(zip(keys, values, strict=True))
            for values in itertools.product(*(axis.values for axis in axes))
        ]

    def following(
        self,
        axes: Sequence[Axis],
        trials: Sequence[Trial],
        direction: Direction,
    ) -> None:
        """None: a grid is known beforehand."""
