"""The table of a sweep, as CSV with everything and as Markdown to be read; whole at any moment."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from dnalm.sweeps.ledger import Record

_FIXED = ("status", "exit_code", "seconds")


def write_tables(folder: Path, records: Sequence[Record], metric: str) -> None:
    """Write `table.csv` and `table.md`, each replaced at once.

    Args:
        folder: where.
        records: the last event of each job.
        metric: the one that Markdown shows; CSV has all.
    """
    keys = list(dict.fromkeys(key for record in records for key in record.overrides))
    metrics = list(dict.fromkeys(name for record in records for name in record.metrics))
    rows = [_cells(record, keys, metrics) for record in records]
    names = ["job", *keys, *_FIXED, *metrics, "run", "log", "error"]
    replace_text(folder / "table.csv", _csv([names, *rows]))
    shown = ["job", *keys, *_FIXED, metric, "run", "log"]
    read = [_cells(record, keys, [metric]) for record in records]  # the error, last, is left to the log
    replace_text(folder / "table.md", _markdown(shown, [row[:-1] for row in read]))


def replace_text(path: Path, text: str) -> None:
    """Put a text in the place of a file, so that a reader finds the old one or the new one."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8", newline="")
    os.replace(beside, path)  # noqa: PTH105 -- the name says that it overwrites


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


def _csv(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([[harmless(cell) for cell in row] for row in rows])
    return text.getvalue()


def harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: one line, an apostrophe before what begins one."""
    cell = "".join(letter if letter.isprintable() else " " for letter in cell)
    if cell.lstrip()[:1] in ("=", "+", "-", "@") and cell.strip() and not _is_number(cell):
        return f"'{cell}"
    return cell


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-](inf|nan)", cell) is not None


def _markdown(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(map(escaped, line))} |\n" for line in lines)


def escaped(cell: str) -> str:
    """A cell of a Markdown table: on one line, and read as the text it is."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", " ".join(cell.split())) if cell != "---" else cell


def count_statuses(records: Iterable[Record]) -> dict[str, int]:
    """How many jobs ended in each way."""
    return dict(Counter(record.status for record in records))
