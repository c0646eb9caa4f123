"""Which class a token's bases are of, such as exon, intron or promoter."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- its usual name
from torchmetrics.classification import MulticlassAccuracy, MulticlassMatthewsCorrCoef

from dnalm.data.batch import is_known
from dnalm.data.targets import Per
from dnalm.errors import ConfigError
from dnalm.genome.tracks import JoinedTrack
from dnalm.models import Encoder
from dnalm.training.objectives.task import Scores, TrackTask, check_kind, check_weight


@dataclass(frozen=True, kw_only=True)
class RegionClass:
    """Cross-entropy over the classes of a track, at the tokens whose class is known.

    Args:
        track: name of a track of kind `classes`.
        weight: factor of its loss.
        per: `token`, or `window` for one target each; see `TrackTask`.
    """

    track: str = "region"
    weight: float = 1.0
    per: Per = "token"

    def __post_init__(self) -> None:
        check_weight(self.weight)

    def make(self, track: JoinedTrack, encoder: Encoder) -> RegionTask:
        """The task.

        Raises:
            ConfigError: OBJ-01, the track is of another kind; OBJ-02, it has but one class.
        """
        check_kind("RegionClass", self.track, track, "classes")
        if len(track.names) < 2:
            raise ConfigError(
                "OBJ-02",
                where=f"objectives, track {self.track!r}",
                found=f"the one class {', '.join(track.names)}",
                expected="two classes at least",
                fix="give the track's recipe a background, or leave the objective out",
            )
        return RegionTask(self.track, num_classes=len(track.names), encoder=encoder, per=self.per)


class Matthews(MulticlassMatthewsCorrCoef):
    """0 where all answers or all classes are one; of two classes torchmetrics has a limit there."""

    def compute(self) -> Tensor:
        """Over all tokens so far."""
        varied = all((self.confmat.sum(axis) > 0).sum() > 1 for axis in (0, 1))
        return super().compute() if varied else torch.zeros((), device=self.confmat.device)


class RegionTask(TrackTask):
    """See `RegionClass`. The baseline knows how common each class is, and says the most common always.

    Args:
        track: name of the track.
        num_classes: at least 2.
        encoder: whose hidden states are read.
        per: see `TrackTask`.
    """

    log_frequencies: Tensor

    def __init__(self, track: str, *, num_classes: int, encoder: Encoder, per: Per = "token") -> None:
        super().__init__(track, num_outputs=num_classes, encoder=encoder, per=per)
        self.register_buffer("log_frequencies", torch.zeros(num_classes), persistent=False)
        self.accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.majority = MulticlassAccuracy(num_classes, average="micro")
        self.mcc = Matthews(num_classes)

    def begin_at(self, targets: Tensor) -> None:
        """Count the classes; each is given half a token more, so that none is impossible."""
        counts = torch.bincount(targets[is_known(targets)], minlength=len(self.log_frequencies)) + 0.5
        self.log_frequencies.copy_((counts / counts.sum()).log())
        self.head.start_at(self.log_frequencies)

    def loss(self, outputs_MO: Tensor, targets_M: Tensor) -> Tensor:
        """Summed cross-entropy, nats."""
        return F.cross_entropy(outputs_MO, targets_M, reduction="sum")

    def baseline_outputs(self, num_tokens: int) -> Tensor:
        """The log-frequencies, (M, O)."""
        return self.log_frequencies.expand(num_tokens, -1)

    def judge(self, outputs_MO: Tensor, targets_M: Tensor) -> None:
        """Add a micro-batch."""
        super().judge(outputs_MO, targets_M)
        if len(targets_M):
            chosen = outputs_MO.argmax(dim=1)
            self.accuracy.update(chosen, targets_M)
            self.mcc.update(chosen, targets_M)
            self.majority.update(self.baseline_outputs(len(targets_M)).argmax(dim=1), targets_M)

    def scores(self) -> Scores:
        """Mean cross-entropy, accuracy, and Matthews' correlation, which is 0 of a constant answer."""
        loss, baseline, count = self.sums.compute()
        nan = float("nan")
        accuracy, mcc, majority = (
            (float(metric.compute()) if count else nan) for metric in (self.accuracy, self.mcc, self.majority)
        )
        return Scores(
            model={"loss": loss, "accuracy": accuracy, "mcc": mcc},
            baseline={"loss": baseline, "accuracy": majority, "mcc": 0.0},
            num_targets=count,
            baseline_name="majority class",
        )
