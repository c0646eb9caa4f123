"""Jobs on this machine: each in its own session, its output in a log, its lock held while it lives.

The lock's descriptor is inherited by the job, so the kernel keeps it locked as long as the job lives,
also after a sweep that was killed; a sweep that is run again waits for such a job and never runs it twice.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dnalm.lock import Lock
from dnalm.sweeps.job import Job
from dnalm.sweeps.ledger import read_summary
from dnalm.sweeps.outcome import Ended, Stopped, judge_end, memory_kills
from dnalm.sweeps.processes import job_environment, signal_job


@dataclass(frozen=True)
class Places:
    """Where one job's files are, and its limits in seconds."""

    run: Path
    log: Path
    lock: Path
    timeout_s: float | None
    grace_s: float
    parallel: int = 1  # jobs side by side

    @property
    def summary(self) -> Path:
        """What a finished job leaves."""
        return self.run / "summary.json"

    def forget_summary(self) -> None:
        """Remove the summary of an earlier try, which must not speak for this one."""
        with suppress(FileNotFoundError, NotADirectoryError):
            self.summary.unlink()


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
