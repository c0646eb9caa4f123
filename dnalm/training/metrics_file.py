"""`metrics.csv`: a row for each step at which something was logged, empty where a metric was not.

A run that goes on from a checkpoint drops the rows of later steps first, so the file is that of a run that
was never interrupted. Rows are appended; a metric that is new makes the file be written anew, beside and
renamed, so whoever reads it sees whole rows always.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only


class MetricsFile(Logger):
    """Write metrics of rank 0.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._columns: list[str] = []
        self._step: int | None = None  # of the row that is not written yet
        self._row: dict[str, float] = {}

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
        """Append the row under way."""
        if not self._row:
            return
        row: dict[str, Any] = {"step": self._step, **self._row}
        self._row = {}
        new = [name for name in row if name not in self._columns]
        if new:
            rows = _read(self.path)
            self._columns = [*(self._columns or ["step"]), *(name for name in new if name != "step")]
            _write(self.path, self._columns, rows)
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns, restval="").writerow(row)

    @rank_zero_only
    def finalize(self, status: str) -> None:  # noqa: ARG002 -- Lightning's signature
        """Write what is left."""
        self.save()

    @rank_zero_only
    def go_on_after(self, step: int) -> None:
        """Drop the rows of later steps; that of optimizer step n is numbered n - 1, as Lightning counts."""
        rows = [row for row in _read(self.path) if row["step"].isdecimal() and int(row["step"]) < step]
        if rows or self.path.exists():
            self._columns = list(rows[0]) if rows else []
            _write(self.path, self._columns, rows)


def _read(path: Path) -> list[dict[str, str]]:
    """The whole rows; one that a kill has cut short is left out."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if None not in row.values() and None not in row]


def _write(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w", newline="") as file:
        if columns:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)
    beside.replace(path)
