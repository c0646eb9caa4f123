"""The table of a sweep, as CSV with everything and as Markdown to be read; whole at any moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from dnalm.sweeps.ledger import Record
from dnalm.tables import csv_text, markdown_text, readable, replace_text

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
