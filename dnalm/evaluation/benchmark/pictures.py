"""Pictures of a leaderboard: a map of models and tasks, and every figure with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
from matplotlib.axes import Axes

from dnalm.evaluation.benchmark.report import Cell, Leaderboard, Row
from dnalm.evaluation.plots import WIDTH, appearance, new_figure, printed, save_figure
from dnalm.paths import split_twin

_LABEL = 28  # letters of a model's name that are shown; of a long path its end
_COLUMNS = 3  # of pictures of tasks
_DARK = 0.45  # of the colour scale, below which letters are white


@printed
def plot_leaderboard(board: Leaderboard, folder: Path) -> bool:
    """Draw `heatmap.png` and `tasks.png` into a folder; returns whether there was anything to draw.

    Tasks of one metric have one axis, so that differences compare.
    """
    if not board.cells:
        return False
    _draw_map(board, folder / "heatmap.png")
    columns = min(_COLUMNS, len(board.tasks))
    rows = -(-len(board.tasks) // columns)
    figure = new_figure(WIDTH, (0.8 + 0.2 * len(board.models)) * rows)
    panels = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
    for panel, task in zip(panels, board.tasks, strict=False):
        _draw_task(panel, board, task)
        same = [each.name for each in board.tasks if each.metric == task.metric]
        panel.set_xlim(*_range([cell for (name, _), cell in board.cells.items() if name in same]))
    for panel in panels[len(board.tasks) :]:
        panel.set_axis_off()
    save_figure(figure, folder / "tasks.png")
    return True


def _range(cells: Sequence[Cell]) -> tuple[float, float]:
    """What an axis shows of these cells: their seeds and intervals, and a little more."""
    values = [value for cell in cells for value in (*cell.values.values(), *vars(cell.interval).values())]
    kept = [value for value in values if np.isfinite(value)]
    if not kept:
        return 0.0, 1.0
    margin = max(0.01, 0.05 * (max(kept) - min(kept)))
    return min(kept) - margin, max(kept) + margin


def _draw_map(board: Leaderboard, target: Path) -> None:
    cells = [[board.cells.get((task.name, model)) for model in board.models] for task in board.tasks]
    values = np.array([[np.nan if cell is None else cell.mean for cell in row] for row in cells])
    figure = new_figure(2.6 + 0.6 * len(board.models), 1.2 + 0.22 * len(board.tasks))
    panel = figure.subplots()
    low = min(0.0, float(np.nanmin(values))) if np.isfinite(values).any() else 0.0
    image = panel.imshow(values, vmin=low, vmax=1.0, cmap="viridis", aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = (value - low) / (1.0 - low) < _DARK
            panel.text(column, row, f"{value:.3f}", ha="center", va="center", color="w" if dark else "k")
    panel.set_xticks(range(len(board.models)), model_titles(board.models), rotation=30, ha="right")
    panel.set_yticks(range(len(board.tasks)), [f"{task.name} ({task.metric})" for task in board.tasks])
    figure.colorbar(image, label="test set (1: perfect)")
    save_figure(figure, target)


def _draw_task(panel: Axes, board: Leaderboard, task: Row) -> None:
    """A row for each model: every seed a dot, the mean, its 95 % interval."""
    for place, model in enumerate(board.models):
        cell = board.cells.get((task.name, model))
        if cell is None or not np.isfinite(cell.mean):
            continue
        look, interval = appearance(place), cell.interval
        panel.plot([interval.low, interval.high], [place, place], color=look["color"], linewidth=1.5)
        panel.plot(list(cell.values.values()), [place] * len(cell.values), ".", color="0.5", markersize=3)
        panel.plot([cell.mean], [place], linestyle="", markersize=5, **look)
    panel.set_yticks(range(len(board.models)), model_titles(board.models))
    panel.set_ylim(len(board.models) - 0.5, -0.5)
    panel.set(title=task.name, xlabel=task.metric)
    panel.grid(axis="x", color="0.9")


def model_titles(models: Sequence[str]) -> list[str]:
    """Names of models without their folders, where all names still differ."""
    names = [PurePath(model).name for model in models]
    shown = [name if names.count(name) == 1 else model for name, model in zip(names, models, strict=True)]
    return [name if len(name) <= _LABEL else f"…{name[1 - _LABEL :]}" for name in shown]


@printed
def plot_sets(board: Leaderboard, folder: Path) -> bool:
    """Draw `variants.png` and `variants.svg`: of each set and metric a panel, of each score a row.

    A point is a model with its 95 % interval, hollow that of its untrained twin, in the same colour; figures
    without an interval have none.

    Returns:
        Whether there was anything to draw.
    """
    if not board.cells:
        return False
    panels_of: dict[tuple[str, str], list[Row]] = {}
    for row in board.tasks:
        panels_of.setdefault((row.name.partition(" ")[0], row.metric), []).append(row)
    models = sorted(board.models, key=lambda model: (split_twin(model)[0], split_twin(model)[1]))
    looks = {name: number for number, name in enumerate(dict.fromkeys(split_twin(m)[0] for m in models))}
    columns = min(2, len(panels_of))
    rows = -(-len(panels_of) // columns)
    most = max(len(found) for found in panels_of.values())
    figure = new_figure(WIDTH, (0.7 + 0.13 * most * len(models)) * rows + 0.4)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel, ((name, metric), found) in zip(panels, panels_of.items(), strict=False):
        for place, row in enumerate(found):
            for number, model in enumerate(models):
                cell = board.cells.get((row.name, model))
                if cell is not None and np.isfinite(cell.mean):
                    height = place + 0.8 * ((number + 0.5) / len(models) - 0.5)
                    _draw_point(panel, cell, height, model, looks[split_twin(model)[0]])
        panel.set_yticks(range(len(found)), [row.name.partition(" ")[2].partition(",")[0] for row in found])
        panel.set_ylim(len(found) - 0.5, -0.5)
        panel.set(title=name, xlabel=metric.replace("_", " "))
        panel.grid(axis="x", color="0.9")
        if metric != "auprc_by_chromosome":  # whose chance level is each chromosome's share of positives
            panel.axvline(0.5 if metric == "auroc" else 0.0, color="0.6", linewidth=0.8)
    for panel in panels[len(panels_of) :]:
        panel.set_axis_off()
    entries = {
        label: handle
        for each in panels
        for handle, label in zip(*each.get_legend_handles_labels(), strict=True)
    }
    titles = dict(zip(models, model_titles(models), strict=True))
    shown = [model for model in models if model in entries]
    handles, labels = [entries[model] for model in shown], [titles[model] for model in shown]
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    save_figure(figure, folder / "variants.png", folder / "variants.svg")
    return True


def _draw_point(panel: Axes, cell: Cell, height: float, model: str, number: int) -> None:
    look = appearance(number)
    ends = [cell.interval.low, cell.interval.high]
    if np.isfinite(ends).all():
        panel.plot(ends, [height, height], color=look["color"], linewidth=1.2)
    face = "white" if split_twin(model)[1] else look["color"]
    panel.plot([cell.mean], [height], linestyle="", markersize=4.5, markerfacecolor=face, label=model, **look)
