"""Masked language modelling as one objective among several."""

from __future__ import annotations

from dataclasses import dataclass

from dnalm.training.objectives.task import check_weight


@dataclass(frozen=True, kw_only=True)
class MaskedTokens:
    """Predict the hidden tokens; its head is the model's own.

    Args:
        weight: factor of its loss.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        check_weight(self.weight)
