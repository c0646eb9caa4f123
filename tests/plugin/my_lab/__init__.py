"""A lab's own objective: is a token conserved, yes or no?"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from dnalm.data.batch import is_known
from dnalm.data.targets import Per
from dnalm.genome.tracks import JoinedTrack
from dnalm.models import Encoder
from dnalm.training.objectives import Scores, TrackTask, check_kind


@dataclass(frozen=True, kw_only=True)
class Conserved:
    """Binary cross-entropy on whether the value of a track lies above a threshold."""

    track: str = "conservation"
    weight: float = 1.0
    per: Per = "token"
    threshold: float = 0.5

    def make(self, track: JoinedTrack, encoder: Encoder) -> "ConservedTask":
        """The task on an encoder's hidden states."""
        check_kind("Conserved", self.track, track, "values")
        return ConservedTask(self, encoder)


class ConservedTask(TrackTask):
    """One logit a token; the baseline is the share of conserved tokens in the training data."""

    def __init__(self, objective: Conserved, encoder: Encoder) -> None:
        super().__init__(objective.track, num_outputs=1, encoder=encoder, per=objective.per)
        self.threshold = objective.threshold

    def learn_baseline(self, targets: Tensor) -> Tensor:
        conserved = targets[is_known(targets)] > self.threshold
        return torch.logit((conserved.sum() + 0.5) / (len(conserved) + 1))

    def loss(self, outputs_MO: Tensor, targets_M: Tensor) -> Tensor:
        conserved = (targets_M > self.threshold).to(outputs_MO.dtype)
        return binary_cross_entropy_with_logits(outputs_MO.squeeze(1), conserved, reduction="sum")

    def scores(self) -> Scores:
        loss, baseline, count = self.sums.compute()
        name = "share of conserved tokens"
        return Scores({"loss": loss}, {"loss": baseline}, num_targets=count, baseline_name=name)
