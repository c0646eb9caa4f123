"""`sweep.jsonl`: what has happened to each job, one line an event, never rewritten.

Every line is on disk before the sweep goes on, so a sweep may be killed at any time; a line that is
cut short says nothing, and its job is run again.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dnalm.durable import append, sync

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
