"""The tables of a benchmark, in words: Markdown, LaTeX and HTML to be read, CSV with everything.

`write_report` replaces each file at once, so that whoever reads finds a whole table, old or new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dnalm.evaluation.benchmark.leakage import SHARED, Leakage
from dnalm.evaluation.benchmark.published import Published
from dnalm.evaluation.benchmark.standing import Cell, Standing
from dnalm.tables import csv_text, html_text, latex_text, markdown_text, replace_text

_OURS = "ours"
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font:14px sans-serif;margin:2em}}table{{border-collapse:collapse;margin:1.5em 0}}
caption{{text-align:left;font-weight:bold}}
td,th{{border-bottom:1px solid #ccc;padding:.25em .7em;text-align:left}}</style></head><body>
<h1>{title}</h1>
{tables}</body></html>
"""


@dataclass(frozen=True)
class Sheet:
    """One table to be read."""

    caption: str
    names: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_report(
    folder: Path,
    name: str,
    standing: Standing,
    published: Sequence[Published],
    failures: Mapping[tuple[str, str], str],
    leakage: Mapping[str, Sequence[Leakage]],
) -> None:
    """Write `benchmark.md`, `.csv`, `.tex` and `.html`.

    Args:
        folder: where.
        name: of the benchmark.
        standing: so far.
        published: results of papers on its tasks.
        failures: why jobs of a task and model are not done, where they failed.
        leakage: between the parts of each task.
    """
    sheets = [_results(standing, failures), *_beside(standing, published), _costs(standing), _pairs(standing)]
    sheets.append(_leaks(leakage))
    sheets = [sheet for sheet in sheets if sheet.rows]
    parts = [f"## {sheet.caption}\n\n{markdown_text(sheet.names, sheet.rows)}" for sheet in sheets]
    replace_text(folder / "benchmark.md", "\n".join([f"# Benchmark {name}\n", *parts]))
    tex = (latex_text(sheet.names, sheet.rows, caption=sheet.caption) for sheet in sheets)
    replace_text(folder / "benchmark.tex", "\n".join(tex))
    tables = "".join(html_text(sheet.names, sheet.rows, caption=sheet.caption) for sheet in sheets)
    replace_text(folder / "benchmark.html", _PAGE.format(title=f"Benchmark {name}", tables=tables))
    replace_text(folder / "benchmark.csv", csv_text(_everything(standing, published, failures)))


def _results(standing: Standing, failures: Mapping[tuple[str, str], str]) -> Sheet:
    rows = []
    for task in standing.tasks:
        cells = []
        for model in standing.models:
            cell = standing.cells.get((task.name, model))
            failed = failures.get((task.name, model), "").partition(":")[0]
            if cell is None:
                cells.append(failed)
            else:
                star = "*" if cell.mean == standing.best(task.name) else ""
                partly = f", a seed {failed}" if failed else ""
                cells.append(f"{number(cell.mean)}{star} {_interval(cell)}{partly}")
        rows.append([task.name, task.metric, *cells])
    if standing.whole:
        count = f"mean of {len(standing.whole)}"
        rows.append([count, "", *(number(standing.averages[model]) for model in standing.models)])
        rows.append(["mean rank", "", *(f"{standing.ranks[model]:.2f}" for model in standing.models)])
    caption = (
        "Results on the test sets: mean over seeds (95 % interval by Student's t; of one seed by the "
        "bootstrap over test sequences); * is the best"
    )
    return Sheet(caption, ["task", "metric", *standing.models], rows)


def _beside(standing: Standing, published: Sequence[Published]) -> list[Sheet]:
    """Published numbers, and by how much the best of ours differs."""
    tasks = [task.name for task in standing.tasks]
    sheets = []
    for source in dict.fromkeys(each.source for each in published):
        values = {(each.task, each.model): each.value for each in published if each.source == source}
        models = list(dict.fromkeys(model for _, model in values))
        rows = []
        for task in tasks:
            if any((task, model) in values for model in models):
                ours = standing.best(task)
                shown = [_against(values.get((task, model)), ours) for model in models]
                rows.append([task, number(ours), *shown])
        caption = f"Published ({source}), in brackets what the best of ours has more or less"
        sheets.append(Sheet(caption, ["task", "best of ours", *models], rows))
    return sheets


def _against(value: float | None, ours: float) -> str:
    if value is None:
        return ""
    return number(value) + (f" ({ours - value:+.4f})" if np.isfinite(ours) else "")


def _costs(standing: Standing) -> Sheet:
    rows = []
    for model in standing.models:
        cells = [cell for (_, name), cell in standing.cells.items() if name == model]
        if cells:
            seconds = sum(cell.seconds for cell in cells) / len(cells)
            memory = max(cell.peak_memory for cell in cells) / 2**20
            parameters = max(cell.parameters for cell in cells)
            recipes = sorted({cell.provenance.get("recipe", "") for cell in cells})
            costs = (f"{parameters:,.0f}", f"{seconds:.1f}", f"{memory:,.0f}")
            rows.append([model, ", ".join(recipes), *costs])
    names = ["model", "recipe of fine-tuning", "parameters", "seconds a job", "peak memory in MiB"]
    return Sheet("Recipes and cost", names, rows)


def _pairs(standing: Standing) -> Sheet:
    rows = [
        [
            pair.first,
            pair.second,
            f"{pair.difference:+.4f}",
            *map(str, (pair.better, pair.worse, len(pair.probabilities))),
            ", ".join(f"{task} {value:.2g}" for task, value in pair.probabilities.items()),
        ]
        for pair in standing.pairs
    ]
    caption = (
        "Paired permutation tests over test sequences; p is corrected for all tests of this table (Holm); "
        "a model is better where p < 0.05. It is about these networks: how much training with other seeds "
        "would differ is no part of it"
    )
    names = ["model", "against", "mean difference", "better", "worse", "tasks", "p by task"]
    return Sheet(caption, names, rows)


def _leaks(leakage: Mapping[str, Sequence[Leakage]]) -> Sheet:
    names = [
        "task",
        "rows of",
        "are in",
        "rows",
        "same",
        "distinct",
        "other strand",
        "near",
        "same, other label",
    ]
    rows = [
        [task, each.part, each.other]
        + [str(n) for n in (each.rows, each.exact, each.distinct, each.reverse, each.near, each.other_label)]
        for task, found in leakage.items()
        for each in found
    ]
    caption = (
        f"Leakage: rows whose sequence, or whose other strand, is in another part, or {SHARED:.0%} of whose "
        "k-mers are shared with one there"
    )
    return Sheet(caption, names, rows)


def _everything(
    standing: Standing, published: Sequence[Published], failures: Mapping[tuple[str, str], str]
) -> list[list[str]]:
    made_by = sorted({name for cell in standing.cells.values() for name in cell.provenance})
    names = ["task", "metric", "model", "from", "mean", "low", "high", "values", "seeds", "seconds"]
    rows = [[*names, "peak_memory", "parameters", "error", *made_by]]
    for task in standing.tasks:
        for model in standing.models:
            head = [task.name, task.metric, model, _OURS]
            cell = standing.cells.get((task.name, model))
            error = failures.get((task.name, model), "")
            if cell is not None:
                rows.append(
                    [*head, *_figures(cell), error, *(cell.provenance.get(each, "") for each in made_by)]
                )
            elif error:
                rows.append([*head, *[""] * (len(names) - len(head) + 2), error, *[""] * len(made_by)])
        for each in published:
            if each.task == task.name:
                head = [task.name, task.metric, each.model, each.source, repr(each.value)]
                rows.append(head + [""] * (len(rows[0]) - len(head)))
    return rows


def _figures(cell: Cell) -> list[str]:
    numbers = (cell.mean, cell.interval.low, cell.interval.high)
    values, seeds = cell.values.values(), cell.values.keys()
    lists = (" ".join(map(repr, values)), " ".join(map(str, seeds)))
    return [*map(repr, numbers), *lists, *map(repr, (cell.seconds, cell.peak_memory, cell.parameters))]


def number(value: float) -> str:
    """Four decimals; nothing where it is not defined."""
    return f"{value:.4f}" if np.isfinite(value) else ""


def _interval(cell: Cell) -> str:
    low, high = cell.interval.low, cell.interval.high
    return f"({low:.3f} to {high:.3f})" if np.isfinite(low) else ""
