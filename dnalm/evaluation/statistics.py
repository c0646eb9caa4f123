"""How sure a difference is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class PairedDifference:
    """Mean of a - b over items, and its standard error."""

    mean: float
    standard_error: float

    @property
    def in_standard_errors(self) -> float:
        """The mean divided by its standard error; 0 where nothing differs."""
        return self.mean / self.standard_error if self.standard_error > 0 else 0.0


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
        return PairedDifference(mean, float("inf"))
    variance = (residuals**2).sum() * num_clusters / (num_clusters - 1) / len(difference) ** 2
    return PairedDifference(mean, float(np.sqrt(variance)))
