"""How the losses of several objectives are summed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

WeightingName = Literal["fixed", "uncertainty"]


class LossWeights(nn.Module):
    """Sum of losses with fixed weights, or with weights that are learned with the model.

    `fixed`: sum of w L. `uncertainty`: sum of exp(-s) L + s / 2, where s = log sigma^2 of each objective is
    learned and begins at 0 (Kendall, Gal & Cipolla 2018, equations 5, 7 and 10). That is theirs for
    cross-entropies, L / sigma^2 + log sigma, and for a Gaussian, (y - f)^2 / 2 sigma^2 + log sigma, since
    Huber's loss is half the square already.

    Args:
        weights: w by name of the objective; all 1 where they are learned.
        weighting: which of both.

    Raises:
        ValueError: weights are given where they are learned.
    """

    def __init__(self, weights: Mapping[str, float], *, weighting: WeightingName = "fixed") -> None:
        super().__init__()
        given = [f"{name} {weight}" for name, weight in weights.items() if weight != 1]
        if weighting == "uncertainty" and given:
            raise ValueError(
                f"weighting is uncertainty, which learns the weights, and {', '.join(given)} is given"
            )
        self.weights = dict(weights)
        learned = torch.zeros(len(self.weights)) if weighting == "uncertainty" else None
        self.log_variance = None if learned is None else nn.Parameter(learned)

    def forward(self, losses: Mapping[str, Tensor], *, present: Mapping[str, bool], share: float) -> Tensor:
        """The weighted sum.

        Args:
            losses: of each objective, this micro-batch's part of the step's mean.
            present: whether an objective has any target in the step; only then is its s learned.
            share: of the step that this micro-batch is, so that s / 2 is counted once a step.
        """
        factors = self.factors()
        total = sum((factors[name] * loss for name, loss in losses.items()), torch.zeros(()))
        if self.log_variance is not None:
            here = torch.tensor([present[name] for name in self.weights], device=self.log_variance.device)
            total = total + share * self.log_variance.masked_fill(~here, 0.0).sum() / 2
        return total

    def factors(self) -> dict[str, Tensor | float]:
        """What each loss is multiplied by, now."""
        if self.log_variance is None:
            return dict(self.weights)
        held = self.log_variance
        whole = held.full_tensor() if isinstance(held, DTensor) else held  # sharded, outside of `forward`
        return dict(zip(self.weights, (-whole).exp(), strict=True))
