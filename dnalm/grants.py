"""What only the command line may grant: packages of the user's own, and variables of the environment.

`plugins=[my_pkg]` admits the classes and functions that a package defines as components. An installed package
may declare a short name for its module under the entry point group `dnalm.plugins`; being installed admits
nothing, the name is typed all the same. `env=[MY_DIR]` lets configs read a variable by `${oc.env:MY_DIR}`.
Neither is read from a file: a config that came with a model or a run grants nothing. Programs that this one
starts are granted the same, as words of their command lines.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from dnalm.errors import ConfigError

_LISTED = re.compile(r"\[?([^\[\]]*)\]?")
LIBRARIES = ("dnalm", "torch", "lightning", "torchmetrics", "peft")  # whose components are listed
_READABLE = re.compile(  # names of variables that say where and as what a job runs
    r"SCRATCH|TMPDIR|TMP|TEMP|HOME|USER|LOGNAME|HOSTNAME|CUDA_VISIBLE_DEVICES|XDG_CACHE_HOME|HF_HOME"
    r"|WORK|(SLURM|PBS|LSB|DNALM)_\w+"
)
_SECRET = re.compile("token|jwt|secret|passw|key|cred|auth|cookie|session|private", re.IGNORECASE)


@dataclass(frozen=True)
class Grants:
    """What this process was granted.

    Attributes:
        plugins: packages or modules whose classes and functions are components.
        env: names of variables that configs may read beside those that say where a job runs.
    """

    plugins: tuple[str, ...] = ()
    env: tuple[str, ...] = ()

    def admits(self, target: str) -> bool:
        """Whether a dotted name lies in a package that was granted."""
        return any(target.startswith(f"{package}.") for package in self.plugins)

    def reads(self, variable: object) -> bool:
        """Whether configs may read a variable of the environment."""
        if not isinstance(variable, str):
            return False
        listed = _READABLE.fullmatch(variable) and not _SECRET.search(variable)
        return bool(listed) or variable in self.env

    def words(self) -> list[str]:
        """As words of a command line."""
        granted = {"plugins": self.plugins, "env": self.env}
        return [f"{key}=[{','.join(names)}]" for key, names in granted.items() if names]


current = Grants()
KEYS = ("plugins", "env")
GROUP = "dnalm.plugins"  # of entry points


def take_grants(words: Sequence[str]) -> list[str]:
    """Grant this process what the words of its command line say; the other words.

    Raises:
        ConfigError: CFG-37, a word is no list of names, or a package is none of the user's own or is not
            there.
    """
    global current
    names, env = _names(words, "plugins"), _names(words, "env")
    installed = {point.name: point.module for point in entry_points(group=GROUP)} if names else {}
    modules = set(installed.values())  # which are names, too: as such this process passes them on
    plugins = dict.fromkeys(name if name in modules else installed.get(name, name) for name in names)
    for package in plugins:
        _check_package(package, installed)
    current = Grants(plugins=tuple(plugins), env=tuple(env))
    return [word for word in words if key_of(word) not in KEYS]


def program(command: str) -> tuple[str, ...]:
    """The words that start a command of dnalm in a process of its own, which is granted the same.

    With `-P`, so that no file of the working directory is taken for a module.
    """
    return (sys.executable, "-P", "-m", "dnalm", *command.split(), *current.words())


def recorded_in(config: dict[str, Any]) -> dict[str, Any]:
    """A config with the plugins that it is built with, for whoever reads it; loading it admits none."""
    return {**config, "plugins": list(current.plugins)} if current.plugins else config


def refuse_in_files(config: Mapping[Any, object]) -> None:
    """Refuse a composed config in which a file grants something.

    Raises:
        ConfigError: CFG-37, it does.
    """
    for key in KEYS:
        if key in config:
            raise _error(key, "a value in a config file", f"type {key}=[…] on the command line")


def _names(words: Sequence[str], key: str) -> list[str]:
    names: list[str] = []
    for word in words:
        if key_of(word) != key:
            continue
        listed = _LISTED.fullmatch(word.partition("=")[2].strip())
        found = [name.strip(" '\"") for name in listed[1].split(",")] if listed else []
        if not found or not all(part.isidentifier() for name in found for part in name.split(".")):
            example = "plugins=[my_pkg]" if key == "plugins" else "env=[MY_DIR]"
            raise _error(key, repr(word.partition("=")[2]), f"write {example}")
        names += found
    return list(dict.fromkeys(names))


def key_of(word: str) -> str:
    """The key that a word of the command line sets, without `+`, `++` or `~`."""
    return word.partition("=")[0].lstrip("+~")


def _check_package(package: str, installed: Mapping[str, str]) -> None:
    root = package.partition(".")[0]
    if root in LIBRARIES or root in sys.stdlib_module_names:
        raise _error("plugins", f"{package}, which is not your own", "name a package of your own")
    try:
        there = importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        there = False
    if not there:
        listed = f"; installed ones: {', '.join(sorted(installed))}" if installed else ""
        raise _error(
            "plugins",
            f"{package}, which Python does not find; the working directory is not searched{listed}",
            f"install it (pip install -e <folder>), or start with PYTHONPATH=<folder that holds {root}>",
        )


def _error(key: str, found: str, fix: str) -> ConfigError:
    expected = "names of packages" if key == "plugins" else "names of environment variables"
    return ConfigError("CFG-37", where=key, found=found, expected=f"{expected}, on the command line", fix=fix)
