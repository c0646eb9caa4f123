"""Words of a command line in Hydra's grammar, and how a value is written so that the grammar can read it."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dnalm.errors import ConfigError
from dnalm.paths import quoted


@dataclass(frozen=True, kw_only=True)
class Word:
    """One `key=value` as Hydra's grammar reads it.

    Attributes:
        text: as it was typed.
        prefix: `+`, `++`, `~` or nothing.
        key: config key or group, without its prefix; with `@package` if one is given.
        value: the text of its value, quotes resolved; empty where there is none.
    """

    text: str
    prefix: str
    key: str
    value: str


def read_words(words: Sequence[str]) -> list[Word]:
    """Read what was typed.

    Raises:
        ConfigError: CFG-16, a word is no `key=value` or sets something of Hydra itself; CFG-01, it is not in
            Hydra's grammar; CFG-05, a key or group is given twice.
    """
    read = [_read_word(word) for word in words]
    seen: dict[str, Word] = {}
    for word in read:
        if word.key in seen and word.prefix != "~":
            raise given_twice(word.key, f"{seen[word.key].text} and {word.text}")
        seen[word.key] = word
    return read


def given_twice(key: str, found: str) -> ConfigError:
    """The error of a key, a group or an entry of a list that is given more than once."""
    return ConfigError(
        "CFG-05", where=key, found=f"{found}: given twice", expected="each once", fix="leave one of them out"
    )


def overridden(words: Sequence[str], later: Sequence[str]) -> list[str]:
    """Words of a recipe and the user's own, which win: none of the recipe's for a key that they set."""
    set_later = {_bare_key(word) for word in later}
    return [*(word for word in words if _bare_key(word) not in set_later), *later]


def _bare_key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def repeated(entries: Iterable[object]) -> object | None:
    """The first entry that has been there before; None if there is none."""
    seen: set[object] = set()
    for entry in entries:
        if entry in seen:
            return entry
        seen.add(entry)
    return None


def _read_word(word: str) -> Word:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, equals, value = word.partition("=")
    bare = key.lstrip("+~")
    if not equals and not word.startswith("~"):
        raise ConfigError(
            "CFG-16",
            where=word,
            found="an argument without '='",
            expected="key=value or group=option",
            fix="write it as key=value; options of the program begin with --",
        )
    try:
        parsed = OverridesParser.create().parse_override(word)
    except RecursionError as error:  # brackets within brackets: quotes are not what it lacks
        raise ConfigError(
            "CFG-01", where=bare, found="brackets nested too deep", expected="a flatter value", fix="mend it"
        ) from error
    except HydraException as error:
        raise _unreadable(word) from error
    if "{" in value:
        _check_braces(word, bare)
    given = parsed.value() if equals else ""
    text = given if isinstance(given, str) else value
    return Word(text=word, prefix=key[: len(key) - len(bare)], key=bare, value=text)


def _check_braces(word: str, key: str) -> None:
    """Refuse a key that stands twice within one pair of braces, of which Hydra keeps the last."""
    grammar: Any = importlib.import_module("hydra.core.override_parser.overrides_parser")  # it is untyped
    stream = grammar.CommonTokenStream(grammar.OverrideLexer(grammar.InputStream(word)))
    waiting: list[Any] = [grammar.OverrideParser(stream).override()]
    while waiting:
        node = waiting.pop()
        below = [node.getChild(number) for number in range(node.getChildCount())]
        if isinstance(node, grammar.OverrideParser.DictContainerContext):
            pairs = [
                pair for pair in below if isinstance(pair, grammar.OverrideParser.DictKeyValuePairContext)
            ]
            twice = repeated(pair.dictKey().getText() for pair in pairs)
            if twice is not None:
                raise given_twice(key, f"{twice}")
        waiting += below


def _unreadable(word: str) -> ConfigError:
    """The error of a word that is not in Hydra's grammar, with the same word quoted."""
    key, equals, value = word.partition("=")
    return ConfigError(
        "CFG-01",
        where=key.lstrip("+") or "config",
        found=value or word,
        expected="a value in Hydra's grammar, in which spaces, commas, braces and '=' are quoted",
        fix=f"write {pasteable(key, value)}" if equals else "write key=value",
    )


def pasteable(key: str, value: str) -> str:
    """`key=value` as it is typed into a shell so that the value arrives as it is."""
    return shlex.quote(f"{key}={quoted(value)}")
