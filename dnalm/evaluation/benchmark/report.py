"""What the jobs of a benchmark have left, compared: a leaderboard, its tables and pictures.

All of it is a pure function of what jobs have left and nothing is drawn, so neither the order in which jobs
end nor a restart changes a digit. `write_report` replaces each file at once:
Markdown, LaTeX and HTML to be read, CSV with everything.

Published results stand beside ours, those of the same recipe of fine-tuning with the difference.

A test sequence that the training set has too is left out of every figure but the one that says so.

R rows of a test set, C classes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import yaml

from dnalm.evaluation.benchmark.benchmark import WITHOUT_CHANCE, ListedTask
from dnalm.evaluation.benchmark.leakage import IN_TRAINING, Leakage
from dnalm.evaluation.benchmark.published import Published
from dnalm.evaluation.statistics import (
    BOUNDS,
    MIN_CLUSTERS,
    MIN_OF_CLASS,
    Difference,
    Interval,
    Labels,
    Measured,
    Scores,
    difference,
    holm,
    mean_difference,
    mean_ranks,
    measure,
    metric_of,
)
from dnalm.paths import UNTRAINED, split_twin
from dnalm.tables import csv_text, html_text, latex_text, markdown_text, replace_text

LEVEL = 0.05  # of a difference that is not put down to chance
Verdict = Literal["better", "worse", "no difference seen", "too few items"]


class Row(Protocol):
    """A row of the table: a task, or a score of a set of variants."""

    @property
    def name(self) -> str:
        """Unique in the benchmark."""

    @property
    def metric(self) -> str:
        """What models are judged by."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """A task, a model and a seed that ran to the end.

    Attributes:
        task: its name.
        model: as it was given.
        seed: of the job.
        value: of the declared metric on the whole test set; NaN where it is not defined.
        seconds: that the job took.
        peak_memory: bytes.
        parameters: of the model.
        labels: of the test set, (R,).
        scores: of the test set, (R,) or (R, C).
        provenance: what made it, by name.
        num_labels: training rows.
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
    num_labels: int = 0


def read_outcome(
    run: Path, task: ListedTask, *, model: str, seed: int, made_by: Mapping[str, str]
) -> Outcome | None:
    """Read a run directory of `dnalm finetune` or `dnalm baseline`; None while it is not whole.

    Args:
        run: the directory.
        task: what was asked.
        model: as it was given.
        seed: of the job.
        made_by: what the job was made of, by name: checksums, the command.
    """
    try:
        summary: dict[str, Any] = json.loads((run / "summary.json").read_text())
        table = pq.read_table(run / "predictions.parquet")
        config = yaml.safe_load((run / "config.yaml").read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return None
    try:
        described = yaml.safe_load((run / "model" / "dnalm.yaml").read_text())
    except OSError:
        described = {"versions": summary.get("versions", {}), "precision": "32-true"}
    versions = {"dnalm": described.get("dnalm"), **described["versions"]}
    config = json.dumps({name: value for name, value in config.items() if name != "run"}, sort_keys=True)
    columns = [table[name].to_numpy().copy() for name in table.column_names if name.startswith("score")]
    value = summary.get("test", {}).get(task.metric)
    return Outcome(
        task=task.name,
        model=model,
        seed=seed,
        value=np.nan if value is None else float(value),
        seconds=float(summary["seconds"]),
        peak_memory=float(summary["peak_memory"]),
        parameters=float(summary["parameters"]),
        labels=table["label"].to_numpy().copy(),
        scores=columns[0] if len(columns) == 1 else np.stack(columns, axis=1),
        provenance={
            **made_by,
            "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
            "precision": str(described["precision"]),
            "versions": " ".join(f"{name} {number}" for name, number in versions.items() if number),
        },
        num_labels=int(summary.get("rows", {}).get("train", 0)),
    )


def read_validation(run: Path, metric: str) -> float:
    """A metric on the validation set that a job has left; NaN where it did not end or has none."""
    try:
        value = json.loads((run / "summary.json").read_text())["val"].get(metric)
    except (OSError, ValueError, KeyError):
        return np.nan
    return np.nan if value is None else float(value)


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What was tried with a model on a task.

    Attributes:
        task: its name.
        model: as it was given.
        tried: values by key, and the metric on the validation set; NaN of a job that failed.
    """

    task: str
    model: str
    tried: Sequence[tuple[Mapping[str, str], float]]

    @property
    def chosen(self) -> Mapping[str, str]:
        """The values with the best metric; of equal ones the first."""
        finite = [each for each in self.tried if np.isfinite(each[1])]
        return max(finite, key=lambda each: each[1])[0]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A model on a task.

    Attributes:
        values: of the metric, by seed, without test sequences that the training set has.
        interval: of their mean, over training runs and test sequences; of one seed over test sequences.
        left_out: rows of the test set that the training set has.
        of_all: the mean over seeds of the metric on the whole test set.
        seconds: of a job, the mean.
        peak_memory: bytes, the largest.
        parameters: of the model.
        provenance: of the job of the first seed, by name.
    """

    values: Mapping[int, float]
    interval: Interval
    left_out: int
    of_all: float
    seconds: float
    peak_memory: float
    parameters: float
    provenance: Mapping[str, str]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return fmean(self.values.values())


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two models on the tasks that both have.

    Attributes:
        first: a model.
        second: another.
        differences: by task, the first's mean less the second's.
        probabilities: by task with enough items, the p of no difference, corrected for the whole table.
        mean: of the differences over tasks.
    """

    first: str
    second: str
    differences: Mapping[str, Difference]
    probabilities: Mapping[str, float]
    mean: Difference

    def verdict(self, task: str) -> Verdict:
        """What is said of the first on a task."""
        if task not in self.probabilities:
            return "too few items"
        if self.probabilities[task] >= LEVEL:
            return "no difference seen"
        return "better" if self.differences[task].value > 0 else "worse"

    @property
    def verdicts(self) -> Counter[Verdict]:
        """How many tasks have each."""
        return Counter(self.verdict(task) for task in self.differences)


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """A benchmark, as far as its jobs are done.

    Attributes:
        tasks: those that were asked for.
        models: likewise.
        cells: by task and model, as far as jobs are done.
        whole: tasks that all models have done, over which ranks and averages go.
        averages: by model, of the metric over those tasks.
        ranks: by model, the mean of its ranks, 1 the best.
        pairs: of models.
    """

    tasks: Sequence[Row]
    models: Sequence[str]
    cells: Mapping[tuple[str, str], Cell]
    whole: Sequence[str]
    averages: Mapping[str, float]
    ranks: Mapping[str, float]
    pairs: Sequence[Pair]

    def best(self, task: str, *, recipe: str | None = None) -> float:
        """The best mean on a task, of models fine-tuned by a recipe if one is given; NaN if there is none."""
        means = [
            cell.mean
            for (name, _), cell in self.cells.items()
            if name == task and recipe in (None, cell.provenance.get("recipe"))
        ]
        return max((mean for mean in means if np.isfinite(mean)), default=np.nan)


class Comparison:
    """Compares models; what it has measured is kept for the next leaderboard.

    Args:
        tasks: of the benchmark.
        models: in the order of the table.
        clusters: by task, of its test set, as of `leakage.clusters_of`; rows that are `IN_TRAINING` are left
            out. A task that is absent has independent rows, of which none is.
        measured_by: in place of a listed task's own metric.
    """

    def __init__(
        self,
        tasks: Sequence[Row],
        models: Sequence[str],
        clusters: Mapping[str, npt.NDArray[np.integer]] | None = None,
        *,
        measured_by: Callable[[Row, Sequence[Outcome]], Measured] | None = None,
    ) -> None:
        self.tasks, self.models = tasks, models
        self._clusters, self._measured_by = clusters or {}, measured_by
        self._measured: dict[tuple[str, str, int, tuple[int, ...]], Measured] = {}

    def leaderboard(self, outcomes: Sequence[Outcome]) -> Leaderboard:
        """The leaderboard after these jobs."""
        grouped, cells = _grouped(outcomes), self.cells(outcomes)
        names = [task.name for task in self.tasks]
        whole = [name for name in names if all((name, model) in cells for model in self.models)]
        table = [[cells[name, model].mean for model in self.models] for name in whole]
        return Leaderboard(
            tasks=self.tasks,
            models=self.models,
            cells=cells,
            whole=whole,
            averages=dict(zip(self.models, np.mean(table, axis=0).tolist(), strict=True)) if whole else {},
            ranks=dict(zip(self.models, mean_ranks(table), strict=True)) if whole else {},
            pairs=self._pairs(grouped),
        )

    def cells(self, outcomes: Sequence[Outcome]) -> dict[tuple[str, str], Cell]:
        """By task and model, of jobs that learned from the same number of labels."""
        grouped = _grouped(outcomes)
        return {
            (task.name, model): self._cell(task, found)
            for task in self.tasks
            for model in self.models
            if (found := grouped.get((task.name, model)))
        }

    def _cell(self, task: Row, found: Sequence[Outcome]) -> Cell:
        measured = self._measure(task, found)
        return Cell(
            values=dict(zip((each.seed for each in found), measured.values.tolist(), strict=True)),
            interval=measured.interval,
            left_out=int((self._clusters_of(task, found[0]) == IN_TRAINING).sum()),
            of_all=fmean(each.value for each in found),
            seconds=fmean(each.seconds for each in found),
            peak_memory=max(each.peak_memory for each in found),
            parameters=found[0].parameters,
            provenance=found[0].provenance,
        )

    def _pairs(self, grouped: Mapping[tuple[str, str], Sequence[Outcome]]) -> list[Pair]:
        """All pairs of models with a task in common, untrained twins second; one correction for all tests."""
        found: dict[tuple[str, str], dict[str, Difference]] = {}
        models = sorted(self.models, key=lambda model: split_twin(model)[1])
        for first, second in itertools.combinations(models, 2):
            for task in self.tasks:
                one, other = grouped.get((task.name, first)), grouped.get((task.name, second))
                if one and other:
                    gap = difference(self._measure(task, one), self._measure(task, other))
                    found.setdefault((first, second), {})[task.name] = gap
        tested = [gap.p for of_tasks in found.values() for gap in of_tasks.values() if gap.has_enough_items]
        corrected = iter(holm(tested))
        return [
            Pair(
                first=first,
                second=second,
                differences=of_tasks,
                probabilities={
                    task: next(corrected) for task, gap in of_tasks.items() if gap.has_enough_items
                },
                mean=mean_difference(list(of_tasks.values())),
            )
            for (first, second), of_tasks in found.items()
        ]

    def _measure(self, task: Row, outcomes: Sequence[Outcome]) -> Measured:
        """What the networks of a model are worth on a task; computed once."""
        first = outcomes[0]
        key = (task.name, first.model, first.num_labels, tuple(each.seed for each in outcomes))
        if key not in self._measured and self._measured_by is not None:
            self._measured[key] = self._measured_by(task, outcomes)
        elif key not in self._measured:
            assert isinstance(task, ListedTask)
            clusters = self._clusters_of(task, outcomes[0])
            kept = clusters != IN_TRAINING
            self._measured[key] = measure(
                metric_of(task.kind, task.metric, num_outputs=task.labels),
                outcomes[0].labels[kept],
                [each.scores[kept] for each in outcomes],
                bounds=BOUNDS[task.metric],
                clusters=clusters[kept],
            )
        return self._measured[key]

    def _clusters_of(self, task: Row, outcome: Outcome) -> npt.NDArray[np.integer]:
        return self._clusters.get(task.name, np.arange(len(outcome.labels)))


def _grouped(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], list[Outcome]]:
    """By task and model, in the order of seeds."""
    grouped: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda each: each.seed):
        grouped.setdefault((outcome.task, outcome.model), []).append(outcome)
    return grouped


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font:14px sans-serif;margin:2em}}table{{border-collapse:collapse;margin:1.5em 0}}
caption{{text-align:left;font-weight:bold}}
td,th{{border-bottom:1px solid #ccc;padding:.25em .7em;text-align:left}}</style></head><body>
<h1>{title}</h1>
{tables}</body></html>
"""


class Sheet(NamedTuple):
    """A table of a report."""

    caption: str
    names: Sequence[str]
    rows: Sequence[Sequence[str]]


class Captions(NamedTuple):
    """What a report says of its tables.

    Attributes:
        results: of figures.
        gains: of what pretraining adds.
        tests: of all differences; `{number}` is that of comparisons, `{level}` that of a verdict.
        has_means: whether figures of all tasks can be averaged, and models ranked.
    """

    results: str
    gains: str
    tests: str
    has_means: bool


OF_TASKS = Captions(
    results="Results on the test sets: mean over seeds, or over folds (95 % interval over training runs and "
    "test sequences, of one seed over test sequences alone); * is the best. The recipe is that of "
    "fine-tuning (conf/benchmark/recipes.tsv); ours is nobody's publication",
    gains="What pretraining adds: each model less its untrained twin, the same network fine-tuned from the "
    "weights that its training began with, which each seed draws anew (95 % interval over training runs "
    "and test sequences; the p of each verdict is in the table of all differences)",
    tests="Differences of means over seeds (95 % interval), reckoning with other fine-tuning runs of the "
    "same weights and with other test sequences; of a model with one seed only with other test sequences, so "
    "that the verdict is of these networks. p is corrected for all {number} comparisons of this table "
    f"(Holm); below {{level}} a model is better or worse. Below {MIN_CLUSTERS} test sequences, or "
    f"{MIN_OF_CLASS} of a class, there is no verdict",
    has_means=True,
)


def write_report(
    folder: Path,
    name: str,
    board: Leaderboard,
    published: Sequence[Published],
    failures: Mapping[tuple[str, str], str],
    leakage: Mapping[str, Sequence[Leakage]],
    tuned: Sequence[Tuned] = (),
    few: Sheet | None = None,
    captions: Captions = OF_TASKS,
    more: Sequence[Sheet] = (),
) -> None:
    """Write `benchmark.md`, `.csv`, `.tex` and `.html`, and `differences.csv`.

    Args:
        folder: where.
        name: of the benchmark.
        board: as far as jobs are done.
        published: results of papers on its tasks.
        failures: why jobs of a task and model are not done, where they failed.
        leakage: between the parts of each task.
        tuned: what was chosen on validation sets.
        few: the table of few labels, where there is one.
        captions: what is said of the tables.
        more: further tables.
    """
    sheets = [_results(board, failures, captions), *([few] if few else [])]
    sheets += [_folds(board), _gains(board, captions)]
    sheets += [_with_duplicates(board), *([_pairs(board)] if captions.has_means else [])]
    sheets += [_tests(board, captions), *_beside(board, published), *more, _costs(board), _choices(tuned)]
    sheets = [sheet for sheet in (*sheets, _leaks(leakage)) if sheet.rows]
    parts = [f"## {caption}\n\n{markdown_text(names, rows)}" for caption, names, rows in sheets]
    replace_text(folder / "benchmark.md", "\n".join([f"# Benchmark {name}\n", *parts]))
    tex = (latex_text(names, rows, caption=caption) for caption, names, rows in sheets)
    replace_text(folder / "benchmark.tex", "\n".join(tex))
    tables = "".join(html_text(names, rows, caption=caption) for caption, names, rows in sheets)
    replace_text(folder / "benchmark.html", _PAGE.format(title=f"Benchmark {name}", tables=tables))
    replace_text(folder / "benchmark.csv", csv_text(_everything(board, published, failures)))
    replace_text(folder / "differences.csv", csv_text(_differences(board)))


def _results(board: Leaderboard, failures: Mapping[tuple[str, str], str], captions: Captions) -> Sheet:
    rows = []
    for task in board.tasks:
        cells = []
        for model in board.models:
            cell = board.cells.get((task.name, model))
            failed = failures.get((task.name, model), "").partition(":")[0]
            if cell is None:
                cells.append(failed)
                continue
            low, high = cell.interval.low, cell.interval.high
            star = "*" if cell.mean == board.best(task.name) else ""
            interval = f"({low:.3f} to {high:.3f})" if np.isfinite(low) else ""
            cells.append(f"{_number(cell.mean)}{star} {interval}{f', a seed {failed}' if failed else ''}")
        rows.append([task.name, task.metric, *cells])
    if board.whole and captions.has_means:
        count = f"mean of {len(board.whole)}"
        rows.append([count, "", *(_number(board.averages[model]) for model in board.models)])
        rows.append(["mean rank", "", *(f"{board.ranks[model]:.2f}" for model in board.models)])
    if board.cells:
        rows.append(["recipe", "", *(_recipes(board, model) for model in board.models)])
    return Sheet(captions.results, ["task", "metric", *board.models], rows)


def _recipes(board: Leaderboard, model: str) -> str:
    """By which recipes a model is fine-tuned, each with its tasks where they are several."""
    tasks: dict[str, list[str]] = {}
    for (task, name), cell in board.cells.items():
        if name == model:
            tasks.setdefault(cell.provenance.get("recipe", ""), []).append(task)
    if len(tasks) == 1:
        return next(iter(tasks))
    return "; ".join(f"{', '.join(names)}: {recipe}" for recipe, names in tasks.items())


def _folds(board: Leaderboard) -> Sheet:
    """The figure of every fold, where a recipe has folds."""
    rows = []
    for (task, model), cell in board.cells.items():
        if cell.provenance.get("folds"):
            values = list(cell.values.values())
            spread = f"{2 * stdev(values):.4f}" if len(values) > 1 else ""
            rows.append([task, model, _number(cell.mean), spread, " ".join(map(_number, values))])
    caption = (
        "Cross-validation: the metric on the test set of the network of each fold, which trained on the "
        "other folds and whose weights its own fold chose"
    )
    return Sheet(caption, ["task", "model", "mean", "two standard deviations", "folds"], rows)


def _with_duplicates(board: Leaderboard) -> Sheet:
    """Figures of whole test sets, of the tasks whose test set shares sequences with the training set."""
    rows = []
    for task in board.tasks:
        cells = [board.cells.get((task.name, model)) for model in board.models]
        left_out = max((cell.left_out for cell in cells if cell), default=0)
        if left_out:
            figures = [
                f"{_number(cell.of_all)} ({cell.of_all - cell.mean:+.4f})" if cell else "" for cell in cells
            ]
            rows.append([task.name, task.metric, str(left_out), *figures])
    caption = (
        "The same on whole test sets, with the sequences that the training set has too, on either strand (of "
        "homology=drop with their homologs), which all other figures leave out; in brackets the difference"
    )
    return Sheet(caption, ["task", "metric", "left out", *board.models], rows)


def _beside(board: Leaderboard, published: Sequence[Published]) -> list[Sheet]:
    """Published numbers, and by how much the best of ours differs that is fine-tuned by the same recipe."""
    sheets = []
    for source, recipe in dict.fromkeys((each.source, each.recipe) for each in published):
        values = {(each.task, each.model): each.value for each in published if each.source == source}
        models = list(dict.fromkeys(model for _, model in values))
        rows = []
        for task in (task.name for task in board.tasks):
            theirs = [values.get((task, model)) for model in models]
            if any(value is not None for value in theirs):
                ours = board.best(task, recipe=recipe or "none")
                gaps = ["" if value is None else f" ({ours - value:+.4f})" for value in theirs]
                numbers = ["" if value is None else _number(value) for value in theirs]
                gaps = gaps if np.isfinite(ours) else [""] * len(gaps)
                ends = [*map("".join, zip(numbers, gaps, strict=True))]
                rows.append([task, _number(ours), _number(board.best(task)), *ends])
        if recipe:
            caption = (
                f"Published ({source}), fine-tuned by {recipe}; in brackets what the best of ours by that "
                "recipe has more or less"
            )
        else:
            caption = f"Published ({source}), by a recipe that is not known here, so without a difference"
        named = ["task", f"best of ours by {recipe or 'it'}", "best of ours by any recipe", *models]
        sheets.append(Sheet(caption, named, rows))
    return sheets


def _costs(board: Leaderboard) -> Sheet:
    rows = []
    for model in board.models:
        cells = [cell for (_, name), cell in board.cells.items() if name == model]
        if cells:
            seconds = sum(cell.seconds for cell in cells) / len(cells)
            memory = max(cell.peak_memory for cell in cells) / 2**20
            parameters = max(cell.parameters for cell in cells)
            rows.append([model, f"{parameters:,.0f}", f"{seconds:.1f}", f"{memory:,.0f}"])
    return Sheet("Cost", ["model", "parameters", "seconds a job", "peak memory in MiB"], rows)


def _choices(tuned: Sequence[Tuned]) -> Sheet:
    tried = list(dict.fromkeys(_words(values) for each in tuned for values, _ in each.tried))
    rows = []
    for each in tuned:
        found = {_words(values): value for values, value in each.tried}
        figures = [_number(found[words]) or "failed" for words in tried]
        shown = [
            f"{figure}*" if words == _words(each.chosen) else figure
            for figure, words in zip(figures, tried, strict=True)
        ]
        rows.append([each.task, each.model, *shown])
    caption = "Tuned: the metric on the validation set, seed 1; all seeds have what is marked *"
    return Sheet(caption, ["task", "model", *tried], rows)


def _words(values: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in values.items())


def _gains(board: Leaderboard, captions: Captions) -> Sheet:
    """What pretraining adds: each model less its untrained twin, on every task that both have done."""
    rows, metrics = [], {task.name: task.metric for task in board.tasks}
    for pair in (each for each in board.pairs if each.second == f"{each.first}{UNTRAINED}"):
        for task, found in pair.differences.items():
            means = [_number(board.cells[task, model].mean) for model in (pair.second, pair.first)]
            rows.append([pair.first, task, metrics[task], *means, _interval(found), _said(board, pair, task)])
        if len(pair.differences) > 1 and captions.has_means:
            count = f"mean of {len(pair.differences)}"
            rows.append([pair.first, count, "", "", "", _interval(pair.mean), ""])
    names = ["model", "task", "metric", "untrained", "pretrained", "pretraining adds", "with it the model is"]
    return Sheet(captions.gains, names, rows)


def _pairs(board: Leaderboard) -> Sheet:
    words: tuple[Verdict, ...] = ("better", "worse", "no difference seen", "too few items")
    rows = [
        [pair.first, pair.second, _interval(pair.mean), *(str(pair.verdicts[word]) for word in words)]
        for pair in board.pairs
    ]
    caption = "Pairs of models: the mean difference over tasks (95 % interval), and on how many tasks"
    return Sheet(caption, ["model", "against", "mean difference", *words], rows)


def _tests(board: Leaderboard, captions: Captions) -> Sheet:
    rows = []
    for pair in board.pairs:
        for task, found in pair.differences.items():
            p = f"{pair.probabilities[task]:.2g}" if task in pair.probabilities else ""
            rows.append([pair.first, pair.second, task, _interval(found), p, _said(board, pair, task)])
    number = sum(len(pair.probabilities) for pair in board.pairs)
    caption = captions.tests.format(number=number, level=LEVEL)
    return Sheet(caption, ["model", "against", "task", "difference", "p", "the model is"], rows)


def _said(board: Leaderboard, pair: Pair, task: str) -> str:
    """The verdict, and whether it is of single networks: of one seed of a model whose training draws."""
    single = any(
        len(board.cells[task, model].values) == 1 and model not in WITHOUT_CHANCE
        for model in (pair.first, pair.second)
    )
    return pair.verdict(task) + (", of these networks" if single and task in pair.probabilities else "")


def _interval(found: Difference) -> str:
    if not np.isfinite(found.value):
        return ""
    return f"{found.value:+.4f} ({found.low:+.3f} to {found.high:+.3f})"


def _leaks(leakage: Mapping[str, Sequence[Leakage]]) -> Sheet:
    names = ["task", "rows of", "are in", "rows", "same", "distinct", "other strand", "homologous"]
    names += ["same, other label"]
    rows = [
        [task, each.part, each.other]
        + [
            str(n)
            for n in (each.rows, each.exact, each.distinct, each.reverse, each.homologous, each.other_label)
        ]
        for task, found in leakage.items()
        for each in found
    ]
    caption = (
        "Leakage: rows whose sequence, or whose other strand, is in another part, and further ones that are "
        "homologous to one there (70 % of 100 bases agree, or more of fewer)"
    )
    return Sheet(caption, names, rows)


def _everything(
    board: Leaderboard, published: Sequence[Published], failures: Mapping[tuple[str, str], str]
) -> list[list[str]]:
    """A row for each task and model, ours and published, and the names of the columns above."""
    rows: list[dict[str, str]] = []
    for task in board.tasks:
        named = {"task": task.name, "metric": task.metric}
        for model in board.models:
            cell, error = board.cells.get((task.name, model)), failures.get((task.name, model), "")
            if cell is not None or error:
                figures = {} if cell is None else {**_figures(cell), **cell.provenance}
                rows.append({**named, "model": model, "from": "ours", "error": error, **figures})
        rows += [
            {**named, "model": each.model, "from": each.source, "mean": repr(each.value)}
            for each in published
            if each.task == task.name
        ]
    names = [
        "task",
        "metric",
        "model",
        "from",
        "mean",
        "low",
        "high",
        "values",
        "seeds",
        "left_out",
        "of_all",
    ]
    names += ["seconds", "peak_memory", "parameters", "error"]
    names += sorted({name for cell in board.cells.values() for name in cell.provenance})
    return [names, *([row.get(name, "") for name in names] for row in rows)]


def _differences(board: Leaderboard) -> list[list[str]]:
    """A row for each pair of models on each task, twins second, and the names of the columns above."""
    rows = [
        [pair.first, pair.second, task]
        + [repr(value) for value in (found.value, found.low, found.high)]
        + [repr(pair.probabilities[task]) if task in pair.probabilities else "", _said(board, pair, task)]
        for pair in board.pairs
        for task, found in pair.differences.items()
    ]
    return [["first", "second", "task", "difference", "low", "high", "p", "first is"], *rows]


def _figures(cell: Cell) -> dict[str, str]:
    return {
        "mean": repr(cell.mean),
        "low": repr(cell.interval.low),
        "high": repr(cell.interval.high),
        "values": " ".join(map(repr, cell.values.values())),
        "seeds": " ".join(map(str, cell.values)),
        "left_out": str(cell.left_out),
        "of_all": repr(cell.of_all),
        "seconds": repr(cell.seconds),
        "peak_memory": repr(cell.peak_memory),
        "parameters": repr(cell.parameters),
    }


def _number(value: float) -> str:
    """Four decimals; nothing where it is not defined."""
    return f"{value:.4f}" if np.isfinite(value) else ""
