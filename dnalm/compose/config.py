"""Compose the config of a command from `conf/`, the user's own folder, and the command line.

Hydra composes, but for `key=value` of keys that no YAML states: class signatures hold the defaults and YAML
only what differs, so values are added where they are absent, and `check` then compares them with the
signatures. Files of the user's folder have limits of size and depth and no aliases, since a few lines of
aliases of aliases keep OmegaConf busy for hours.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dnalm import grants
from dnalm.compose.check import origin
from dnalm.compose.groups import asked, composed_groups, composed_roots, options, options_with, stated
from dnalm.compose.neighbours import Word, check_names, equivalent, read_words, root_of, unknown_key
from dnalm.compose.signatures import argument_names
from dnalm.errors import ConfigError
from dnalm.grants import KEYS, refuse_in_files
from dnalm.paths import config_folder, quoted, split_twin
from dnalm.small_files import SmallFileError, check_yaml_text, read_limited

if TYPE_CHECKING:
    from hydra._internal.defaults_list import DefaultsList
    from omegaconf import DictConfig

WARMUP = "schedule.warmup_steps"  # the one key that the program changes
_GROUP = re.compile(r"\w[\w/]{0,60}")


def read_config(
    command: str,
    overrides: Sequence[str],
    *,
    extra_folder: Path | None = None,
    given: frozenset[str] = frozenset({"config"}),
) -> dict[str, Any]:
    """Compose, resolve, and refuse names that nothing has.

    Args:
        command: name of the root config.
        overrides: `key=value` and `group=option` as typed.
        extra_folder: a folder of the user's own configs, laid out as `conf/`; it adds options and
            may replace none of ours.
        given: arguments of the root that the program fills.

    Returns:
        Plain dicts, lists and values.

    Raises:
        ConfigError: an override or a file cannot be read, or names what is not there.
    """
    folders = [config_folder(), *([extra_folder] if extra_folder else [])]
    words = read_words(overrides)
    keys = {word.key for word in words}
    as_hydra = hydra_words(command, overrides, extra_folder=extra_folder)
    try:
        config, choices = _compose(command, as_hydra)
        _check_options(words, choices, folders)
        _scale_warmup(config, command, as_hydra, keys)
        _remove_foreign_keys(config, choices, keys, folders)
        _remove_tracks(config, keys)
        plain = _resolved(config, choices)
    except Exception as error:  # of many kinds, all about words and files that are the user's
        own: BaseException | None = error  # or what a resolver of ours raised, which OmegaConf wraps
        while own is not None and not isinstance(own, ConfigError):
            own = own.__cause__ or own.__context__
        raise own or _explain(error, overrides, folders) from error
    refuse_in_files(plain)
    check_names(
        plain,
        given=given,
        root=composed_roots(command),
        others=lambda key, name: options_with(key, name, folders),
    )
    return plain


def hydra_words(command: str, overrides: Sequence[str], *, extra_folder: Path | None = None) -> list[str]:
    """The words that Hydra composes a config with, as `read_config` is given them.

    Raises:
        ConfigError: a word cannot be read, or a file of the user's folder costs too much to read.
    """
    folders = [config_folder(), *([extra_folder] if extra_folder else [])]
    for path in sorted(extra_folder.rglob("*.yaml")) if extra_folder else ():
        if path.is_file():
            check_yaml(path)
    words = read_words(overrides)
    found = [part for word in words for part in _as_hydra(word, command, folders)]
    keys = {word.key for word in words}
    if "experiment" in keys and "size" not in keys and "size" in composed_groups(command):
        found.append("size=full")  # an experiment alone; the bare command is small, see its root
    if extra_folder:
        found.append(f"hydra.searchpath=[{json.dumps(f'file://{extra_folder.resolve()}')}]")
    return found


def listed_defaults(command: str, words: Sequence[str]) -> DefaultsList:
    """The files that Hydra composes a config of, in order, and the words that are no choices among them.

    Args:
        command: name of the root config.
        words: those of `hydra_words`.
    """
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder().resolve())):
        loader = GlobalHydra.instance().config_loader()
        found: DefaultsList = loader.compute_defaults_list(command, list(words), RunMode.RUN)
    return found


def _as_hydra(word: Word, command: str, folders: Sequence[Path]) -> list[str]:
    """Let `key=value` add the key where no YAML states it; groups and explicit prefixes stay.

    A group that has an option `files` takes a path in place of an option's name: one with a slash, or of
    what is there. One that has an option `several` takes a list of them.
    """
    if root_of(word.key) == "hydra":
        raise ConfigError(
            "CFG-16",
            where=word.text,
            found="a setting of Hydra itself",
            expected="keys and groups of the command",
            fix=equivalent(word.key, word.value, composed_roots(command))
            or "leave it out; dnalm uses Hydra to compose configs and for nothing else",
        )
    if word.prefix or "@" in word.key:
        return [word.text]
    if word.key not in composed_groups(command):
        _check_root(word, command)
        return [f"++{word.text}"]
    offered = options(word.key, folders)
    is_list = word.text.partition("=")[2].startswith("[")  # a quoted path may begin so too
    if is_list and "several" in offered:
        (key,) = asked(word.key, "several", folders)
        return [f"{word.key}=several", f"++{word.key}.{key}={word.value}"]
    is_path = "/" in word.value or Path(split_twin(word.value)[0]).exists()
    if word.value and is_path and word.value not in offered and "files" in offered:
        (key,) = asked(word.key, "files", folders)
        return [f"{word.key}=files", f"++{word.key}.{key}={quoted(word.value)}"]
    return [word.text]


def _check_root(word: Word, command: str) -> None:
    """Refuse groups and keys of sweeps without -m, and groups that only other commands have.

    Raises:
        ConfigError: CFG-06, CFG-03.
    """
    root, roots = root_of(word.key), composed_roots(command)
    if root not in roots and root in composed_roots("sweep"):
        raise ConfigError(
            "CFG-06",
            where=word.key,
            found="a key of a sweep",
            expected="keys and groups of one run",
            fix=f"add -m, and the values to try: -m seed=1,2,3 {word.text}",
        )
    if root not in roots and (config_folder() / word.key).is_dir():
        raise unknown_key(word.key, sorted(roots), value=word.value, root=roots)


def _compose(command: str, words: Sequence[str]) -> tuple[DictConfig, Mapping[str, str | None]]:
    """What Hydra composes, and the option chosen of each group."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("oc.env", _environment, replace=True)
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder().resolve())):
        config = compose(command, overrides=list(words), return_hydra_config=True)
    choices = dict(config.hydra.runtime.choices)
    OmegaConf.set_struct(config, value=False)
    del config["hydra"]
    return config, choices


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


def _check_options(words: Sequence[Word], choices: Mapping[str, str | None], folders: Sequence[Path]) -> None:
    """Refuse a key that another option of its group asks for, and not the one that is chosen.

    Raises:
        ConfigError: CFG-06, such as `data.fasta` beside `data=demo`.
    """
    for word in words:
        parent, _, name = word.key.rpartition(".")
        group = parent.replace(".", "/")
        chosen = choices.get(group)
        if not chosen or name in stated(group, chosen, folders):
            continue
        asking = [option for option in options(group, folders) if name in asked(group, option, folders)]
        if asking:
            plain = [option for option in asking if len(stated(group, option, folders)) <= 3] or asking
            raise ConfigError(
                "CFG-06",
                where=word.key,
                found=f"a key of {' or '.join(f'{group}={option}' for option in asking)}",
                expected=f"keys of {group}={chosen}, which is chosen",
                fix=f"add {group}={plain[0]}",
            )


def _scale_warmup(
    config: DictConfig, command: str, hydra_words: Sequence[str], typed: Collection[str]
) -> None:
    """Where `steps` alone is typed, warmup keeps its share of the run.

    Not so `masking.final_from`, which must stay when a run is extended.
    """
    from omegaconf import OmegaConf

    steps = config.get("steps")
    if "steps" not in typed or WARMUP in typed or not isinstance(steps, int) or steps < 1:
        return
    before, _ = _compose(command, [word for word in hydra_words if not word.startswith("++steps=")])
    of, count = before.get("steps"), OmegaConf.select(before, WARMUP, throw_on_missing=False)
    if isinstance(of, int) and isinstance(count, int) and 0 < count < of:
        OmegaConf.update(config, WARMUP, max(1, round(count * steps / of)))


def _remove_foreign_keys(
    config: DictConfig,
    choices: Mapping[str, str | None],
    typed: Collection[str],
    folders: Sequence[Path],
) -> None:
    """Remove what a size or debug option states and the component lacks, such as a model that is loaded.

    Likewise what an experiment states of its schedule or optimizer, if another is typed.
    """
    for group in ("experiment", "size", "debug"):
        option = choices.get(group)
        for path in _leaves(stated(group, option, folders)) if option else ():
            is_replaced = group != "experiment" or (path[0] in ("schedule", "optim") and path[0] in typed)
            if is_replaced and ".".join(path) not in typed and not _has_argument(config, path):
                _remove(config, path)


def _leaves(value: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of the values of nested mappings, a component being one value."""
    for name, item in value.items():
        if isinstance(item, dict) and "_target_" not in item:
            yield from _leaves(item, (*path, name))
        elif name != "defaults":
            yield (*path, name)


def _has_argument(config: DictConfig, path: Sequence[str]) -> bool:
    """Whether the components on the way to a key have it, as far as it can be read from source."""
    node: Any = config
    for name in path:
        if not hasattr(node, "get"):
            return True
        known = argument_names(node.get("_target_"))
        if known is not None and name not in known:
            return False
        node = node.get(name)
    return True


def _remove(config: DictConfig, path: Sequence[str]) -> None:
    """Remove a key, and the mappings above it that are left empty."""
    *above, name = path
    node: Any = config
    for part in above:
        node = node[part]
    if name in node:
        del node[name]
    if above and not node:
        _remove(config, above)


def _remove_tracks(config: DictConfig, typed: Collection[str]) -> None:
    """Remove the tracks of `data` whose files are not given, unless none is given."""
    from omegaconf import OmegaConf

    data = config.get("data")
    tracks: Any = data.get("tracks") if OmegaConf.is_dict(data) else None
    if not OmegaConf.is_dict(tracks):
        return
    asking = [
        name
        for name, node in tracks.items()
        if OmegaConf.is_dict(node) and any(OmegaConf.is_missing(node, part) for part in node)
    ]
    for name in asking if len(asking) < len(tracks) else ():
        if not any(key.startswith(f"data.tracks.{name}.") for key in typed):
            del tracks[name]


def _resolved(config: DictConfig, choices: Mapping[str, str | None]) -> dict[str, Any]:
    """Plain values; what refers to a value that is not given has none either, and `check` names both."""
    from omegaconf import OmegaConf
    from omegaconf.errors import InterpolationToMissingValueError

    OmegaConf.register_new_resolver("choice", lambda group: choices[group], replace=True)
    OmegaConf.register_new_resolver("origin", origin, replace=True)
    while True:
        try:
            plain = OmegaConf.to_container(config, resolve=True)
            break
        except InterpolationToMissingValueError as error:
            OmegaConf.update(config, str(error.full_key), "???")
    assert isinstance(plain, dict), "a root config is a mapping"
    return {str(key): value for key, value in plain.items()}


def _explain(error: Exception, overrides: Sequence[str], folders: Sequence[Path]) -> ConfigError:
    """Turn what Hydra, OmegaConf or YAML say into one sentence."""
    first, *_ = str(error).strip().splitlines() or [type(error).__name__]
    fix = "quote values that hold spaces, commas, braces or '=': 'key=\"value\"'"
    if first.startswith(("Ambiguous value", "Sweep parameters")):
        fix = (
            "write a list as key=[a,b], add -m to run a job for each value, or quote a value that holds "
            "commas: 'key=\"value\"'"
        )
    else:
        for word in overrides:
            group, _, name = word.lstrip("+").partition("=")
            offered = options(group, folders) if _GROUP.fullmatch(group) else []
            if offered and name not in offered and name not in ("null", ""):
                return _no_option(group, name, offered)
    return ConfigError(
        "CFG-01",
        where="config",
        found=" ".join(first.split()),
        expected="configs and overrides in Hydra's grammar",
        fix=fix,
    )


def _no_option(group: str, name: str, offered: Sequence[str]) -> ConfigError:
    nearest = difflib.get_close_matches(name, offered, n=1)
    path = f"a path, such as {group}=./{name}" if "files" in offered else ""
    if nearest:
        fix = f"did you mean {group}={nearest[0]}{f', or {path}' if path else ''}?"
    else:
        fix = f"choose one of those{f', or {path}' if path else ''}"
    return ConfigError(
        "CFG-03", where=group, found=f"no option {name!r}", expected=f"one of {', '.join(offered)}", fix=fix
    )


def read_resolved(path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """The config that a run has left, every choice made.

    Args:
        path: its `config.yaml`; the plugins that it records are not admitted by it.
        overrides: none; a run that differs is composed.

    Raises:
        ConfigError: CFG-27, there are overrides, or the file is no mapping in plain YAML; CFG-32, it would
            cost too much.
    """
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


def check_yaml(path: Path) -> None:
    """Refuse a file that is not worth reading; mistakes of grammar are left to whoever reads it.

    Args:
        path: a regular file.

    Raises:
        ConfigError: CFG-32, the file is too large, is no text in UTF-8, has anchors, or is nested too deep.
    """
    try:
        check_yaml_text(read_limited(path))
    except SmallFileError as error:
        raise ConfigError(
            "CFG-32",
            where=f"{path}:{error.line}" if error.line else str(path),
            found=error.found,
            expected=error.expected,
            fix="correct the file, or leave it out",
        ) from error
    except yaml.YAMLError:
        return
