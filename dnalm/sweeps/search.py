"""What varies in a sweep, and which combinations are run: a grid, or the proposals of Optuna.

Axes are words in Hydra's own grammar: `a=1,2`, `choice(…)`, `range(…)`, `glob(…)`, `interval(…)`. Optuna's
tree-structured Parzen estimator proposes a job as a function of the seed and the trials so far, which the
ledger holds: so a search continues after a kill as if it had not been interrupted, and needs no database.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import NonNegativeInt

from dnalm.compose.groups import options
from dnalm.compose.neighbours import given_twice
from dnalm.errors import ConfigError
from dnalm.limits import Jobs, Seed

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

_MOST_VALUES = 10_000
_MOST_JOBS = 10_000


@dataclass(frozen=True)
class Interval:
    """All numbers from `low` to `high`, both included; whole ones if both are integers."""

    low: float
    high: float
    log: bool

    @property
    def is_whole(self) -> bool:
        """Whether its numbers are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True)
class Axis:
    """A key and the values it takes.

    Args:
        key: config key or group.
        values: as they are written on the command line; none if it is an interval.
        ordered: values are steps of a range, so that neighbours are alike.
        interval: the numbers it may take, where they cannot be listed.
    """

    key: str
    values: tuple[str, ...]
    ordered: bool = False
    interval: Interval | None = None


def read_axes(words: Sequence[str]) -> tuple[list[Axis], list[str]]:
    """Split words into axes and those that all jobs share.

    Raises:
        ConfigError: SWEEP-01, a word is not in Hydra's grammar, an axis is empty or endless; CFG-05, a key is
            given twice.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    axes: list[Axis] = []
    shared: list[str] = []
    seen: dict[str, str] = {}
    for word in words:
        try:
            (override,) = OverridesParser.create().parse_overrides([word])
            key = override.get_key_element()
            bare = key.lstrip("+~")
            if bare in seen and not key.startswith("~"):
                raise given_twice(bare, f"{seen[bare]} and {word}")
            seen[bare] = word
            if override.is_sweep_override():
                axes.append(_read_axis(key, override))
            else:
                shared.append(word)
        except HydraException as error:
            raise _axis_error(word, " ".join(str(error).split()), "quote values that hold commas") from error
    return axes, shared


def _read_axis(key: str, override: Override) -> Axis:
    from hydra.core.override_parser.types import Glob, IntervalSweep

    value, word = override.value(), str(override.input_line)
    if isinstance(value, IntervalSweep):
        low, high, log = value.start, value.end, "log" in value.tags
        assert low is not None and high is not None, "the grammar gives both ends"  # noqa: PT018
        if not low < high or (log and low <= 0):
            fix = "see that low < high, and 0 < low where it is logarithmic"
            raise _axis_error(word, "an interval without numbers", fix)
        return Axis(key, (), interval=Interval(low, high, log))
    if isinstance(value, Glob):
        texts = value.filter(options(key.lstrip("+")))
    else:
        texts = list(itertools.islice(override.sweep_string_iterator(), _MOST_VALUES + 1))
        if override.is_range_sweep():  # 0.3 for 0.30000000000000004, which adding up steps gives
            texts = [
                text if text.lstrip("-").isdigit() else str(float(f"{float(text):.15g}")) for text in texts
            ]
    if not 0 < len(texts) <= _MOST_VALUES:
        found = "no value" if not texts else f"more than {_MOST_VALUES:,} values"
        raise _axis_error(word, found, "name the values you want")
    return Axis(key, tuple(dict.fromkeys(texts)), ordered=override.is_range_sweep())


def _axis_error(word: str, found: str, fix: str) -> ConfigError:
    return ConfigError(
        "SWEEP-01",
        where=word,
        found=found,
        expected="values in Hydra's grammar, such as a=1,2 or a=range(1,4) or a=choice(x,y)",
        fix=fix,
    )


Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Trial:
    """A job of the sweep so far, with its metric if it is done and has one."""

    overrides: Mapping[str, str]
    value: float | None = None


class Grid:
    """All combinations, the last axis fastest."""

    def known(
        self,
        axes: Sequence[Axis],
        tried: Sequence[Mapping[str, str]],  # noqa: ARG002 -- the interface of searches that learn
    ) -> list[Mapping[str, str]]:
        """The overrides of jobs that need no results; they are all checked before one starts.

        Args:
            axes: what varies.
            tried: overrides of the jobs that the ledger knows.

        Raises:
            ConfigError: an interval has no list of values, or there are too many combinations.
        """
        for axis in axes:
            if axis.interval:
                fix = "list values, or let Optuna search: hparams_search=optuna"
                raise _axis_error(f"{axis.key}=interval(…)", "an interval on a grid", fix)
        if (number := math.prod(len(axis.values) for axis in axes)) > _MOST_JOBS:
            raise ConfigError(
                "SWEEP-02",
                where="-m",
                found=f"{number:,} jobs",
                expected=f"at most {_MOST_JOBS:,}",
                fix="choose fewer values, or let Optuna search: hparams_search=optuna",
            )
        keys = [axis.key for axis in axes]
        combinations = itertools.product(*(axis.values for axis in axes))
        return [dict(zip(keys, values, strict=True)) for values in combinations]

    def following(self, axes: Sequence[Axis], trials: Sequence[Trial], direction: Direction) -> None:
        """None: a grid is known beforehand."""


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
            proposal = {axis.key: _to_text(axis, chosen[axis.key]) for axis in axes}
            if proposal not in tried:
                return proposal
        return None


def _distribution(axis: Axis) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.interval is None:
        last = len(axis.values) - 1
        return IntDistribution(0, last) if axis.ordered else CategoricalDistribution(axis.values)
    low, high, log = axis.interval.low, axis.interval.high, axis.interval.log
    if axis.interval.is_whole:
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)


def _to_text(axis: Axis, value: Any) -> str:  # noqa: ANN401 -- what Optuna chose
    if axis.interval and isinstance(value, float):
        return str(_rounded(value, axis.interval))
    return axis.values[value] if axis.ordered else str(value)


def _from_text(axis: Axis, text: str) -> Any:  # noqa: ANN401 -- as Optuna takes it
    if axis.interval:
        return int(text) if axis.interval.is_whole else float(text)
    return axis.values.index(text) if axis.ordered else text


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
        params = {axis.key: _from_text(axis, trial.overrides[axis.key]) for axis in axes}
        return create_trial(params=params, distributions=dict(space), value=trial.value)
    except ValueError:
        return None
