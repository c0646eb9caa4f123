"""Hold a composed config against the signatures it fills, before anything is built.

A node with `_target_` must give only arguments that its target has, all that it needs, and values
of the annotated types; the class signature is the schema, and no second one exists. Values are
checked as JSON in pydantic's strict mode: a path may be written as text, but `"true,"` is no bool
and `"3"` no number.
"""

from __future__ import annotations

import collections.abc
import difflib
import inspect
import json
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from dnalm.compose.targets import resolve
from dnalm.errors import ConfigError
from dnalm.paths import MustExist

Node = dict[str, Any]
RESERVED = ("_target_", "_partial_")


def check(node: Node, *, key: str = "", given: frozenset[str] = frozenset()) -> None:
    """Check a node and everything below it.

    Args:
        node: a mapping with `_target_`.
        key: where it stands in the config.
        given: arguments that the program, not the config, will fill.

    Raises:
        ConfigError: the first argument that is unknown, missing, of the wrong type, or names an
            input path that is not there.
    """
    target = resolve(node.get("_target_"), key=key)
    parameters = inspect.signature(target).parameters
    arguments = {name: value for name, value in node.items() if name not in RESERVED}
    for name in arguments:
        if name not in parameters or name in given:
            raise _unknown(_join(key, name), sorted(set(parameters) - given))
    if not node.get("_partial_"):
        for name, parameter in parameters.items():
            required = parameter.default is inspect.Parameter.empty and name not in given
            if name not in arguments and required and parameter.kind is not parameter.VAR_POSITIONAL:
                raise _missing(_join(key, name), parameter)
    hints = argument_types(target)
    for name, value in arguments.items():
        nodes = list(targets_below(value, _join(key, name)))
        for below, path in nodes:
            check(below, key=path)
        if nodes and nodes[0][0] is value:
            _check_kind(nodes[0][0], hints.get(name, Any), key=_join(key, name))
        if not nodes:
            parse(value, hints.get(name, Any), key=_join(key, name))


def with_defaults(node: Node) -> Node:
    """A checked node with the defaults of its signatures written out, as far as YAML can hold them."""
    target = resolve(node["_target_"], key="")
    filled = {name: _fill_below(value) for name, value in node.items()}
    for name, parameter in inspect.signature(target).parameters.items():
        default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        if name not in filled and isinstance(default, int | float | str | list | None):
            filled[name] = default
    return filled


def _fill_below(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        if "_target_" in value:
            return with_defaults(value)
        return {name: _fill_below(item) for name, item in value.items()}
    return [_fill_below(item) for item in value] if isinstance(value, list) else value


def targets_below(value: object, key: str) -> Iterator[tuple[Node, str]]:
    """The nodes with `_target_` in a value, not those inside other nodes."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield value, key
        else:
            for name, item in value.items():
                yield from targets_below(item, _join(key, str(name)))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from targets_below(item, f"{key}[{number}]")


def _check_kind(node: Node, annotation: Any, *, key: str) -> None:  # noqa: ANN401
    """A component must be what the argument wants, as far as classes tell; protocols do not."""
    wanted = list(_classes(annotation, made=bool(node.get("_partial_"))))
    target = resolve(node["_target_"], key=key)
    made = target if inspect.isclass(target) else argument_types(target).get("return")
    unfinished = node.get("_partial_") and not wanted and list(_classes(annotation, made=False))
    wanted = unfinished or wanted
    if wanted and inspect.isclass(made) and (unfinished or not issubclass(made, tuple(wanted))):
        raise ConfigError(
            "CFG-04",
            where=key,
            found=f"{node['_target_']}, which makes {made.__name__}",
            expected=f"one that makes {' or '.join(kind.__name__ for kind in wanted)}",
            fix=f"name such a component in {key}._target_",
        )


def _classes(annotation: Any, *, made: bool) -> Iterator[type]:  # noqa: ANN401
    """The plain classes an annotation admits; with `made`, those that its callables return.

    None where one of several options is a protocol, which any class may satisfy.
    """
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        options = typing.get_args(annotation)
        if not any(getattr(option, "_is_protocol", False) for option in options):
            for option in options:
                yield from _classes(option, made=made)
    elif made and typing.get_origin(annotation) is collections.abc.Callable:
        yield from _classes(typing.get_args(annotation)[1], made=False)
    elif not made and isinstance(annotation, type) and not _says_nothing(annotation):
        yield annotation


def _says_nothing(kind: type) -> bool:
    return kind is types.NoneType or getattr(kind, "_is_protocol", False)


def argument_types(target: Any) -> dict[str, Any]:  # noqa: ANN401
    """The types of a target's arguments, by name; none where another library hides them.

    Some libraries import names for annotations only, so that they cannot be read at run time.
    """
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError:
        assert not target.__module__.startswith("dnalm."), f"{target} has annotations that cannot be read"
        return {}


def parse(value: object, annotation: Any, *, key: str) -> Any:  # noqa: ANN401
    """A value of a config as its annotation wants it: text as a path, a list as a tuple.

    Raises:
        ConfigError: the value is of another type, or a path of an input is not there.
    """
    if value == "???":
        raise _missing(key, None)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(
            annotation, config=ConfigDict(strict=True, arbitrary_types_allowed=True)
        )
    except PydanticSchemaGenerationError:
        return value  # an annotation of another library that pydantic cannot read
    try:
        parsed = adapter.validate_json(json.dumps(value))
    except ValidationError as error:
        problem = error.errors()[0]
        raise ConfigError(
            "CFG-04",
            where=key,
            found=f"{value!r}",
            expected=f"{_type_name(annotation)} ({problem['msg'].lower()})",
            fix="give a value of that type",
        ) from error
    if isinstance(parsed, Path) and any(isinstance(mark, MustExist) for mark in _marks(annotation)):
        _check_path(parsed, key)
    return parsed


def _check_path(path: Path, key: str) -> None:
    if not path.exists():
        raise ConfigError(
            "CFG-20",
            where=key,
            found=f"{path} is not there",
            expected="the path of an input",
            fix=f"correct the path; relative ones start at {Path.cwd()}",
        )


def _marks(annotation: Any) -> Iterator[object]:  # noqa: ANN401
    yield from getattr(annotation, "__metadata__", ())
    for part in typing.get_args(annotation):
        yield from _marks(part)


def _type_name(annotation: Any) -> str:  # noqa: ANN401
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    options = [_type_name(part) for part in typing.get_args(annotation)]
    if typing.get_origin(annotation) is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(annotation)))
    if options and typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return " or ".join("nothing" if name == "NoneType" else name for name in options)
    return annotation.__name__ if isinstance(annotation, type) and not options else str(annotation)


def _unknown(key: str, known: list[str]) -> ConfigError:
    parent, _, name = key.rpartition(".")
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {_join(parent, nearest[0])}?" if nearest else f"use {' or '.join(known)}"
    return ConfigError(
        "CFG-03",
        where=key,
        found="unknown key",
        expected=f"one of the {len(known)} arguments of {parent or 'the command'}",
        fix=hint,
    )


def _missing(key: str, parameter: inspect.Parameter | None) -> ConfigError:
    kind = f" ({_type_name(parameter.annotation)})" if parameter is not None else ""
    return ConfigError(
        "CFG-07",
        where=key,
        found="no value",
        expected=f"a value{kind}",
        fix=f"give {key}=… on the command line",
    )


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
