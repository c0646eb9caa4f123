"""Pictures of a benchmark: a map of all numbers, and each task with its intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dnalm.durable import atomic_write
from dnalm.evaluation.benchmark.standing import Standing
from dnalm.evaluation.benchmark.task_list import ListedTask

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
