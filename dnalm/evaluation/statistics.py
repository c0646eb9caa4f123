"""How sure a difference is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
