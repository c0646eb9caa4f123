"""Checks one after the other, and a line for each thing that one of them finds.

A check is a function that yields findings. What it raises is a finding too: the sentence of the error is the
line, a FAIL, and the next check follows. A check that needs what an earlier one did not leave raises
`Untried`, and its line is a SKIP. So an examination always comes to its end.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from dnalm.console import stderr, stdout
from dnalm.errors import ConfigError, DataError, escape_controls
from dnalm.system_errors import bug_report, translate

Level = Literal["PASS", "WARN", "FAIL", "SKIP"]
T = TypeVar("T")
_STYLES: dict[Level, str] = {"PASS": "green", "WARN": "bold yellow", "FAIL": "bold red", "SKIP": "dim"}
_MARGIN, _WIDEST = 16, 100  # columns before a line's text, and of a line


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a check has found.

    Attributes:
        level: whether the run can start (PASS), starts and may disappoint (WARN), or fails (FAIL); SKIP was
            not tried.
        found: what is there.
        fix: what to do; empty where there is nothing to do.
        exit_code: of a FAIL: 3 where data are to be changed, else 2.
    """

    level: Level
    found: str
    fix: str = ""
    exit_code: int = 0


def passed(found: str) -> Finding:
    """Nothing is to be done."""
    return Finding(level="PASS", found=found)


def warned(found: str, *, fix: str) -> Finding:
    """The run can start, and may not be what was meant."""
    return Finding(level="WARN", found=found, fix=fix)


def failed(found: str, *, fix: str, of_data: bool = False) -> Finding:
    """The run would end early, or for nothing."""
    kind = DataError if of_data else ConfigError
    return Finding(level="FAIL", found=found, fix=fix, exit_code=kind.exit_code)


def failed_by(error: Exception) -> Finding:
    """What an error says, in its own words."""
    known = translate(error)
    if known is None:
        said = f"{type(error).__name__}: {error}".partition("\n")[0]
        return failed(said, fix=bug_report().removeprefix("dnalm: "))
    found = f"{known.code} {known.where}: {known.found}; {known.expected}"
    return failed(found, fix=known.fix, of_data=isinstance(known, DataError))


class Untried(Exception):  # noqa: N818 -- it is no error
    """A check needs what an earlier one did not leave; the text says what, as in `no genome was opened`."""


def there(value: T | None, absent: str) -> T:
    """What an earlier check has left.

    Raises:
        Untried: it has not; `absent` says so.
    """
    if value is None:
        raise Untried(absent)
    return value


@dataclass(frozen=True)
class Check:
    """A name of at most nine letters, and what looks."""

    name: str
    look: Callable[[], Iterable[Finding]]


@dataclass(frozen=True)
class Line:
    """A finding with the name of its check."""

    check: str
    finding: Finding

    def text(self, width: int) -> str:
        """Level, name and finding, what to do below it, within so many columns."""
        finding, blank = self.finding, " " * _MARGIN
        lines = _wrapped(f"{finding.level}  {self.check:<9} ", finding.found, width)
        lines += _wrapped(f"{blank}-> ", finding.fix, width) if finding.fix else []
        return "\n".join(lines)


def _wrapped(head: str, text: str, width: int) -> list[str]:
    whole = " ".join(escape_controls(text).split())
    return textwrap.wrap(
        head + whole,
        width=width,
        subsequent_indent=" " * len(head),
        break_on_hyphens=False,
        break_long_words=False,
    )


@dataclass(frozen=True)
class Examination:
    """All lines, in the order of the checks."""

    lines: Sequence[Line]

    @property
    def exit_code(self) -> int:
        """That of the first FAIL; 0 where there is none."""
        return next((line.finding.exit_code for line in self.lines if line.finding.level == "FAIL"), 0)

    def figures(self) -> dict[str, object]:
        """Everything, for `json=true`."""
        rows = [
            {"check": line.check, "level": line.finding.level, "found": line.finding.found}
            | ({"fix": line.finding.fix} if line.finding.fix else {})
            for line in self.lines
        ]
        return {"exit_code": self.exit_code, "counts": self._counts(), "lines": rows}

    def _counts(self) -> dict[str, int]:
        counted = Counter(line.finding.level for line in self.lines)
        return {level: counted[level] for level in _STYLES if counted[level]}

    def sentence(self) -> str:
        """How many lines of each kind, and what that means."""
        counts = self._counts()
        said = ", ".join(f"{count} {level}" for level, count in counts.items())
        if self.exit_code:
            return f"{said}: correct the first FAIL, then ask again"
        return f"{said}: the run can start" + (", once the warnings are weighed" if "WARN" in counts else "")


def examine(checks: Iterable[Check], *, prints: bool = True) -> Examination:
    """Run the checks, and print each line as soon as it is there.

    With `-q` WARN and FAIL are printed to stderr, and nothing else.

    Args:
        checks: in their order.
        prints: whether lines are printed.
    """
    lines: list[Line] = []
    printed = 0
    for check in checks:
        for finding in _findings(check):
            lines.append(Line(check.name, finding))
            if prints and finding.level != "SKIP":
                _print_from(lines[printed:])
                printed = len(lines)
    if prints:
        _print_from(lines[printed:])
    return Examination(lines)


def _findings(check: Check) -> Iterator[Finding]:
    try:
        yield from check.look()
    except Untried as missing:
        yield Finding(level="SKIP", found=f"not tried: {missing}")
    except Exception as error:  # whatever it is, further checks follow
        yield failed_by(error)


def _print_from(lines: Sequence[Line]) -> None:
    """Print lines; checks in a row that were not tried share one."""
    skipped = [line for line in lines if line.finding.level == "SKIP"]
    if skipped:
        first, *others = skipped
        also = f"; nor {', '.join(line.check for line in others)}" if others else ""
        _print(replace(first, finding=replace(first.finding, found=first.finding.found + also)))
    for line in lines[len(skipped) :]:
        _print(line)


def _print(line: Line) -> None:
    level = line.finding.level
    is_said = not stdout.quiet
    if not is_said and level not in ("WARN", "FAIL"):
        return
    console = stdout if is_said else stderr
    text = line.text(min(console.width, _WIDEST))
    console.print(text[: len(level)], style=_STYLES[level], end="")
    console.print(text[len(level) :])
