"""How sure a figure is, and whether two models differ: intervals, paired differences, tests, ranks.

Every draw comes from the generator given, so that the same predictions always give the same numbers. The
resampling is ours and not scipy's: `stats.bootstrap` draws no clusters and has no interval where the metric
of a single resample is not defined, `stats.permutation_test` neither pairs seeds nor has a tail beyond its
draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats

from dnalm.data.labelled import MetricName, TaskKind
from dnalm.training.metrics import judge

Labels = npt.NDArray[np.integer] | npt.NDArray[np.floating]
Scores = npt.NDArray[np.floating]
Metric = Callable[[Labels, Scores], float]
RESAMPLES = 1000
_LEVEL = 0.95
MIN_CLUSTERS = 30  # below it a standard error from clusters is too small too often to decide anything


@dataclass(frozen=True)
class PairedDifference:
    """Mean of a - b over items, and its standard error.

    Attributes:
        mean: of a - b.
        standard_error: of the mean; infinite with one cluster.
        num_clusters: independent groups of items, such as windows, that the standard error comes from.
    """

    mean: float
    standard_error: float
    num_clusters: int

    @property
    def in_standard_errors(self) -> float:
        """The mean divided by its standard error; 0 where nothing differs."""
        return self.mean / self.standard_error if self.standard_error > 0 else 0.0

    @property
    def has_enough_clusters(self) -> bool:
        """Whether the standard error can be relied on: it comes from `MIN_CLUSTERS` clusters or more."""
        return self.num_clusters >= MIN_CLUSTERS


def paired_difference(
    first: npt.NDArray[np.floating], second: npt.NDArray[np.floating], *, cluster: npt.NDArray[np.integer]
) -> PairedDifference:
    """Mean difference of paired values, with a standard error that respects clusters.

    Hidden bases of one window share their surroundings, so windows, not bases, count as
    independent: the error is that of a ratio of cluster sums.

    Args:
        first: (X,) values.
        second: (X,) values of the same items.
        cluster: (X,) cluster of each item, such as its window.

    Source: the ratio estimator of cluster sampling (Cochran 1977, Sampling Techniques, 9A).
    """
    difference = first.astype(np.float64) - second
    mean = float(difference.mean())
    _, member = np.unique(cluster, return_inverse=True)
    residuals = np.bincount(member, weights=difference - mean)
    num_clusters = len(residuals)
    if num_clusters < 2:
        return PairedDifference(mean, float("inf"), num_clusters)
    variance = (residuals**2).sum() * num_clusters / (num_clusters - 1) / len(difference) ** 2
    return PairedDifference(mean, float(np.sqrt(variance)), num_clusters)


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


def metric_of(kind: TaskKind, name: MetricName, *, num_outputs: int) -> Metric:
    """A figure of a task as a function of labels and scores."""

    def metric(labels: Labels, scores: Scores) -> float:
        answers, truth = torch.tensor(scores), torch.tensor(labels)  # copies: a file's are read-only
        return judge([name], kind, answers, truth, num_outputs=num_outputs)[name]

    return metric


def seed_interval(values: Sequence[float], *, low: float = -np.inf, high: float = np.inf) -> Interval:
    """Of the mean over seeds, by Student's t.

    Args:
        values: of the seeds.
        low: of the metric's range, to which the interval is cut.
        high: likewise.

    Raises:
        ValueError: fewer than two values.
    """
    if len(values) < 2:
        raise ValueError("one seed says nothing of the spread over seeds")
    mean = float(np.mean(values))
    half = float(stats.t.ppf((1 + _LEVEL) / 2, len(values) - 1) * stats.sem(values))
    return Interval(max(low, mean - half), min(high, mean + half))


def bootstrap_interval(
    metric: Metric,
    labels: Labels,
    scores: Scores,
    rng: np.random.Generator,
    *,
    clusters: npt.NDArray[np.integer] | None = None,
    resamples: int = RESAMPLES,
) -> Interval:
    """Of a metric over test items, by the percentile bootstrap.

    Args:
        metric: a function of labels and scores.
        labels: (N,).
        scores: (N,) or (N, K).
        rng: draws the items.
        clusters: (N,), the cluster of each item, where items of one are not independent: clusters are drawn.
        resamples: how often; those where the metric is not defined are left out.

    Sources: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13; of clusters, Field and
    Welsh 2007, J R Stat Soc B 69:369, the randomized cluster bootstrap.
    """
    drawn = [metric(labels[items], scores[items]) for items in _draws(len(labels), clusters, rng, resamples)]
    return _percentiles(drawn)


def spearman_interval(
    labels: Scores,
    scores: Scores,
    rng: np.random.Generator,
    *,
    clusters: npt.NDArray[np.integer] | None = None,
    resamples: int = RESAMPLES,
) -> Interval:
    """Of Spearman's correlation, as `bootstrap_interval` by the same draws, but without sorting each of them.

    An item that is drawn w times is w ties, so that mean ranks follow from the order of the items themselves,
    which is found once.

    Args:
        labels: (N,).
        scores: (N,).
        rng: draws the items.
        clusters: (N,), as of `bootstrap_interval`.
        resamples: how often.
    """
    places = [np.unique(values, return_inverse=True)[1] for values in (labels, scores)]
    drawn = [
        _correlation_of_ranks(places, np.bincount(items, minlength=len(labels)).astype(np.float64))
        for items in _draws(len(labels), clusters, rng, resamples)
    ]
    return _percentiles(drawn)


def _correlation_of_ranks(
    places: Sequence[npt.NDArray[np.integer]], weights: npt.NDArray[np.float64]
) -> float:
    """Spearman's correlation of items that count `weights` times; NaN where either has one value only.

    Args:
        places: (N,) of labels and of scores: the place of each item's value among the values that there are.
        weights: (N,).
    """
    deviations = []
    for place in places:
        sizes = np.bincount(place, weights=weights)
        ranks = (sizes.cumsum() - sizes / 2)[place]
        deviations.append(ranks - np.average(ranks, weights=weights))
    first, second = deviations
    spread = np.sqrt((weights * first**2).sum() * (weights * second**2).sum())
    return float((weights * first * second).sum() / spread) if spread > 0 else np.nan


def _draws(
    number: int, clusters: npt.NDArray[np.integer] | None, rng: np.random.Generator, resamples: int
) -> Iterator[npt.NDArray[np.integer]]:
    """The items of each resample: as many as there are, or those of as many clusters as there are."""
    members = [] if clusters is None else [np.flatnonzero(clusters == name) for name in np.unique(clusters)]
    for _ in range(resamples):
        items = rng.integers(len(members) or number, size=len(members) or number)
        yield np.concatenate([members[each] for each in items]) if members else items


def _percentiles(drawn: Sequence[float]) -> Interval:
    if not np.isfinite(drawn).any():
        return Interval(np.nan, np.nan)
    low, high = np.nanquantile(drawn, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(float(low), float(high))


def permutation_test(
    metric: Metric,
    labels: Labels,
    first: Sequence[Scores],
    second: Sequence[Scores],
    rng: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
) -> float:
    """Probability of a difference as large if it did not matter which network made which prediction.

    For each test item, by a fair coin, the predictions of both models are swapped; the statistic is the
    difference of the metric's means over seeds. It is about these networks on other test items: how much a
    training run with another seed would differ is no part of it.

    Args:
        metric: a function of labels and scores.
        labels: (N,) of the same items for both.
        first: of each seed, scores of those items.
        second: likewise; a model of one seed is compared with every seed of the other, and of unequal numbers
            as many are used as both have.
        rng: tosses the coins.
        resamples: how often.

    Returns:
        The two-sided p; 1 where the metric of either is not defined. Where no draw is as large, it is that of
        the normal distribution with the draws' spread, at most 1 / (resamples + 1): else nothing could pass a
        correction for many tests.

    Sources: approximate randomization (Noreen 1989, Computer-Intensive Methods for Testing Hypotheses); the
    tail fitted to the draws (Knijnenburg et al. 2009, Bioinformatics 25:i161, who fit a Pareto distribution).
    """
    number = max(len(first), len(second)) if 1 in (len(first), len(second)) else min(len(first), len(second))
    pairs = [(first[n % len(first)], second[n % len(second)]) for n in range(number)]

    def difference(swap: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> float:
        total = 0.0
        for one, other in pairs:
            where = swap[:, None] if one.ndim == 2 else swap
            total += metric(labels, np.where(where, other, one)) - metric(labels, np.where(where, one, other))
        return total / len(pairs)

    observed = abs(difference(np.zeros(len(labels), dtype=np.bool_)))
    if np.isnan(observed):
        return 1.0
    drawn = np.abs([difference(rng.random(len(labels)) < 0.5) for _ in range(resamples)])
    probability = (1 + int((drawn >= observed - 1e-12).sum())) / (1 + resamples)
    spread = np.sqrt(np.mean(drawn**2))
    if drawn.max() < observed - 1e-12 and spread > 0:
        probability = min(probability, float(2 * stats.norm.sf(observed / spread)))
    return probability


def holm(probabilities: Sequence[float]) -> list[float]:
    """Probabilities of several tests, corrected so that the chance of any false one is kept.

    Source: Holm 1979, Scand J Stat 6:65.
    """
    sizes = np.asarray(probabilities, dtype=np.float64)
    order = np.argsort(sizes, kind="stable")
    corrected = np.empty_like(sizes)
    corrected[order] = np.maximum.accumulate(sizes[order] * np.arange(len(sizes), 0, -1))
    bounded: list[float] = corrected.clip(max=1.0).tolist()
    return bounded


def mean_ranks(values: Sequence[Sequence[float]]) -> list[float]:
    """The mean over tasks of each model's rank, 1 the best, ties at their mean.

    Args:
        values: a row for each task, higher better; a column for each model; NaN ranks last.
    """
    table = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=-np.inf)
    means: list[float] = stats.rankdata(-table, axis=1).mean(axis=0).tolist()
    return means
