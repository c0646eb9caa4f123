"""Start a job, on this machine or on a SLURM cluster, and say how it ended.

On this machine a job has its own session, writes into a log and holds its lock while it runs. It inherits the
lock's descriptor, so the kernel keeps it locked also after a sweep that was killed; the next sweep waits for
such a job and never runs it twice. Signals reach all processes of a job: its group and, on Linux, those with
its mark in their environment, since a launcher of ranks gives each rank a session of its own.

On a cluster, submitit submits the job, and on its node it runs as a local job does: log, lock, limits and
status mean the same everywhere. The sweep's folder must be one that every node sees.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveFloat

from dnalm.errors import ConfigError
from dnalm.limits import Minutes, Processes, Workers
from dnalm.lock import Lock
from dnalm.sweeps.results import Job, Places, read_summary

if TYPE_CHECKING:
    import submitit

Status = Literal["done", "failed", "config", "timeout", "killed", "oom", "interrupted"]
Stopped = Literal["timeout", "interrupted"]
Started = Callable[[str], None]  # called with a new job's handle, by which a later sweep finds it

_MARK = "DNALM_SWEEP_JOB"
_THREADS = "DNALM_JOB_THREADS"  # a job's share of the cores, which its ranks share in turn
_RANKS = (
    *("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"),
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "DNALM_START"),
)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A job's end.

    Args:
        status: `done` only if it exited with 0 and left a summary.
        exit_code: negative for a signal; None where it was not observed.
        seconds: wall time.
        error: one line, empty if it is done.
    """

    status: Status
    exit_code: int | None = None
    seconds: float
    error: str = ""


class LocalLauncher:
    """Starts jobs on this machine."""

    poll_s = 0.05

    def start(self, job: Job, places: Places, *, handle: str | None, started: Started) -> LocalRun:
        """Start a job, or wait for the process of it that an earlier sweep left.

        Args:
            job: the job.
            places: where its files are.
            handle: of a job that runs according to the ledger; None if it was not started.
            started: called when a new process is about to start.

        Raises:
            OSError: it cannot be started.
        """
        return LocalRun(job, places, started=started, earlier=handle is not None)


class LocalRun:
    """A job on this machine.

    Args:
        job: the job.
        places: where its files are.
        started: called when a new process is about to start.
        earlier: whether an earlier sweep has started it; that may have ended a moment ago, so its
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
        """Send SIGTERM, and SIGKILL after the time of grace, or at once on the second call."""
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
        status, error = self._judge(exit_code)
        return Ended(status=status, exit_code=exit_code, seconds=now - self._began, error=error)

    def _poll_earlier(self) -> Ended | None:
        """Wait for the process that a killed sweep left; run the job again if that left no summary."""
        if not self._lock.acquire():
            return None
        seconds = time.monotonic() - self._began
        finished = read_summary(self._places.summary) is not None
        if not finished and not self._stopped:
            self._launch()
            return None
        self._lock.release()
        if finished:
            return Ended(status="done", seconds=seconds)
        assert self._stopped, "an unfinished job is launched again unless it was stopped"
        return Ended(status=self._stopped, seconds=seconds, error=f"stopped: {self._stopped}")

    def _launch(self) -> None:
        self._places.remove_summary()
        self._started("")
        self._memory_kills = _memory_kills()
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

    def _judge(self, exit_code: int) -> tuple[Status, str]:
        """Status and error line, from the exit code, the summary and the end of the log."""
        if exit_code == 0 and read_summary(self._places.summary) is not None:
            return "done", ""
        if self._stopped:
            return self._stopped, f"stopped: {self._stopped}"
        if exit_code == 0:
            return "failed", "exit code 0, but no summary.json was left"
        lines = _last_lines(self._places.log, self._log_start)
        last = lines[-1].removeprefix("dnalm: ")[:300] if lines else ""
        if exit_code == -signal.SIGKILL and _memory_kills() > self._memory_kills:
            return "oom", "killed for want of memory"
        if _NO_MEMORY.search("\n".join(lines[-8:])):
            return "oom", last
        if exit_code >= 0:
            return _status_of(exit_code), last or f"exit code {exit_code}"
        is_named = -exit_code in set(signal.Signals)
        name = signal.Signals(-exit_code).name if is_named else f"signal {-exit_code}"
        return _status_of(exit_code), name

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of the job, once each."""
        group = self._process.pid if self._process else None
        reached = {os.getpid()}
        if group is not None:
            for process in _processes():
                with suppress(OSError):
                    if os.getpgid(process) == group:
                        reached.add(process)
            with suppress(OSError):
                os.killpg(group, number)
        mark = f"{_MARK}={self._places.run.resolve()}".encode()
        for process in _processes() - reached:
            with suppress(OSError):
                if mark in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
                    os.kill(process, number)


def job_environment(run: Path, *, parallel: int) -> Mapping[str, str]:
    """The environment of a job: ours, its mark, and no variables of a rank of a larger job.

    Jobs side by side share the cores, unless OMP_NUM_THREADS says otherwise: threads of several jobs that
    wait for each other on one core make all of them several times slower.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _RANKS}
    if parallel > 1 and ("OMP_NUM_THREADS" not in kept or _THREADS in kept):
        cores = int(kept.get(_THREADS, os.cpu_count() or 1))  # of the job that this sweep is, or all
        kept[_THREADS] = kept["OMP_NUM_THREADS"] = str(max(1, cores // parallel))
    return {**kept, _MARK: str(run.resolve()), "PYTHONUNBUFFERED": "1"}


def _processes() -> set[int]:
    return {int(path.name) for path in Path("/proc").glob("[0-9]*")}


_NO_MEMORY = re.compile(
    r"^([\w.]*(MemoryError|OutOfMemoryError)\b|.*(std::bad_alloc|can't allocate memory|CUDA out of memory))",
    re.MULTILINE,
)
_TAIL_BYTES = 8192


def _last_lines(log: Path, start: int) -> list[str]:
    """The last lines of a log that are not empty, of what stands from a byte on."""
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]


def _status_of(exit_code: int) -> Status:
    """A shell, and our own program, report the signal n as 128 + n."""
    number = -exit_code if exit_code < 0 else exit_code - 128
    if number in (signal.SIGINT, signal.SIGTERM):
        return "interrupted"
    if exit_code < 0 or number == signal.SIGKILL:
        return "killed"
    return "config" if exit_code == ConfigError.exit_code else "failed"


def _memory_kills() -> int:
    """How often the kernel has killed a process of our control group for want of memory; 0 if unknown."""
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return 0
    for line in groups:
        _, controllers, path = line.split(":", 2)
        root = Path("/sys/fs/cgroup", controllers, path.lstrip("/"))
        name = "memory.events" if not controllers else "memory.oom_control"
        if controllers in ("", "memory") and (root / name).is_file():
            counts = dict(line.split(maxsplit=1) for line in (root / name).read_text().splitlines())
            return int(counts.get("oom_kill", 0))
    return 0


_HANDLE = "slurm:"
_STATUSES: dict[str, Status] = {"TIMEOUT": "timeout", "OUT_OF_MEMORY": "oom", "CANCELLED": "interrupted"}


class SlurmLauncher:
    """Submits jobs; `sweep.parallel` is how many are in the queue at once.

    Args:
        minutes: wall clock of a job.
        partition: where it runs; the cluster's default if absent.
        account: what it is billed to.
        gpus: for each job.
        cpus: for each job.
        memory_gb: for each job; the cluster's default if absent.
        options: further options of sbatch, by their long names, such as `{constraint: a100}`.
        cluster: `local` submits to this machine, to try a sweep out.
    """

    poll_s = 1.0

    def __init__(
        self,
        *,
        minutes: Minutes,
        partition: str | None = None,
        account: str | None = None,
        gpus: Workers = 0,
        cpus: Processes = 1,
        memory_gb: PositiveFloat | None = None,
        options: dict[str, str | int] | None = None,
        cluster: Literal["slurm", "local"] = "slurm",
    ) -> None:
        self.minutes, self.cluster = minutes, cluster
        chosen = {
            "mem_gb": memory_gb,
            "slurm_partition": partition,
            "slurm_account": account,
            "gpus_per_node": gpus or None,
            "slurm_additional_parameters": options,
        }
        self.parameters: dict[str, Any] = {"timeout_min": minutes, "cpus_per_task": cpus}
        self.parameters |= {name: value for name, value in chosen.items() if value is not None}

    def start(self, job: Job, places: Places, *, handle: str | None, started: Started) -> SlurmRun:
        """Submit a job, or find the one that an earlier sweep submitted; see `LocalLauncher.start`.

        Raises:
            ConfigError: SWEEP-05, there is no SLURM.
        """
        import submitit

        try:
            folder = (places.run.parent / ".submitit").resolve()
            executor = submitit.AutoExecutor(folder=folder, cluster=self.cluster)
        except RuntimeError as error:
            raise ConfigError(
                "SWEEP-05",
                where="launcher",
                found=f"no SLURM here: {error}",
                expected="srun and sbatch",
                fix="start the sweep on the cluster's login node, or use launcher=local",
            ) from error
        if handle and handle.startswith(_HANDLE) and self.cluster == "slurm":
            return SlurmRun(submitit.SlurmJob(executor.folder, handle.removeprefix(_HANDLE)))
        executor.update_parameters(name=job.id, **self.parameters)
        # Stopped by us shortly before the cluster does it, so that a timeout differs from a lost node.
        longest = max(self.minutes * 60 - places.grace_s - 30, 1)
        places = replace(places, timeout_s=min(places.timeout_s or longest, longest))
        places.remove_summary()
        submitted = executor.submit(run_here, job, places)
        started(f"{_HANDLE}{submitted.job_id}")
        return SlurmRun(submitted)


class SlurmRun:
    """A job on the cluster."""

    def __init__(self, submitted: submitit.Job[Ended]) -> None:
        self._submitted = submitted
        self._began = time.monotonic()
        self._stopped: Stopped | None = None

    def stop(self, why: Stopped) -> None:
        """Cancel the job: SLURM sends SIGTERM, and SIGKILL after its own time of grace."""
        if not self._stopped:
            self._stopped = why
            self._submitted.cancel(check=False)

    def poll(self) -> Ended | None:
        """How the job ended; None while it waits or runs."""
        if not self._submitted.done():
            return None
        seconds = time.monotonic() - self._began
        if self._stopped and not self._submitted.paths.result_pickle.exists():
            return Ended(status=self._stopped, seconds=seconds, error=f"stopped: {self._stopped}")
        error = self._submitted.exception()
        if error is None:
            return self._submitted.result()
        state = self._submitted.state
        text = f"{state}: {str(error).strip().splitlines()[-1]}"
        return Ended(status=_STATUSES.get(state.split()[0], "failed"), seconds=seconds, error=text[:300])


def run_here(job: Job, places: Places) -> Ended:
    """Run a job to its end; what happens on the node."""
    run = LocalRun(job, replace(places, parallel=1), started=lambda _: None)  # its cores are its own
    while True:
        try:
            if (ended := run.poll()) is not None:
                return ended
            time.sleep(0.05)
        except KeyboardInterrupt:
            run.stop("interrupted")


Launcher = LocalLauncher | SlurmLauncher
