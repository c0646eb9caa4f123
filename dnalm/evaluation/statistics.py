"""How sure a figure is, and whether two models differ: intervals, paired differences, tests, ranks.

Models are compared by `measure` and `difference`, which reckon with other training runs and other test items;
`holm` corrects for a whole table. What is drawn comes from the generator given, so that the same predictions
always give the same numbers. The bootstrap is ours and not scipy's, which draws no clusters and has no
interval where the metric of a single resample is not defined.

S networks of a model, P parts of a test set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit, logit, stdtrit

from dnalm.data.labelled import MetricName, TaskKind
from dnalm.training.metrics import judge

Labels = npt.NDArray[np.integer] | npt.NDArray[np.floating]
Scores = npt.NDArray[np.floating]
Metric = Callable[[Labels, Scores], float]
RESAMPLES = 1000
MIN_CLUSTERS = 30  # below it a standard error from clusters is too small too often to decide anything
MIN_OF_CLASS = 10  # below it so is that of a metric that a few items of one class decide
_LEVEL = 0.95
_LEAST_P = 1e-30
_PARTS = 200  # of a test set, whose influence is measured
_DEAL = 0  # seed by which clusters of items are dealt into parts


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
    """A 95 % interval, or the range of a metric."""

    low: float
    high: float


BOUNDS: dict[MetricName, Interval] = {
    "mcc": Interval(-1.0, 1.0),
    "f1_macro": Interval(0.0, 1.0),
    "accuracy": Interval(0.0, 1.0),
    "auroc": Interval(0.0, 1.0),
    "auprc": Interval(0.0, 1.0),
    "f1": Interval(0.0, 1.0),
    "spearman": Interval(-1.0, 1.0),
    "pearson": Interval(-1.0, 1.0),
}  # r2 has no lower one


def metric_of(kind: TaskKind, name: MetricName, *, num_outputs: int) -> Metric:
    """A figure of a task as a function of labels and scores."""

    def metric(labels: Labels, scores: Scores) -> float:
        answers, truth = torch.tensor(scores), torch.tensor(labels)  # copies: a file's are read-only
        return judge([name], kind, answers, truth, num_outputs=num_outputs)[name]

    return metric


@dataclass(frozen=True)
class Component:
    """An independent part of the variance of a figure, as it was estimated.

    Attributes:
        variance: of the figure, from this source alone.
        degrees: of freedom of the estimate.
    """

    variance: float
    degrees: int


def half_width(components: Sequence[Component], *, p: float = 1 - _LEVEL) -> float:
    """Of an interval that misses with probability p, for a normal figure whose variance is the sum of these.

    The squares of Student's intervals of the components are added. So it misses no more often than p, with
    any degrees of freedom and any shares of the components; Satterthwaite's degrees do not hold where p is
    small and degrees are few, which is where a correction for many tests leads. Proof: with shares w_i and
    estimates X_i = chi2(f_i) / f_i it covers with probability E G(sum w_i t_i^2 X_i), where G, the
    distribution function of chi2(1), is concave, so that this is at least the sum of w_i E G(t_i^2 X_i), and
    each of these is 1 - p.

    Source: Banerjee 1960, Sankhya 22:357.
    """
    return math.sqrt(sum(each.variance * float(stdtrit(each.degrees, p / 2)) ** 2 for each in components))


def probability(value: float, components: Sequence[Component]) -> float:
    """Two-sided p of a difference: that of the interval which just reaches 0.

    Returns:
        At least 1e-30; 1 where the value or a variance is not defined.
    """
    if not np.isfinite(value) or value == 0 or not all(np.isfinite(each.variance) for each in components):
        return 1.0

    def excess(log_p: float) -> float:
        return half_width(components, p=math.exp(log_p)) - abs(value)

    smallest = math.log(_LEAST_P)
    return _LEAST_P if excess(smallest) <= 0 else math.exp(brentq(excess, smallest, 0.0))


def interval_inside(value: float, half: float, bounds: Interval, *, resolution: float) -> Interval:
    """The interval that is `value` ± `half` to first order, on a scale without ends: inside the bounds.

    The scale is the logit of the place between the bounds, which between -1 and 1 is Fisher's z. A figure
    at a bound is taken to be `resolution` away, so that a model without an error has an interval too: of 100
    right answers of 100 it is 0.965 to 1, where the exact one (Clopper and Pearson 1934) is 0.964 to 1.

    Args:
        value: the figure.
        half: half the width of its interval.
        bounds: of what the figure can be.
        resolution: the least that the figure can be known to.
    """
    span = bounds.high - bounds.low
    within = np.clip(value, bounds.low + resolution, bounds.high - resolution)
    place = (within - bounds.low) / span
    ends = expit(logit(place) + np.array([-1.0, 1.0]) * half / (span * place * (1 - place)))
    low, high = (bounds.low + span * ends).tolist()
    return Interval(min(low, value), max(high, value))


def mean_interval(values: Sequence[float], bounds: Interval) -> Interval:
    """Of the mean of independent values, by Student's t, inside the bounds.

    Raises:
        ValueError: fewer than two values.
    """
    if len(values) < 2:
        raise ValueError("one value says nothing of the spread")
    spread = [Component(float(np.var(values, ddof=1)) / len(values), len(values) - 1)]
    finest = 1e-4 * (bounds.high - bounds.low)
    return interval_inside(fmean(values), half_width(spread), bounds, resolution=finest)


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What a model's networks, one of each seed, are worth on a test set, and what each part of it adds.

    Attributes:
        values: of the metric, (S,), one of each network.
        influences: (S, P), of parts of the test set: their squares add up to the variance over items of a
            network's value, their products to the covariance of two networks, of this or another model.
        bounds: of the metric.
        num_clusters: independent clusters of items.
        resolution: the least that a figure can be known to.
        has_enough_items: whether there are enough clusters, and items of each class, for a verdict.
    """

    values: npt.NDArray[np.float64]
    influences: npt.NDArray[np.float64]
    bounds: Interval
    num_clusters: int
    resolution: float
    has_enough_items: bool

    @property
    def mean(self) -> float:
        """Over networks."""
        return float(self.values.mean())

    @property
    def degrees(self) -> int:
        """Of freedom of the variance over items."""
        return min(int(self.influences.shape[1]), self.num_clusters) - 1

    @property
    def training(self) -> list[Component]:
        """The variance of the mean from training, that of single networks on single items included.

        Nothing of a single network, which speaks for itself alone.
        """
        number = len(self.values)
        return [] if number < 2 else [Component(float(self.values.var(ddof=1)) / number, number - 1)]

    @property
    def of_single_items(self) -> float:
        """How much of the mean's variance is of networks of one model that differ on single items."""
        number = len(self.values)
        if number < 2:
            return 0.0
        apart = self.influences - self.influences.mean(axis=0)
        return float((apart**2).sum() / (number - 1) / number)

    @property
    def interval(self) -> Interval:
        """Of the mean over training runs and test items; of a single network over test items alone."""
        shared = float((self.influences.mean(axis=0) ** 2).sum()) - self.of_single_items
        items = Component(max(shared, self.resolution**2), self.degrees)
        return interval_inside(
            self.mean, half_width([*self.training, items]), self.bounds, resolution=self.resolution
        )


def measure(
    metric: Metric,
    labels: Labels,
    scores: Sequence[Scores],
    *,
    bounds: Interval,
    clusters: npt.NDArray[np.integer] | None = None,
) -> Measured:
    """Measure the networks of a model on a test set, and the influence of its parts by the jackknife.

    The test set is dealt into 200 parts, or as many as there are clusters, always in the same way, so that
    influences of two models on one test set belong to the same items.

    Args:
        metric: a function of labels and scores.
        labels: (N,).
        scores: of each network, (N,) or (N, K).
        bounds: of the metric.
        clusters: (N,), the cluster of each item, where items of one are not independent.

    Source: the jackknife of unequal parts (Busing, Meijer and van der Leeden 1999, Stat Comput 9:3).
    """
    cluster = np.arange(len(labels)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    number = int(cluster.max(initial=-1)) + 1
    num_parts = min(number, _PARTS)
    dealt = np.random.default_rng(_DEAL).permutation(number) % max(num_parts, 1)
    part = dealt[cluster]
    sizes = np.bincount(part, minlength=num_parts)
    times = len(labels) / sizes - 1
    kept = [np.flatnonzero(part != each) for each in range(num_parts)]
    values, influences = [], []
    for each in scores:
        value = metric(labels, each)
        without = np.array([metric(labels[rows], each[rows]) for rows in kept])
        pseudo = times * (value - without)
        centre = (pseudo * sizes).sum() / len(labels) if num_parts > 1 else np.nan  # one part says nothing
        values.append(value)
        influences.append((pseudo - centre) / np.sqrt(np.maximum(times, 1e-300) * num_parts))
    is_class = np.issubdtype(labels.dtype, np.integer)
    counts = np.unique(labels, return_counts=True)[1] if is_class else np.array([len(labels)])
    return Measured(
        values=np.array(values),
        influences=np.array(influences),
        bounds=bounds,
        num_clusters=number,
        resolution=(bounds.high - bounds.low) / (2 * max(number, 1)),  # what half a cluster counts
        has_enough_items=number >= MIN_CLUSTERS and int(counts.min(initial=len(labels))) >= MIN_OF_CLASS,
    )


@dataclass(frozen=True, kw_only=True)
class Difference:
    """By how much a model is better than another on the same test set.

    Attributes:
        value: of the first's mean over seeds less the second's.
        low: of its 95 % interval, which is inside what the difference of two such figures can be.
        high: likewise.
        p: two-sided, of no difference; not corrected for other tests.
        components: of its variance.
        has_enough_items: whether the test set is large enough for a verdict.
        span: the largest that a difference can be.
        resolution: the smallest that is known.
    """

    value: float
    low: float
    high: float
    p: float
    components: tuple[Component, ...]
    has_enough_items: bool
    span: float
    resolution: float


def difference(first: Measured, second: Measured) -> Difference:
    """Compare two models on one test set, over training runs and test items, both of which could be others.

    The model: a network's value is its model's, plus a deviation of its training run, plus one of the test
    items, which is correlated between all networks as they judge the same items, plus one of network and
    items. Training runs are nested in models: seed 1 of one has nothing in common with seed 1 of another. The
    variance of the difference of means over S and T runs is then var(values) / S + var(values') / T + C,
    C = cov + cov' - 2 cov'', the covariances over items of two networks of the first, of the second, and of
    one of each. So is the multi-reader multi-case analysis of radiology, with seeds as readers; see
    `half_width` for how the three parts are combined. Of a model with a single network the training part is
    absent, and the difference is of this network.

    Raises:
        ValueError: the models were measured on different items.

    Sources: Obuchowski and Rockette 1995, Commun Stat Simul Comput 24:285; readers nested in modalities,
    Hillis 2014, Stat Med 33:330; Gallas 2006, Acad Radiol 13:353, for estimates without bias.
    """
    if first.influences.shape[1:] != second.influences.shape[1:] or first.bounds != second.bounds:
        raise ValueError("models are compared on the same items by the same metric")
    apart = first.influences.mean(axis=0) - second.influences.mean(axis=0)
    items = float((apart**2).sum()) - first.of_single_items - second.of_single_items
    shared = Component(max(items, first.resolution**2), first.degrees)
    return _difference(
        first.mean - second.mean,
        (*first.training, *second.training, shared),
        has_enough_items=first.has_enough_items,
        span=first.bounds.high - first.bounds.low,
        resolution=first.resolution,
    )


def mean_difference(differences: Sequence[Difference]) -> Difference:
    """The mean over tasks, each with its own test set and training runs, so that errors are independent."""
    number = len(differences)
    return _difference(
        fmean(each.value for each in differences),
        tuple(
            Component(part.variance / number**2, part.degrees)
            for each in differences
            for part in each.components
        ),
        has_enough_items=all(each.has_enough_items for each in differences),
        span=fmean(each.span for each in differences),
        resolution=fmean(each.resolution for each in differences) / number,
    )


def _difference(
    value: float,
    components: tuple[Component, ...],
    *,
    has_enough_items: bool,
    span: float,
    resolution: float,
) -> Difference:
    bounds = Interval(-span, span)
    interval = interval_inside(value, half_width(components), bounds, resolution=resolution)
    return Difference(
        value=value,
        low=interval.low,
        high=interval.high,
        p=probability(value, components),
        components=components,
        has_enough_items=has_enough_items,
        span=span,
        resolution=resolution,
    )


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
