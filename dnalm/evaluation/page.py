"""What a page is made of: sections of tables and figures, and cells of numbers and texts of files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dnalm.errors import escape_controls
from dnalm.evaluation.charts import Drawing
from dnalm.evaluation.run_files import RunFiles

_MOST_LETTERS = 240  # of a cell
_MOST_ROWS = 400  # of a table
MOST_CHARTS = 24  # of a section
Cell = str | float | int | None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the page; the first cell of a row is its heading, numbers are shown in five digits."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what stands below it.

    Attributes:
        title: the heading.
        text: a sentence below it.
        tables: in order.
        figures: before the tables.
        legend: names of runs, their colour and dashes; empty for one run.
        folded: whether tables are opened by a click.
    """

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Drawing] = ()
    legend: Sequence[tuple[str, str, str]] = ()
    folded: bool = False


def shown(value: object) -> str:
    """A text of a file as the page shows it: nothing invisible, cut; a dash where there is nothing."""
    if value is None or value == "":
        return "\N{EN DASH}"
    text = str(value)
    cut = "…" if len(text) > _MOST_LETTERS else ""
    return escape_controls(text[:_MOST_LETTERS]) + cut


def as_cell(value: object) -> Cell:
    """A value of a file: a number, or a text; nothing of what is not finite."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, int | float | None) else str(value)


def cut_table(caption: str, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Table:
    """The first 400 rows as a table, whose caption says so."""
    cut = f"; the first {_MOST_ROWS} of {len(rows):,} rows" if len(rows) > _MOST_ROWS else ""
    return Table(caption=caption + cut, header=header, rows=rows[:_MOST_ROWS])


def by_run(runs: Sequence[RunFiles], table: Table) -> Table:
    """A table whose first column is the run, without that column where there is one run."""
    if len(runs) > 1:
        return table
    return Table(caption=table.caption, header=table.header[1:], rows=[row[1:] for row in table.rows])
