"""Paths of configs: marks for arguments that name inputs and outputs, and what an output may be.

Whatever a command reads is marked as input, and whatever it writes as output; `check_outputs` holds all
outputs against all inputs when a config is checked, so that no command writes over what it reads.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import dnalm
from dnalm.errors import ConfigError

_NAME_BYTES = 200
_PLAIN = re.compile(r"[A-Za-z0-9_./@:-]+")  # needs quotes neither in a shell nor in Hydra's grammar
BESIDE = (
    ".parts",
    ".summary.json",
    ".index.parquet",
    ".ranked.tsv",
    ".tbi",
    ".csi",
)  # written beside an `out`


UNTRAINED = ":untrained"  # after the name of a model: its untrained twin


def split_twin(model: str) -> tuple[str, bool]:
    """The model that a name is of, and whether its untrained twin is meant.

    The ending always means the twin; a folder whose own name ends so is written with a slash after it.
    """
    return model.removesuffix(UNTRAINED), model.endswith(UNTRAINED)


class Input:
    """An argument that names what is read: a path, or a name that may be a path."""


class MustExist(Input):
    """A path argument that names an input: it must be there before anything is built."""


@dataclass(frozen=True)
class Output:
    """A path argument that names what is written.

    Attributes:
        kind: a `file`; a `folder`, new or of an earlier run; or a `cache`, a folder to which files are added.
    """

    kind: Literal["file", "folder", "cache"]


@dataclass(frozen=True)
class OutputName:
    """A name that stands for a folder to be written.

    Attributes:
        folder: where it is.
        unless: the argument beside it that names another folder, if it is given.
    """

    folder: str
    unless: str


InputPath = Annotated[Path, MustExist()]
InputName = Annotated[str, Input()]
OutputFile = Annotated[Path, Output("file")]
OutputPath = Annotated[Path, Output("folder")]
CachePath = Annotated[Path, Output("cache")]


def check_outputs(outputs: Mapping[str, tuple[Path, Output]], inputs: Mapping[str, Path]) -> None:
    """Hold all outputs of a command against all its inputs.

    Args:
        outputs: by key of the config.
        inputs: by key; those that are not there are passed over.

    Raises:
        ConfigError: CFG-55, an output is an input, holds one, or would replace a file in one.
    """
    for key, (path, output) in outputs.items():
        for name, source in inputs.items():
            if os.path.lexists(source) and (found := _conflict(path, output, source)):
                examples = {"file": path.parent / f"new-{path.name}", "folder": "runs/second"}
                raise ConfigError(
                    "CFG-55",
                    where=key,
                    found=f"{path} {found} {name}={source}",
                    expected="an output apart from all inputs",
                    fix=f"choose another, such as {key}={examples.get(output.kind, 'cache')}",
                )


def _conflict(path: Path, output: Output, source: Path) -> str | None:
    """What is wrong between an output and an input, in words that stand between them."""
    beside = [path.with_name(path.name + ending) for ending in BESIDE] if output.kind == "file" else []
    for written in (path, *beside):
        if _is_same(written, source):
            return "is" if written == path else f"needs {written.name}, which is"
    if output.kind == "folder" and path.resolve() in source.resolve().parents:
        return "holds"
    replaces = output.kind == "file" and os.path.lexists(path) and source.resolve() in path.resolve().parents
    if replaces and source.is_dir() and not (path.parent / f"{path.name}.summary.json").is_file():
        return "would replace a file in"
    return None


def _is_same(one: Path, other: Path) -> bool:
    with suppress(OSError):
        return one.samefile(other)
    return one.resolve() == other.resolve()


def check_folder(path: Path, *, key: str) -> None:
    """Refuse folders of the user's as an output: the working directory, home, and what holds one of them.

    Raises:
        ConfigError: CFG-55.
    """
    places = {"the working directory": Path.cwd()}
    with suppress(RuntimeError):  # no home is known
        places["the home directory"] = Path.home()
    resolved = path.resolve()
    for name, place in places.items():
        if resolved in (place.resolve(), *place.resolve().parents):
            raise ConfigError(
                "CFG-55",
                where=key,
                found=f"'{path}' is {name}, or holds it",
                expected="a folder of its own",
                fix=f"name one, such as {key}=runs/first",
            )


def check_name(name: str, *, key: str) -> None:
    """Refuse a name that is no plain file name.

    Raises:
        ConfigError: CFG-23.
    """
    is_plain = name.isprintable() and not set(name) & {"/", "\\"} and name.strip() == name
    if not is_plain or not name or name[0] in "-." or len(name.encode(errors="replace")) > _NAME_BYTES:
        raise ConfigError(
            "CFG-23",
            where=key,
            found=repr(name[:60]),
            expected="a plain name: no slash, no control character, not first a dash or dot, at most "
            f"{_NAME_BYTES} bytes",
            fix=f"set {key}=first, or {key.rpartition('.')[0]}.dir=<folder> to choose the place",
        )


def config_folder() -> Path:
    """Where `conf/` is."""
    return _shipped("conf", "conf")


def published_folder() -> Path:
    """Where the tables of published results are, `experiments/published/` in a checkout."""
    return _shipped("published", "experiments/published")


def _shipped(name: str, in_checkout: str) -> Path:
    """A folder inside the installed package, or beside it in a checkout."""
    package = Path(dnalm.__file__).parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / in_checkout


def quoted(text: str) -> str:
    """A text as one value of Hydra's grammar, whatever letters it has; `${` refers to nothing in it."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text.replace("${", "\\${"), Quote.double).with_quotes()


def as_typed(key: str, path: str) -> str:
    """`key=path` as it is typed into a shell, in quotes only where the path needs them."""
    return f"{key}={path}" if _PLAIN.fullmatch(path) else shlex.quote(f"{key}={quoted(path)}")
