"""Metrics of variant sets by hand and by oracles; intervals follow clusters; no difference is not seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, spearmanr
from sklearn.metrics import roc_auc_score

from dnalm.evaluation.statistics import difference, mean_interval
from dnalm.evaluation.variants import set_metrics
from dnalm.evaluation.variants.set_metrics import Grouping, VariantMetric, measure_set

METRICS: tuple[VariantMetric, ...] = ("auprc_by_chromosome", "auroc", "spearman_by_element")


def grouping(groups: list[int], clusters: list[int] | None = None) -> Grouping:
    return Grouping(groups=np.array(groups), clusters=np.array(groups if clusters is None else clusters))


def value(metric: VariantMetric, labels: list[float], scores: list[float], by: Grouping) -> float:
    return float(measure_set(metric, np.array(labels), [np.array(scores)], by).values[0])


def test_auprc_is_weighted_by_the_variants_of_each_chromosome() -> None:
    """(1 + 2/3) / 2 on four variants, 1/2 on two; a chromosome of positives alone counts nothing."""
    labels, scores = [1, 0, 1, 0, 0, 1, 1, 1], [0.9, 0.8, 0.7, 0.1, 0.9, 0.1, 0.5, 0.4]
    by = grouping([0, 0, 0, 0, 1, 1, 2, 2])
    assert value("auprc_by_chromosome", labels, scores, by) == pytest.approx((4 * 5 / 6 + 2 * 1 / 2) / 6)


def test_spearman_is_averaged_within_elements_and_then_over_them() -> None:
    """An element of two experiments, 1 and -1, and one of one, 1: (0 + 1) / 2, and not 1/3."""
    labels, scores = [1.0, 2, 3, 1, 2, 3, 5, 6, 7], [1.0, 2, 3, 3, 2, 1, 1, 2, 3]
    by = grouping([0, 0, 0, 1, 1, 1, 2, 2, 2], [0, 0, 0, 0, 0, 0, 1, 1, 1])
    assert value("spearman_by_element", labels, scores, by) == pytest.approx(0.5)


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """The precision at each threshold, times what recall grows by there."""
    found, area = 0, 0.0
    for threshold in sorted({*scores}, reverse=True):
        above = scores >= threshold
        ones = int(labels[above].sum())
        area += (ones - found) / labels.sum() * ones / above.sum()
        found = ones
    return area


def oracle(metric: VariantMetric, labels: np.ndarray, scores: np.ndarray, of_draw: list[np.ndarray]) -> float:
    """From scratch, cluster by cluster as they were drawn; pairs of all of them for AUROC."""
    if metric == "auroc":
        rows = np.concatenate(of_draw)
        return float(roc_auc_score(labels[rows], scores[rows]))
    if metric == "auprc_by_chromosome":
        precisions = [average_precision(labels[rows], scores[rows]) for rows in of_draw]
        return float(np.average(precisions, weights=[len(rows) for rows in of_draw]))
    return float(np.mean([spearmanr(labels[rows], scores[rows])[0] for rows in of_draw]))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), metric=st.sampled_from(METRICS))
def test_a_draw_of_clusters_has_the_figure_of_its_variants(seed: int, metric: VariantMetric) -> None:
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(6), rng.integers(4, 9, 6))
    labels = rng.permutation(len(clusters)).astype(np.float64)
    if metric != "spearman_by_element":
        labels = (rng.random(len(clusters)) < 0.5).astype(np.float64)
        labels[np.unique(clusters, return_index=True)[1]], labels[np.cumsum(np.bincount(clusters)) - 1] = 0, 1
    scores = rng.integers(0, 9, len(clusters)).astype(np.float64) + rng.random(len(clusters)).round(1)
    of_counts = set_metrics._METRICS[metric](labels, scores, Grouping(groups=clusters, clusters=clusters))
    counts = rng.multinomial(6, np.full(6, 1 / 6), size=4)
    wanted = [
        oracle(metric, labels, scores, [np.flatnonzero(clusters == c) for c in np.repeat(np.arange(6), row)])
        for row in counts
    ]
    np.testing.assert_allclose(of_counts(counts.astype(np.float64)), wanted, rtol=1e-12, atol=1e-12)


def test_the_interval_is_students_over_the_figures_of_clusters() -> None:
    """Of a mean over elements the bootstrap's variance, times C / (C - 1), is that of a mean."""
    rng, labels = np.random.default_rng(0), np.tile(np.arange(30.0), 12)
    clusters = np.repeat(np.arange(12), 30)
    scores = labels * rng.normal(0, 0.1, 12)[clusters] + rng.normal(size=360)
    found = measure_set("spearman_by_element", labels, [scores], Grouping(groups=clusters, clusters=clusters))
    rhos = [spearmanr(labels[clusters == c], scores[clusters == c])[0] for c in range(12)]
    wanted = mean_interval(rhos, found.bounds)
    assert (found.interval.low, found.interval.high) == pytest.approx((wanted.low, wanted.high), abs=0.01)


def test_variants_of_one_cluster_are_no_more_evidence_for_being_more() -> None:
    """A hundred copies of each variant leave figure and interval as they were."""
    rng, clusters = np.random.default_rng(1), np.repeat(np.arange(9), 8)
    labels, scores = np.tile([0.0, 1.0], 36), rng.normal(size=72)
    few = measure_set("auroc", labels, [scores], Grouping(groups=clusters, clusters=clusters))
    labels, scores, clusters = (np.repeat(each, 100) for each in (labels, scores, clusters))
    many = measure_set("auroc", labels, [scores], Grouping(groups=clusters, clusters=clusters))
    assert many.values == pytest.approx(few.values)
    assert many.interval.low == pytest.approx(few.interval.low, abs=1e-9)


@pytest.mark.parametrize(
    ("number", "has_interval", "has_verdict"),
    [(1, False, False), (4, False, False), (5, True, False), (8, True, True)],
)
def test_too_few_clusters_have_no_interval_and_no_verdict(
    number: int, has_interval: bool, has_verdict: bool
) -> None:
    rng, clusters = np.random.default_rng(2), np.repeat(np.arange(number), 40)
    labels = np.tile([0.0, 1.0], 20 * number)
    by = Grouping(groups=clusters, clusters=clusters)
    one, other = (measure_set("auroc", labels, [rng.normal(size=len(labels))], by) for _ in range(2))
    assert np.isfinite(one.interval.low) is np.bool_(has_interval)
    assert difference(one, other).has_enough_items is has_verdict
    assert has_interval or difference(one, other).p == 1.0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("num_seeds", [1, 3])
def test_no_difference_is_seen_in_at_most_one_of_twenty(
    metric: VariantMetric, num_seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model and its twin whose strength varies by chromosome alike, 8 chromosomes, 300 times."""
    monkeypatch.setattr(set_metrics, "DRAWS", 400)
    set_metrics._draws.cache_clear()
    rng, seen, trials = np.random.default_rng(3), 0, 300
    for _ in range(trials):
        clusters = np.repeat(np.arange(8), rng.integers(10, 40, 8))
        labels = rng.normal(size=len(clusters))
        if metric != "spearman_by_element":
            labels = (labels > 0.4).astype(np.float64)
        by = Grouping(groups=clusters, clusters=clusters)

        def scores() -> np.ndarray:
            return labels * rng.normal(0.3, 0.3, 8)[clusters] + rng.normal(size=len(clusters))  # noqa: B023

        trained = measure_set(metric, labels, [scores()], by)
        twin = measure_set(metric, labels, [scores() for _ in range(num_seeds)], by)
        seen += difference(trained, twin).p < 0.05
    set_metrics._draws.cache_clear()
    assert seen <= binom.ppf(0.99, trials, 0.05)
