"""Curves over numbers of labels hold the cells of the table, a twin in the colour of its model."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from dnalm.evaluation.benchmark import label_curves
from dnalm.evaluation.benchmark.label_curves import LabelCurves, plot_curves
from dnalm.evaluation.benchmark.report import Comparison
from tests.evaluation.benchmark.outcomes import listed, outcome

TASKS = [listed("a"), listed("b")]
MODELS = ["runs/x", "runs/x:untrained", "kmer_logistic"]
NUMBERS = {"a": (10, 100, 1000), "b": (10, 90)}
OUTCOMES = [
    replace(outcome(task, model, seed, right=0.5 + number / 2500), num_labels=number)
    for task in TASKS
    for model in MODELS
    for seed in (1, 2)
    for number in NUMBERS[task.name]
]


@pytest.fixture(scope="module")
def curves() -> LabelCurves:
    return LabelCurves.of(Comparison(TASKS, MODELS), OUTCOMES)


def test_every_number_of_labels_has_the_cells_of_a_leaderboard_of_its_own(curves: LabelCurves) -> None:
    assert {task: tuple(curves.numbers(task)) for task in NUMBERS} == NUMBERS
    for number in (10, 1000):
        alone = [each for each in OUTCOMES if each.num_labels == number]
        board = Comparison(TASKS, MODELS).leaderboard(alone)
        assert board.cells == {
            (task, model): cell for (task, model, n), cell in curves.cells.items() if n == number
        }


def test_the_tables_have_a_row_for_each_number(curves: LabelCurves, tmp_path: Path) -> None:
    curves.write(tmp_path)
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["labels"]) for row in rows if row["task"] == "a" and row["model"] == "runs/x"] == [
        *NUMBERS["a"]
    ]
    assert len(rows) == 3 * (3 + 2)
    cell = curves.cells["b", "runs/x", 90]
    (row,) = (row for row in rows if (row["task"], row["model"], row["labels"]) == ("b", "runs/x", "90"))
    assert (float(row["mean"]), float(row["low"])) == (cell.mean, cell.interval.low)
    _, names, table = curves.sheet()
    assert names == ["task", "metric", "labels", *MODELS]
    assert [line[:3] for line in table] == [
        [task, "mcc", f"{number:,}"] for task, numbers in NUMBERS.items() for number in numbers
    ]


def test_a_twin_has_its_models_colour_and_hollow_points(
    curves: LabelCurves, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(label_curves, "save_figure", lambda figure, _: drawn.append(figure))
    assert plot_curves(curves, tmp_path)
    panel = drawn[0].axes[0]
    lines = {each.get_label(): each.lines[0] for each in panel.containers}
    model, twin, counts = (lines[name] for name in ("x", "x:untrained", "kmer_logistic"))
    assert model.get_color() == twin.get_color() != counts.get_color()
    assert model.get_markerfacecolor() == model.get_color()
    assert twin.get_markerfacecolor() == "white"
    assert panel.get_xscale() == "log"
    assert list(model.get_xdata()) == [*NUMBERS["a"]]


def test_one_number_of_labels_is_no_curve(tmp_path: Path) -> None:
    most = [each for each in OUTCOMES if each.num_labels == max(NUMBERS[each.task])]
    curves = LabelCurves.of(Comparison(TASKS, MODELS), most)
    curves.write(tmp_path)
    assert not plot_curves(curves, tmp_path)
    assert not curves.sheet()[2]
    assert not any(tmp_path.iterdir())
