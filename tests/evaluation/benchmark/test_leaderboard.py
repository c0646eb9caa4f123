"""A leaderboard is a function of outcomes alone; means, ranks and tests are as computed independently."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dnalm.evaluation.benchmark.leakage import IN_TRAINING
from dnalm.evaluation.benchmark.report import Comparison
from dnalm.evaluation.statistics import BOUNDS, measure, metric_of
from tests.evaluation.benchmark.outcomes import ROWS, listed, outcome

TASKS = [listed("a"), listed("b", labels=3), listed("c")]
MODELS = ["runs/x", "tiny"]
RIGHT = {"good": 1.0, "fine": 1.0, "poor": 0.0}  # models, and how often they say the true class
ALL = [outcome(task, model, seed) for task in TASKS for model in MODELS for seed in (1, 2)]


@given(st.permutations(range(len(ALL))), st.integers(0, len(ALL)))
@settings(max_examples=8)
def test_neither_order_nor_a_restart_changes_a_digit(order: list[int], cut: int) -> None:
    comparison = Comparison(TASKS, MODELS)
    comparison.leaderboard([ALL[place] for place in order[:cut]])
    found = comparison.leaderboard([ALL[place] for place in order])
    assert found == Comparison(TASKS, MODELS).leaderboard(ALL)


def test_means_intervals_and_costs() -> None:
    cell = Comparison(TASKS, MODELS).leaderboard(ALL).cells["a", "tiny"]
    values = [each.value for each in ALL if (each.task, each.model) == ("a", "tiny")]
    assert cell.values == {1: values[0], 2: values[1]}
    assert cell.mean == pytest.approx(np.mean(values))
    scores = [each.scores for each in ALL if (each.task, each.model) == ("a", "tiny")]
    metric = metric_of("binary", "mcc", num_outputs=2)
    expected = measure(metric, ALL[0].labels, scores, bounds=BOUNDS["mcc"]).interval
    assert cell.interval == expected
    assert -1 < cell.interval.low < cell.mean < cell.interval.high < 1
    assert (cell.left_out, cell.of_all) == (0, pytest.approx(np.mean(values)))
    assert (cell.seconds, cell.peak_memory) == (11.5, 2.0**21)


def test_one_seed_has_the_interval_of_its_test_items() -> None:
    cell = Comparison(TASKS, MODELS).leaderboard([ALL[0]]).cells["a", "runs/x"]
    assert -1 <= cell.interval.low < cell.mean < cell.interval.high <= 1


def test_ranks_and_averages_go_over_tasks_that_all_models_have() -> None:
    some = [each for each in ALL if (each.task, each.model) != ("b", "tiny")]
    board = Comparison(TASKS, MODELS).leaderboard(some)
    assert board.whole == ["a", "c"]
    means = [[board.cells[task, model].mean for model in MODELS] for task in ("a", "c")]
    assert [board.averages[model] for model in MODELS] == pytest.approx(np.mean(means, axis=0))
    ranks = stats.rankdata(-np.array(means), axis=1).mean(axis=0)
    assert [board.ranks[model] for model in MODELS] == pytest.approx(ranks)


def test_a_better_model_is_seen_to_be_better_and_an_equal_one_is_not() -> None:
    tasks = [listed("a"), listed("b")]
    outcomes = [outcome(task, model, 1, right=right) for task in tasks for model, right in RIGHT.items()]
    pairs = Comparison(tasks, list(RIGHT)).leaderboard(outcomes).pairs
    found = {(pair.first, pair.second): pair for pair in pairs}
    assert found["good", "poor"].verdicts == {"better": 2}
    assert found["good", "fine"].verdicts == {"no difference seen": 2}
    assert found["good", "poor"].mean.low > 0.5
    back = Comparison(tasks, [*RIGHT][::-1]).leaderboard(outcomes).pairs
    assert {pair.verdict("a") for pair in back if pair.second == "good"} == {"worse", "no difference seen"}


def test_too_small_a_test_set_has_no_verdict_and_counts_in_no_correction() -> None:
    """Of task a all rows but 28 are in the training set."""
    tasks = [listed("a"), listed("b")]
    outcomes = [outcome(task, model, 1, right=RIGHT[model]) for task in tasks for model in ("good", "poor")]
    clusters = {"a": np.where(np.arange(ROWS) < 28, np.arange(ROWS), IN_TRAINING)}
    (pair,) = Comparison(tasks, ["good", "poor"], clusters).leaderboard(outcomes).pairs
    assert (pair.verdict("a"), pair.verdict("b")) == ("too few items", "better")
    assert pair.probabilities == {"b": pair.differences["b"].p}


def test_rows_of_the_training_set_are_left_out_and_both_figures_are_given() -> None:
    """The first ten rows are known by heart: with them the figure is higher."""
    task = listed("a")
    known = np.arange(ROWS) < 10
    found = outcome(task, "x", 1, right=0.5)
    scores = np.where(known, found.labels, found.scores)
    metric = metric_of("binary", "mcc", num_outputs=2)
    found = replace(found, scores=scores, value=metric(found.labels, scores))
    clusters = {"a": np.where(known, IN_TRAINING, np.arange(ROWS))}
    cell = Comparison([task], ["x"], clusters).leaderboard([found]).cells["a", "x"]
    assert (cell.left_out, cell.of_all) == (10, found.value)
    assert cell.mean == pytest.approx(metric(found.labels[~known], scores[~known]))
    assert cell.mean < cell.of_all


def test_one_correction_holds_for_all_tasks_and_pairs_of_a_table() -> None:
    tasks = [listed("a"), listed("b")]
    outcomes = [outcome(task, model, 1, right=right) for task in tasks for model, right in RIGHT.items()]
    pairs = Comparison(tasks, list(RIGHT)).leaderboard(outcomes).pairs
    raw = {(pair.first, pair.second, task): gap.p for pair in pairs for task, gap in pair.differences.items()}
    found = {(pair.first, pair.second, task): p for pair in pairs for task, p in pair.probabilities.items()}
    order = sorted(raw, key=lambda key: raw[key])
    steps = [min(1.0, raw[key] * (len(raw) - place)) for place, key in enumerate(order)]
    assert len(found) == 6
    assert [found[key] for key in order] == pytest.approx(np.maximum.accumulate(steps))


def test_no_outcomes_are_an_empty_leaderboard() -> None:
    board = Comparison(TASKS, MODELS).leaderboard([])
    assert (board.cells, board.averages, board.pairs) == ({}, {}, [])
    assert np.isnan(board.best("a"))
