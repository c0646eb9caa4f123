"""`metrics.csv`: a row for each step at which something was logged, empty where a metric was not.

A run that goes on from a checkpoint drops the rows of later steps first, so the file is that of a run that
was never interrupted. Rows are appended; a metric that is new makes the file be written anew, beside and
renamed, so whoever reads it sees whole rows always. Rows that a full disk does not take wait for the next
save, for no figure is worth a checkpoint.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from dnalm.console import stderr
from dnalm.durable import append
from dnalm.system_errors import disk_reason, translate
from dnalm.tables import csv_text, replace_text
from dnalm.training.heartbeat import RunFolder


class MetricsFile(Logger):
    """Write metrics of rank 0.

    Args:
        path: the file.
        run: the run directory, if it is watched; rows wait while another folder lies at its path.
    """

    def __init__(self, path: Path, run: RunFolder | None = None) -> None:
        super().__init__()
        self.path, self.run = path, run
        self._columns: list[str] = []
        self._step: int | None = None  # of the row that is not written yet
        self._row: dict[str, float] = {}
        self._waiting: list[dict[str, Any]] = []
        self._warned = False

    @property
    def name(self) -> str:
        """Lightning asks for one."""
        return "metrics"

    @property
    def version(self) -> str:
        """Lightning asks for one."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, *_: object) -> None:
        """They are in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add metrics to the row of a step."""
        if step != self._step:
            self.save()
            self._step = step
        self._row.update({name: float(value) for name, value in metrics.items() if name != "epoch"})

    @rank_zero_only
    def save(self) -> None:
        """Append the row under way, and those that could not be written before."""
        if self._row:
            self._waiting.append({"step": self._step, **self._row})
            self._row = {}
        if not self._waiting:
            return
        try:
            if self.run and self.run.is_replaced():
                return
            self._append(self._waiting)
        except OSError as error:
            if disk_reason(error.errno, self.path) is None:
                raise
            if not self._warned:
                stderr.print(
                    f"Not written yet: {translate(error)} Training goes on; rows wait for the next save."
                )
            self._warned = True
        else:
            self._waiting, self._warned = [], False

    @rank_zero_only
    def finalize(self, status: str) -> None:  # noqa: ARG002 -- Lightning's signature
        """Write what is left, or say how much of it is lost."""
        self.save()
        if self._waiting:
            stderr.print(f"{self.path} lacks its last {len(self._waiting)} rows, which could not be written.")

    def _append(self, rows: list[dict[str, Any]]) -> None:
        names = dict.fromkeys(["step", *self._columns, *(name for row in rows for name in row)])
        if list(names) != self._columns:
            _write(self.path, list(names), _read(self.path))
            self._columns = list(names)
        append(self.path, csv_text([row.get(name, "") for name in self._columns] for row in rows))

    @rank_zero_only
    def go_on_after(self, step: int) -> None:
        """Drop the rows of later steps; that of optimizer step n is numbered n - 1, as Lightning counts."""
        rows = [row for row in _read(self.path) if row["step"].isdecimal() and int(row["step"]) < step]
        if rows or self.path.exists():
            self._columns = list(rows[0]) if rows else []
            _write(self.path, self._columns, rows)


def save_logger(logger: Logger) -> None:
    """Bring to disk what a logger holds; one whose disk takes nothing costs no checkpoint."""
    try:
        logger.save()
    except OSError as error:
        if (reason := disk_reason(error.errno, None)) is None:
            raise
        stderr.print(f"Not saved: what {logger.name} logs, for {reason.found}. Training goes on.")


def _read(path: Path) -> list[dict[str, str]]:
    """The whole rows; one that a kill has cut short is left out."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if None not in row.values() and None not in row]


def _write(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    table = [columns, *([row.get(name, "") for name in columns] for row in rows)] if columns else []
    replace_text(path, csv_text(table))
