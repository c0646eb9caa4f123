"""Sweep axes, in Hydra's own grammar: `a=1,2`, `choice(…)`, `range(…)`, `glob(…)`, `interval(…)`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from dnalm.compose.config import options
from dnalm.compose.words import given_twice
from dnalm.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

_MOST_VALUES = 10_000


@dataclass(frozen=True)
class Interval:
    """All numbers from `low` to `high`, both included; whole ones if both are integers."""

    low: float
    high: float
    log: bool


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
        ConfigError: a word is not in Hydra's grammar, an axis is empty or endless, or CFG-05, a key is given
            twice.
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
                axes.append(_axis(key, override))
            else:
                shared.append(word)
        except HydraException as error:
            raise axis_error(word, " ".join(str(error).split()), "quote values that hold commas") from error
    return axes, shared


def axis_error(word: str, found: str, fix: str) -> ConfigError:
    """An error about one axis."""
    return ConfigError(
        "SWEEP-01",
        where=word,
        found=found,
        expected="values in Hydra's grammar, such as a=1,2 or a=range(1,4) or a=choice(x,y)",
        fix=fix,
    )


def _axis(key: str, override: Override) -> Axis:
    from hydra.core.override_parser.types import Glob, IntervalSweep

    value = override.value()
    if isinstance(value, IntervalSweep):
        assert value.start is not None, "the grammar gives both ends"
        assert value.end is not None, "the grammar gives both ends"
        if not value.start < value.end or ("log" in value.tags and value.start <= 0):
            rule = "low < high, and 0 < low where it is logarithmic"
            raise axis_error(str(override.input_line), "an interval without numbers", f"see that {rule}")
        return Axis(key, (), interval=Interval(value.start, value.end, "log" in value.tags))
    if isinstance(value, Glob):
        texts = value.filter(options(key.lstrip("+")))
    else:
        texts = list(islice(override.sweep_string_iterator(), _MOST_VALUES + 1))
        if override.is_range_sweep():
            texts = [_without_float_error(text) for text in texts]
    if not 0 < len(texts) <= _MOST_VALUES:
        found = "no value" if not texts else f"more than {_MOST_VALUES:,} values"
        raise axis_error(str(override.input_line), found, "name the values you want")
    return Axis(key, tuple(dict.fromkeys(texts)), ordered=override.is_range_sweep())


def _without_float_error(text: str) -> str:
    """A number of a range as it was meant: 0.3 for 0.30000000000000004, which adding up steps gives."""
    try:
        int(text)
    except ValueError:
        return str(float(f"{float(text):.15g}"))
    return text
