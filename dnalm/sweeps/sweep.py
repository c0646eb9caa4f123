"""A sweep from its axes to its table, whatever its jobs run.

Jobs run side by side until each has ended. Whatever happens to one is recorded and the others continue; a
signal to the sweep is passed on to the jobs, so that they can save what they have.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from rich.progress import SpinnerColumn, TaskID, TimeElapsedColumn

from dnalm.console import live_display, stderr, stdout, text_column
from dnalm.errors import ConfigError, escape_controls
from dnalm.sweeps.launchers import Ended, Launcher, LocalRun, SlurmRun
from dnalm.sweeps.results import (
    Job,
    JobMaker,
    Ledger,
    Record,
    SweepFolder,
    count_statuses,
    plot_sweep,
    read_summary,
)
from dnalm.sweeps.search import Axis, Grid, OptunaSearch, Trial
from dnalm.tables import readable

Checker = Callable[[Job], str]  # what is wrong with a job's config; empty if nothing is


def run_sweep(
    *,
    sweep: SweepFolder,
    launcher: Launcher,
    hparams_search: Grid | OptunaSearch,
    name: str,
    axes: Sequence[Axis],
    make_job: JobMaker,
    check: Checker,
) -> int:
    """Run the jobs of a sweep that are not done, and leave its tables and plot.

    Args:
        sweep: the folder.
        launcher: starts jobs.
        hparams_search: chooses them.
        name: of the folder, where none was chosen.
        axes: what varies.
        make_job: a job from its overrides.
        check: composes a job's config, and says what is wrong with it.

    Returns:
        The exit code: 0 if every job is done, 2 if none has a config that can be built, 128 and its
        number after a signal, 1 otherwise.
    """
    folder = sweep.at(Path("sweeps") / name)
    with sweep.opened() as ledger:
        tried = [
            record.overrides
            for record in ledger.last.values()
            if make_job(folder, record.overrides).id == record.job
        ]
        runner = Runner(sweep, ledger, launcher, check)

        def next_job() -> Job | None:
            trials = []
            for job in runner.jobs.values():
                record = ledger.last.get(job.id)
                trials.append(Trial(job.overrides, record.number(sweep.metric) if record else None))
            overrides = hparams_search.following(axes, trials, sweep.direction)
            return None if overrides is None else make_job(folder, overrides)

        known = [make_job(folder, overrides) for overrides in hparams_search.known(axes, tried)]
        number = runner.run(known, next_job)
        records = {job: ledger.last[job] for job in runner.jobs if job in ledger.last}
        _summarise(sweep, folder, ledger, records, num_jobs=len(runner.jobs))
    if number is not None:
        return 128 + number
    if all(record.status == "done" for record in records.values()):
        return 0
    unstarted = all(record.status == "config" and record.exit_code is None for record in records.values())
    return ConfigError.exit_code if unstarted else 1


def _summarise(
    sweep: SweepFolder, folder: Path, ledger: Ledger, records: Mapping[str, Record], *, num_jobs: int
) -> None:
    """Print how many jobs ended how, which is the best, and where the tables are."""
    counts = count_statuses(records.values())
    if num_jobs > len(records):
        counts["waiting"] = num_jobs - len(records)
    stdout.print(f"{num_jobs} jobs: " + ", ".join(f"{number} {status}" for status, number in counts.items()))
    scored = {job: value for job in records if (value := records[job].number(sweep.metric)) is not None}
    choose = min if sweep.direction == "minimize" else max
    best = choose(scored, key=lambda job: scored[job]) if scored else None
    if best is not None:
        stdout.print(f"best {sweep.metric}: {readable(scored[best])} in {records[best].run}")
    stdout.print(f"table: {folder / 'table.md'}, {folder / 'table.csv'}")
    if plot_sweep(list(ledger.last.values()), sweep.metric, folder / "plot.png"):
        stdout.print(f"plot: {folder / 'plot.png'}")
    again = "more values with the same sweep.dir run only what is new"
    if set(counts) != {"done"}:
        again = "the same command again runs what is missing or failed"
    stdout.print(f"next: {again}")
    summary = {"jobs": num_jobs, "statuses": counts, "metric": sweep.metric, "best": best}
    stdout.print(f"summary: {sweep.write_summary(summary)}")


class Runner:
    """Runs jobs, each of which is shown as a live line on a terminal and as a printed one when it ends.

    Args:
        folder: where.
        ledger: of that folder, opened.
        launcher: starts them.
        check: composes a job's config.
    """

    def __init__(self, folder: SweepFolder, ledger: Ledger, launcher: Launcher, check: Checker) -> None:
        self.jobs: dict[str, Job] = {}
        self._folder, self._ledger, self._launcher, self._check = folder, ledger, launcher, check
        self._running: dict[str, LocalRun | SlurmRun] = {}
        self._lines: dict[str, TaskID] = {}
        self._num_ended = 0
        self._all_chosen = False
        columns = (SpinnerColumn(), text_column("running {task.description}"), TimeElapsedColumn())
        self._progress = live_display(*columns)

    def run(self, known: Sequence[Job], next_job: Callable[[], Job | None]) -> int | None:
        """Run all jobs.

        Args:
            known: all are checked before one starts.
            next_job: the next job after those; None if there is none.

        Returns:
            The signal that ended the sweep, if one did.
        """
        with self._progress, _caught_signals() as caught:
            self.jobs = {job.id: job for job in known}
            queue = deque(job for job in self.jobs.values() if self._is_runnable(job))
            self._write()
            num_passed_on = 0
            try:
                while True:
                    while not caught and len(self._running) < self._folder.parallel:
                        job = queue.popleft() if queue else self._choose(next_job)
                        if job is None:
                            break
                        self._start(job)
                    for _ in caught[num_passed_on:]:
                        self._stop_all()
                    num_passed_on = len(caught)
                    if not self._running:
                        break
                    time.sleep(self._launcher.poll_s)
                    for name, running in list(self._running.items()):
                        if (ended := running.poll()) is not None:
                            del self._running[name]
                            self._record_end(self.jobs[name], ended)
            except BaseException:
                self._stop_all()
                raise
            self._write()
        return caught[0] if caught else None

    def _choose(self, next_job: Callable[[], Job | None]) -> Job | None:
        """The next job that can be run; None if there is none, from then on without asking."""
        while not self._all_chosen:
            if (job := next_job()) is None:
                self._all_chosen = True
                break
            self.jobs[job.id] = job
            if self._is_runnable(job):
                return job
        return None

    def _is_runnable(self, job: Job) -> bool:
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
            self._print_end(record)
            return False
        return True

    def _start(self, job: Job) -> None:
        def started(handle: str) -> None:
            self._ledger.append(self._folder.record(job, "running", handle=handle))

        last = self._ledger.last.get(job.id)
        handle = last.handle if last and last.status == "running" else None
        self._lines[job.id] = self._progress.add_task(escape_controls(job.id), total=None)
        try:
            places = self._folder.places(job)
            self._running[job.id] = self._launcher.start(job, places, handle=handle, started=started)
        except OSError as error:
            ended = Ended(status="failed", seconds=0.0, error=f"it cannot be started: {error}")
            self._record_end(job, ended)

    def _record_end(self, job: Job, ended: Ended) -> None:
        record = replace(
            self._folder.record(job, ended.status, error=ended.error),
            exit_code=ended.exit_code,
            seconds=round(ended.seconds, 3),
            metrics=read_summary(self._folder.places(job).summary) or {},
        )
        self._ledger.append(record)
        self._write()
        self._print_end(record)

    def _print_end(self, record: Record) -> None:
        if (line := self._lines.pop(record.job, None)) is not None:
            self._progress.remove_task(line)
        self._num_ended += 1
        parts = [f"[{self._num_ended}/{len(self.jobs)}] {record.status} {record.job}"]
        if record.seconds is not None:
            parts.append(f"{record.seconds:.0f} s")
        if (value := record.metrics.get(self._folder.metric)) is not None:
            parts.append(f"{self._folder.metric} {readable(value)}")
        stderr.print(", ".join(parts) + (f": {record.error}" if record.error else ""))

    def _stop_all(self) -> None:
        for running in self._running.values():
            running.stop("interrupted")

    def _write(self) -> None:
        self._folder.write(list(self.jobs.values()), self._ledger.last)


@contextmanager
def _caught_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM rather than end by them."""
    caught: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        caught.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
