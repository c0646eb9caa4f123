"""Errors a user can act on: one sentence each, and an exit code that says who must act.

Every message reads `CODE where: found; expected. Fix: what to do.` and is printed without a
traceback unless `--debug` is given. Code that fails for our own reasons uses `assert`. What the operating
system and libraries raise, `system_errors` translates.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

BUG = 1  # the exit code of a fault of the program itself
_MOST_LETTERS = 60  # of a value that a message shows
_MOST_ENTRIES = 5  # of a list
_MOST_OF_A_MESSAGE = 2_000  # letters of what is found, whatever the file holds


class DnalmError(Exception):
    """A failure whose cause lies outside the program.

    Args:
        code: stable short name of the case, such as `FASTA-05`.
        where: file and line, contig and position, or config key.
        found: what is there.
        expected: the rule it breaks.
        fix: what the user can do about it.
    """

    exit_code = BUG

    def __init__(self, code: str, *, where: str, found: str, expected: str, fix: str) -> None:
        self.code, self.where, self.found = code, where, found
        self.expected, self.fix = expected, fix
        stop = "" if fix.endswith("?") else "."
        found, expected = _within_bounds(found), _within_bounds(expected)
        super().__init__(escape_controls(f"{code} {where}: {found}; {expected}. Fix: {fix}{stop}"))

    def __reduce__(self) -> tuple[Callable[[Mapping[str, str]], DnalmError], tuple[dict[str, str]]]:
        """Travel between processes whole, which exceptions with arguments by name do not by themselves."""
        return DnalmError.of_parts, (self.as_parts(),)

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


def shown(value: object) -> str:
    """A value as a message shows it: its repr, cut at 60 characters or five entries, with the count."""
    if isinstance(value, str | bytes):
        cut = f"… ({len(value):,} characters)" if len(value) > _MOST_LETTERS else ""
        return f"{value[:_MOST_LETTERS]!r}{cut}"
    try:
        if isinstance(value, list | tuple) and len(value) > _MOST_ENTRIES:
            return f"[{listed(value)}]"
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}…"


def listed(values: Collection[object]) -> str:
    """Entries of a list as a message shows them: five, each cut at 60 characters, and their number."""
    first = [str(value) for value, _ in zip(values, range(_MOST_ENTRIES), strict=False)]
    text = ", ".join(each if len(each) <= _MOST_LETTERS else f"{each[:_MOST_LETTERS]}…" for each in first)
    return text if len(values) <= _MOST_ENTRIES else f"{text}, … ({len(values):,} in all)"


def _within_bounds(text: str) -> str:
    if len(text) <= _MOST_OF_A_MESSAGE:
        return text
    return f"{text[:_MOST_OF_A_MESSAGE]}… ({len(text):,} characters)"


def escape_controls(text: str) -> str:
    """Invisible characters of names and files as escapes, since they could rewrite a terminal or a page.

    Controls such as ESC, those that turn the direction of text, and characters without width; a line break
    and a tab stay.
    """
    return "".join(c if c.isprintable() or c in "\n\t" else _escape(c) for c in text)


def _escape(letter: str) -> str:
    if 0xDC80 <= ord(letter) <= 0xDCFF:  # a byte of a file's name that is no UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()


def _kinds_below(kind: type[DnalmError]) -> list[type[DnalmError]]:
    """A kind of error and those derived from it, which further modules may define."""
    return [kind, *(below for derived in kind.__subclasses__() for below in _kinds_below(derived))]
