"""Intervals and tests against independent computations, and against what they promise."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dnalm.data.labelled import MetricName
from dnalm.evaluation.statistics import (
    Scores,
    bootstrap_interval,
    holm,
    mean_ranks,
    metric_of,
    permutation_test,
    seed_interval,
    spearman_interval,
)

finite = st.floats(-1, 1)
accuracy = metric_of("binary", "accuracy", num_outputs=2)
mcc = metric_of("binary", "mcc", num_outputs=2)
accuracy_of_three = metric_of("multiclass", "accuracy", num_outputs=3)


@given(st.lists(finite, min_size=2, max_size=10).filter(lambda values: np.std(values) > 1e-6))
def test_the_interval_over_seeds_is_that_of_student(values: list[float]) -> None:
    expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    found = seed_interval(values)
    assert (found.low, found.high) == pytest.approx(expected)


def test_one_seed_has_no_spread() -> None:
    with pytest.raises(ValueError, match="one seed says nothing"):
        seed_interval([0.5])


@pytest.mark.parametrize("metric", [accuracy, mcc])
def test_the_bootstrap_agrees_with_that_of_scipy(metric: object) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    scores = np.where(rng.random(400) < 0.8, labels, 1 - labels).astype(np.float64)
    found = bootstrap_interval(metric, labels, scores, np.random.default_rng(1), resamples=2000)
    expected = stats.bootstrap(
        (labels, scores), metric, paired=True, vectorized=False, method="percentile", n_resamples=2000,
        rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.01)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3), st.integers(0, 2)), min_size=5, max_size=30),
    st.booleans(),
)
def test_spearman_without_sorting_is_spearman_of_each_draw(
    rows: list[tuple[int, int, int]], in_clusters: bool
) -> None:
    """By scipy on the same draws, ties and clusters included."""
    labels, scores, clusters = (np.array(column) for column in zip(*rows, strict=True))
    chosen = {"clusters": clusters} if in_clusters else {}

    def of_scipy(true: Scores, found: Scores) -> float:
        constant = len({*true}) == 1 or len({*found}) == 1
        return np.nan if constant else float(stats.spearmanr(true, found).statistic)

    expected = bootstrap_interval(of_scipy, labels, scores, np.random.default_rng(3), resamples=40, **chosen)
    found = spearman_interval(labels, scores, np.random.default_rng(3), resamples=40, **chosen)
    np.testing.assert_allclose((found.low, found.high), (expected.low, expected.high), atol=1e-12)


def test_spearman_of_many_equal_values_is_that_of_scipy() -> None:
    """Seventy thousand zeros: the sum of their ranks is no int32."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.zeros(70_000), rng.normal(size=2_000)])
    scores = labels + rng.normal(size=len(labels))
    expected = stats.spearmanr(labels, scores).statistic
    assert metric_of("regression", "spearman", num_outputs=1)(labels, scores) == pytest.approx(expected)


def test_what_a_file_gave_read_only_is_judged_without_a_warning() -> None:
    labels, scores = np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.2, 0.3])
    for column in (labels, scores):
        column.flags.writeable = False
    assert accuracy(labels, scores) == 0.75


def test_clusters_of_one_item_are_items_and_copies_within_clusters_add_nothing() -> None:
    """Ten copies of an item carry no more than it: by clusters the interval stays, by items it shrinks."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    scores = np.where(rng.random(60) < 0.8, labels, 1 - labels).astype(np.float64)

    def interval(copies: int, *, clustered: bool) -> tuple[float, float]:
        clusters = np.repeat(np.arange(60), copies) if clustered else None
        repeated = np.repeat(labels, copies), np.repeat(scores, copies)
        found = bootstrap_interval(accuracy, *repeated, np.random.default_rng(1), clusters=clusters)
        return found.low, found.high

    single = interval(1, clustered=False)
    assert interval(1, clustered=True) == single
    assert interval(10, clustered=True) == pytest.approx(single)
    low, high = interval(10, clustered=False)
    assert high - low == pytest.approx((single[1] - single[0]) / np.sqrt(10), rel=0.2)


@given(st.integers(0, 2**16))
@settings(max_examples=10)
def test_the_same_draws_give_the_same_interval(seed: int) -> None:
    labels, scores = np.array([0, 1, 1, 0, 1]), np.array([0.2, 0.9, 0.4, 0.6, 0.7])
    first, second = (
        bootstrap_interval(accuracy, labels, scores, np.random.default_rng(seed), resamples=50)
        for _ in range(2)
    )
    assert first == second


def test_the_permutation_test_approaches_the_exact_one() -> None:
    labels = np.array([1, 1, 1, 1, 1, 0, 0, 0])
    first = labels.astype(np.float64)
    second = np.array([0.0, 0, 0, 0, 1, 0, 0, 1])
    differs = (first == labels).astype(int) - (second == labels)
    sums = [abs(np.dot(signs, differs)) for signs in product((1, -1), repeat=len(labels))]
    exact = np.mean(np.array(sums) >= abs(differs.sum()))
    found = permutation_test(accuracy, labels, [first], [second], np.random.default_rng(0), resamples=4000)
    assert found == pytest.approx(exact, abs=0.015)


def test_a_difference_beyond_all_draws_has_the_p_of_the_normal_tail() -> None:
    """60 of 60 items favour one network: exactly 2^-59, by the normal tail of z = sqrt(60) about 1e-14."""
    labels = np.ones(60, dtype=int)
    networks = [labels.astype(float)], [np.zeros(60)]
    found = permutation_test(accuracy, labels, *networks, np.random.default_rng(0), resamples=1000)
    assert 2.0**-59 < found < 1e-11


def test_an_interval_ends_where_the_metric_does() -> None:
    assert seed_interval([0.9, 0.99], low=-1, high=1).high == 1.0
    assert seed_interval([0.9, 0.99]).high > 1.0


def test_models_that_say_the_same_do_not_differ() -> None:
    labels, scores = np.array([0, 1, 1, 0]), np.array([0.2, 0.9, 0.4, 0.6])
    assert permutation_test(mcc, labels, [scores], [scores], np.random.default_rng(0), resamples=99) == 1.0


@pytest.mark.parametrize("name", ["spearman", "pearson"])
def test_a_model_of_one_value_is_not_said_to_differ(name: MetricName) -> None:
    """It has no correlation with anything: the metric is NaN, not 0, and so is any difference."""
    labels, rising, same = np.arange(6.0), np.arange(6.0) ** 2, np.full(6, 2.5)
    metric = metric_of("regression", name, num_outputs=1)
    assert np.isnan(metric(labels, same))
    assert permutation_test(metric, labels, [rising], [same], np.random.default_rng(0), resamples=99) == 1.0


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_neither_model_is_first(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 30)
    one, other = rng.random((30, 3)), rng.random((30, 3))
    forth = permutation_test(
        accuracy_of_three, labels, [one], [other], np.random.default_rng(3), resamples=50
    )
    back = permutation_test(accuracy_of_three, labels, [other], [one], np.random.default_rng(3), resamples=50)
    assert forth == back


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_never_lowers(probabilities: list[float]) -> None:
    corrected = holm(probabilities)
    assert all(new >= old for new, old in zip(corrected, probabilities, strict=True))
    assert min(corrected) == pytest.approx(min(1.0, min(probabilities) * len(probabilities)))
    order = np.argsort(probabilities, kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= 0)
    assert max(corrected) <= 1


@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=6))
def test_mean_ranks_are_those_of_scipy(rows: list[list[int]]) -> None:
    assert mean_ranks(rows) == pytest.approx(stats.rankdata(-np.array(rows), axis=1).mean(axis=0).tolist())
