"""The objectives on tracks: chromatin states, conservation, classes of regions.

Each is a frozen config (which track, what weight), and the task it makes: a loss, a baseline that knows
nothing of the DNA, scores of both. See `objectives` for what they share, and for the letters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- its usual name
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassMatthewsCorrCoef
from torchmetrics.functional.classification import binary_auroc, binary_average_precision
from torchmetrics.utilities import dim_zero_cat

from dnalm.data.batch import is_known
from dnalm.data.targets import Per
from dnalm.errors import ConfigError
from dnalm.genome.tracks import JoinedTrack
from dnalm.models import Encoder
from dnalm.training.objectives import Scores, Sums, TrackTask, check_kind, check_weight

NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class ChromatinState:
    """Binary cross-entropy of each label of a track, at the (token, label) pairs that are known.

    Args:
        track: name of a track of kind `labels`.
        weight: factor of its loss.
        per: `token`, or `window` for one target each; see `TrackTask`.
    """

    track: str = "chromatin"
    weight: float = 1.0
    per: Per = "token"

    def __post_init__(self) -> None:
        check_weight(self.weight)

    def make(self, track: JoinedTrack, encoder: Encoder) -> ChromatinTask:
        """The task on an encoder's hidden states.

        Raises:
            ConfigError: OBJ-01, the track is of another kind.
        """
        check_kind("ChromatinState", self.track, track, "labels")
        return ChromatinTask(self.track, names=track.names, encoder=encoder, per=self.per)


class ChromatinTask(TrackTask):
    """See `ChromatinState`. The baseline knows how often each of the named labels holds."""

    def __init__(self, track: str, *, names: tuple[str, ...], encoder: Encoder, per: Per = "token") -> None:
        super().__init__(track, num_outputs=len(names), encoder=encoder, per=per)
        self.names = names
        self.pairs = Pairs()

    def learn_baseline(self, targets: Tensor) -> Tensor:
        """Log-odds of each label; half a token is added to either answer, so that none is impossible."""
        known = is_known(targets)
        held = ((targets == 1) & known).sum(dim=0) + 0.5
        return (held / (known.sum(dim=0) + 1 - held)).log()

    def loss(self, outputs_MO: Tensor, targets_M: Tensor) -> Tensor:
        """Summed binary cross-entropy, nats."""
        known = is_known(targets_M)
        each = F.binary_cross_entropy_with_logits(outputs_MO, targets_M.float(), reduction="none")
        return each.masked_fill(~known, 0.0).sum()

    def judge(self, outputs_MO: Tensor, targets_M: Tensor) -> None:
        """Add a micro-batch."""
        super().judge(outputs_MO, targets_M)
        self.pairs.update(outputs_MO, targets_M)

    def scores(self) -> Scores:
        """Mean binary cross-entropy, and both areas as means over the labels that have them."""
        loss, baseline, count = self.sums.compute()
        each = []
        if count:
            logits, labels = self.pairs.compute()
            each = [_areas(logits[:, n], labels[:, n]) for n in range(len(self.names))]
        both = [row for row in each if row["auroc"] == row["auroc"]]

        def mean(name: str) -> float:
            return sum(row[name] for row in both) / len(both) if both else NAN

        return Scores(
            model={"loss": loss, "auroc": mean("auroc"), "auprc": mean("auprc")},
            baseline={"loss": baseline, "auroc": 0.5, "auprc": mean("prevalence")},
            num_targets=count,
            baseline_name="label frequency",
            each=dict(zip(self.names, each, strict=False)),
        )


class Pairs(Metric):
    """Every output of a validation pass, of all ranks, and its target, for figures that need all at once."""

    full_state_update = False
    outputs: list[Tensor]
    targets: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("outputs", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Keep a micro-batch."""
        self.outputs.append(outputs.detach())
        self.targets.append(targets)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Outputs and targets, one row each."""
        return dim_zero_cat(self.outputs), dim_zero_cat(self.targets)


def _areas(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Exact areas under both curves of a label, and its share; NaN where not both answers are known."""
    known = is_known(labels)
    answers = labels[known].long()
    prevalence = float(answers.double().mean()) if len(answers) else NAN
    if not 0 < prevalence < 1:
        return {"auroc": NAN, "auprc": NAN, "prevalence": prevalence}
    shares = logits[known].double().sigmoid()
    return {
        "auroc": float(binary_auroc(shares, answers)),
        "auprc": float(binary_average_precision(shares, answers)),
        "prevalence": prevalence,
    }


@dataclass(frozen=True, kw_only=True)
class Conservation:
    """Huber loss of a track's values, standardised by its mean and deviation over the genomes that train.

    Args:
        track: name of a track of kind `values`.
        weight: factor of its loss.
        per: `token`, or `window` for one target each; see `TrackTask`.
        delta: where the loss turns from quadratic to linear, in standard deviations.
    """

    track: str = "conservation"
    weight: float = 1.0
    per: Per = "token"
    delta: float = 1.0

    def __post_init__(self) -> None:
        check_weight(self.weight)
        if not 0 < self.delta < float("inf"):
            raise ValueError(f"delta is {self.delta}; it is a number of standard deviations above 0")

    def make(self, track: JoinedTrack, encoder: Encoder) -> ConservationTask:
        """The task on an encoder's hidden states.

        Raises:
            ConfigError: OBJ-01, the track is of another kind; OBJ-02, its values do not vary.
        """
        check_kind("Conservation", self.track, track, "values")
        mean, sd = track.statistics.mean, track.statistics.sd
        if mean is None or not sd:
            raise ConfigError(
                "OBJ-02",
                where=f"objectives, track {self.track!r}",
                found="no value, or the same everywhere",
                expected="values that vary",
                fix="leave the objective out, or remove the background of the track's recipe",
            )
        return ConservationTask(self.track, mean=mean, sd=sd, delta=self.delta, encoder=encoder, per=self.per)


class ConservationTask(TrackTask):
    """See `Conservation`. The baseline is the mean of the training side.

    Values are standardised by `mean` and `sd`, both of the track.
    """

    def __init__(
        self, track: str, *, mean: float, sd: float, delta: float, encoder: Encoder, per: Per = "token"
    ) -> None:
        super().__init__(track, num_outputs=1, encoder=encoder, per=per)
        self.mean, self.sd, self.delta = mean, sd, delta
        self.squares, self.ranks = Sums(), RankCorrelation()

    def learn_baseline(self, targets: Tensor) -> Tensor:
        """The mean of the known values; the track's own where none is known."""
        known = targets[is_known(targets)]
        return self.standardised(known.double()).mean() if len(known) else torch.zeros(())

    def standardised(self, values: Tensor) -> Tensor:
        """Values in standard deviations from the track's mean."""
        return (values - self.mean) / self.sd

    def loss(self, outputs_MO: Tensor, targets_M: Tensor) -> Tensor:
        """Summed Huber loss; its quadratic part is half the squared error."""
        return F.huber_loss(
            outputs_MO.squeeze(1), self.standardised(targets_M), reduction="sum", delta=self.delta
        )

    def judge(self, outputs_MO: Tensor, targets_M: Tensor) -> None:
        """Add a micro-batch."""
        super().judge(outputs_MO, targets_M)
        true = self.standardised(targets_M)
        errors = (outputs_MO.squeeze(1) - true, self.baseline - true)
        squares, baseline = (error_M.double().square().sum() for error_M in errors)
        self.squares.update(squares, baseline, torch.tensor(len(true)))
        self.ranks.update(outputs_MO.squeeze(1), true)

    def scores(self) -> Scores:
        """Mean Huber loss and mean squared error in squared standard deviations, Spearman's correlation."""
        loss, baseline, count = self.sums.compute()
        square, baseline_square, _ = self.squares.compute()
        spearman = self.ranks.compute() if count else NAN
        return Scores(
            model={"loss": loss, "mse": square, "spearman": spearman},
            baseline={"loss": baseline, "mse": baseline_square, "spearman": 0.0},
            num_targets=count,
            baseline_name="training mean",
        )


class RankCorrelation(Pairs):
    """Spearman's correlation by scipy, exact.

    Not torchmetrics' own, whose sums of ranks are int32 and overflow where 65,536 values are tied; phastCons
    gives whole elements one value.
    """

    def compute(self) -> float:  # type: ignore[override]
        """The correlation of mean ranks; NaN where either does not vary."""
        predicted, true = (values.numpy(force=True) for values in super().compute())
        if len(true) < 2 or not np.ptp(predicted) or not np.ptp(true):
            return NAN
        return float(spearmanr(predicted, true).statistic)


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
        """The task on an encoder's hidden states.

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
                fix="add a background to the track's recipe, or leave the objective out",
            )
        return RegionTask(self.track, num_classes=len(track.names), encoder=encoder, per=self.per)


class RegionTask(TrackTask):
    """See `RegionClass`. The baseline knows how common each class is, and always says the most common."""

    def __init__(self, track: str, *, num_classes: int, encoder: Encoder, per: Per = "token") -> None:
        super().__init__(track, num_outputs=num_classes, encoder=encoder, per=per)
        self.accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.majority = MulticlassAccuracy(num_classes, average="micro")
        self.mcc = Matthews(num_classes)

    def learn_baseline(self, targets: Tensor) -> Tensor:
        """Log-frequencies of the classes; half a token is added to each, so that none is impossible."""
        counts = torch.bincount(targets[is_known(targets)], minlength=len(self.baseline)) + 0.5
        return (counts / counts.sum()).log()

    def loss(self, outputs_MO: Tensor, targets_M: Tensor) -> Tensor:
        """Summed cross-entropy, nats."""
        return F.cross_entropy(outputs_MO, targets_M, reduction="sum")

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
        accuracy, mcc, majority = (
            (float(metric.compute()) if count else NAN) for metric in (self.accuracy, self.mcc, self.majority)
        )
        return Scores(
            model={"loss": loss, "accuracy": accuracy, "mcc": mcc},
            baseline={"loss": baseline, "accuracy": majority, "mcc": 0.0},
            num_targets=count,
            baseline_name="majority class",
        )


class Matthews(MulticlassMatthewsCorrCoef):
    """0 where all answers or all classes are one; of two classes torchmetrics has a limit there."""

    def compute(self) -> Tensor:
        """Over all tokens so far."""
        varied = all((self.confmat.sum(axis) > 0).sum() > 1 for axis in (0, 1))
        return super().compute() if varied else torch.zeros((), device=self.confmat.device)
