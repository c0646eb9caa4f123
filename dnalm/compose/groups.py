"""What `conf/` and a folder of one's own offer: groups, their options, what the files of these state.

Nothing is composed, and no library of size is imported: help and completion are read from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from dnalm.compose.signatures import argument_names
from dnalm.paths import config_folder


def stated(group: str, option: str, folders: Sequence[Path] | None = None) -> dict[str, Any]:
    """What the file of an option states; nothing where it cannot be read, which Hydra says better."""
    try:
        found = yaml.safe_load(_text_of(group, option, folders or [config_folder()]))
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def options(group: str, folders: Sequence[Path] | None = None) -> list[str]:
    """The names a config group offers, such as `size` or `data/split`."""
    found = (path for folder in folders or [config_folder()] for path in (folder / group).glob("*.yaml"))
    return sorted({path.stem for path in found})


def composed_groups(command: str) -> list[str]:
    """The config groups that a command's root config composes, and the groups below them.

    An optional one is left out: other choices decide it, as a size that an experiment has of its own.
    """
    folder = config_folder()
    text = (folder / f"{command}.yaml").read_text()
    groups = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_dir())
    named = [group.as_posix() for group in groups if f"- {group.parts[0]}:" in text]
    return [group for group in named if f"- optional {group}:" not in text]


def composed_roots(command: str) -> set[str]:
    """Groups and keys of a command."""
    root = stated(".", command)
    return {*composed_groups(command), *root, *(argument_names(root.get("_target_")) or ())}


def asked(group: str, option: str, folders: Sequence[Path]) -> list[str]:
    """The keys that an option leaves to be given."""
    return [key for key, value in stated(group, option, folders).items() if value == "???"]


def options_with(key: str, name: str, folders: Sequence[Path]) -> list[str]:
    """The options of the group at a key whose component has an argument, those first that speak of it."""
    group = key.replace(".", "/")
    if not key or not any((folder / group).is_dir() for folder in folders):
        return []
    having = {}
    for option in options(group, folders):
        text, node = _text_of(group, option, folders), stated(group, option, folders)
        arguments = argument_names(node.get("_target_")) or ()
        if name in node or name in arguments or f"{key}.{name}=" in text:
            having[option] = f"{key}.{name}" in text
    naming = [option for option, is_named in having.items() if is_named]
    return [f"{group}={option}" for option in (naming or list(having))[:3]]


def _text_of(group: str, option: str, folders: Sequence[Path]) -> str:
    paths = (folder / group / f"{option}.yaml" for folder in folders)
    return next((path.read_text(encoding="utf-8") for path in paths if path.is_file()), "")
