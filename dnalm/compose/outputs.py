"""All outputs that a checked config names are held against all its inputs, before anything is built."""

from __future__ import annotations

import hashlib
import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dnalm.compose.check import MISSING, Node, parameters_of
from dnalm.compose.names import RESERVED
from dnalm.errors import ConfigError
from dnalm.paths import Input, Output, OutputName, check_outputs

_FOLDER = Output("folder")
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
    for key, text, mark in _marked(config, ""):
        if not text or "\0" in text:
            raise ConfigError(
                "CFG-55",
                where=key,
                found=f"{text!r}",
                expected="a path" if not text else "a path without a NUL",
                fix=f"leave {key} out, or name one, such as {key}=runs/first",
            )
        if isinstance(mark, Input):
            inputs[key] = Path(text)
        elif isinstance(mark, Output):
            outputs[key] = Path(text), mark
        else:
            outputs[key] = Path(mark.folder) / text, _FOLDER
    check_outputs(outputs, inputs)


def origin(*keys: str, _root_: object) -> str:
    """What a run is made of, for the name of its folder: `<model>-<input>-<hash>` for `model.source,input`.

    Args:
        keys: of the config; those that are absent are left out.
    """
    from omegaconf import Container, OmegaConf

    assert isinstance(_root_, Container), "given by OmegaConf"
    values = [str(OmegaConf.select(_root_, key, default="", throw_on_missing=False)) for key in keys]
    digest = hashlib.sha256(json.dumps(values).encode()).hexdigest()[:6]
    return "-".join([*filter(None, map(_short, values)), digest])


def _short(value: str) -> str:
    """The last telling part of a path, as a part of a file name."""
    parts = [part for part in value.split("/") if part not in ("", ".", "..", "model")]
    return re.sub(r"[^A-Za-z0-9_]+", "-", parts[-1].partition(".")[0] if parts else "")[:_SHORT].strip("-")


def _marked(node: Node, key: str) -> Iterator[tuple[str, str, Input | Output | OutputName]]:
    """The texts of a component and of those below it that name a path: key, text, mark."""
    from hydra.utils import get_object

    parameters = parameters_of(get_object(node["_target_"]))
    for name, value in node.items():
        if name in RESERVED or value == MISSING:
            continue
        marks = tuple(_marks(parameters[name].annotation))
        for below, item in _leaves(value, f"{key}.{name}" if key else name):
            if isinstance(item, dict):
                yield from _marked(item, below)
            else:
                for mark in marks:
                    if not (isinstance(mark, OutputName) and node.get(mark.unless) is not None):
                        yield below, item, mark


def _leaves(value: object, key: str) -> Iterator[tuple[str, str | Node]]:
    """The texts and components in a value, not those inside components."""
    if isinstance(value, str) or (isinstance(value, dict) and "_target_" in value):
        yield key, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{key}[{number}]")


def _marks(annotation: Any) -> Iterator[Input | Output | OutputName]:  # noqa: ANN401
    for mark in getattr(annotation, "__metadata__", ()):
        if isinstance(mark, Input | Output | OutputName):
            yield mark
    for part in typing.get_args(annotation):
        yield from _marks(part)
