"""Check a composed config against the signatures it fills, before anything is built; then build it.

A node with `_target_` must have only arguments of its target, all that it requires, and values of the
annotated types: the signature is the schema. Values are checked as JSON in pydantic's strict mode: a path may
be written as text, but `"true,"` is no bool and `"3"` no number. Components and functions that make them,
which pydantic does not know, are compared by annotation (`_fits`). All outputs of a config are checked
against all its inputs.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import hashlib
import inspect
import json
import os
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from dnalm.compose.neighbours import RESERVED, join, refuse_repeated, unknown_key, walk
from dnalm.compose.targets import resolve, settable
from dnalm.errors import ConfigError, DnalmError
from dnalm.limits import AsWritten, EachOnce
from dnalm.paths import Input, MustExist, Output, OutputName, check_outputs, split_twin

Node = dict[str, Any]
MISSING = "???"  # the value of a key that is still to be given


def check(
    node: Node,
    *,
    key: str = "",
    given: frozenset[str] = frozenset(),
    command: str | None = None,
    whole: bool = True,
) -> None:
    """Check a node and everything below it.

    Args:
        node: a mapping with `_target_`.
        key: where it stands in the config.
        given: arguments that the program, not the config, will fill.
        command: the command whose root config it is; None for a component.
        whole: whether a value that is still to be given (`???`, or none) is an error.

    Raises:
        ConfigError: the first argument that is unknown, missing, of the wrong type or kind, or names an
            input path that is not there; a `_target_` that may not stand there.
    """
    target = resolve(node.get("_target_"), key=key, command=command)
    parameters = parameters_of(target)
    arguments = {name: value for name, value in node.items() if name not in RESERVED}
    for name in arguments:
        if name not in parameters or name in given:
            raise unknown_key(join(key, name), sorted(set(parameters) - given), value=arguments[name])
    if not is_partial(node, key=key):
        for name, parameter in parameters.items():
            required = parameter.default is inspect.Parameter.empty and name not in given
            if name not in arguments and required and whole:
                raise _missing(join(key, name), parameter.annotation)

    def visit(below: Node, annotation: Any, key: str) -> None:  # noqa: ANN401
        _check_kind(below, annotation, key=key)
        check(below, key=key, whole=whole)

    for name, value in arguments.items():
        if not is_default(value, parameters[name]) and (whole or value != MISSING):
            convert(value, parameters[name].annotation, key=join(key, name), visit=visit)


Visit = Callable[[Node, Any, str], object]  # a node with `_target_`, the annotation of its place, its key


def convert(value: Any, annotation: Any, *, key: str, visit: Visit) -> Any:  # noqa: ANN401
    """A value of a config as its annotation wants it, with the components in it visited.

    Args:
        value: plain YAML.
        annotation: of the argument, or of what holds it.
        key: where it stands in the config.
        visit: called with each node that has a `_target_`; what it returns stands in its place.

    Raises:
        ConfigError: a part that is no component is of another type; see `parse`.
    """
    if _is_as_written(annotation):
        return value
    if _is_component(value):
        return visit(value, annotation, key)
    if not any(_is_component(item) for _, item in walk(value)):
        return parse(value, annotation, key=key)
    is_mapping = isinstance(value, dict)
    container = collections.abc.Mapping if is_mapping else collections.abc.Sequence
    origins = [(typing.get_origin(option), typing.get_args(option)) for option in _options(annotation)]
    held = (args for origin, args in origins if isinstance(origin, type) and issubclass(origin, container))
    inner = next(held, (None,))[-1 if is_mapping else 0]
    if is_mapping:
        return {name: convert(item, inner, key=join(key, name), visit=visit) for name, item in value.items()}
    items = [convert(item, inner, key=f"{key}[{number}]", visit=visit) for number, item in enumerate(value)]
    return tuple(items) if any(origin is tuple for origin, _ in origins) else items


def _is_as_written(annotation: Any) -> bool:  # noqa: ANN401
    return any(isinstance(mark, AsWritten) for mark in _marks(annotation))


def _is_component(value: object) -> bool:
    return isinstance(value, dict) and "_target_" in value


def _options(annotation: Any) -> Iterator[Any]:  # noqa: ANN401
    """The alternatives of a union, those of unions in it too; the annotation itself if it is none."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _options(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for option in typing.get_args(annotation):
            yield from _options(option)
    else:
        yield annotation


def is_partial(node: Node, *, key: str) -> bool:
    """Whether a node makes a function of the arguments that it lacks."""
    partial: bool = parse(node.get("_partial_", False), bool, key=join(key, "_partial_"))
    return partial


def with_defaults(node: Node, *, command: str | None = None) -> Node:
    """A checked node with the defaults of its signatures written out, as far as YAML can hold them.

    It is checked and built as the node itself, since a value equal to the default counts as not given.
    """
    parameters = parameters_of(resolve(node["_target_"], key="", command=command))
    read = {name for name, parameter in parameters.items() if _is_as_written(parameter.annotation)}
    filled = {name: value if name in read else _fill(value) for name, value in node.items()}
    for name, parameter in parameters.items():
        if name not in filled and (default := as_json(parameter.default)) is not None:
            filled[name] = json.loads(default)
    return filled


def _fill(value: Any) -> Any:  # noqa: ANN401
    if _is_component(value):
        return with_defaults(value)
    if isinstance(value, dict):
        return {name: _fill(item) for name, item in value.items()}
    return [_fill(item) for item in value] if isinstance(value, list) else value


def is_default(value: object, parameter: inspect.Parameter) -> bool:
    """Whether a value of a config is the default of its argument, written out; 1 is not True, nor 1.0."""
    return json.dumps(value, default=repr) == as_json(parameter.default)


def as_json(default: object) -> str | None:
    """A default as YAML states it, a tuple as a list and a path as text; None if it cannot."""
    if isinstance(default, dict):
        return None
    try:
        return json.dumps(default, default=lambda value: os.fspath(value))
    except TypeError:
        return None


def _check_kind(node: Node, annotation: Any, *, key: str) -> None:  # noqa: ANN401
    """A component must be what its place wants: an instance of a class, one like a protocol, or its maker."""
    target, partial = resolve(node["_target_"], key=key), is_partial(node, key=key)
    made = target if inspect.isclass(target) else _types_of(target).get("return")
    if _fits(made, annotation, partial=partial):
        return
    if made is not None and _fits(made, annotation, partial=not partial):
        fix = f"leave {key}._partial_ out" if partial else f"add {key}._partial_=true"
    elif made is None:
        fix = f"annotate what {node['_target_']} returns"
    else:
        fix = f"name such a component in {key}._target_, or leave it out"
    makes = "it does not say what" if made is None else _type_name(made)
    raise ConfigError(
        "CFG-04",
        where=key,
        found=f"{node['_target_']}, which makes {makes}",
        expected=_wanted(annotation),
        fix=fix,
    )


def _wanted(annotation: Any) -> str:  # noqa: ANN401
    kinds = [_type_name(kind) for kind, _ in _kinds(annotation) if kind not in (types.NoneType, None)]
    if not kinds or kinds in (["object"], ["Any"]):
        return "a plain value; the argument's annotation names no kind of component"
    return f"one that makes {' or '.join(dict.fromkeys(kinds))}"


def _kinds(annotation: Any) -> Iterator[tuple[Any, bool]]:  # noqa: ANN401
    """The types that a place accepts, and of each whether it wants a function that returns one."""
    for option in _options(annotation):
        if typing.get_origin(option) is collections.abc.Callable:
            for result in _options((typing.get_args(option) or (..., Any))[1]):
                yield result, True
        else:
            yield option, False


def _fits(made: Any, annotation: Any, *, partial: bool) -> bool:  # noqa: ANN401
    """Whether what a component makes, or if partial the function that makes it, suits an annotation.

    Args:
        made: the type of what it makes; None where that is unknown.
        annotation: of the place.
        partial: whether the place is given the function.
    """
    for kind, is_returned in _kinds(annotation):
        got = made if is_returned == partial else None
        if is_returned and not partial:  # an instance that is called
            got = _types_of(inspect.getattr_static(made, "__call__", None)).get("return")
        if got is not None and all(_is_a(one, kind) for one in _options(got)):
            return True
    return False


def _is_a(made: Any, kind: Any) -> bool:  # noqa: ANN401
    """Whether a class is another or derived from it, or has the methods of a protocol, by parameter names."""
    if not isinstance(kind, type) or kind in (object, types.NoneType) or not isinstance(made, type):
        return False
    if made is kind or not getattr(kind, "_is_protocol", False):
        return made is kind or issubclass(made, kind)
    methods = {
        name: method
        for base in kind.__mro__
        for name, method in vars(base).items()
        if inspect.isfunction(method) and (name == "__call__" or not name.startswith("_"))
    }
    return bool(methods) and all(
        inspect.isfunction(own := getattr(made, name, None))
        and inspect.signature(method).parameters.keys() <= inspect.signature(own).parameters.keys()
        for name, method in methods.items()
    )


def parameters_of(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a target that a config may set, their annotations evaluated; `Any` where unknown."""
    listed, hints = settable(target), _types_of(target)
    if listed is not None:
        hints = {**hints, **listed}
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        name: parameter.replace(annotation=hints.get(name, Any))
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.kind in by_name and (listed is None or name in listed)
    }


def _types_of(target: Any) -> dict[str, Any]:  # noqa: ANN401
    """The annotations of a class's or function's arguments, and `return`; none where they cannot be read.

    Some libraries import names for annotations only, so that they cannot be read at run time.
    """
    is_plain_class = inspect.isclass(target) and not dataclasses.is_dataclass(target)
    try:  # of a dataclass those of its fields, each read where its class is written
        return typing.get_type_hints(target.__init__ if is_plain_class else target, include_extras=True)
    except (NameError, TypeError):
        ours = getattr(target, "__module__", "").startswith("dnalm.")
        assert not ours, f"{target} has annotations that cannot be read"
        return {}


def parse(value: object, annotation: Any, *, key: str) -> Any:  # noqa: ANN401
    """A value of a config as its annotation wants it: text as a path, a list as a tuple.

    Raises:
        ConfigError: the value is of another type, or a path of an input is not there.
    """
    if value == MISSING:
        raise _missing(key, annotation)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(
            annotation, config=ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)
        )
    except PydanticSchemaGenerationError:
        return value  # an annotation of another library that pydantic cannot read
    try:
        parsed = _validated(adapter, value)
    except ValidationError as error:
        problem = error.errors()[0]
        if problem["type"] == "needs_python_object":  # a class that no plain value is of
            problem["msg"] = "a component, a mapping with _target_"
        raise ConfigError(
            "CFG-04",
            where=key,
            found=f"{value!r}",
            expected=f"{_type_name(annotation)} ({problem['msg'].lower()})",
            fix=_fix_of(problem, key),
        ) from error
    marks = {type(mark) for mark in _marks(annotation)}
    if EachOnce in marks:
        refuse_repeated(parsed, key=key)
    if MustExist in marks and isinstance(parsed, Path) and not parsed.exists():
        raise ConfigError(
            "CFG-20",
            where=key,
            found=f"{parsed} is not there",
            expected="the path of an input",
            fix=f"correct the path; relative ones start at {Path.cwd()}",
        )
    return parsed


def _validated(adapter: TypeAdapter[Any], value: object) -> Any:  # noqa: ANN401
    """The value, or where a list is wanted the list of this one value."""
    try:
        return adapter.validate_json(json.dumps(value))
    except ValidationError:
        if isinstance(value, str | int | float):
            with suppress(ValidationError):
                return adapter.validate_json(json.dumps([value]))
        raise


def _fix_of(problem: Mapping[str, Any], key: str) -> str:
    """What to write in place of a value that pydantic refuses."""
    if problem["type"] == "too_short":
        return f"name one at least, or leave {key} out"
    if problem["type"] == "finite_number":
        return f"give a finite number, such as {key}=0.001"
    bounds = problem.get("ctx", {})
    nearest = bounds.get("le", bounds.get("ge"))
    return (
        "give a value of that type" if nearest is None else f"give {key}={nearest} or another in its bounds"
    )


def _marks(annotation: Any) -> Iterator[object]:  # noqa: ANN401
    """The marks of `Annotated` in an annotation, those of its parts too."""
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
    if typing.get_origin(annotation) is dict:
        return f"a mapping of {options[0]} to {options[1]}"
    return annotation.__name__ if isinstance(annotation, type) and not options else str(annotation)


def _missing(key: str, annotation: Any) -> ConfigError:  # noqa: ANN401
    is_choice = typing.get_origin(annotation) is typing.Literal
    example = typing.get_args(annotation)[0] if is_choice else "…"
    return ConfigError(
        "CFG-07",
        where=key,
        found="no value",
        expected="a value" if annotation is Any else f"a value ({_type_name(annotation)})",
        fix=f"give {key}={example} on the command line",
    )


PathMark = Input | Output | OutputName
_SHORT = 24  # characters of a value in a name


def check_paths(config: Node) -> None:
    """Refuse a config whose command would write over what it reads.

    Args:
        config: checked; signatures mark arguments that name inputs and outputs, see `dnalm.paths`.

    Raises:
        ConfigError: CFG-55, see `check_outputs`; a path that is empty or holds a NUL.
    """
    inputs: dict[str, Path] = {}
    outputs: dict[str, tuple[Path, Output]] = {}
    for key, text, mark in _marked(config):
        if not text or "\0" in text:
            raise ConfigError(
                "CFG-55",
                where=key,
                found=f"{text!r}",
                expected="a path" if not text else "a path without a NUL",
                fix=f"leave {key} out, or name one, such as {key}=runs/first",
            )
        if isinstance(mark, Input):
            inputs[key] = Path(split_twin(text)[0])
        elif isinstance(mark, Output):
            outputs[key] = Path(text), mark
        else:
            outputs[key] = Path(mark.folder) / text, Output("folder")
    check_outputs(outputs, inputs)


def origin(*keys: str, _root_: object) -> str:
    """What a run is made of, for the name of its folder: `<model>-<input>-<hash>` for `model.source,input`.

    Args:
        keys: of the config; those that are absent are left out, and of `first|second` the first that is there
            counts.
    """
    from omegaconf import Container, OmegaConf

    assert isinstance(_root_, Container), "given by OmegaConf"
    values = []
    for key in keys:
        found = (
            OmegaConf.select(_root_, each, default="", throw_on_missing=False) for each in key.split("|")
        )
        values.append(next((value for value in found if value != ""), ""))
    digest = hashlib.sha256(json.dumps([str(value) for value in values]).encode()).hexdigest()[:6]
    return "-".join([*filter(None, map(_short, values)), digest])


def _short(value: object) -> str:
    """The last telling part of a path, or the names of several, as a part of a file name."""
    value = "-".join(map(str, value)) if isinstance(value, Mapping) else str(value)
    parts = [part for part in value.split("/") if part not in ("", ".", "..", "model")]
    return re.sub(r"[^A-Za-z0-9_]+", "-", parts[-1].partition(".")[0] if parts else "")[:_SHORT].strip("-")


def _marked(config: Node) -> Iterator[tuple[str, str, PathMark]]:
    """The texts of a config that name a path: key, text, mark."""
    from hydra.utils import get_object

    root = parameters_of(get_object(config["_target_"]))
    read = {name for name, parameter in root.items() if _is_as_written(parameter.annotation)}
    for key, node in walk({name: value for name, value in config.items() if name not in read}):
        parameters = parameters_of(get_object(node["_target_"])) if _is_component(node) else {}
        for name in [name for name in parameters if name in node]:
            for mark in _marks(parameters[name].annotation):
                if not isinstance(mark, PathMark):
                    continue
                if isinstance(mark, OutputName) and node.get(mark.unless) is not None:
                    continue
                for below, text in walk(node[name], join(key, name)):
                    if isinstance(text, str) and text != MISSING:
                        yield below, text, mark


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
    # a component of ours refuses a value by a ValueError, one of another library by anything
    refusals = ValueError if target.__module__.partition(".")[0] == "dnalm" else Exception

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
        except refusals as error:
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

    What the components refuse is a mistake in the config; what the command raises is not. A root is a
    function, or a class of runs that train.

    Args:
        node: a command's whole config, which `check` has accepted.
        command: its name.
        given: arguments that the program fills.

    Raises:
        ConfigError: a component refuses its values.
    """
    root = resolve(node["_target_"], key="", command=command)
    made = root(**_arguments(node, root, key=""), **given)
    return made.train() if inspect.isclass(root) else made


def _arguments(node: Node, target: Callable[..., Any], *, key: str) -> dict[str, Any]:
    parameters = parameters_of(target)

    def visit(below: Node, _: object, key: str) -> Any:  # noqa: ANN401
        return build(below, key=key)

    return {
        name: convert(value, parameters[name].annotation, key=join(key, name), visit=visit)
        for name, value in node.items()
        if name not in RESERVED and not is_default(value, parameters[name])
    }
