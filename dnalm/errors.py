"""Errors a user can act on: one sentence each, and an exit code that says who must act.

Every message reads `CODE where: found; expected. Fix: what to do.` and is printed without a
traceback unless `--debug` is given. Code that fails for our own reasons uses `assert`.
"""

from __future__ import annotations

from collections.abc import Mapping


class DnalmError(Exception):
    """A failure whose cause lies outside the program.

    Args:
        code: stable short name of the case, such as `FASTA-05`.
        where: file and line, contig and position, or config key.
        found: what is there.
        expected: the rule it breaks.
        fix: what the user can do about it.
    """

    exit_code = 1

    def __init__(self, code: str, *, where: str, found: str, expected: str, fix: str) -> None:
        self.code, self.where, self.found = code, where, found
        self.expected, self.fix = expected, fix
        stop = "" if fix.endswith("?") else "."
        super().__init__(_without_controls(f"{code} {where}: {found}; {expected}. Fix: {fix}{stop}"))

    def as_parts(self) -> dict[str, str]:
        """What another process can make the same error of."""
        named = ("code", "where", "found", "expected", "fix")
        return {"kind": type(self).__name__, **{name: getattr(self, name) for name in named}}

    @staticmethod
    def of_parts(parts: Mapping[str, str]) -> DnalmError:
        """The error of another process, of its own kind."""
        kinds = {kind.__name__: kind for kind in _kinds_below(DnalmError)}
        kind = kinds.get(parts["kind"], DnalmError)
        return kind(**{name: part for name, part in parts.items() if name != "kind"})


class ConfigError(DnalmError):
    """The composed config cannot be built: a key, a type, a range, a path."""

    exit_code = 2


class DataError(DnalmError):
    """An input file is damaged, malformed or does not hold what the config asks of it."""

    exit_code = 3


class CheckpointError(DnalmError):
    """A checkpoint or model directory cannot be trusted or does not fit."""

    exit_code = 4


class NumericsError(DnalmError):
    """Training left the finite numbers."""

    exit_code = 5


class DistributedError(DnalmError):
    """A rank failed, stalled or disagrees with the others."""

    exit_code = 6


def _without_controls(text: str) -> str:
    """Control characters of names and files as escapes, since they could rewrite a terminal or a log."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _kinds_below(kind: type[DnalmError]) -> list[type[DnalmError]]:
    """A kind of error and those derived from it, which further modules may define."""
    return [kind, *(below for derived in kind.__subclasses__() for below in _kinds_below(derived))]
