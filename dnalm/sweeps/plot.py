"""The picture of a sweep: the metric of every finished job against each axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dnalm.durable import atomic_write
from dnalm.sweeps.ledger import Record

_LOG_FROM = 10  # ratio of the largest to the smallest value from which an axis is logarithmic
_LABEL = 28  # letters of a value that are shown; of a long path its end


def plot_sweep(records: Sequence[Record], metric: str, target: Path) -> bool:
    """Draw one panel an axis.

    Args:
        records: the jobs.
        metric: a number that their summaries have.
        target: the PNG to write.

    Returns:
        Whether there was anything to draw: an axis of two values or more, and a job with the metric.
    """
    points = [(record, value) for record in records if (value := record.number(metric)) is not None]
    keys = dict.fromkeys(key for record, _ in points for key in record.overrides)
    varied = [key for key in keys if len({record.overrides.get(key) for record, _ in points}) > 1]
    if not varied:
        return False
    figure = Figure(figsize=(max(4 * len(varied), 5), 4), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, key in zip(figure.subplots(1, len(varied), squeeze=False)[0], varied, strict=True):
        _draw(panel, [(record.overrides.get(key, ""), value) for record, value in points])
        panel.set(xlabel=key, ylabel=metric)
    with atomic_write(target) as beside:
        figure.savefig(beside, dpi=120)
    return True


def _draw(panel: Axes, points: Sequence[tuple[str, float]]) -> None:
    try:
        places = [float(text) for text, _ in points]
    except ValueError:
        names = list(dict.fromkeys(text for text, _ in points))
        places = [float(names.index(text)) for text, _ in points]
        shown = [name if len(name) <= _LABEL else f"…{name[1 - _LABEL :]}" for name in names]
        panel.set_xticks(range(len(names)), shown, rotation=30, ha="right")
    else:
        if min(places) > 0 and max(places) >= _LOG_FROM * min(places):
            panel.set_xscale("log")
    panel.scatter(places, [value for _, value in points], color="C0", alpha=0.7)
