"""Intervals and tests against independent computations, and against what they promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dnalm.evaluation.statistics import (
    Scores,
    bootstrap_interval,
    holm,
    mean_ranks,
    metric_of,
    spearman_interval,
)

accuracy = metric_of("binary", "accuracy", num_outputs=2)
mcc = metric_of("binary", "mcc", num_outputs=2)


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
