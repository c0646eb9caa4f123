"""Build what a checked config describes, and run its command."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from dnalm.compose.check import Node, convert, is_default, is_partial, parameters_of
from dnalm.compose.names import RESERVED
from dnalm.compose.targets import resolve
from dnalm.errors import ConfigError, DnalmError


def build(node: Node, *, key: str = "") -> Any:  # noqa: ANN401
    """Build a node with `_target_`, its arguments first.

    Args:
        node: a mapping that `check` has accepted; with `_partial_: true` the result is a function
            of the arguments still missing.
        key: where it stands in the config.

    Raises:
        ConfigError: a component refuses its values, now or when the missing ones are given.
    """
    target = resolve(node["_target_"], key=key)
    arguments = _arguments(node, target, key=key)

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
        except (DnalmError, OSError, MemoryError):
            raise
        except _refusals(target) as error:
            said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise ConfigError(
                "CFG-18",
                where=key or "config",
                found=said or "a value that it refuses",
                expected=f"values that {target.__name__} accepts",
                fix=f"change what {key or target.__name__} is given",
            ) from error

    return make if is_partial(node, key=key) else make()


def run_command(node: Node, *, command: str, given: Mapping[str, object]) -> Any:  # noqa: ANN401
    """Build the components of a command's config, then call the command.

    What the components refuse is a mistake in the config; what the command raises is not.

    Args:
        node: a command's whole config, which `check` has accepted.
        command: its name.
        given: arguments that the program fills.

    Raises:
        ConfigError: a component refuses its values.
    """
    root = resolve(node["_target_"], key="", command=command)
    return root(**_arguments(node, root, key=""), **given)


def _arguments(node: Node, target: Callable[..., Any], *, key: str) -> dict[str, Any]:
    parameters = parameters_of(target)
    return {
        name: convert(
            value, parameters[name].annotation, key=f"{key}.{name}" if key else name, visit=_build_component
        )
        for name, value in node.items()
        if name not in RESERVED and not is_default(value, parameters[name])
    }


def _refusals(target: Callable[..., Any]) -> tuple[type[Exception], ...]:
    """What a target raises if it refuses a value: ours a ValueError, those of other libraries anything."""
    return (ValueError,) if target.__module__.partition(".")[0] == "dnalm" else (Exception,)


def _build_component(node: Node, annotation: object, key: str) -> Any:  # noqa: ANN401, ARG001
    return build(node, key=key)
