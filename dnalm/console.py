"""The one place that writes to the terminal: a shared console and the progress bar of long work.

Progress goes to stderr, so that stdout holds results only and can be piped. Where stderr is no
terminal, a bar would fill a log with control characters, so none is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
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
from rich.text import Text

stdout = Console(soft_wrap=True, highlight=False)
stderr = Console(stderr=True, soft_wrap=True, highlight=False)
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
    columns = (TextColumn("{task.description}"), BarColumn(), *amounts, *speed, TimeRemainingColumn())
    is_hidden = bool(_hidden) or not stderr.is_terminal
    with Progress(*columns, console=stderr, transient=True, disable=is_hidden) as progress:
        task = progress.add_task(title, total=total)
        yield lambda amount: progress.update(task, advance=amount)
