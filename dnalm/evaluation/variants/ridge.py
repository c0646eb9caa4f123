"""A ridge regression on embeddings of variants, judged on clusters that it has not seen.

Each cluster, a chromosome or an element, is predicted by a regression on the others; beyond 25 clusters they
are dealt into ten parts. The penalty is chosen by the mean squared error on five parts of the training
clusters, so that nothing of a cluster has a say in its own predictions. Features are standardised, and labels
centred, by the training clusters alone; values of several experiments, each with a scale of its own, are
standardised within each experiment first.

Only sums over clusters are needed (X'X, X'y), so every regression is an eigendecomposition.

N variants, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dnalm.evaluation.statistics import Scores
from dnalm.evaluation.variants.set_metrics import Grouping

FEWEST_CLUSTERS = 3  # one to predict, one to learn from, one to choose the penalty by
PENALTIES = tuple(float(10.0**power) for power in range(-3, 5))  # of features of unit variance, mean loss
_MOST_ALONE, _PARTS, _INNER_PARTS = 25, 10, 5
_DEAL = 0  # seed by which clusters are dealt
_FLAT = 1e-12  # a variance that is none
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class _Sums:
    """Over variants: their number, features, labels, products of features (F, F) and of both (F,)."""

    number: float
    x: Floats
    y: float
    xx: Floats
    xy: Floats

    @classmethod
    def of(cls, features_NF: Floats, labels_N: Floats) -> _Sums:
        return cls(
            number=float(len(labels_N)),
            x=features_NF.sum(axis=0),
            y=float(labels_N.sum()),
            xx=features_NF.T @ features_NF,
            xy=features_NF.T @ labels_N,
        )

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(
            number=self.number + other.number,
            x=self.x + other.x,
            y=self.y + other.y,
            xx=self.xx + other.xx,
            xy=self.xy + other.xy,
        )

    def weights(self, penalties: Sequence[float]) -> tuple[Floats, Floats]:
        """(P, F) weights and (P,) intercepts of the regressions on these variants."""
        mean_F, mean = self.x / self.number, self.y / self.number
        covariance_FF = self.xx / self.number - np.outer(mean_F, mean_F)
        spread_F = np.sqrt(np.clip(np.diag(covariance_FF), 0, None))
        scale_F = np.divide(1.0, spread_F, out=np.zeros_like(spread_F), where=spread_F > _FLAT)
        values_F, vectors_FF = np.linalg.eigh(covariance_FF * np.outer(scale_F, scale_F))
        towards_F = vectors_FF.T @ ((self.xy / self.number - mean_F * mean) * scale_F)
        shrunk_PF = towards_F / (np.clip(values_F, 0, None) + np.array(penalties)[:, None])
        weights_PF = (shrunk_PF @ vectors_FF.T) * scale_F
        return weights_PF, mean - weights_PF @ mean_F


def ridge_predictions(features_NF: Floats, labels_N: Scores, grouping: Grouping) -> Floats:
    """What each variant is predicted to be by a regression on other clusters, (N,); NaN below three.

    Args:
        features_NF: of the variants.
        labels_N: 0 and 1, or values.
        grouping: of the variants.
    """
    predicted = np.full(len(labels_N), np.nan)
    number = grouping.num_clusters
    if number < FEWEST_CLUSTERS:
        return predicted
    labels_N = _standardised(labels_N.astype(np.float64), grouping.groups)
    part_of_cluster = np.arange(number)
    if number > _MOST_ALONE:
        part_of_cluster = np.random.default_rng(_DEAL).permutation(number) % _PARTS
    part_N = part_of_cluster[grouping.clusters]
    rows = [np.flatnonzero(part_N == part) for part in range(int(part_N.max()) + 1)]
    sums = [_Sums.of(features_NF[each], labels_N[each]) for each in rows]
    for held, of_held in enumerate(rows):
        others = [part for part in range(len(rows)) if part != held]
        errors_P = np.zeros(len(PENALTIES))
        for inner in range(min(_INNER_PARTS, len(others))):
            judging = others[inner::_INNER_PARTS]
            training = _total(sums, [part for part in others if part not in judging])
            weights_PF, intercepts_P = training.weights(PENALTIES)
            judged = np.concatenate([rows[part] for part in judging])
            found_NP = features_NF[judged] @ weights_PF.T + intercepts_P
            errors_P += ((found_NP - labels_N[judged, None]) ** 2).sum(axis=0)
        weights_PF, intercepts_P = _total(sums, others).weights([PENALTIES[int(errors_P.argmin())]])
        predicted[of_held] = features_NF[of_held] @ weights_PF[0] + intercepts_P[0]
    return predicted


def _total(sums: Sequence[_Sums], parts: Sequence[int]) -> _Sums:
    first, *rest = (sums[part] for part in parts)
    for each in rest:
        first = first + each
    return first


def _standardised(labels_N: Floats, groups_N: npt.NDArray[np.int64]) -> Floats:
    """Values with mean 0 and variance 1 in each group; classes as they are."""
    if set(np.unique(labels_N)) <= {0.0, 1.0}:
        return labels_N
    counts = np.bincount(groups_N)
    apart = labels_N - (np.bincount(groups_N, weights=labels_N) / counts)[groups_N]
    spread = np.sqrt(np.bincount(groups_N, weights=apart**2) / counts)[groups_N]
    return np.divide(apart, spread, out=np.zeros_like(apart), where=spread > _FLAT)
