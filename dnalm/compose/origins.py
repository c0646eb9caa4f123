"""`dnalm config`: where each value of a composed config comes from.

Hydra's own defaults list says which files a config is made of, in the order in which they are merged, and
under which key each of them stands (`# @package`). The same files, and then the words of the command line,
are laid over each other here, each value with the name of its origin, so that the later wins as it does
when Hydra merges. What none of them states is a default of a signature, which is read from source: only where
it does not stand there in full is a component imported.

Nothing is checked but names. A value that a type refuses is shown too, with the file to correct.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.text import Text

from dnalm.compose.check import MISSING, as_json, parameters_of
from dnalm.compose.config import WARMUP, hydra_words, listed_defaults, read_config
from dnalm.compose.neighbours import join, read_words, walk
from dnalm.compose.signatures import arguments, literal_defaults
from dnalm.compose.targets import resolve, settable_names
from dnalm.console import stdout
from dnalm.errors import escape_controls
from dnalm.paths import config_folder

COMMAND_LINE = "command line"
_WIDEST = 56  # characters of a line; the comment of a longer one does not stand below the others


@dataclass(frozen=True, kw_only=True)
class Stated:
    """A value as a file or the command line states it.

    Attributes:
        source: a file, or the command line.
        value: before it is resolved, such as `${choice:size}`.
    """

    source: str
    value: object


# of a mapping `${…}` over which a later file lays keys of its own
_REFERRED = Stated(source="another key, which is referred to", value=None)


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A value of a composed config.

    Attributes:
        value: plain YAML in which no component stands.
        origin: in words.
    """

    value: Any
    origin: str


@dataclass(frozen=True, kw_only=True)
class Explained:
    """A composed config with the origins of its values.

    Attributes:
        groups: the option that was chosen of each group, and by whom.
        tree: dicts and lists as the config has them, leaves in place of values.
    """

    groups: Mapping[str, Leaf]
    tree: Any

    def leaves(self) -> Iterator[tuple[str, Leaf]]:
        """Every leaf with its key, from the top down."""
        return ((key, node) for key, node in walk(self.tree) if isinstance(node, Leaf))

    def figures(self) -> dict[str, dict[str, dict[str, Any]]]:
        """For JSON: `groups` and `keys`, of each its value and its origin."""
        named = {"groups": self.groups.items(), "keys": self.leaves()}
        return {
            name: {key: {"value": leaf.value, "origin": leaf.origin} for key, leaf in leaves}
            for name, leaves in named.items()
        }

    def lines(self) -> Iterator[tuple[str, str]]:
        """Lines of YAML, each with the origin of what stands there, or nothing."""
        for group, leaf in self.groups.items():
            yield f"# {group}={leaf.value}", leaf.origin
        yield from _yaml_lines(self.tree)

    def show(self, *, as_json: bool) -> None:
        """Print YAML with the origins as comments below each other, or JSON."""
        if as_json:
            print(json.dumps(self.figures(), indent=2))
            return
        lines = list(self.lines())
        column = max(len(text) for text, _ in lines if len(text) <= _WIDEST)
        for text, origin in lines:
            comment = f"  # {' '.join(origin.split())}" if origin else ""
            line = Text(escape_controls(text).ljust(column if origin else 0))
            stdout.print(line.append(escape_controls(comment), style="cyan"))


def explain(command: str, overrides: Sequence[str], *, extra_folder: Path | None = None) -> Explained:
    """Compose a config and name the origin of each value.

    Args:
        command: its name, of one word or two.
        overrides: as for `read_config`.
        extra_folder: likewise.

    Raises:
        ConfigError: as `read_config`; a component that is imported for its defaults may not be built.
    """
    root = command.replace(" ", "_")
    values = read_config(root, overrides, extra_folder=extra_folder)
    found = listed_defaults(root, hydra_words(root, overrides, extra_folder=extra_folder))
    folders = {"conf": config_folder()} | ({str(extra_folder): extra_folder} if extra_folder else {})

    def place(path: str | None) -> tuple[str, Path] | None:
        """The name of a file to show, and the file; None of Hydra's own. No file replaces one of `conf/`."""
        files = ((f"{name}/{path}.yaml", folder / f"{path}.yaml") for name, folder in folders.items())
        return next(((name, file) for name, file in files if file.is_file()), None)

    stated: dict[Any, Any] = {}
    for default in found.defaults:
        if (placed := place(default.config_path)) is not None:
            name, file = placed
            _overlay(stated, _nested(default.package or "", _plain(file)), name)
    for word in found.config_overrides:
        if not word.is_delete():
            _overlay(stated, _nested(word.key_or_group, word.value()), COMMAND_LINE)
    typed = {word.key for word in read_words(overrides)}
    groups = _groups(found, typed, lambda path: (place(path) or (path, None))[0])
    return Explained(groups=groups, tree=_explained(values, stated, command=command))


def explain_resolved(path: Path, values: Mapping[str, Any], *, command: str) -> Explained:
    """The same of a config that a run has left, in which every choice is made.

    Args:
        path: the file.
        values: what it holds.
        command: its command.
    """
    stated = Stated(source=str(path), value=None)
    return Explained(groups={}, tree=_explained(dict(values), stated, command=command))


def _plain(path: Path) -> dict[Any, Any]:
    """What a file states, as OmegaConf reads it, which takes 1e-3 for a number."""
    from omegaconf import OmegaConf

    tree = OmegaConf.to_container(OmegaConf.load(path))
    return (
        {name: value for name, value in tree.items() if name != "defaults"} if isinstance(tree, dict) else {}
    )


def _nested(key: str, value: Any) -> dict[Any, Any]:  # noqa: ANN401 -- any YAML
    """A value below its key, such as `data.split`; of an empty key itself."""
    for name in reversed(key.split(".") if key else []):
        value = {name: value}
    assert isinstance(value, dict), "what has no key is a mapping"
    return value


def _overlay(below: dict[Any, Any], above: Mapping[Any, Any], source: str) -> None:
    """Lay what a source states over what is stated so far, as OmegaConf merges.

    A value or a list replaces; a mapping replaces all but another; what is still to be given (`???`) replaces
    nothing in a file, and anything on the command line.
    """
    for name, value in above.items():
        node = below.get(name)
        if isinstance(value, dict) and value:
            if not isinstance(node, dict):
                node = below[name] = {}
            _overlay(node, value, source)
        elif isinstance(value, dict) and isinstance(node, dict):
            continue
        elif value != MISSING or node is None or source == COMMAND_LINE:
            below[name] = Stated(source=source, value=value)


def _groups(found: Any, typed: Collection[str], shown: Callable[[str], str]) -> dict[str, Leaf]:  # noqa: ANN401
    """The options that are chosen, and who chose them: the command line, or a file's defaults list."""
    parents = {default.config_path: default.parent for default in found.defaults}
    choices = {}
    for group, option in sorted(found.overrides.known_choices.items()):
        if group.startswith("hydra/") or option is None:
            continue
        path, chosen = f"{group.partition('@')[0]}/{option}", found.overrides.override_metadata.get(group)
        if group in typed:
            origin = COMMAND_LINE
        elif chosen is not None and chosen.external_override:
            origin = "as published, where an experiment is named and no size"
        elif chosen is not None:
            origin = shown(str(chosen.containing_config_path))
        elif path in parents:
            origin = shown(parents[path])
        else:  # an optional one that there is not, such as a size of one experiment alone
            continue
        choices[group] = Leaf(value=option, origin=origin)
    return choices


def _explained(
    value: Any,  # noqa: ANN401 -- any YAML
    stated: Any,  # noqa: ANN401 -- of the same shape
    *,
    key: str = "",
    command: str | None = None,
    fill: bool = True,
) -> Any:  # noqa: ANN401
    """A value of a config with leaves in place of values, defaults of signatures among them.

    Args:
        value: composed.
        stated: the same with `Stated` in place of values; one alone holds for all that is below it.
        key: where it stands.
        command: of the root.
        fill: whether defaults are added.
    """
    if isinstance(value, dict) and value:
        target = value.get("_target_")
        as_written = {one.name for one in arguments(target) or () if "AsWritten" in one.type}
        tree: dict[Any, Any] = {}
        for name, item in value.items():
            below = stated.get(name, _REFERRED) if isinstance(stated, dict) else stated
            is_filled = fill and name not in as_written
            tree[name] = _explained(item, below, key=join(key, str(name)), fill=is_filled)
        defaults = _defaults(target, key=key, command=command) if fill and target is not None else {}
        for name in [name for name in defaults if name not in tree]:
            tree[name] = Leaf(value=defaults[name], origin=f"default of {target}")
        return tree
    if isinstance(value, list) and any(isinstance(item, dict) for _, item in walk(value)):
        below = Stated(source=COMMAND_LINE, value=None) if isinstance(stated, dict) else stated
        return [
            _explained(item, below, key=f"{key}[{number}]", fill=fill) for number, item in enumerate(value)
        ]
    return Leaf(value=value, origin=_in_words(value, stated, key))


def _in_words(value: object, stated: Any, key: str) -> str:  # noqa: ANN401
    if isinstance(stated, dict):  # an entry of a list that the command line has set by its number
        return COMMAND_LINE
    if isinstance(stated.value, str) and "${" in stated.value:
        return f"{stated.source}: {stated.value}"
    if value == MISSING:
        return f"not given yet; {stated.source} asks for it"
    if key == WARMUP and stated.value not in (None, value):
        return f"{stated.source}: {stated.value}, shortened with steps"
    return str(stated.source)


def _defaults(target: object, *, key: str, command: str | None) -> dict[str, Any]:
    """The defaults of a component that YAML can hold, in the order of its arguments."""
    found = literal_defaults(target, settable_names(target))
    if found is None:
        parameters = parameters_of(resolve(target, key=key, command=command))
        found = {name: parameter.default for name, parameter in parameters.items()}
    texts = {name: as_json(default) for name, default in found.items()}
    return {name: json.loads(text) for name, text in texts.items() if text is not None}


def _yaml_lines(node: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 -- a tree
    """Lines of YAML and their origins, without indentation of the whole."""
    if isinstance(node, Leaf):
        yield _in_a_line(node.value), node.origin
    elif isinstance(node, list):
        for item in node:
            for number, (text, origin) in enumerate(_yaml_lines(item)):
                yield f"{'  ' if number else '- '}{text}", origin
    else:
        for name, item in node.items():
            if isinstance(item, Leaf):
                yield f"{_in_a_line(name)}: {_in_a_line(item.value)}", item.origin
            else:
                yield f"{_in_a_line(name)}:", ""
                yield from ((f"  {text}", origin) for text, origin in _yaml_lines(item))


def _in_a_line(value: object) -> str:
    """A value as YAML without a line break."""
    text = yaml.safe_dump([value], default_flow_style=True, sort_keys=False, width=math.inf).strip()[1:-1]
    return json.dumps(value) if "\n" in text else text
