"""The folder of a sweep: ledger, tables, and for each job a run directory, a log and a lock."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pydantic import NonNegativeFloat, PositiveFloat

from dnalm.errors import ConfigError
from dnalm.limits import Jobs
from dnalm.lock import OutputLock
from dnalm.paths import OutputPath, check_folder
from dnalm.sweeps.grid import Direction
from dnalm.sweeps.job import Job
from dnalm.sweeps.ledger import Ledger, Record
from dnalm.sweeps.local import Places
from dnalm.sweeps.table import write_tables
from dnalm.tables import replace_text

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
