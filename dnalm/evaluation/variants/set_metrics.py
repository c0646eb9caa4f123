"""How well scores tell the variants of a set apart, and how sure that is: metrics by cluster.

Variants of one chromosome, or of one element of an assay, are not independent: they share genes, linkage,
sequence and experiment. So the interval of a figure is over clusters, by the cluster bootstrap: clusters are
drawn with replacement, as many as there are, 10,000 times. The figure's variance over draws, times
C / (C - 1), is that of Student's interval with C - 1 degrees of freedom, inside the metric's range; of so few
clusters percentiles are too narrow. Two models are judged on the same draws: their difference is paired.

`auprc_by_chromosome`: average precision on each chromosome, weighted by its number of variants, as TraitGym
(Benegas et al. 2025, AUPRC_by_chrom_weighted_average). A chromosome without a variant of either class is left
out; TraitGym's sets have none.
`auroc`: of all pairs of a positive and a negative variant.
`spearman_by_element`: Spearman's correlation in each experiment, the mean over the experiments of each
element, and the mean of these over elements.

N variants, G groups (chromosomes or experiments), C clusters, B draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score

from dnalm.evaluation.statistics import BOUNDS, MIN_OF_CLASS, Interval, Measured, Scores

VariantMetric = Literal["auprc_by_chromosome", "auroc", "spearman_by_element"]
DRAWS = 10_000
FEWEST_CLUSTERS = 5  # with fewer, no draw is as rare as the ends of an interval: it has none
VERDICT_CLUSTERS = 8  # with fewer, a variance is too uncertain for a verdict
_SEED = 0
_RANGES: dict[VariantMetric, Interval] = {
    "auprc_by_chromosome": BOUNDS["auprc"],
    "auroc": BOUNDS["auroc"],
    "spearman_by_element": BOUNDS["spearman"],
}
Numbers = npt.NDArray[np.int64]
OfCounts = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]  # (B, C) counts of clusters -> (B,)


@dataclass(frozen=True, eq=False, kw_only=True)
class Grouping:
    """How the variants of a set belong together.

    Attributes:
        groups: (N,) from 0: what a metric is computed in, the chromosome or the experiment.
        clusters: (N,) from 0: what is independent, the chromosome or the element.
    """

    groups: Numbers
    clusters: Numbers

    @property
    def num_clusters(self) -> int:
        """How many are independent."""
        return int(self.clusters.max(initial=-1)) + 1


def measure_set(
    metric: VariantMetric, labels: Scores, scores: Sequence[Scores], grouping: Grouping
) -> Measured:
    """Measure the networks of a model on a set, with what each draw of clusters changes as influences.

    Args:
        metric: what it is judged by.
        labels: (N,), 0 and 1, or values.
        scores: of each network, (N,), higher for ones or larger values.
        grouping: of the variants.
    """
    number = grouping.num_clusters
    values, influences = [], []
    for each in scores:
        of_counts = _METRICS[metric](labels, each, grouping)
        values.append(float(of_counts(np.ones((1, number)))[0]))
        influences.append(_influences(of_counts, number))
    low_high, is_class = _RANGES[metric], metric != "spearman_by_element"
    rarest = np.unique(labels, return_counts=True)[1].min(initial=len(labels)) if is_class else len(labels)
    return Measured(
        values=np.array(values),
        influences=np.array(influences),
        bounds=low_high,
        num_clusters=number,
        resolution=(low_high.high - low_high.low) / (2 * max(len(labels), 1)),
        has_enough_items=number >= VERDICT_CLUSTERS and int(rarest) >= MIN_OF_CLASS,
    )


def _influences(of_counts: OfCounts, number: int) -> npt.NDArray[np.float64]:
    """(B,) deviations whose squares add up to the variance of the figure; NaN with too few clusters."""
    if number < FEWEST_CLUSTERS:
        return np.full(DRAWS, np.nan)
    drawn = of_counts(_draws(number))
    known = np.isfinite(drawn)  # the metric has no value where a draw has one class alone
    if known.sum() < 2:
        return np.full(DRAWS, np.nan)
    apart = np.where(known, drawn - drawn[known].mean(), 0.0)
    scaled: npt.NDArray[np.float64] = apart * np.sqrt(number / (number - 1) / (known.sum() - 1))
    return scaled


@cache
def _draws(number: int) -> npt.NDArray[np.float64]:
    """How often each draw has each of so many clusters, (B, C); the same for all models."""
    rng = np.random.default_rng(_SEED)
    return rng.multinomial(number, np.full(number, 1 / number), size=DRAWS).astype(np.float64)


def _divided(above: npt.NDArray[np.float64], below: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Their ratios; NaN where there is nothing to divide by."""
    found = np.full(len(below), np.nan)
    np.divide(above, below, out=found, where=below > 0)
    return found


def _ratio(numerator: npt.NDArray[np.float64], denominator: npt.NDArray[np.float64]) -> OfCounts:
    """A ratio of sums over clusters, (C,) each."""

    def of_counts(counts_BC: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return _divided(counts_BC @ numerator, counts_BC @ denominator)

    return of_counts


def _auprc_by_chromosome(labels: Scores, scores: Scores, grouping: Grouping) -> OfCounts:
    numerator, denominator = np.zeros((2, grouping.num_clusters))
    for rows in _members(grouping.groups):
        if 0 < (labels[rows] == 1).sum() < len(rows):
            cluster, weight = grouping.clusters[rows[0]], len(rows)
            numerator[cluster] += weight * average_precision_score(labels[rows], scores[rows])
            denominator[cluster] += weight
    return _ratio(numerator, denominator)


def _spearman_by_element(labels: Scores, scores: Scores, grouping: Grouping) -> OfCounts:
    found: dict[int, list[float]] = {}
    for rows in _members(grouping.groups):
        ranks = [rankdata(values[rows]) for values in (labels, scores)]
        if all(np.ptp(each) > 0 for each in ranks):
            rho = float(np.corrcoef(ranks)[0, 1])
            found.setdefault(int(grouping.clusters[rows[0]]), []).append(rho)
    means, known = np.zeros((2, grouping.num_clusters))
    for cluster, rhos in found.items():
        means[cluster], known[cluster] = np.mean(rhos), 1.0
    return _ratio(means, known)


def _auroc(labels: Scores, scores: Scores, grouping: Grouping) -> OfCounts:
    number, is_one = grouping.num_clusters, labels == 1
    ones, of_ones = scores[is_one], grouping.clusters[is_one]
    zeros, of_zeros = scores[~is_one], grouping.clusters[~is_one]
    won_CC = np.zeros((number, number))  # pairs of a one of a cluster and a zero of another, a tie a half
    for cluster in range(number):
        below = np.sort(zeros[of_zeros == cluster])
        wins = (np.searchsorted(below, ones, "left") + np.searchsorted(below, ones, "right")) / 2
        won_CC[:, cluster] = np.bincount(of_ones, weights=wins, minlength=number)
    ones_C, zeros_C = (np.bincount(each, minlength=number) for each in (of_ones, of_zeros))

    def of_counts(counts_BC: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        won = ((counts_BC @ won_CC) * counts_BC).sum(axis=1)
        pairs = (counts_BC @ ones_C) * (counts_BC @ zeros_C)
        return _divided(won, pairs)

    return of_counts


_METRICS: dict[VariantMetric, Callable[[Scores, Scores, Grouping], OfCounts]] = {
    "auprc_by_chromosome": _auprc_by_chromosome,
    "auroc": _auroc,
    "spearman_by_element": _spearman_by_element,
}


def _members(groups: Numbers) -> list[Numbers]:
    """The rows of each group."""
    order = np.argsort(groups, kind="stable")
    ends = np.flatnonzero(np.diff(groups[order])) + 1
    return np.split(order, ends) if len(order) else []
