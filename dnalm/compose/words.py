"""Words of a command line that Hydra's grammar cannot read, and how they are written so that it can."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from dnalm.errors import ConfigError


def quoted(text: str) -> str:
    """A text as one value of Hydra's grammar, whatever letters it has; `${` refers to nothing in it."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text.replace("${", "\\${"), Quote.double).with_quotes()


def pasteable(key: str, value: str) -> str:
    """`key=value` as it is typed into a shell so that the value arrives as it is."""
    return shlex.quote(f"{key}={quoted(value)}")


def unreadable(words: Sequence[str]) -> ConfigError | None:
    """The first word that is not in Hydra's grammar, with the same word quoted; none if all are."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for word in words:
        key, equals, value = word.partition("=")
        try:
            parser.parse_override(word)
        except RecursionError:  # brackets within brackets: quotes are not what it lacks
            return None
        except HydraException:
            return ConfigError(
                "CFG-01",
                where=key.lstrip("+") or "config",
                found=value or word,
                expected="a value in Hydra's grammar, in which spaces, commas, braces and '=' are quoted",
                fix=f"write {pasteable(key, value)}" if equals else "write key=value",
            )
    return None
