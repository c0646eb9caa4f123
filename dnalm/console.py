"""The one place that writes to the terminal: shared consoles and the progress bar of long work.

What is printed is text and nothing else: no markup, no emoji codes, invisible characters as escapes, for it
holds names and paths of others. Progress goes to stderr, so that stdout holds results only and can be piped.
Where stderr is no terminal, a bar would fill a log with control characters; long work says a line there when
it ends, and one every half minute.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, HighlighterType, JustifyMethod, OverflowMethod, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.style import Style
from rich.text import Text

from dnalm.errors import escape_controls

_QUIET = "DNALM_QUIET"  # the environment variable that says so to processes that this one starts
_LONG_S = 2.0  # work that takes longer is said where no bar is drawn
_BETWEEN_S = 30.0  # between two lines about the same work


class _PlainConsole(Console):
    """A console that takes text as it is."""

    def __init__(self, *, to_stderr: bool) -> None:
        super().__init__(stderr=to_stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)

    def render_str(
        self,
        text: str,
        *,
        style: str | Style = "",
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
        emoji: bool | None = None,
        markup: bool | None = None,
        highlight: bool | None = None,
        highlighter: HighlighterType | None = None,
    ) -> Text:
        """A text whose invisible characters are escapes; rich asks for every string that it prints."""
        return super().render_str(
            escape_controls(text),
            style=style,
            justify=justify,
            overflow=overflow,
            emoji=emoji,
            markup=markup,
            highlight=highlight,
            highlighter=highlighter,
        )

    def on_broken_pipe(self) -> None:
        """End the program with the code of its signal where nobody reads its output any more."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE)


stdout, stderr = _PlainConsole(to_stderr=False), _PlainConsole(to_stderr=True)
_hidden: list[bool] = []  # not empty in a process that draws no bars


class _SpeedColumn(ProgressColumn):
    """Items a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """Nothing until it is known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} {self._unit}/s")


def be_quiet() -> None:
    """Print nothing but warnings and errors, in this process and those it starts."""
    os.environ[_QUIET] = "1"
    stdout.quiet = True
    hide_bars()


def hide_bars() -> None:
    """Draw no bars in this process from now on, for others beside it write to the same terminal."""
    _hidden.append(True)


@contextmanager
def progress_bar(
    title: str, *, total: int | None, in_bytes: bool = False, unit: str | None = None
) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr while a block runs.

    Args:
        title: what is being done, such as `Reading sacCer3.fa.gz`.
        total: amount of work, in bytes or in items; None where it is not known.
        in_bytes: show sizes and speed in bytes rather than a count of items.
        unit: of items whose number a second is shown, such as `variants`.

    Yields:
        A function to call with the amount of work just done.
    """
    amounts: tuple[ProgressColumn, ...] = (
        (DownloadColumn(), TransferSpeedColumn()) if in_bytes else (MofNCompleteColumn(),)
    )
    speed = () if unit is None else (_SpeedColumn(unit),)
    if not stderr.is_terminal:
        yield from _progress_lines(title, total)
        return
    columns = (text_column("{task.description}"), BarColumn(), *amounts, *speed, TimeRemainingColumn())
    with live_display(*columns) as progress:
        task = progress.add_task(escape_controls(title), total=total)
        yield lambda amount: progress.update(task, advance=amount)


class _Lines(Progress):
    """Bars that stay when they end, and a line of text below them, cut where the terminal ends."""

    def __init__(self, *columns: ProgressColumn, below: Callable[[], str], disable: bool) -> None:
        self._below = below  # before rich asks for it
        super().__init__(*columns, console=stderr, disable=disable)

    def get_renderables(self) -> Iterator[RenderableType]:
        """Rich asks for them each time it draws."""
        yield from super().get_renderables()
        yield Text(escape_controls(self._below()), no_wrap=True, overflow="ellipsis")


def live_display(*columns: ProgressColumn, below: Callable[[], str] | None = None) -> Progress:
    """Lines that change during work, on stderr; nothing off a terminal or where bars are hidden.

    Args:
        columns: of the bars.
        below: the line below them; with one, all of it stays when the work ends.
    """
    disable = bool(_hidden) or not stderr.is_terminal
    if below is None:
        return Progress(*columns, console=stderr, transient=True, disable=disable)
    return _Lines(*columns, below=below, disable=disable)


def print_progress(sentence: str) -> None:
    """A line about work under way, where no bar can be drawn; nothing where bars are hidden."""
    if not _hidden:
        stderr.print(sentence)


def text_column(text: str) -> TextColumn:
    """A column of a bar whose text is not taken for markup."""
    return TextColumn(text, markup=False)


def _progress_lines(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """The lines of `progress_bar` off a terminal; none in a process whose bars are hidden."""
    began = said_at = time.monotonic()
    done = 0

    def advance(amount: int) -> None:
        nonlocal done, said_at
        done += amount
        if not _hidden and time.monotonic() - said_at >= _BETWEEN_S:
            said_at = time.monotonic()
            share = f"{min(done / total, 1):.0%}" if total else f"{done:,}"
            stderr.print(f"{title} ... {share} after {said_at - began:.0f} s")

    yield advance
    if not _hidden and (seconds := time.monotonic() - began) >= _LONG_S:
        stderr.print(f"{title} ... {seconds:.1f} s")


if os.environ.get(_QUIET):
    be_quiet()
