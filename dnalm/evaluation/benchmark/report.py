"""The tables of a benchmark, in words: Markdown, LaTeX and HTML to be read, CSV with everything.

`write_report` replaces each file at once, so that whoever reads finds a whole table, old or new.

How models stand on the tasks of a benchmark: means, intervals, ranks, and tests between models.

All of it is a pure function of what jobs have left. Resampling is seeded by the names of task and models, so
neither the order in which jobs end nor a restart changes a digit.

What a job of a benchmark has left: its figures, its answers, and what made them.

Pictures of a benchmark: a map of all numbers, and each task with its intervals.

Published results beside ours: the CSVs of `experiments/published/`, transcribed, each with its source.

Lines that begin with `#` say where the numbers are from; one of them, `# scale: 100`, what they were
multiplied by. Columns: `task`, then one for each model; an empty cell was not published.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dnalm.durable import atomic_write
from dnalm.errors import ConfigError
from dnalm.evaluation.benchmark.benchmark import ListedTask
from dnalm.evaluation.benchmark.leakage import SHARED, Leakage
from dnalm.evaluation.statistics import (
    Interval,
    Labels,
    Metric,
    Scores,
    bootstrap_interval,
    holm,
    mean_ranks,
    metric_of,
    permutation_test,
    seed_interval,
)
from dnalm.paths import published_folder
from dnalm.tables import csv_text, html_text, latex_text, markdown_text, replace_text

_PROVENANCE = "model/dnalm.yaml"


@dataclass(frozen=True, eq=False)
class Outcome:
    """A task, a model and a seed that ran to the end.

    Attributes:
        task: name of the task.
        model: as it was given.
        seed: of the job.
        value: of the declared metric on the test set; NaN where it is not defined.
        seconds: that the job took.
        peak_memory: bytes.
        parameters: of the model.
        labels: of the test set, (R,).
        scores: of the test set, (R,) or (R, C).
        provenance: what made it, by name.
    """

    task: str
    model: str
    seed: int
    value: float
    seconds: float
    peak_memory: float
    parameters: float
    labels: Labels
    scores: Scores
    provenance: Mapping[str, str]


def read_outcome(
    run: Path, task: ListedTask, *, model: str, seed: int, made_by: Mapping[str, str]
) -> Outcome | None:
    """Read a run directory.

    Args:
        run: of `dnalm finetune` or `dnalm baseline`.
        task: what was asked.
        model: as it was given.
        seed: of the job.
        made_by: what the job was made of, by name: checksums, the command.

    Returns:
        What it has left; None while it is not whole.
    """
    try:
        summary: dict[str, Any] = json.loads((run / "summary.json").read_text())
        table = pq.read_table(run / "predictions.parquet")
        config = yaml.safe_load((run / "config.yaml").read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return None
    names = [name for name in table.column_names if name.startswith("score")]
    columns = [table.column(name).to_numpy().copy() for name in names]
    value = summary.get("test", {}).get(task.metric)
    return Outcome(
        task=task.name,
        model=model,
        seed=seed,
        value=np.nan if value is None else float(value),
        seconds=float(summary["seconds"]),
        peak_memory=float(summary["peak_memory"]),
        parameters=float(summary["parameters"]),
        labels=table.column("label").to_numpy().copy(),
        scores=columns[0] if len(columns) == 1 else np.stack(columns, axis=1),
        provenance={**made_by, **_made_with(run, config, summary)},
    )


def _made_with(run: Path, config: dict[str, Any], summary: dict[str, Any]) -> dict[str, str]:
    """Hash of the config, precision and versions, as the run says."""
    kept = {name: value for name, value in config.items() if name != "run"}
    text = json.dumps(kept, sort_keys=True)
    try:
        versions = yaml.safe_load((run / _PROVENANCE).read_text())
    except OSError:
        versions = {"versions": summary.get("versions", {}), "precision": "32-true"}
    listed = {"dnalm": versions.get("dnalm"), **versions["versions"]}
    return {
        "config_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "precision": str(versions["precision"]),
        "versions": " ".join(f"{name} {number}" for name, number in listed.items() if number),
    }


def by_cell(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], list[Outcome]]:
    """Outcomes of each task and model, by seed."""
    cells: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda each: each.seed):
        cells.setdefault((outcome.task, outcome.model), []).append(outcome)
    return cells


LEVEL = 0.05


@dataclass(frozen=True)
class Cell:
    """A model on a task.

    Attributes:
        values: of the metric, by seed.
        interval: of their mean: over seeds, or of one seed over the test items.
        seconds: of a job, the mean.
        peak_memory: bytes, the largest.
        parameters: of the model.
        provenance: of the job of the first seed, by name.
    """

    values: Mapping[int, float]
    interval: Interval
    seconds: float
    peak_memory: float
    parameters: float
    provenance: Mapping[str, str]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return fmean(self.values.values())


@dataclass(frozen=True)
class Pair:
    """Two models on the tasks that both have.

    Attributes:
        first: a model.
        second: another.
        difference: of the first's mean over these tasks from the second's.
        probabilities: by task, of a difference as large by chance, corrected for all tests of the table.
        better: tasks on which the first is better and the difference is not put down to chance.
        worse: likewise.
    """

    first: str
    second: str
    difference: float
    probabilities: Mapping[str, float]
    better: int
    worse: int


@dataclass(frozen=True)
class Standing:
    """A benchmark so far.

    Attributes:
        tasks: those that were asked for.
        models: likewise.
        cells: by task and model, as far as jobs are done.
        whole: tasks that all models have done, over which ranks and averages go.
        averages: by model, of the metric over those tasks.
        ranks: by model, the mean of its ranks, 1 the best.
        pairs: of models.
    """

    tasks: Sequence[ListedTask]
    models: Sequence[str]
    cells: Mapping[tuple[str, str], Cell]
    whole: Sequence[str]
    averages: Mapping[str, float]
    ranks: Mapping[str, float]
    pairs: Sequence[Pair]

    def best(self, task: str) -> float:
        """The best mean on a task; NaN while there is none."""
        means = [cell.mean for (name, _), cell in self.cells.items() if name == task]
        return max((mean for mean in means if np.isfinite(mean)), default=np.nan)


@dataclass
class Judge:
    """Computes standings; what it has resampled it remembers.

    Args:
        tasks: of the benchmark.
        models: in the order of the table.
    """

    tasks: Sequence[ListedTask]
    models: Sequence[str]
    _known: dict[tuple[object, ...], object] = field(default_factory=dict)

    def standing(self, outcomes: Sequence[Outcome]) -> Standing:
        """The standing after these jobs."""
        grouped = by_cell(outcomes)
        cells = {
            (task.name, model): self._cell(task, grouped[task.name, model])
            for task in self.tasks
            for model in self.models
            if (task.name, model) in grouped
        }
        whole = [
            task.name for task in self.tasks if all((task.name, model) in cells for model in self.models)
        ]
        table = [[cells[name, model].mean for model in self.models] for name in whole]
        return Standing(
            tasks=self.tasks,
            models=self.models,
            cells=cells,
            whole=whole,
            averages=dict(zip(self.models, np.mean(table, axis=0).tolist(), strict=True)) if whole else {},
            ranks=dict(zip(self.models, mean_ranks(table), strict=True)) if whole else {},
            pairs=self._pairs(grouped),
        )

    def _cell(self, task: ListedTask, outcomes: Sequence[Outcome]) -> Cell:
        return Cell(
            values={each.seed: each.value for each in outcomes},
            interval=self._interval(task, outcomes),
            seconds=fmean(each.seconds for each in outcomes),
            peak_memory=max(each.peak_memory for each in outcomes),
            parameters=outcomes[0].parameters,
            provenance=outcomes[0].provenance,
        )

    def _interval(self, task: ListedTask, outcomes: Sequence[Outcome]) -> Interval:
        if len(outcomes) > 1:
            low = -1.0 if task.metric == "mcc" else 0.0
            return seed_interval([each.value for each in outcomes], low=low, high=1.0)
        (only,) = outcomes
        key = ("interval", task.name, only.model, only.seed)
        if key not in self._known:
            rng = _random(*map(str, key))
            self._known[key] = bootstrap_interval(_metric(task), only.labels, only.scores, rng)
        found = self._known[key]
        assert isinstance(found, Interval), "an interval is remembered by this key"
        return found

    def _pairs(self, grouped: Mapping[tuple[str, str], Sequence[Outcome]]) -> list[Pair]:
        """All pairs of models that have a task in common; one correction for all tests of the table."""
        raw: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
        for first, second in itertools.combinations(self.models, 2):
            for task in self.tasks:
                one, other = grouped.get((task.name, first)), grouped.get((task.name, second))
                if one and other:
                    gap = fmean(each.value for each in one) - fmean(each.value for each in other)
                    probability = self._probability(task, one, other)
                    raw.setdefault((first, second), {})[task.name] = gap, probability
        corrected = iter(holm([p for of_tasks in raw.values() for _, p in of_tasks.values()]))
        pairs = []
        for (first, second), of_tasks in raw.items():
            probabilities = {task: next(corrected) for task in of_tasks}
            gaps = {task: gap for task, (gap, _) in of_tasks.items()}
            sure = [gaps[task] for task, probability in probabilities.items() if probability < LEVEL]
            pairs.append(
                Pair(
                    first=first,
                    second=second,
                    difference=fmean(gaps.values()),
                    probabilities=probabilities,
                    better=sum(gap > 0 for gap in sure),
                    worse=sum(gap < 0 for gap in sure),
                )
            )
        return pairs

    def _probability(self, task: ListedTask, one: Sequence[Outcome], other: Sequence[Outcome]) -> float:
        seeds = tuple(tuple(each.seed for each in side) for side in (one, other))
        key = ("pair", task.name, one[0].model, other[0].model, seeds)
        if key not in self._known:
            self._known[key] = permutation_test(
                _metric(task),
                one[0].labels,
                [each.scores for each in one],
                [each.scores for each in other],
                _random(*map(str, key)),
            )
        found = self._known[key]
        assert isinstance(found, float), "a probability is remembered by this key"
        return found


def _metric(task: ListedTask) -> Metric:
    return metric_of(task.kind, task.metric, num_outputs=task.labels)


def _random(*words: str) -> np.random.Generator:
    digest = hashlib.sha256("\0".join(words).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


_LABEL = 28  # letters of a model's name that are shown; of a long path its end
_COLUMNS = 4
_DARK = 0.45  # of the colour scale, below which letters are white


def plot_standing(standing: Standing, folder: Path) -> bool:
    """Draw `heatmap.png` and `tasks.png`.

    Args:
        standing: of the benchmark.
        folder: where.

    Returns:
        Whether there was anything to draw.
    """
    if not standing.cells:
        return False
    _draw_map(standing, folder / "heatmap.png")
    _draw_tasks(standing, folder / "tasks.png")
    return True


def _draw_map(standing: Standing, target: Path) -> None:
    values = np.full((len(standing.tasks), len(standing.models)), np.nan)
    for row, task in enumerate(standing.tasks):
        for column, model in enumerate(standing.models):
            if cell := standing.cells.get((task.name, model)):
                values[row, column] = cell.mean
    figure = Figure(
        figsize=(3 + 1.3 * len(standing.models), 1.8 + 0.35 * len(standing.tasks)), layout="constrained"
    )
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    low = min(0.0, float(np.nanmin(values))) if np.isfinite(values).any() else 0.0
    image = panel.imshow(values, vmin=low, vmax=1.0, cmap="viridis", aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = (value - low) / (1.0 - low) < _DARK
            panel.text(column, row, f"{value:.3f}", ha="center", va="center", color="w" if dark else "k")
    panel.set_xticks(range(len(standing.models)), model_titles(standing.models), rotation=30, ha="right")
    panel.set_yticks(range(len(standing.tasks)), [f"{task.name} ({task.metric})" for task in standing.tasks])
    figure.colorbar(image, label="test set")
    with atomic_write(target) as beside:
        figure.savefig(beside, dpi=120)


def _draw_tasks(standing: Standing, target: Path) -> None:
    columns = min(_COLUMNS, len(standing.tasks))
    rows = -(-len(standing.tasks) // columns)
    height = 1.2 + 0.3 * len(standing.models)
    figure = Figure(figsize=(2 + 2.6 * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
    for panel, task in zip(panels, standing.tasks, strict=False):
        _draw_task(panel, standing, task)
    for panel in panels[len(standing.tasks) :]:
        panel.set_axis_off()
    with atomic_write(target) as beside:
        figure.savefig(beside, dpi=120)


def _draw_task(panel: Axes, standing: Standing, task: ListedTask) -> None:
    """A row for each model: every seed a dot, the mean, its interval as far as the metric goes."""
    for place, model in enumerate(standing.models):
        cell = standing.cells.get((task.name, model))
        if cell is None or not np.isfinite(cell.mean):
            continue
        low, high = max(cell.interval.low, -1.0), min(cell.interval.high, 1.0)
        panel.plot([low, high], [place, place], color=f"C{place % 10}", linewidth=2)
        panel.plot(list(cell.values.values()), [place] * len(cell.values), ".", color="0.5", markersize=4)
        panel.plot([cell.mean], [place], "o", color=f"C{place % 10}")
    panel.set_yticks(range(len(standing.models)), model_titles(standing.models))
    panel.set_ylim(len(standing.models) - 0.5, -0.5)
    panel.set(title=task.name, xlabel=task.metric)
    panel.grid(axis="x", color="0.9")


def model_titles(models: Sequence[str]) -> list[str]:
    """Names of models without their folders, where these do not tell two apart."""
    names = [PurePath(model).name for model in models]
    told = [name if names.count(name) == 1 else model for name, model in zip(names, models, strict=True)]
    return [name if len(name) <= _LABEL else f"…{name[1 - _LABEL :]}" for name in told]


_SCALE = "# scale:"


@dataclass(frozen=True)
class Published:
    """One number of a paper.

    Attributes:
        task: of the benchmark.
        model: as the paper calls it.
        value: of the metric, on our scale.
        source: the file, whose head names the paper.
    """

    task: str
    model: str
    value: float
    source: str


def read_published(names: Sequence[str]) -> list[Published]:
    """Read tables of published results.

    Args:
        names: files of `experiments/published/`.

    Raises:
        ConfigError: BENCH-08, there is no such file, or a cell is no number.
    """
    found = []
    for name in names:
        try:
            lines = (published_folder() / name).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise _error(name, f"it cannot be read: {error.strerror}", "a file there") from error
        notes = [line for line in lines if line.startswith("#")]
        scale = next((float(line.removeprefix(_SCALE)) for line in notes if line.startswith(_SCALE)), 1.0)
        for row in csv.DictReader(line for line in lines if line and not line.startswith("#")):
            for model, text in row.items():
                if model != "task" and text:
                    found.append(Published(row["task"], model, _number(name, text) / scale, name))
    return found


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise _error(name, f"a cell {text!r}", "a number, or nothing") from error


def _error(name: str, found: str, expected: str) -> ConfigError:
    return ConfigError(
        "BENCH-08",
        where=f"benchmark.published: {name}",
        found=found,
        expected=expected,
        fix=f"put it into {published_folder()}",
    )


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
