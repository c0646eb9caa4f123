"""The folder of a sweep: its ledger, its tables, and for each job a run directory, a log and a lock.

A job is one command line in a process tree of its own. Its id is a function of the command and its overrides,
so a sweep that is run again recognises its jobs. `sweep.jsonl`, the ledger, has a line for every event of a
job and is never rewritten; each line is on disk before the sweep continues, so a sweep may be killed at any
time: a line that was cut short is dropped, and its job is run again. `table.csv` (everything), `table.md` (to
be read) and `summary.json` are replaced atomically; `plot.png` shows the metric against each axis.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import NonNegativeFloat, PositiveFloat

from dnalm.durable import append, atomic_write, sync
from dnalm.errors import ConfigError
from dnalm.grants import key_of, program
from dnalm.limits import Jobs
from dnalm.lock import OutputLock
from dnalm.paths import OutputPath, check_folder, quoted
from dnalm.sweeps.search import Direction
from dnalm.tables import csv_text, markdown_text, readable, replace_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RESUMING = ("pretrain", "prepare")  # commands that continue an earlier try; the others start again
_NAME_LENGTH = 60


@dataclass(frozen=True)
class Job:
    """What is to be run.

    Args:
        id: unique within its sweep; also the name of its run directory.
        overrides: what distinguishes it from other jobs, by key; the table has a column for each.
        command: the program and its arguments.
        summary: what a finished one leaves in its run directory.
    """

    id: str
    overrides: Mapping[str, str]
    command: tuple[str, ...]
    summary: str = "summary.json"


JobMaker = Callable[[Path, Mapping[str, str]], Job]  # the run directories' parent, overrides -> job


def job_id(command: str, words: Sequence[str], overrides: Mapping[str, str]) -> str:
    """A short readable name and a hash of the whole command line.

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
    return hashlib.sha256("\0".join([command, *sorted(words, key=key_of)]).encode()).hexdigest()[:8]


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
    again = () if command in _RESUMING else ("run.replace=true",)
    where = f"run.dir={quoted(str(folder / name))}"
    return Job(name, overrides, (*program(command), *words, *assign(overrides), *again, where, *options))


Metric = float | int | str | bool | None


@dataclass(frozen=True, kw_only=True)
class Record:
    """One event of a job.

    Args:
        job: its id.
        status: `running`, or how it ended.
        overrides: what distinguishes it from other jobs.
        run: its run directory.
        log: file of its output.
        exit_code: of its process, negative for a signal; None where it was not observed.
        seconds: wall time.
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


def count_statuses(records: Iterable[Record]) -> dict[str, int]:
    """Number of jobs by status."""
    return dict(Counter(record.status for record in records))


class Ledger:
    """The events of a sweep.

    Args:
        path: the file; made if absent. One process at a time may append.

    Attributes:
        last: the last event of every job, in the order in which jobs were started.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last: dict[str, Record] = {}
        content = path.read_bytes() if path.exists() else b""
        end = content.rfind(b"\n") + 1
        if end < len(content):  # the last writer was killed
            os.truncate(path, end)
        names = {each.name for each in fields(Record)}
        for line in content[:end].split(b"\n"):
            with suppress(ValueError, TypeError, AttributeError):  # no event; its job is run again
                event = json.loads(line)
                record = Record(**{name: value for name, value in event.items() if name in names})
                self.last[record.job] = record

    def append(self, record: Record) -> None:
        """Add an event and bring it to disk."""
        append(self.path, json.dumps(asdict(record)) + "\n")
        sync(self.path)
        self.last[record.job] = record


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


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where one job's files are, and its limits in seconds."""

    run: Path
    log: Path
    lock: Path
    timeout_s: float | None
    grace_s: float
    parallel: int = 1  # jobs side by side
    summary_name: str = "summary.json"

    @property
    def summary(self) -> Path:
        """What a finished job leaves."""
        return self.run / self.summary_name

    def remove_summary(self) -> None:
        """Remove the summary of an earlier try, which says nothing of this one."""
        with suppress(FileNotFoundError, NotADirectoryError):
            self.summary.unlink()


_LEDGER = "sweep.jsonl"


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

    @contextmanager
    def opened(self) -> Iterator[Ledger]:
        """The ledger, while no other sweep works in the folder.

        Raises:
            CheckpointError: CKPT-12, another one does.
            ConfigError: SWEEP-03, the folder cannot be written, or holds something else than a sweep; CFG-55,
                it is one of the user's own.
        """
        check_folder(self.folder, key="sweep.dir")
        with ExitStack() as stack:
            try:
                lock = OutputLock(self.folder / ".lock", output=self.folder, key="sweep.dir")
                stack.enter_context(lock)
                names = sorted(
                    path.name for path in self.folder.iterdir() if not path.name.startswith(".lock")
                )
                if names and _LEDGER not in names:
                    found = f"{self.folder} is there already and holds {names[0]}, but no sweep"
                    fix = "choose another, such as sweep.dir=sweeps/new"
                    raise _dir_error(found, "a new folder, or a sweep's", fix)
                ledger = Ledger(self.folder / _LEDGER)
            except OSError as error:
                found = f"{self.folder} cannot be written: {error.strerror}"
                raise _dir_error(found, "a folder that may be made", "choose another sweep.dir") from error
            yield ledger

    def places(self, job: Job) -> Places:
        """Where the files of a job are."""
        return Places(
            run=self.folder / job.id,
            log=self.folder / f"{job.id}.log",
            lock=self.folder / f".{job.id}.lock",
            timeout_s=self.timeout_s,
            grace_s=self.grace_s,
            parallel=self.parallel,
            summary_name=job.summary,
        )

    def record(self, job: Job, status: str, *, handle: str = "", error: str = "") -> Record:
        """An event of a job that has not run to an end."""
        run, log = str(self.folder / job.id), str(self.folder / f"{job.id}.log")
        return Record(
            job=job.id,
            status=status,
            overrides=dict(job.overrides),
            run=run,
            log=log,
            handle=handle,
            error=error,
        )

    def write(self, jobs: Sequence[Job], last: Mapping[str, Record]) -> None:
        """Write the tables: the jobs of the ledger, then those that wait."""
        waiting = [self.record(job, "waiting") for job in jobs if job.id not in last]
        write_tables(self.folder, [*last.values(), *waiting], self.metric)

    def write_summary(self, summary: Mapping[str, object]) -> Path:
        """Write `summary.json` and return its path."""
        path = self.folder / "summary.json"
        replace_text(path, json.dumps(summary, indent=2) + "\n")
        return path

    @property
    def folder(self) -> Path:
        """The chosen one, or what `at` was given."""
        assert self.path, "at() comes first"
        return self.path


def _dir_error(found: str, expected: str, fix: str) -> ConfigError:
    return ConfigError("SWEEP-03", where="sweep.dir", found=found, expected=expected, fix=fix)


_COLUMNS = ("job", "status", "exit_code", "seconds", "run", "log", "error")


def write_tables(folder: Path, records: Sequence[Record], metric: str) -> None:
    """Write `table.csv` and `table.md`, each replaced atomically.

    CSV has all columns and digits; a metric that is called as another column, such as `seed`, has none.
    Markdown has the one metric in five digits, without columns that no row fills and without errors, which
    are in the logs.

    Args:
        folder: where.
        records: the last event of each job.
        metric: the one that Markdown shows.
    """
    keys = list(dict.fromkeys(key for record in records for key in record.overrides))
    taken = {*keys, *_COLUMNS}
    metrics = list(dict.fromkeys(n for record in records for n in record.metrics if n not in taken))

    def cells(record: Record, found: Iterable[Metric], *more: str) -> list[str]:
        seconds = None if record.seconds is None else round(record.seconds, 1)
        ended = (record.status, record.exit_code, seconds, *found, record.run, record.log, *more)
        return [
            "" if each is None else str(each)
            for each in (record.job, *map(record.overrides.get, keys), *ended)
        ]

    names = ["job", *keys, "status", "exit_code", "seconds", *metrics, "run", "log", "error"]
    rows = [cells(record, map(record.metrics.get, metrics), record.error) for record in records]
    replace_text(folder / "table.csv", csv_text([names, *rows]))
    names = ["job", *keys, "status", "exit_code", "seconds", metric, "run", "log"]
    values = [record.metrics.get(metric) for record in records]
    shown = [None if value is None else readable(value) for value in values]
    rows = [cells(record, [value]) for record, value in zip(records, shown, strict=True)]
    filled = [column for column in zip(names, *rows, strict=True) if any(column[1:]) or not rows]
    header, *lines = zip(*filled, strict=True)
    replace_text(folder / "table.md", markdown_text(header, lines))


_LOG_FROM = 10  # ratio of the largest to the smallest value from which an axis is logarithmic
_LABEL = 28  # letters of a value that are shown; of a long path its end


def plot_sweep(records: Sequence[Record], metric: str, target: Path) -> bool:
    """Draw the metric of every finished job, one panel an axis.

    Where several vary, colours and shapes tell the values of one: the first that has names, such as models.

    Args:
        records: the jobs.
        metric: a number that their summaries have.
        target: the PNG to write.

    Returns:
        Whether there was anything to draw: an axis of two values or more, and a job with the metric.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points = [(record, value) for record in records if (value := record.number(metric)) is not None]
    keys = dict.fromkeys(key for record, _ in points for key in record.overrides)
    varied = [key for key in keys if len({record.overrides.get(key) for record, _ in points}) > 1]
    if not varied:
        return False
    with mpl.rc_context(_STYLE):
        columns = min(3, len(varied))
        rows = -(-len(varied) // columns)
        figure = Figure(figsize=(max(3.4, 7.2 * columns / 3), 0.4 + 2.6 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        told_by = next((key for key in varied if not _are_numbers(key, points)), varied[-1])
        kinds = list(dict.fromkeys(record.overrides.get(told_by, "") for record, _ in points))[:_MOST_KINDS]
        for panel, key in zip(panels, varied, strict=False):
            for number, kind in enumerate(kinds if len(varied) > 1 else [None]):
                mine = [(r, v) for r, v in points if kind in (None, r.overrides.get(told_by, ""))]
                _draw(panel, key, mine, points, number, _shortened(kind or ""))
            panel.set(xlabel=key)
        panels[0].set_ylabel(metric)
        for panel in panels[len(varied) :]:
            panel.set_axis_off()
        if len(varied) > 1:
            handles = panels[0].get_legend_handles_labels()
            figure.legend(*handles, title=told_by, loc="outside lower center", ncols=3)
        with atomic_write(target) as beside:
            figure.savefig(beside, dpi=200)
    return True


_MOST_KINDS, _MOST_TICKS = 12, 6
_COLOURS, _MARKERS = ("#0072b2", "#d55e00", "#009e73", "#c46a9c", "#8d6be0", "#a8842a"), "oDs^vP"
_STYLE: dict[Any, Any] = {  # whose keys matplotlib types as literals; a layer below `evaluation.plots`
    **dict.fromkeys(("axes.spines.right", "axes.spines.top", "legend.frameon", "text.parse_math"), False),
    **dict.fromkeys(("font.size", "axes.labelsize"), 8),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 7.5),
}


def _are_numbers(key: str, points: Sequence[tuple[Record, float]]) -> bool:
    try:
        return all(math.isfinite(float(record.overrides.get(key, ""))) for record, _ in points)
    except ValueError:
        return False


def _shortened(name: str) -> str:
    return name if len(name) <= _LABEL else f"…{name[1 - _LABEL :]}"


def _draw(
    panel: Axes,
    key: str,
    mine: Sequence[tuple[Record, float]],
    points: Sequence[tuple[Record, float]],
    number: int,
    label: str,
) -> None:
    """Draw some of the points against a key, by its value where all are numbers, else by name."""
    if _are_numbers(key, points):
        places = [float(record.overrides[key]) for record, _ in mine]
        every = [float(record.overrides[key]) for record, _ in points]
        if min(every) > 0 and max(every) >= _LOG_FROM * min(every):
            panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:g}")
        texts = {record.overrides[key]: None for record, _ in points}
        if len(texts) <= _MOST_TICKS:
            panel.set_xticks([*map(float, texts)], list(texts))
            panel.set_xticks([], minor=True)
    else:
        names = list(dict.fromkeys(record.overrides.get(key, "") for record, _ in points))
        places = [float(names.index(record.overrides.get(key, ""))) for record, _ in mine]
        panel.set_xticks(range(len(names)), [_shortened(name) for name in names], rotation=30, ha="right")
        panel.set_xlim(-0.5, len(names) - 0.5)
    look: dict[str, Any] = {
        "color": _COLOURS[number % len(_COLOURS)],
        "marker": _MARKERS[number % len(_MARKERS)],
    }
    panel.scatter(places, [value for _, value in mine], s=22, alpha=0.8, linewidths=0, label=label, **look)
