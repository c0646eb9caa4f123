"""The loss plot: every point at the optimizer steps that were done, on an axis of whole steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from dnalm.evaluation.baselines import Judgement
from dnalm.evaluation.plots import plot_training
from dnalm.evaluation.statistics import PairedDifference

HEADER = "step,train_loss,val_loss,val_bits_per_base\n"


def drawn(rows: str, steps: int, folder: Path, patch: pytest.MonkeyPatch) -> Figure:
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: Any, **options: Any) -> None:  # noqa: ANN401 -- matplotlib's
        figures.append(figure)
        save(figure, *args, **options)

    patch.setattr(Figure, "savefig", keep)
    (folder / "metrics.csv").write_text(HEADER + rows)
    difference = PairedDifference(-0.1, 0.01, 100)
    judgement = Judgement(
        hidden_bases=500,
        model=1.8,
        order0=1.9,
        two_sided=1.9,
        over_order0=difference,
        over_two_sided=difference,
    )
    plot_training(folder / "metrics.csv", judgement, folder / "loss.png", steps=steps)
    return figures[0]


def test_a_validation_while_training_and_the_last_are_numbered_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After step n Lightning numbers a row n - 1 while it trains, and the validation after the end n.
    figure = drawn("499,1.2,1.3,1.9\n599,1.1,,\n600,,1.0,1.8\n", 600, tmp_path, monkeypatch)
    training, validation = figure.axes[0].get_lines()
    assert list(training.get_xdata()) == [500, 600]
    assert list(validation.get_xdata()) == [500, 600]
    assert list(figure.axes[1].get_lines()[0].get_xdata()) == [500, 600]


def test_the_axis_of_a_short_run_has_whole_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn("0,1.2,,\n1,1.1,1.0,1.9\n", 2, tmp_path, monkeypatch)
    for axes in figure.axes:
        assert all(place == int(place) for place in axes.get_xticks())
