"""A metric against the number of labels that were learned from: table, `labels.csv`, picture.

A curve of a pretrained model has its colour and filled points, that of its untrained twin the same colour and
hollow ones. Cells are those of the leaderboard, with fewer training rows: means over seeds, each of which
draws its own rows, and 95 % intervals over training runs and test sequences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from dnalm.evaluation.benchmark.pictures import model_titles
from dnalm.evaluation.benchmark.report import Cell, Comparison, Outcome, Row, Sheet
from dnalm.evaluation.plots import WIDTH, appearance, new_figure, printed, save_figure
from dnalm.paths import split_twin
from dnalm.tables import csv_text, replace_text

_COLUMNS = 3
FILE, PICTURE = "labels.csv", "labels.png"


@dataclass(frozen=True, kw_only=True)
class LabelCurves:
    """Every model on every task with every number of labels, as far as jobs are done.

    Attributes:
        tasks: of the benchmark.
        models: in the order of the table.
        cells: by task, model and number of training rows.
    """

    tasks: Sequence[Row]
    models: Sequence[str]
    cells: Mapping[tuple[str, str, int], Cell]

    @classmethod
    def of(cls, comparison: Comparison, outcomes: Sequence[Outcome]) -> LabelCurves:
        """The curves of what jobs have left; empty where every task has one number of labels."""
        numbers = {(each.task, each.num_labels) for each in outcomes}
        if len(numbers) == len({task for task, _ in numbers}):
            return cls(tasks=comparison.tasks, models=comparison.models, cells={})
        cells = {
            (task, model, number): cell
            for number in sorted({number for _, number in numbers})
            for (task, model), cell in comparison.cells(
                [each for each in outcomes if each.num_labels == number]
            ).items()
        }
        return cls(tasks=comparison.tasks, models=comparison.models, cells=cells)

    def numbers(self, task: str) -> list[int]:
        """Of labels, on a task."""
        return sorted({number for name, _, number in self.cells if name == task})

    def sheet(self) -> Sheet:
        """The table to be read."""
        rows = [
            [task.name, task.metric, f"{number:,}", *(self._text(task.name, m, number) for m in self.models)]
            for task in self.tasks
            for number in self.numbers(task.name)
        ]
        caption = (
            "Few labels: mean over seeds, each with its own draw of training rows (95 % interval over "
            "training runs and test sequences); as many validation rows at most; the test set is whole"
        )
        return Sheet(caption, ["task", "metric", "labels", *self.models], rows)

    def write(self, folder: Path) -> None:
        """Write `labels.csv` with all digits; nothing where there are no curves."""
        if not self.cells:
            return
        names = ["task", "metric", "model", "labels", "mean", "low", "high", "values", "seeds"]
        metrics = {task.name: task.metric for task in self.tasks}
        rows = [
            [task, metrics[task], model, number]
            + [repr(value) for value in (cell.mean, cell.interval.low, cell.interval.high)]
            + [" ".join(map(repr, cell.values.values())), " ".join(map(str, cell.values))]
            for (task, model, number), cell in sorted(self.cells.items())
        ]
        replace_text(folder / FILE, csv_text([names, *rows]))

    def _text(self, task: str, model: str, number: int) -> str:
        cell = self.cells.get((task, model, number))
        if cell is None or not np.isfinite(cell.mean):
            return ""
        low, high = cell.interval.low, cell.interval.high
        return f"{cell.mean:.4f}" + (f" ({low:.3f} to {high:.3f})" if np.isfinite(low) else "")


@printed
def plot_curves(curves: LabelCurves, folder: Path) -> bool:
    """Draw `labels.png`, a panel for each task; returns whether there was anything to draw."""
    if not curves.cells:
        return False
    columns = min(_COLUMNS, len(curves.tasks))
    rows = -(-len(curves.tasks) // columns)
    figure = new_figure(WIDTH, 2.4 * rows + 0.22 * len(curves.models))
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel, task in zip(panels, curves.tasks, strict=False):
        _draw(panel, curves, task)
    for panel in panels[len(curves.tasks) :]:
        panel.set_axis_off()
    lines, names = panels[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=2)
    save_figure(figure, folder / PICTURE)
    return True


def _draw(panel: Axes, curves: LabelCurves, task: Row) -> None:
    """A curve for each model, its twin in the same colour."""
    numbers = curves.numbers(task.name)
    bases = list(dict.fromkeys(split_twin(model)[0] for model in curves.models))
    for model, title in zip(curves.models, model_titles(curves.models), strict=True):
        base, is_twin = split_twin(model)
        look = appearance(bases.index(base))
        cells = [curves.cells.get((task.name, model, number)) for number in numbers]
        nothing = (np.nan, np.nan, np.nan)
        mean, low, high = np.array(
            [nothing if c is None else (c.mean, c.interval.low, c.interval.high) for c in cells], dtype=float
        ).T
        panel.errorbar(
            numbers,
            mean,
            yerr=np.nan_to_num([mean - low, high - mean]).clip(min=0),
            **look,
            label=title,
            linestyle="--" if is_twin else "-",
            linewidth=1,
            elinewidth=0.8,
            capsize=1.5,
            markersize=4,
            markerfacecolor="white" if is_twin else look["color"],
        )
    panel.set_xscale("log")
    panel.set_xticks(numbers, [f"{number:,}" for number in numbers], rotation=30)
    panel.minorticks_off()
    panel.set(title=task.name, xlabel="training labels", ylabel=task.metric)
    panel.grid(axis="y", color="0.9")
