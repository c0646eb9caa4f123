"""Build what a checked config describes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from dnalm.compose.check import RESERVED, Node, argument_types, parse, targets_below
from dnalm.compose.targets import resolve
from dnalm.errors import ConfigError


def build(node: Node, *, key: str = "", given: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401
    """Build a node with `_target_`, its arguments first.

    Args:
        node: a mapping that `check` has accepted; with `_partial_: true` the result is a function
            of the arguments still missing.
        key: where it stands in the config.
        given: arguments that the program fills.

    Raises:
        ConfigError: a component refuses its values, now or when the missing ones are given.
    """
    target = resolve(node["_target_"], key=key)
    hints = argument_types(target)
    arguments = {
        name: _build_value(value, hints.get(name, Any), f"{key}.{name}" if key else name)
        for name, value in node.items()
        if name not in RESERVED
    }

    @functools.wraps(target, assigned=("__name__", "__doc__"), updated=())
    def make(*positional: object, **missing: object) -> Any:  # noqa: ANN401 -- what the config names
        for name in arguments.keys() & missing.keys():
            raise ConfigError(
                "CFG-03",
                where=f"{key}.{name}",
                found="a value for an argument that dnalm fills itself",
                expected=f"none; {target.__name__} is given it by the run",
                fix="leave it out",
            )
        try:
            return target(*positional, **arguments, **missing)
        except ValueError as error:
            raise ConfigError(
                "CFG-18",
                where=key or "config",
                found=str(error),
                expected=f"values that {target.__name__} accepts",
                fix=f"change what {key or target.__name__} is given",
            ) from error

    return make if node.get("_partial_") else make(**(given or {}))


def _build_value(value: Any, annotation: Any, key: str) -> Any:  # noqa: ANN401
    if not any(True for _ in targets_below(value, key)):
        return parse(value, annotation, key=key)
    if isinstance(value, dict):
        if "_target_" in value:
            return build(value, key=key)
        return {name: _build_value(item, Any, f"{key}.{name}") for name, item in value.items()}
    return [_build_value(item, Any, f"{key}[{number}]") for number, item in enumerate(value)]
