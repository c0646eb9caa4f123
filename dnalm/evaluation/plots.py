"""Pictures of a run."""

from __future__ import annotations

import csv
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dnalm.durable import atomic_write
from dnalm.evaluation.judge import Judgement


def plot_training(metrics: Path, judgement: Judgement, target: Path, *, steps: int) -> None:
    """Draw loss and bits per base against the optimizer steps that were done.

    Args:
        metrics: a run's `metrics.csv`.
        judgement: the baselines to draw beside.
        target: the PNG to write.
        steps: optimizer steps of the run.
    """
    with metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    loss, bits = figure.subplots(1, 2)
    loss.plot(*_series(rows, "train_loss", steps), color="0.7", linewidth=1, label="training")
    loss.plot(*_series(rows, "val_loss", steps), color="C0", marker="o", markersize=3, label="validation")
    loss.set(xlabel="optimizer step", ylabel="nats per masked token", title="Loss")
    loss.legend()
    points = _series(rows, "val_bits_per_base", steps)
    bits.plot(*points, color="C0", marker="o", markersize=3, label="model")
    bits.axhline(judgement.order0, color="0.4", linestyle="--", label="order-0 entropy")
    bits.axhline(judgement.two_sided, color="C1", linestyle="--", label="two-sided context model")
    bits.set(xlabel="optimizer step", ylabel="bits per hidden base", title="Validation")
    bits.legend()
    for axes in (loss, bits):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    with atomic_write(target) as beside:
        figure.savefig(beside, dpi=120)


def _series(rows: list[dict[str, str]], name: str, steps: int) -> tuple[list[int], list[float]]:
    """Optimizer steps done, and values.

    Lightning numbers what it logs after step n while it trains n - 1, and the validation after the end n.
    """
    kept = [(min(int(row["step"]) + 1, steps), float(row[name])) for row in rows if row.get(name)]
    return [step for step, _ in kept], [value for _, value in kept]
