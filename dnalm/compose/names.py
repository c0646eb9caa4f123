"""Names that nothing has: refused before anything is imported, with the name that was probably meant.

A misspelt key is held against the arguments as the source states them, so that the answer takes no import
of torch. Where the key is one that a neighbouring program has (transformers, Lightning, Hydra templates),
ours is named.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from dnalm.compose.neighbours import NEIGHBOURS, said_here
from dnalm.compose.signatures import parameters_of
from dnalm.compose.words import given_twice, repeated
from dnalm.errors import ConfigError

RESERVED = ("_target_", "_partial_")
_SLIP = 0.85  # from here on a name is a misspelling rather than another program's word

Others = Callable[[str, str], Sequence[str]]  # options of the group at a key that have an argument


def check_names(
    config: dict[str, Any], *, given: Collection[str], root: Collection[str], others: Others
) -> None:
    """Refuse the first key that its component lacks, as far as source tells, and entries that are repeated.

    Args:
        config: a composed root config.
        given: arguments of the root that the program fills.
        root: groups and keys of the command.
        others: the options of the config group at a key that take an argument which the chosen one lacks.

    Raises:
        ConfigError: CFG-03, a key is unknown; CFG-05, a list of names has one of them twice.
    """
    for key, node in _nodes(config, ""):
        known = parameters_of(node.get("_target_"))
        for name, value in node.items() if "_target_" not in node or known is not None else ():
            elsewhere = others(key, name) if name not in (*RESERVED, *(known or ())) else []
            if elsewhere or (known is not None and _is_unknown(key, name, known, given)):
                arguments = [argument for argument in known or [] if key or argument not in given]
                raise unknown_key(join(key, name), arguments, value=value, root=root, others=elsewhere)
    for key, values in _lists(config, ""):
        twice = repeated(values)
        if twice is not None:
            raise given_twice(key, f"{twice}")


def _is_unknown(key: str, name: str, known: Collection[str], given: Collection[str]) -> bool:
    return name not in RESERVED and (name not in known or (not key and name in given))


def unknown_key(
    key: str,
    known: Sequence[str],
    *,
    value: object = None,
    root: Collection[str] = (),
    others: Sequence[str] = (),
) -> ConfigError:
    """The error of a key that its component lacks.

    Args:
        key: the whole key.
        known: the arguments of the component.
        value: what it was given.
        root: keys of the command's config, where a word of a neighbour may be meant.
        others: `group=option` of those that have it.
    """
    parent, _, name = key.rpartition(".")
    nearest = difflib.get_close_matches(name, known, n=1)
    is_slip = bool(parent) and bool(difflib.get_close_matches(name, known, n=1, cutoff=_SLIP))
    while not parent and isinstance(value, dict) and len(value) == 1:  # typed as one key: `optimizer.lr=…`
        ((inner, value),) = value.items()
        key = join(key, str(inner))
    neighbour = None if is_slip and key not in NEIGHBOURS else said_here(key, value, root)
    if others:
        hint = f"add {' or '.join(others)}"
    elif neighbour is not None:
        hint = neighbour
    else:
        hint = f"did you mean {join(parent, nearest[0])}?" if nearest else f"use {' or '.join(known)}"
    arguments = "the one argument" if len(known) == 1 else f"one of the {len(known)} arguments"
    return ConfigError(
        "CFG-03",
        where=key,
        found="unknown key",
        expected=f"{arguments} of {parent or 'the command'}" if known else f"a component at {parent}",
        fix=hint,
    )


def _nodes(value: object, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping, from the root down, with its key."""
    if isinstance(value, dict):
        yield key, value
        for name, item in value.items():
            yield from _nodes(item, join(key, str(name)))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _nodes(item, f"{key}[{number}]")


def _lists(value: object, key: str) -> Iterator[tuple[str, list[str]]]:
    """Every list of names, with its key."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _lists(item, join(key, str(name)))
    elif isinstance(value, list):
        if value and all(isinstance(item, str) for item in value):
            yield key, value
        for number, item in enumerate(value):
            yield from _lists(item, f"{key}[{number}]")


def join(key: str, name: str) -> str:
    """The key of an argument of the component at `key`."""
    return f"{key}.{name}" if key else name
