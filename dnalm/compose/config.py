"""Compose the config of a command from `conf/`, the user's own folder, and the command line.

Hydra composes; what differs from its defaults is the treatment of `key=value`. A class signature
holds the defaults and YAML only what differs, so a key may be valid without standing in any YAML:
values are added where they are absent, and `check` then judges them against the signatures.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dnalm import grants
from dnalm.compose.words import unreadable
from dnalm.compose.yaml_limits import check_yaml
from dnalm.errors import ConfigError
from dnalm.grants import KEYS, refuse_in_files
from dnalm.paths import config_folder

_VALUE_PREFIXES = ("+", "~")
_GROUP = re.compile(r"\w[\w/]{0,60}")


def read_config(
    command: str, overrides: Sequence[str], *, extra_folder: Path | None = None
) -> dict[str, Any]:
    """Compose and resolve.

    Args:
        command: name of the root config.
        overrides: `key=value` and `group=option` as typed.
        extra_folder: a folder of the user's own configs, laid out as `conf/`; it adds options and
            may replace none of ours.

    Returns:
        Plain dicts, lists and values.

    Raises:
        ConfigError: an override or a file cannot be read, or names what is not there.
    """
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    folders = [config_folder(), *([extra_folder] if extra_folder else [])]
    for path in sorted(extra_folder.rglob("*.yaml")) if extra_folder else ():
        if path.is_file():
            check_yaml(path)
    words = [part for word in overrides for part in _as_hydra(word, command, folders)]
    if extra_folder:
        words.append(f"hydra.searchpath=[{json.dumps(f'file://{extra_folder.resolve()}')}]")
    OmegaConf.register_new_resolver("oc.env", _environment, replace=True)
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(folders[0].resolve())):
            config = compose(command, overrides=words, return_hydra_config=True)
        choices = dict(config.hydra.runtime.choices)
        OmegaConf.register_new_resolver("choice", lambda group: choices[group], replace=True)
        OmegaConf.set_struct(config, value=False)
        del config["hydra"]
        plain = OmegaConf.to_container(config, resolve=True)
    except Exception as error:  # of many kinds, all about words and files that are the user's
        raise _own_error(error) or unreadable(overrides) or _explain(error, overrides, folders) from error
    assert isinstance(plain, dict), "a root config is a mapping"
    refuse_in_files(plain)
    return {str(key): value for key, value in plain.items()}


def read_resolved(path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """The config that a run has left, every choice made.

    Args:
        path: its `config.yaml`; the plugins that it records are not admitted by it.
        overrides: none; a run that differs is composed.

    Raises:
        ConfigError: CFG-27, there are overrides, or the file is no mapping in plain YAML; CFG-32, it would
            cost too much.
    """
    import yaml

    check_yaml(path)
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        found = " ".join(str(error).split())
    if overrides or not isinstance(found, dict):
        raise ConfigError(
            "CFG-27",
            where=f"--config {path}",
            found=f"overrides beside it: {' '.join(overrides)}" if overrides else f"no mapping: {found}",
            expected="a run's config.yaml, used as it is",
            fix="give the groups and keys instead, without --config",
        )
    return {str(key): value for key, value in found.items() if key not in KEYS}


def options(group: str, folders: Sequence[Path] | None = None) -> list[str]:
    """The names a config group offers, such as `size` or `data/split`."""
    found = (path for folder in folders or [config_folder()] for path in (folder / group).glob("*.yaml"))
    return sorted({path.stem for path in found})


def composed_groups(command: str) -> list[str]:
    """The config groups that a command's root config composes, and the groups below them."""
    folder = config_folder()
    text = (folder / f"{command}.yaml").read_text()
    groups = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_dir())
    return [group.as_posix() for group in groups if f"- {group.parts[0]}:" in text]


def _as_hydra(word: str, command: str, folders: Sequence[Path]) -> list[str]:
    """Let `key=value` add the key where no YAML states it; groups and explicit prefixes stay.

    `group=a/b`, where the group has an option `files`, is that option with its path.
    """
    key, equals, value = word.partition("=")
    if not equals and not word.startswith("~"):
        raise ConfigError(
            "CFG-16",
            where=word,
            found="an argument without '='",
            expected="key=value or group=option",
            fix="write it as key=value; options of the program begin with --",
        )
    if key.lstrip("+~").partition(".")[0].partition("/")[0] == "hydra":
        raise ConfigError(
            "CFG-16",
            where=word,
            found="a setting of Hydra itself",
            expected="keys and groups of the command",
            fix="leave it out; dnalm uses Hydra to compose configs and for nothing else",
        )
    if word.startswith(_VALUE_PREFIXES) or "@" in key:
        return [word]
    if key not in composed_groups(command):
        return [f"++{word}"]
    offered = options(key, folders)
    if "/" in value and value not in offered and "files" in offered:
        return [f"{key}=files", f"++{key}.{_asked_key(key)}={json.dumps(value)}"]
    return [word]


def _asked_key(group: str) -> str:
    """The one key that a group's option `files` leaves to be given."""
    lines = (config_folder() / group / "files.yaml").read_text().splitlines()
    (asked,) = (line.partition(":")[0] for line in lines if line.endswith(": ???"))
    return asked


def _environment(name: str, *default: str | None) -> str | None:
    """`oc.env` for variables that configs may read: they are written into runs and models."""
    if not grants.current.reads(name):
        raise ConfigError(
            "CFG-33",
            where=f"${{oc.env:{name}}}",
            found="an environment variable that configs may not read unless you say so",
            expected="one that says where a job runs, such as SCRATCH, TMPDIR, USER or SLURM_JOB_ID",
            fix=f"if it holds no secret, add env=[{name}] to the command line; it will stand in every run",
        )
    if name not in os.environ and not default:
        raise ValueError(f"environment variable {name} is not set")
    return os.environ.get(name, *default)


def _own_error(error: BaseException | None) -> ConfigError | None:
    """What a resolver of ours has raised, which OmegaConf wraps."""
    while error is not None and not isinstance(error, ConfigError):
        error = error.__cause__ or error.__context__
    return error


def _explain(error: Exception, overrides: Sequence[str], folders: Sequence[Path]) -> ConfigError:
    """Turn what Hydra, OmegaConf or YAML say into one sentence."""
    first, *_ = str(error).strip().splitlines() or [type(error).__name__]
    several = first.startswith(("Ambiguous value", "Sweep parameters"))
    for word in overrides if not several else ():
        group, _, name = word.lstrip("+").partition("=")
        offered = options(group, folders) if _GROUP.fullmatch(group) else []
        if offered and name not in offered and name not in ("null", ""):
            nearest = difflib.get_close_matches(name, offered, n=1)
            return ConfigError(
                "CFG-03",
                where=group,
                found=f"no option {name!r}",
                expected=f"one of {', '.join(offered)}",
                fix=f"did you mean {group}={nearest[0]}?" if nearest else "choose one of those",
            )
    fix = "quote values that hold spaces, commas, braces or '=': 'key=\"value\"'"
    if several:
        fix = "add -m to run a job for each value, or quote a value that holds commas: 'key=\"value\"'"
    return ConfigError(
        "CFG-01",
        where="config",
        found=" ".join(first.split()),
        expected="configs and overrides in Hydra's grammar",
        fix=fix,
    )
