"""Run jobs side by side until each has ended in some way, and keep the books.

Whatever happens to a job is recorded and the others go on; a signal to the sweep is passed on to the
jobs, so that they can save what they have.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import FrameType

from dnalm.sweeps.display import Display
from dnalm.sweeps.folder import SweepFolder
from dnalm.sweeps.job import Job
from dnalm.sweeps.ledger import Ledger, read_summary
from dnalm.sweeps.local import Launcher, Running
from dnalm.sweeps.outcome import Ended

Checker = Callable[[Job], str]  # what is wrong with a job's config; empty if nothing is


class Runner:
    """Runs the jobs of a sweep.

    Args:
        folder: where.
        ledger: of that folder, opened.
        launcher: starts them.
        check: composes a job's config.
    """

    def __init__(self, folder: SweepFolder, ledger: Ledger, launcher: Launcher, check: Checker) -> None:
        self.jobs: dict[str, Job] = {}
        self._folder, self._ledger, self._launcher, self._check = folder, ledger, launcher, check
        self._running: dict[str, Running] = {}
        self._all_known = False
        self._display = Display(folder.metric)

    def run(self, known: Sequence[Job], following: Callable[[], Job | None]) -> int | None:
        """Run all jobs.

        Args:
            known: all are checked before one starts.
            following: the next job after those; None if there is none.

        Returns:
            The signal that ended the sweep, if one did.
        """
        with self._display, _caught_signals() as caught:
            self.jobs = {job.id: job for job in known}
            queue = deque(job for job in self.jobs.values() if self._to_run(job))
            self._write()
            told = 0
            try:
                while True:
                    if not caught:
                        self._fill(queue, following)
                    for _ in caught[told:]:
                        self._stop_all()
                    told = len(caught)
                    if not self._running:
                        break
                    time.sleep(self._launcher.poll_s)
                    self._collect()
            except BaseException:
                self._stop_all()
                raise
            self._write()
        return caught[0] if caught else None

    def _fill(self, queue: deque[Job], following: Callable[[], Job | None]) -> None:
        """Start jobs until enough run side by side, or there is none."""
        while len(self._running) < self._folder.parallel:
            job = queue.popleft() if queue else self._next(following)
            if job is None:
                break
            self._start(job)

    def _next(self, following: Callable[[], Job | None]) -> Job | None:
        """The next job that is not known beforehand and can be run."""
        while not self._all_known:
            if (job := following()) is None:
                self._all_known = True
                break
            self.jobs[job.id] = job
            if self._to_run(job):
                return job
        return None

    def _to_run(self, job: Job) -> bool:
        """Whether a job is neither done nor wrong; what is found is recorded."""
        last = self._ledger.last.get(job.id)
        if last and last.status in ("done", "running"):
            metrics = read_summary(self._folder.places(job).summary)
            if metrics is not None:
                if last.status == "running":  # it ended after the sweep that started it
                    self._ledger.append(replace(last, status="done", metrics=metrics, handle=""))
                return False
        if error := self._check(job):
            record = self._folder.record(job, "config", error=error)
            if record != last:
                self._ledger.append(record)
            self._display.ended(record, len(self.jobs))
            return False
        return True

    def _start(self, job: Job) -> None:
        last = self._ledger.last.get(job.id)
        handle = last.handle if last and last.status == "running" else None
        started = partial(self._started, job)
        self._display.started(job.id)
        try:
            places = self._folder.places(job)
            self._running[job.id] = self._launcher.start(job, places, handle=handle, started=started)
        except OSError as error:
            self._ended(job, Ended("failed", None, 0.0, f"it cannot be started: {error}"))

    def _started(self, job: Job, handle: str) -> None:
        self._ledger.append(self._folder.record(job, "running", handle=handle))

    def _collect(self) -> None:
        for name, running in list(self._running.items()):
            if (ended := running.poll()) is not None:
                del self._running[name]
                self._ended(self.jobs[name], ended)

    def _ended(self, job: Job, ended: Ended) -> None:
        record = replace(
            self._folder.record(job, ended.status, error=ended.error),
            exit_code=ended.exit_code,
            seconds=round(ended.seconds, 3),
            metrics=read_summary(self._folder.places(job).summary) or {},
        )
        self._ledger.append(record)
        self._write()
        self._display.ended(record, len(self.jobs))

    def _stop_all(self) -> None:
        for running in self._running.values():
            running.stop("interrupted")

    def _write(self) -> None:
        self._folder.write(list(self.jobs.values()), self._ledger.last)


@contextmanager
def _caught_signals() -> Iterator[list[int]]:
    """Note SIGINT and SIGTERM rather than end by them."""
    caught: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        caught.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
