"""A search that learns: Optuna's tree-structured Parzen estimator proposes the next job.

A proposal is a function of the seed and of the trials so far, which the ledger holds: so the sweep
goes on after a kill as if nothing had been, and no second record of it can disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import NonNegativeInt

from dnalm.limits import Jobs, Seed
from dnalm.sweeps.axes import Axis, Interval
from dnalm.sweeps.grid import Direction, Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

_TRIES = 50  # proposals after which a space in which all were run before counts as used up
_SHIFT = 1e-4  # of an interval's width: how far rounding may move a number of it


class OptunaSearch:
    """Chooses jobs by the metrics of those before.

    Args:
        num_trials: jobs in all; fewer if the axes have fewer combinations.
        num_random: of them, those chosen at random before it learns.
        seed: of the proposals.
    """

    def __init__(self, *, num_trials: Jobs = 20, num_random: NonNegativeInt = 10, seed: Seed = 1) -> None:
        self.num_trials, self.num_random, self.seed = num_trials, num_random, seed

    def known(
        self,
        axes: Sequence[Axis],  # noqa: ARG002 -- as Grid's
        tried: Sequence[Mapping[str, str]],
    ) -> list[Mapping[str, str]]:
        """The jobs of the ledger: what is unfinished is run again before a new one is chosen."""
        return list(tried)

    def following(
        self, axes: Sequence[Axis], trials: Sequence[Trial], direction: Direction
    ) -> Mapping[str, str] | None:
        """The next job; None once there are `num_trials`, or no new combination is found."""
        if len(trials) >= self.num_trials:
            return None
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        space = {axis.key: _distribution(axis) for axis in axes}
        finished = [made for trial in trials if (made := _frozen(trial, axes, space)) is not None]
        tried = [dict(trial.overrides) for trial in trials]
        for attempt in range(_TRIES):
            seed = (self.seed * 1_000_003 + len(trials) * _TRIES + attempt) % 2**32
            sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=self.num_random)
            study = optuna.create_study(sampler=sampler, direction=direction)
            study.add_trials(finished)
            chosen = study.ask(space).params
            proposal = {axis.key: _text(axis, chosen[axis.key]) for axis in axes}
            if proposal not in tried:
                return proposal
        return None


def _distribution(axis: Axis) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not axis.interval:
        last = len(axis.values) - 1
        return IntDistribution(0, last) if axis.ordered else CategoricalDistribution(axis.values)
    low, high, log = axis.interval.low, axis.interval.high, axis.interval.log
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _text(axis: Axis, value: Any) -> str:  # noqa: ANN401 -- what Optuna chose
    if axis.interval and isinstance(value, float):
        return str(_rounded(value, axis.interval))
    return axis.values[value] if axis.ordered else str(value)


def _rounded(value: float, interval: Interval) -> float:
    """A number of an interval in the fewest digits, at least four, that shift it by no visible part of it."""
    most = _SHIFT * (interval.high - interval.low)
    for digits in range(4, 17):
        rounded = float(f"{value:.{digits}g}")
        if abs(rounded - value) <= most and interval.low <= rounded <= interval.high:
            return rounded
    return value


def _frozen(trial: Trial, axes: Sequence[Axis], space: Mapping[str, BaseDistribution]) -> FrozenTrial | None:
    """A trial as Optuna knows it; None if it has no metric, or lies outside the axes of today."""
    from optuna.trial import create_trial

    if trial.value is None or trial.overrides.keys() != space.keys():
        return None
    try:
        params = {axis.key: _value(axis, trial.overrides[axis.key]) for axis in axes}
        return create_trial(params=params, distributions=dict(space), value=trial.value)
    except ValueError:
        return None


def _value(axis: Axis, text: str) -> Any:  # noqa: ANN401 -- as Optuna takes it
    if axis.interval:
        whole = isinstance(axis.interval.low, int) and isinstance(axis.interval.high, int)
        return int(text) if whole else float(text)
    return axis.values.index(text) if axis.ordered else text
