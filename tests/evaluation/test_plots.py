"""The loss plot: every point at the optimizer steps that were done, on an axis of whole steps; colours."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from dnalm.evaluation.baselines import Judgement
from dnalm.evaluation.plots import COLOURS, appearance, plot_training
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


# Machado, Oliveira and Fernandes 2009, IEEE TVCG 15:1291, severity 1.0, on linear RGB
VISIONS = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


def linear(colour: str) -> np.ndarray:
    """sRGB in hexadecimal digits to linear RGB."""
    shares = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """Linear RGB to CIELAB, white D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(np.clip(to_xyz @ rgb, 0.0089, None) / to_xyz.sum(1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISIONS)
def test_the_first_four_colours_differ_for_any_vision(vision: str) -> None:
    seen = [lab(np.clip(VISIONS[vision] @ linear(colour), 0, 1)) for colour in COLOURS[:4]]
    assert min(float(np.linalg.norm(one - other)) for one, other in combinations(seen, 2)) > 15


def test_every_colour_stands_out_on_white_and_on_the_dark_of_the_page() -> None:
    weights = np.array([0.2126, 0.7152, 0.0722])  # of WCAG's relative luminance
    dark = float(weights @ linear("#1b1f25"))
    for colour in COLOURS:
        light = float(weights @ linear(colour))
        assert 1.05 / (light + 0.05) >= 3, colour
        assert (light + 0.05) / (dark + 0.05) >= 3, colour


def test_kinds_have_unlike_points() -> None:
    assert len({tuple(sorted(appearance(number).items())) for number in range(36)}) == 36
