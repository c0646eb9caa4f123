"""A leaderboard is a function of outcomes alone; means, ranks and tests are as computed independently."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dnalm.evaluation.benchmark.report import Comparison
from tests.evaluation.benchmark.outcomes import listed, outcome

TASKS = [listed("a"), listed("b", labels=3), listed("c")]
MODELS = ["runs/x", "random"]
ALL = [outcome(task, model, seed) for task in TASKS for model in MODELS for seed in (1, 2)]


@given(st.permutations(range(len(ALL))), st.integers(0, len(ALL)))
@settings(max_examples=8)
def test_neither_order_nor_a_restart_changes_a_digit(order: list[int], cut: int) -> None:
    comparison = Comparison(TASKS, MODELS)
    comparison.leaderboard([ALL[place] for place in order[:cut]])
    found = comparison.leaderboard([ALL[place] for place in order])
    assert found == Comparison(TASKS, MODELS).leaderboard(ALL)


def test_means_intervals_and_costs() -> None:
    cell = Comparison(TASKS, MODELS).leaderboard(ALL).cells["a", "random"]
    values = [each.value for each in ALL if (each.task, each.model) == ("a", "random")]
    assert cell.values == {1: values[0], 2: values[1]}
    assert cell.mean == pytest.approx(np.mean(values))
    half = stats.t.ppf(0.975, 1) * stats.sem(values)
    bounds = (max(-1.0, np.mean(values) - half), min(1.0, np.mean(values) + half))  # of MCC
    assert (cell.interval.low, cell.interval.high) == pytest.approx(bounds)
    assert (cell.seconds, cell.peak_memory) == (11.5, 2.0**21)


def test_one_seed_has_the_interval_of_its_test_items() -> None:
    cell = Comparison(TASKS, MODELS).leaderboard([ALL[0]]).cells["a", "runs/x"]
    assert -1 <= cell.interval.low < cell.mean < cell.interval.high <= 1


def test_ranks_and_averages_go_over_tasks_that_all_models_have() -> None:
    some = [each for each in ALL if (each.task, each.model) != ("b", "random")]
    board = Comparison(TASKS, MODELS).leaderboard(some)
    assert board.whole == ["a", "c"]
    means = [[board.cells[task, model].mean for model in MODELS] for task in ("a", "c")]
    assert [board.averages[model] for model in MODELS] == pytest.approx(np.mean(means, axis=0))
    ranks = stats.rankdata(-np.array(means), axis=1).mean(axis=0)
    assert [board.ranks[model] for model in MODELS] == pytest.approx(ranks)


def test_a_better_model_is_seen_to_be_better_and_an_equal_one_is_not() -> None:
    tasks = [listed("a"), listed("b")]
    outcomes = [outcome(task, "good", 1, right=1.0) for task in tasks]
    outcomes += [outcome(task, "poor", seed, right=0.0) for task in tasks for seed in (1, 2)]
    (pair,) = Comparison(tasks, ["good", "poor"]).leaderboard(outcomes).pairs
    assert (pair.better, pair.worse) == (2, 0)
    assert pair.difference > 0.5
    same = [outcome(task, "good", seed, right=1.0) for task in tasks for seed in (1, 2)]
    same += [outcome(task, "fine", seed, right=1.0) for task in tasks for seed in (1, 2)]
    (pair,) = Comparison(tasks, ["good", "fine"]).leaderboard(same).pairs
    assert (pair.better, pair.worse, set(pair.probabilities.values())) == (0, 0, {1.0})


def test_one_correction_holds_for_all_tasks_and_pairs_of_a_table() -> None:
    tasks, models = [listed("a"), listed("b")], ["good", "fair", "poor"]
    right = dict(zip(models, (1.0, 0.9, 0.0), strict=True))
    outcomes = [outcome(task, model, 1, right=right[model]) for task in tasks for model in models]
    comparison = Comparison(tasks, models)
    pairs = comparison.leaderboard(outcomes).pairs
    of = {(each.task, each.model): [each] for each in outcomes}
    raw = {
        (pair.first, pair.second, task.name): comparison._probability(
            task, of[task.name, pair.first], of[task.name, pair.second]
        )
        for pair in pairs
        for task in tasks
    }
    found = {(pair.first, pair.second, task): p for pair in pairs for task, p in pair.probabilities.items()}
    order = sorted(raw, key=lambda key: raw[key])
    steps = [min(1.0, raw[key] * (len(raw) - place)) for place, key in enumerate(order)]
    assert len(found) == 6
    assert [found[key] for key in order] == pytest.approx(np.maximum.accumulate(steps))


def test_no_outcomes_are_an_empty_leaderboard() -> None:
    board = Comparison(TASKS, MODELS).leaderboard([])
    assert (board.cells, board.averages, board.pairs) == ({}, {}, [])
    assert np.isnan(board.best("a"))
