"""Pictures of a run."""

from __future__ import annotations

import csv
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dnalm.durable import atomic_write
from dnalm.evaluation.judge import Judgement


def plot_training(metrics: Path, judgement: Judgement, target: Path) -> None:
    """Draw loss and bits per base against the step.

    Args:
        metrics: a run's `metrics.csv`.
        judgement: the baselines to draw beside.
        target: the PNG to write.
    """
    with metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    loss, bits = figure.subplots(1, 2)
    loss.plot(*_series(rows, "train_loss"), color="0.7", linewidth=1, label="training")
    loss.plot(*_series(rows, "val_loss"), color="C0", marker="o", markersize=3, label="validation")
    loss.set(xlabel="optimizer step", ylabel="nats per masked token", title="Loss")
    loss.legend()
    bits.plot(*_series(rows, "val_bits_per_base"), color="C0", marker="o", markersize=3, label="model")
    bits.axhline(judgement.order0, color="0.4", linestyle="--", label="order-0 entropy")
    bits.axhline(judgement.two_sided, color="C1", linestyle="--", label="two-sided context model")
    bits.set(xlabel="optimizer step", ylabel="bits per hidden base", title="Validation")
    bits.legend()
    with atomic_write(target) as beside:
        figure.savefig(beside, dpi=120)


def _series(rows: list[dict[str, str]], name: str) -> tuple[list[int], list[float]]:
    kept = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
    return [step for step, _ in kept], [value for _, value in kept]
