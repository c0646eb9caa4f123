"""What a sweep shows while it runs: a line for each job, live on a terminal, when it ends elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.progress import Progress, SpinnerColumn, TaskID, TimeElapsedColumn

from dnalm.console import stderr, text_column
from dnalm.errors import escape_controls
from dnalm.sweeps.ledger import Record
from dnalm.tables import readable


class Display:
    """Running jobs as live lines; every job that ended as a line that stays.

    Args:
        metric: what is told of finished jobs.
    """

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._ended = 0
        self._lines: dict[str, TaskID] = {}
        columns = (SpinnerColumn(), text_column("running {task.description}"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def started(self, job: str) -> None:
        """Show that a job runs."""
        self._lines[job] = self._progress.add_task(escape_controls(job), total=None)

    def ended(self, record: Record, jobs: int) -> None:
        """Say how a job ended.

        Args:
            record: its last event.
            jobs: how many there are, as far as is known.
        """
        if (line := self._lines.pop(record.job, None)) is not None:
            self._progress.remove_task(line)
        self._ended += 1
        took = "" if record.seconds is None else f", {record.seconds:.0f} s"
        value = record.metrics.get(self._metric)
        told = f", {self._metric} {readable(value)}" if value is not None else ""
        why = f": {record.error}" if record.error else ""
        self._say(f"[{self._ended}/{jobs}] {record.status} {record.job}{took}{told}{why}")

    def _say(self, text: str) -> None:
        stderr.print(text)
