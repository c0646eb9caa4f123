"""Tables parse in every form, say what they should, and no name in them does harm."""

import csv
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest

from dnalm.evaluation.benchmark.leakage import IN_TRAINING, Leakage
from dnalm.evaluation.benchmark.pictures import model_titles, plot_leaderboard
from dnalm.evaluation.benchmark.published import Published, read_published
from dnalm.evaluation.benchmark.report import (
    Comparison,
    write_report,
)
from dnalm.evaluation.statistics import metric_of
from tests.evaluation.benchmark.outcomes import ROWS, listed, outcome

TASKS = [listed("a_1"), listed("b")]
ODD = "=cmd()|<b>&_{x}$%"
MODELS = [ODD, "tiny"]
OUTCOMES = [outcome(TASKS[0], model, seed) for model in MODELS for seed in (1, 2)]
CLUSTERS = {"a_1": np.where(np.arange(ROWS) < 4, IN_TRAINING, np.arange(ROWS))}
PUBLISHED = [
    Published(task=task, model="NT", value=0.5, source="paper.csv", recipe="of_paper")
    for task in ("a_1", "elsewhere")
]
PUBLISHED.append(Published(task="a_1", model="GROVER", value=0.25, source="other.csv"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("report")
    failures = {("b", "tiny"): "oom: killed for want of memory", ("a_1", "tiny"): "timeout: stopped"}
    counts = {"rows": 40, "exact": 3, "distinct": 2, "reverse": 1, "homologous": 4, "other_label": 0}
    leakage = {"a_1": [Leakage(part="test", other="train", related=(), **counts)]}
    standing = Comparison(TASKS, MODELS, CLUSTERS).leaderboard(OUTCOMES)
    write_report(place, "toy", standing, PUBLISHED, failures, leakage)
    assert plot_leaderboard(standing, place)
    return place


class Cells(HTMLParser):
    """Texts of cells, by row."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.inside = False

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 -- the interface
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.inside = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def test_the_csv_has_everything_and_no_formula(folder: Path) -> None:
    with (folder / "benchmark.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(None not in row and None not in row.values() for row in rows)
    found = {(row["task"], row["model"]): row for row in rows}
    mine = found["a_1", f"'{ODD}"]
    mcc = metric_of("binary", "mcc", num_outputs=2)
    made = [each for each in OUTCOMES if each.model == ODD]
    values = [mcc(each.labels[4:], each.scores[4:]) for each in made]
    assert [float(value) for value in mine["values"].split()] == values
    assert float(mine["mean"]) == pytest.approx(sum(values) / 2)
    assert mine["left_out"] == "4"
    assert float(mine["of_all"]) == pytest.approx(sum(each.value for each in made) / 2)
    assert (mine["seeds"], mine["seconds"], mine["from"]) == ("1 2", "11.5", "ours")
    assert mine["command"] == f"dnalm finetune model={ODD}"
    assert found["b", "tiny"]["error"] == "oom: killed for want of memory"
    assert (found["a_1", "NT"]["mean"], found["a_1", "NT"]["from"]) == ("0.5", "paper.csv")


def test_markdown_and_html_hold_the_same_cells(folder: Path) -> None:
    page = Cells()
    page.feed((folder / "benchmark.html").read_text())
    assert "b" not in page.tags
    lines = [line for line in (folder / "benchmark.md").read_text().splitlines() if line.startswith("| ")]
    split = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    plain = [[re.sub(r"\\(.)", r"\1", cell.strip()) for cell in row] for row in split]
    assert [row for row in plain if set(row) != {"---"}] == page.rows


def test_published_numbers_stand_beside_ours_and_nothing_is_compared_across_recipes(folder: Path) -> None:
    standing = Comparison(TASKS, MODELS, CLUSTERS).leaderboard(OUTCOMES)
    text = (folder / "benchmark.md").read_text()
    ours = standing.best("a_1")
    assert f"| a\\_1 |  | {ours:.4f} | 0.5000 |" in text
    assert "Published (other.csv), by a recipe that is not known here, so without a difference" in text
    assert f"| a\\_1 |  | {ours:.4f} | 0.2500 |" in text
    assert "elsewhere" not in text
    assert "| oom |" in text
    assert text.count(", a seed timeout |") == 1
    assert "| a\\_1 | test | train | 40 | 3 | 2 | 1 | 4 | 0 |" in text


def test_the_difference_is_to_the_best_of_the_same_recipe(tmp_path: Path) -> None:
    recipes = {"x": "of_paper", "y": "ours", "z": "of_paper, but epochs=1"}
    made = [outcome(TASKS[0], model, 1, right=0.6 if model == "x" else 1.0) for model in recipes]
    made = [replace(each, provenance={"recipe": recipes[each.model]}) for each in made]
    board = Comparison(TASKS, [*recipes]).leaderboard(made)
    write_report(tmp_path, "toy", board, PUBLISHED, {}, {})
    text = (tmp_path / "benchmark.md").read_text().replace("\\", "")
    mine = board.cells["a_1", "x"].mean
    assert mine < board.best("a_1") == 1.0
    assert f"| a_1 | {mine:.4f} | 1.0000 | 0.5000 ({mine - 0.5:+.4f}) |" in text
    assert "| recipe |  | of_paper | ours | of_paper, but epochs=1 |" in text


def test_recipes_of_several_tasks_are_said_with_their_tasks(tmp_path: Path) -> None:
    made = [
        replace(outcome(task, "x", 1), provenance={"recipe": recipe})
        for task, recipe in zip(TASKS, ("ours", "of_paper"), strict=True)
    ]
    write_report(tmp_path, "toy", Comparison(TASKS, ["x"]).leaderboard(made), [], {}, {})
    text = (tmp_path / "benchmark.md").read_text().replace("\\", "")
    assert "| recipe |  | a_1: ours; b: of_paper |" in text


def test_every_fold_is_in_the_table(tmp_path: Path) -> None:
    made = [replace(outcome(TASKS[0], "x", fold), provenance={"folds": "10"}) for fold in range(1, 11)]
    board = Comparison(TASKS, ["x"]).leaderboard(made)
    write_report(tmp_path, "toy", board, [], {}, {})
    values = [each.value for each in made]
    each_fold = " ".join(f"{value:.4f}" for value in values)
    row = f"| a_1 | x | {fmean(values):.4f} | {2 * stdev(values):.4f} | {each_fold} |"
    assert row in (tmp_path / "benchmark.md").read_text().replace("\\", "")


def test_the_words_follow_from_the_tests(folder: Path) -> None:
    """Two models alike, of two seeds, on one task: a comparison in the table, and what is said of it."""
    text = (folder / "benchmark.md").read_text().replace("\\", "")
    (pair,) = Comparison(TASKS, MODELS, CLUSTERS).leaderboard(OUTCOMES).pairs
    gap, p = pair.differences["a_1"], pair.probabilities["a_1"]
    said = f"{gap.value:+.4f} ({gap.low:+.3f} to {gap.high:+.3f}) | {p:.2g} | no difference seen"
    assert f"| a_1 | {said} |" in text
    assert "corrected for all 1 comparisons" in text


def test_a_single_seed_has_a_verdict_of_these_networks_unless_nothing_is_drawn(tmp_path: Path) -> None:
    models = {"kmer_logistic": 1.0, "x": 0.0}
    found = [outcome(TASKS[0], model, 1, right=right) for model, right in models.items()]
    found += [outcome(TASKS[0], "y", seed, right=1.0) for seed in (1, 2, 3)]
    write_report(tmp_path, "toy", Comparison(TASKS, [*models, "y"]).leaderboard(found), [], {}, {})
    lines = (tmp_path / "benchmark.md").read_text().replace("\\", "").splitlines()
    said = {tuple(line.split(" | ")[:2]): line.split(" | ")[-1] for line in lines if line.count("|") == 7}
    assert said["| kmer_logistic", "x"] == "better, of these networks |"
    assert said["| kmer_logistic", "y"] == "no difference seen |"


def test_latex_has_as_many_cells_in_each_row_and_no_bare_special_letter(folder: Path) -> None:
    for body in re.findall(
        r"\\begin{tabular}{(l+)}(.*?)\\end{tabular}", (folder / "benchmark.tex").read_text(), re.S
    ):
        rows = [line for line in body[1].splitlines() if line.endswith(r" \\")]
        assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(body[0])}
        assert not re.search(r"(?<!\\)[%$#_]", body[1])


def test_pictures_are_drawn(folder: Path) -> None:
    for name in ("heatmap.png", "tasks.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_models_are_drawn_without_the_folders_that_tell_nothing() -> None:
    assert model_titles(["runs/mine", "owner/name", "cnn"]) == ["mine", "name", "cnn"]
    assert model_titles(["a/model", "b/model", "cnn"]) == ["a/model", "b/model", "cnn"]
    assert model_titles(["x" * 40]) == ["…" + "x" * 27]


def test_an_empty_standing_is_a_table_too_and_no_picture(tmp_path: Path) -> None:
    standing = Comparison(TASKS, MODELS).leaderboard([])
    write_report(tmp_path, "toy", standing, [], {}, {})
    assert "| b | mcc |  |  |" in (tmp_path / "benchmark.md").read_text()
    assert not plot_leaderboard(standing, tmp_path)


def test_the_transcribed_means_of_gue_are_the_published_ones() -> None:
    found = read_published(["gue_dnabert2_table4.csv"])
    for model, mean in {"DNABERT-3": 61.62, "NT-2500M-multi": 66.93, "DNABERT-2": 66.81}.items():
        values = [each.value for each in found if each.model == model]
        assert len(values) == 28
        assert 100 * sum(values) / 28 == pytest.approx(mean, abs=0.011)


@pytest.mark.parametrize("turned", [False, True])
def test_what_pretraining_adds_is_the_model_less_its_twin(turned: bool, tmp_path: Path) -> None:
    models = ["runs/x", "runs/x:untrained", "runs/alone", "cnn"][:: -1 if turned else 1]
    outcomes = [outcome(task, model, seed) for task in TASKS for model in models for seed in (1, 2, 3)]
    board = Comparison(TASKS, models).leaderboard(outcomes)
    write_report(tmp_path, "toy", board, [], {}, {})
    text = (tmp_path / "benchmark.md").read_text().replace("\\", "")
    _, _, gains = text.partition("## What pretraining adds")
    rows = [row.split(" | ") for row in gains.partition("\n## ")[0].splitlines() if row.startswith("| runs")]
    assert [row[:2] for row in rows] == [["| runs/x", task] for task in ("a_1", "b", "mean of 2")]
    for row in rows[:2]:
        before, after = (board.cells[row[1], model].mean for model in ("runs/x:untrained", "runs/x"))
        assert row[3:5] == [f"{before:.4f}", f"{after:.4f}"]
        added, _, interval = row[5].partition(" (")
        assert float(added) == pytest.approx(after - before, abs=1e-4)
        low, high = map(float, interval.rstrip(")").split(" to "))
        assert low <= float(added) <= high


def test_without_a_twin_nothing_is_said_of_pretraining(folder: Path) -> None:
    assert "pretraining adds" not in (folder / "benchmark.md").read_text()
