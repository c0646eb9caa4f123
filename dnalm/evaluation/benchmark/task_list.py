"""Which tasks a benchmark has: one TSV each in `conf/benchmark/`, read and checked.

Columns: `task`; `path` below `benchmark.root`, `hub_path` below the hub repository (both with `{split}` for
the split's name); `sha256` of the rows of all splits where it is known; `labels`, how many; `length` of the
longest sequence in bases; `metric`; `recipe`. Lines that begin with `#` say where the numbers are from.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast

from dnalm.data.labelled import METRICS, MetricName, TaskKind
from dnalm.errors import ConfigError
from dnalm.paths import config_folder

ANY_FAMILY = "*"  # of models whose family has no recipe of its own


@dataclass(frozen=True)
class ListedTask:
    """One row of a list.

    Args:
        name: of the task.
        path: of its files below a local root.
        hub_path: of its files below the hub repository; empty where none is pinned.
        sha256: of its rows; empty if unknown.
        labels: number of classes.
        length: of the longest sequence, in bases.
        metric: what it is judged by.
        recipe: how it is fine-tuned.
    """

    name: str
    path: str
    hub_path: str
    sha256: str
    labels: int
    length: int
    metric: MetricName
    recipe: str

    @property
    def kind(self) -> TaskKind:
        """What a label is."""
        return "binary" if self.labels == 2 else "multiclass"


def read_tasks(path: Path) -> list[ListedTask]:
    """Read a list.

    Args:
        path: the TSV; a relative one starts at `conf/benchmark/`.

    Raises:
        ConfigError: BENCH-01, it is not there, or a row is not as the columns want it.
    """
    recipes = read_recipes()
    columns = ["task", *[field.name for field in fields(ListedTask)][1:]]
    tasks = []
    for where, row in _read_rows(path, columns):
        if row["metric"] not in METRICS["multiclass"]:
            raise _error(where, f"metric {row['metric']!r}", f"one of {', '.join(METRICS['multiclass'])}")
        if row["recipe"] not in recipes:
            raise _error(where, f"recipe {row['recipe']!r}", f"one of {', '.join(recipes)}")
        if "{split}" not in row["path"]:
            raise _error(where, f"path {row['path']!r}", "a path with {split} in it")
        labels, length = (_number(where, key, row.pop(key)) for key in ("labels", "length"))
        metric = cast("MetricName", row.pop("metric"))
        tasks.append(ListedTask(name=row.pop("task"), labels=labels, length=length, metric=metric, **row))
    names = [task.name for task in tasks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise _error(str(path), f"{', '.join(twice)} twice", "each task once")
    return tasks


def read_recipes() -> dict[str, dict[str, tuple[str, ...]]]:
    """Words of `dnalm finetune` by recipe, then by family of the model, from `conf/benchmark/recipes.tsv`.

    Every recipe has words for `ANY_FAMILY`, which are ours. Those of a named family are as published.

    Raises:
        ConfigError: BENCH-01, a recipe has a family twice, or none for any.
    """
    recipes: dict[str, dict[str, tuple[str, ...]]] = {}
    for where, row in _read_rows(Path("recipes.tsv"), ["name", "families", "words"]):
        of_family = recipes.setdefault(row["name"], {})
        for family in row["families"].split():
            if family in of_family:
                raise _error(where, f"{row['name']} for {family} twice", "one row for a recipe and family")
            of_family[family] = tuple(row["words"].split())
    for name, of_family in recipes.items():
        if ANY_FAMILY not in of_family:
            raise _error("recipes.tsv", f"{name} for {', '.join(of_family)}", f"a row for {ANY_FAMILY} too")
    return recipes


def _read_rows(path: Path, columns: list[str]) -> list[tuple[str, dict[str, str]]]:
    """Where each row stands, and its cells by column."""
    whole = config_folder() / "benchmark" / path
    try:
        lines = whole.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise _error(str(whole), f"it cannot be read: {error.strerror}", "a list of tasks") from error
    kept = [(number, line) for number, line in enumerate(lines, 1) if line and not line.startswith("#")]
    rows = list(csv.reader((line for _, line in kept), delimiter="\t"))
    if not rows or rows[0] != columns:
        found = f"columns {', '.join(rows[0]) if rows else 'none'}"
        raise _error(str(whole), found, f"columns {', '.join(columns)}")
    cells = []
    for (number, _), row in zip(kept[1:], rows[1:], strict=True):
        if len(row) != len(columns):
            raise _error(f"{whole}:{number}", f"{len(row)} fields", f"{len(columns)}")
        cells.append((f"{whole}:{number}", dict(zip(columns, row, strict=True))))
    return cells


def _number(where: str, key: str, text: str) -> int:
    if not text.isdecimal():
        raise _error(where, f"{key} {text!r}", "a whole number")
    return int(text)


def _error(where: str, found: str, expected: str) -> ConfigError:
    return ConfigError(
        "BENCH-01", where=where, found=found, expected=expected, fix="correct the list of tasks"
    )
