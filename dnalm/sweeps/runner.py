"""Run jobs side by side until each has ended in some way, and keep the books.

Whatever happens to a job is recorded and the others go on; a signal to the sweep is passed on to the
jobs, so that they can save what they have.

Jobs on this machine: each in its own session, its output in a log, its lock held while it lives.

The lock's descriptor is inherited by the job, so the kernel keeps it locked as long as the job lives,
also after a sweep that was killed; a sweep that is run again waits for such a job and never runs it twice.

All processes of a job, wherever they went: its group, and on Linux whatever carries its mark.

A launcher of ranks puts each into a session of its own, where no signal to the job's group arrives;
the mark is a variable of the environment, which every process inherits.

What a sweep shows while it runs: a line for each job, live on a terminal, when it ends elsewhere.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Protocol, Self

from rich.progress import Progress, SpinnerColumn, TaskID, TimeElapsedColumn

from dnalm.console import stderr, text_column
from dnalm.errors import escape_controls
from dnalm.lock import Lock
from dnalm.sweeps.results import (
    Ended,
    Job,
    Ledger,
    Places,
    Record,
    Stopped,
    SweepFolder,
    judge_end,
    memory_kills,
    read_summary,
)
from dnalm.tables import readable

_MARK = "DNALM_SWEEP_JOB"
_THREADS = "DNALM_JOB_THREADS"  # a job's share of the cores, which its ranks share in turn
_RANKS = (
    *("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"),
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "DNALM_START"),
)


def job_environment(run: Path, *, parallel: int) -> Mapping[str, str]:
    """The environment of a job: ours, its mark, and no sign that it is a rank of a larger job.

    Jobs side by side share the cores, unless OMP_NUM_THREADS says otherwise: threads of several jobs that
    wait for each other on one core make all of them several times slower.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _RANKS}
    if parallel > 1 and ("OMP_NUM_THREADS" not in kept or _THREADS in kept):
        kept[_THREADS] = kept["OMP_NUM_THREADS"] = str(max(1, _cores(kept) // parallel))
    return {**kept, _MARK: str(run.resolve()), "PYTHONUNBUFFERED": "1"}


def _cores(environment: Mapping[str, str]) -> int:
    """Of this machine; or of the job that this sweep is itself."""
    return int(environment.get(_THREADS, os.cpu_count() or 1))


def signal_job(run: Path, number: signal.Signals, *, group: int | None = None) -> None:
    """Send a signal to every process of a job.

    Args:
        run: the job's run directory, which its mark names.
        number: the signal.
        group: the process group it was started in, where that is ours and not yet reaped.
    """
    told = _group_members(group)
    if group is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
    for process in _marked(f"{_MARK}={run.resolve()}") - told:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, number)


def _marked(mark: str) -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark.encode() in path.read_bytes().split(b"\0"):
                found.add(int(path.parent.name))
    return found - {os.getpid()}


def _group_members(group: int | None) -> set[int]:
    """Processes that a signal to the group reaches, so that none is told twice."""
    found = set()
    for path in Path("/proc").glob("[0-9]*") if group is not None else ():
        with suppress(OSError):
            if os.getpgid(int(path.name)) == group:
                found.add(int(path.name))
    return found


Started = Callable[[str], None]  # told how the job is found again, once a new process of it is on its way


class Running(Protocol):
    """A job that was started."""

    def poll(self) -> Ended | None:
        """How it ended; None while it runs."""

    def stop(self, why: Stopped) -> None:
        """Tell it to save what it has and end; it is killed where it does not heed."""


class Launcher(Protocol):
    """Starts jobs."""

    poll_s: float

    def start(self, job: Job, places: Places, *, handle: str | None, started: Started) -> Running:
        """Start a job, or find the one that an earlier sweep started.

        Args:
            job: the job.
            places: where its files are.
            handle: how it is found again, where the ledger says that it runs; None if it was not started.
            started: told how a new process is found again.

        Raises:
            OSError: it cannot be started.
        """


class LocalLauncher:
    """Starts jobs on this machine."""

    poll_s = 0.05

    def start(
        self,
        job: Job,
        places: Places,
        *,
        handle: str | None,
        started: Started,
    ) -> LocalRun:
        """Start a job, or wait for the process of it that an earlier sweep left."""
        return LocalRun(job, places, started=started, earlier=handle is not None)


class LocalRun:
    """A job on this machine.

    Args:
        job: the job.
        places: where its files are.
        started: told that a new process is on its way.
        earlier: whether an earlier sweep has started it; what that left may have ended a moment ago, so its
            summary is looked for before the job is launched again.
    """

    def __init__(self, job: Job, places: Places, *, started: Started, earlier: bool = False) -> None:
        self._job, self._places, self._started = job, places, started
        self._process: subprocess.Popen[bytes] | None = None
        self._began = time.monotonic()
        self._stopped: Stopped | None = None
        self._kill_at = float("inf")
        self._log_start = 0
        self._memory_kills = 0
        self._lock = Lock(places.lock)
        if not earlier and self._lock.acquire():
            self._launch()

    def stop(self, why: Stopped) -> None:
        """Send SIGTERM, and SIGKILL after the time of grace, or at once when told again."""
        again = self._stopped is not None
        self._stopped = self._stopped or why
        self._kill_at = time.monotonic() + (0.0 if again else self._places.grace_s)
        if not again:
            self._signal(signal.SIGTERM)

    def poll(self) -> Ended | None:
        """How the job ended; None while it runs."""
        now = time.monotonic()
        if now >= self._kill_at:
            self._signal(signal.SIGKILL)
        elif not self._stopped and self._places.timeout_s and now - self._began > self._places.timeout_s:
            self.stop("timeout")
        if self._process is None:
            return self._poll_earlier()
        if (exit_code := self._process.poll()) is None:
            return None
        self._signal(signal.SIGKILL)  # what it left behind
        self._lock.release()
        return judge_end(
            exit_code,
            seconds=now - self._began,
            summary=self._places.summary,
            log=self._places.log,
            log_start=self._log_start,
            stopped=self._stopped,
            memory_kill=memory_kills() > self._memory_kills,
        )

    def _poll_earlier(self) -> Ended | None:
        """Wait for the process that a killed sweep left; run the job anew if that left no summary."""
        if not self._lock.acquire():
            return None
        seconds = time.monotonic() - self._began
        finished = read_summary(self._places.summary) is not None
        if not finished and not self._stopped:
            self._launch()
            return None
        self._lock.release()
        if finished:
            return Ended("done", None, seconds)
        assert self._stopped, "an unfinished job is launched again unless it was stopped"
        return Ended(self._stopped, None, seconds, f"stopped: {self._stopped}")

    def _signal(self, number: signal.Signals) -> None:
        signal_job(self._places.run, number, group=self._process.pid if self._process else None)

    def _launch(self) -> None:
        self._places.forget_summary()
        self._started("")
        self._memory_kills = memory_kills()
        with self._places.log.open("ab") as log:
            log.write(f"$ {shlex.join(self._job.command)}\n".encode())
            log.flush()
            self._log_start = log.tell()
            self._began = time.monotonic()
            self._process = subprocess.Popen(
                self._job.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=job_environment(self._places.run, parallel=self._places.parallel),
                pass_fds=(self._lock.descriptor,),
                start_new_session=True,
            )


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
