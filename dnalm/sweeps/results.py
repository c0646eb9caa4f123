"""The folder of a sweep: ledger, tables, and for each job a run directory, a log and a lock.

A job: one command line, run in a process tree of its own, known by what it overrides.

The id is a function of the command and its overrides, so a sweep that is run again knows its jobs.

`sweep.jsonl`: what has happened to each job, one line an event, never rewritten.

Every line is on disk before the sweep goes on, so a sweep may be killed at any time; a line that is
cut short says nothing, and its job is run again.

How a job ended, from its exit code, its summary and the end of what it printed.

The table of a sweep, as CSV with everything and as Markdown to be read; whole at any moment.

The picture of a sweep: the metric of every finished job against each axis.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pydantic import NonNegativeFloat, PositiveFloat

from dnalm.durable import append, atomic_write, sync
from dnalm.errors import ConfigError
from dnalm.grants import program
from dnalm.limits import Jobs
from dnalm.lock import OutputLock
from dnalm.paths import OutputPath, check_folder, quoted
from dnalm.sweeps.search import Direction
from dnalm.tables import csv_text, markdown_text, readable, replace_text

_GOES_ON = ("pretrain", "prepare")  # commands that go on with what an earlier try has left; others begin anew
_NAME_LENGTH = 60


@dataclass(frozen=True)
class Job:
    """What is to be run.

    Args:
        id: unique within its sweep; also the name of its run directory.
        overrides: what tells it from other jobs, by key; the table has a column for each.
        command: the program and its arguments.
    """

    id: str
    overrides: Mapping[str, str]
    command: tuple[str, ...]


JobMaker = Callable[[Path, Mapping[str, str]], Job]  # the run directories' parent, overrides -> job


def job_id(command: str, words: Sequence[str], overrides: Mapping[str, str]) -> str:
    """A short readable name and a hash of everything the job is given.

    Args:
        command: the command of the program.
        words: overrides that all jobs share.
        overrides: those of this job, by key.
    """
    parts = (f"{re.split('[./@]', key)[-1]}_{value}" for key, value in overrides.items())
    name = re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(parts)).strip("-.")[:_NAME_LENGTH].rstrip("-.")
    return f"{name or command.replace(' ', '_')}-{short_hash(command, [*words, *assign(overrides)])}"


def short_hash(command: str, words: Sequence[str]) -> str:
    """Eight hexadecimal digits; the order of words counts only where they set the same key."""
    ordered = sorted(words, key=lambda word: word.partition("=")[0].lstrip("+~"))
    return hashlib.sha256("\0".join([command, *ordered]).encode()).hexdigest()[:8]


def assign(overrides: Mapping[str, str]) -> list[str]:
    """Overrides as words of the command line."""
    return [f"{key}={value}" for key, value in overrides.items()]


def program_job(
    command: str, words: Sequence[str], folder: Path, overrides: Mapping[str, str], options: Sequence[str]
) -> Job:
    """A job that runs a command of dnalm.

    Args:
        command: the command, such as `pretrain`.
        words: overrides that all jobs share.
        folder: where the job's run directory is made.
        overrides: those of this job, by key.
        options: options of the program, such as `--config-dir`.
    """
    name = job_id(command, words, overrides)
    where = f"run.dir={quoted(str(folder / name))}"
    again = () if command in _GOES_ON else ("run.replace=true",)
    given = [*words, *assign(overrides), *again, where, *options]
    return Job(name, overrides, (*program(command), *given))


Metric = float | int | str | bool | None


@dataclass(frozen=True)
class Record:
    """One event of a job.

    Args:
        job: its id.
        status: `running`, or how it ended.
        overrides: what tells it from other jobs.
        run: its run directory.
        log: what it printed.
        exit_code: of its process, negative for a signal; None where nobody saw it end.
        seconds: how long it ran.
        metrics: the plain values of its `summary.json`.
        error: why it ended as it did, one line.
        handle: how its launcher finds it again while it runs.
    """

    job: str
    status: str
    overrides: Mapping[str, str]
    run: str
    log: str
    exit_code: int | None = None
    seconds: float | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    error: str = ""
    handle: str = ""

    def number(self, metric: str) -> float | None:
        """The metric of a finished job; None if it has none."""
        value = self.metrics.get(metric)
        if self.status != "done" or isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value)


_NAMES = {each.name for each in fields(Record)}


class Ledger:
    """The events of a sweep.

    Args:
        path: the file; made if absent. One process at a time may append.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        whole = path.read_bytes() if path.exists() else b""
        end = whole.rfind(b"\n") + 1
        if end < len(whole):  # the last writer was killed
            os.truncate(path, end)
        self._last = {record.job: record for record in _records(whole[:end])}

    @property
    def last(self) -> Mapping[str, Record]:
        """The last event of every job, in the order in which jobs came up."""
        return self._last

    def append(self, record: Record) -> None:
        """Add an event and bring it to disk."""
        append(self.path, json.dumps(asdict(record)) + "\n")
        sync(self.path)
        self._last[record.job] = record


def read_summary(path: Path) -> dict[str, Metric] | None:
    """The plain values of a `summary.json`; None if it is absent or incomplete."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict):
        return None
    return {
        name: value
        for name, value in content.items()
        if isinstance(value, str | int | float | None)
        and not (isinstance(value, float) and math.isnan(value))
    }


def _records(content: bytes) -> Iterator[Record]:
    for line in content.split(b"\n"):
        try:
            found: Any = json.loads(line)
            yield Record(**{name: value for name, value in found.items() if name in _NAMES})
        except (ValueError, TypeError, AttributeError):
            continue


Status = Literal["done", "failed", "config", "timeout", "killed", "oom", "interrupted"]
Stopped = Literal["timeout", "interrupted"]

_TAIL_BYTES = 8192
_MEMORY = re.compile(
    r"^([\w.]*(MemoryError|OutOfMemoryError)\b|.*(std::bad_alloc|can't allocate memory|CUDA out of memory))",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Ended:
    """A job's end.

    Args:
        status: `done` only if it exited with 0 and left a summary.
        exit_code: negative for a signal; None where nobody saw it end.
        seconds: how long it ran.
        error: one line, empty if it is done.
    """

    status: Status
    exit_code: int | None
    seconds: float
    error: str = ""


def judge_end(
    exit_code: int,
    *,
    seconds: float,
    summary: Path,
    log: Path,
    log_start: int = 0,
    stopped: Stopped | None = None,
    memory_kill: bool = False,
) -> Ended:
    """Say how a process ended.

    Args:
        exit_code: negative for a signal.
        seconds: how long it ran.
        summary: the `summary.json` that a finished job leaves.
        log: what it printed.
        log_start: byte at which its part of the log begins.
        stopped: why it was told to stop, if it was.
        memory_kill: the kernel killed a process for want of memory meanwhile.
    """
    if exit_code == 0 and read_summary(summary) is not None:
        return Ended("done", exit_code, seconds)
    tail = _tail(log, log_start)
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    said = lines[-1].removeprefix("dnalm: ")[:300] if lines else ""
    if stopped:
        return Ended(stopped, exit_code, seconds, f"stopped: {stopped}")
    if exit_code == 0:
        return Ended("failed", exit_code, seconds, "exit code 0, but no summary.json was left")
    by_memory = exit_code == -signal.SIGKILL and memory_kill
    if by_memory or _MEMORY.search("\n".join(lines[-8:])):
        return Ended("oom", exit_code, seconds, "killed for want of memory" if by_memory else said)
    why = _signal_name(exit_code) if exit_code < 0 else said or f"exit code {exit_code}"
    return Ended(_status(exit_code), exit_code, seconds, why)


def _status(exit_code: int) -> Status:
    """A shell, and our own program, report the signal n as 128 + n."""
    number = -exit_code if exit_code < 0 else exit_code - 128
    if number in (signal.SIGINT, signal.SIGTERM):
        return "interrupted"
    if exit_code < 0 or number == signal.SIGKILL:
        return "killed"
    return "config" if exit_code == ConfigError.exit_code else "failed"


def _signal_name(exit_code: int) -> str:
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


def _tail(log: Path, start: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def memory_kills() -> int:
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
            fields = dict(line.split(maxsplit=1) for line in (root / name).read_text().splitlines())
            return int(fields.get("oom_kill", 0))
    return 0


_FIXED = ("status", "exit_code", "seconds")


def write_tables(folder: Path, records: Sequence[Record], metric: str) -> None:
    """Write `table.csv` and `table.md`, each replaced at once.

    CSV has all columns and digits; Markdown the figures to be read, without columns that no row fills.

    Args:
        folder: where.
        records: the last event of each job.
        metric: the one that Markdown shows.
    """
    keys = list(dict.fromkeys(key for record in records for key in record.overrides))
    metrics = list(dict.fromkeys(name for record in records for name in record.metrics))
    rows = [_cells(record, keys, metrics) for record in records]
    names = ["job", *keys, *_FIXED, *metrics, "run", "log", "error"]
    replace_text(folder / "table.csv", csv_text([names, *rows]))
    shown = ["job", *keys, *_FIXED, metric, "run", "log"]
    read = [
        _cells(_rounded(record, metric), keys, [metric])[:-1] for record in records
    ]  # errors: see the log
    filled = [column for column in zip(shown, *read, strict=True) if any(column[1:]) or not read]
    header, *lines = zip(*filled, strict=True)
    replace_text(folder / "table.md", markdown_text(header, lines))


def _rounded(record: Record, metric: str) -> Record:
    """The record with the digits of a metric that people read."""
    value = record.metrics.get(metric)
    return record if value is None else replace(record, metrics={metric: readable(value)})


def _cells(record: Record, keys: Iterable[str], metrics: Iterable[str]) -> list[str]:
    seconds = None if record.seconds is None else round(record.seconds, 1)
    values = (
        record.job,
        *(record.overrides.get(key) for key in keys),
        record.status,
        record.exit_code,
        seconds,
        *(record.metrics.get(name) for name in metrics),
        record.run,
        record.log,
        record.error,
    )
    return ["" if value is None else str(value) for value in values]


def count_statuses(records: Iterable[Record]) -> dict[str, int]:
    """How many jobs ended in each way."""
    return dict(Counter(record.status for record in records))


LEDGER = "sweep.jsonl"


class SweepFolder:
    """Where a sweep is, and what holds for all its jobs.

    Args:
        dir: the folder; if absent `sweeps/<command>-<hash>`, a function of what is swept. A sweep that
            is run again in its folder runs what is missing or failed.
        parallel: jobs side by side.
        timeout_s: after which a job is stopped; never if absent.
        grace_s: from SIGTERM to SIGKILL, for a checkpoint to be written.
        metric: the number of the jobs' `summary.json` that the sweep is about.
        direction: whether less or more of it is better.
    """

    def __init__(
        self,
        *,
        dir: OutputPath | None = None,  # noqa: A002
        parallel: Jobs = 1,
        timeout_s: PositiveFloat | None = None,
        grace_s: NonNegativeFloat = 30.0,
        metric: str = "val_bits_per_base",
        direction: Direction = "minimize",
    ) -> None:
        self.path, self.parallel, self.metric, self.direction = dir, parallel, metric, direction
        self.timeout_s, self.grace_s = timeout_s, grace_s

    def at(self, default: Path) -> Path:
        """The folder, or the default where none was chosen."""
        self.path = self.path or default
        return self.path

    def places(self, job: Job) -> Places:
        """Where the files of a job are."""
        folder = self._folder
        return Places(
            run=folder / job.id,
            log=folder / f"{job.id}.log",
            lock=folder / f".{job.id}.lock",
            timeout_s=self.timeout_s,
            grace_s=self.grace_s,
            parallel=self.parallel,
        )

    @contextmanager
    def opened(self) -> Iterator[Ledger]:
        """The ledger, while no other sweep works in the folder.

        Raises:
            CheckpointError: CKPT-12, another one does.
            ConfigError: SWEEP-03, the folder cannot be written, or holds something else than a sweep; CFG-55,
                it is one of the user's own.
        """
        check_folder(self._folder, key="sweep.dir")
        with ExitStack() as stack:
            try:
                lock = OutputLock(self._folder / ".lock", output=self._folder, key="sweep.dir")
                stack.enter_context(lock)
                self._check_own()
                ledger = Ledger(self._folder / LEDGER)
            except OSError as error:
                found = f"{self._folder} cannot be written: {error.strerror}"
                raise _dir_error(found, "a folder that may be made", "choose another sweep.dir") from error
            yield ledger

    def _check_own(self) -> None:
        names = sorted(entry.name for entry in self._folder.iterdir() if not entry.name.startswith(".lock"))
        if names and LEDGER not in names:
            found = f"{self._folder} is there already and holds {names[0]}, but no sweep"
            raise _dir_error(
                found, "a new folder, or a sweep's", "choose another, such as sweep.dir=sweeps/new"
            )

    def write(self, jobs: Sequence[Job], last: Mapping[str, Record]) -> None:
        """Write the tables: what the ledger knows, then the jobs that wait."""
        waiting = [self.record(job, "waiting") for job in jobs if job.id not in last]
        write_tables(self._folder, [*last.values(), *waiting], self.metric)

    def record(self, job: Job, status: str, *, handle: str = "", error: str = "") -> Record:
        """An event of a job that has not run to an end."""
        places = self.places(job)
        return Record(
            job=job.id,
            status=status,
            overrides=dict(job.overrides),
            run=str(places.run),
            log=str(places.log),
            handle=handle,
            error=error,
        )

    def write_summary(self, summary: Mapping[str, object]) -> Path:
        """Write `summary.json` and return its path."""
        path = self._folder / "summary.json"
        replace_text(path, json.dumps(summary, indent=2) + "\n")
        return path

    @property
    def _folder(self) -> Path:
        assert self.path, "at() comes first"
        return self.path


def _dir_error(found: str, expected: str, fix: str) -> ConfigError:
    return ConfigError("SWEEP-03", where="sweep.dir", found=found, expected=expected, fix=fix)


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


_LOG_FROM = 10  # ratio of the largest to the smallest value from which an axis is logarithmic
_LABEL = 28  # letters of a value that are shown; of a long path its end


def plot_sweep(records: Sequence[Record], metric: str, target: Path) -> bool:
    """Draw one panel an axis.

    Args:
        records: the jobs.
        metric: a number that their summaries have.
        target: the PNG to write.

    Returns:
        Whether there was anything to draw: an axis of two values or more, and a job with the metric.
    """
    points = [(record, value) for record in records if (value := record.number(metric)) is not None]
    keys = dict.fromkeys(key for record, _ in points for key in record.overrides)
    varied = [key for key in keys if len({record.overrides.get(key) for record, _ in points}) > 1]
    if not varied:
        return False
    figure = Figure(figsize=(max(4 * len(varied), 5), 4), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, key in zip(figure.subplots(1, len(varied), squeeze=False)[0], varied, strict=True):
        _draw(panel, [(record.overrides.get(key, ""), value) for record, value in points])
        panel.set(xlabel=key, ylabel=metric)
    with atomic_write(target) as beside:
        figure.savefig(beside, dpi=120)
    return True


def _draw(panel: Axes, points: Sequence[tuple[str, float]]) -> None:
    try:
        places = [float(text) for text, _ in points]
    except ValueError:
        names = list(dict.fromkeys(text for text, _ in points))
        places = [float(names.index(text)) for text, _ in points]
        shown = [name if len(name) <= _LABEL else f"…{name[1 - _LABEL :]}" for name in names]
        panel.set_xticks(range(len(names)), shown, rotation=30, ha="right")
    else:
        if min(places) > 0 and max(places) >= _LOG_FROM * min(places):
            panel.set_xscale("log")
    panel.scatter(places, [value for _, value in points], color="C0", alpha=0.7)
