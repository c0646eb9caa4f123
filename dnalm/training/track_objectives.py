"""The objectives on tracks: chromatin states, conservation, classes of regions.

Each is a frozen config (which track, what weight), and the task it makes: a head, a loss, scores beside those
of a baseline that knows nothing of the DNA. See `objectives` for what they share, and for the letters.
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
        """The task.

        Raises:
            ConfigError: OBJ-01, the track is of another kind.
        """
        check_kind("ChromatinState", self.track, track, "labels")
        return ChromatinTask(self.track, names=track.names, encoder=encoder, per=self.per)


class LabelScores(Metric):
    """Area under the ROC and the precision-recall curve of each label, exact.

    Every logit of a pass is kept, 5 bytes a (token, label) pair.
    """

    full_state_update = False
    logits: list[Tensor]
    labels: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("logits", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, logits_Mn: Tensor, labels_Mn: Tensor) -> None:
        """Keep a micro-batch; -1 is unknown."""
        self.logits.append(logits_Mn.detach())
        self.labels.append(labels_Mn)

    def compute(self) -> list[dict[str, float]]:
        """AUROC, AUPRC and prevalence of each label, NaN where not both answers are among the known."""
        logits, labels = dim_zero_cat(self.logits), dim_zero_cat(self.labels)
        return [_areas(logits[:, n], labels[:, n]) for n in range(labels.shape[1])]


def _areas(logits: Tensor, labels: Tensor) -> dict[str, float]:
    known = is_known(labels)
    answers = labels[known].long()
    prevalence = float(answers.double().mean()) if len(answers) else float("nan")
    if not 0 < prevalence < 1:
        return {"auroc": float("nan"), "auprc": float("nan"), "prevalence": prevalence}
    shares = logits[known].double().sigmoid()
    return {
        "auroc": float(binary_auroc(shares, answers)),
        "auprc": float(binary_average_precision(shares, answers)),
        "prevalence": prevalence,
    }


class ChromatinTask(TrackTask):
    """See `ChromatinState`. The baseline knows how often each label holds, and nothing of the DNA.

    Args:
        track: name of the track.
        names: of the labels.
        encoder: whose hidden states are read.
        per: see `TrackTask`.
    """

    log_odds: Tensor

    def __init__(self, track: str, *, names: tuple[str, ...], encoder: Encoder, per: Per = "token") -> None:
        super().__init__(track, num_outputs=len(names), encoder=encoder, per=per)
        self.names = names
        self.register_buffer("log_odds", torch.zeros(len(names)), persistent=False)
        self.areas = LabelScores()

    def begin_at(self, targets: Tensor) -> None:
        """Count each label; half a token is added to either answer, so that none is impossible."""
        known = is_known(targets)
        held = ((targets == 1) & known).sum(dim=0) + 0.5
        self.log_odds.copy_((held / (known.sum(dim=0) + 1 - held)).log())
        self.head.start_at(self.log_odds)

    def loss(self, outputs_MO: Tensor, targets_M: Tensor) -> Tensor:
        """Summed binary cross-entropy, nats."""
        known = is_known(targets_M)
        each = F.binary_cross_entropy_with_logits(outputs_MO, targets_M.float(), reduction="none")
        return each.masked_fill(~known, 0.0).sum()

    def baseline_outputs(self, num_tokens: int) -> Tensor:
        """The log-odds of the frequencies, (M, O)."""
        return self.log_odds.expand(num_tokens, -1)

    def judge(self, outputs_MO: Tensor, targets_M: Tensor) -> None:
        """Add a micro-batch."""
        super().judge(outputs_MO, targets_M)
        self.areas.update(outputs_MO, targets_M)

    def scores(self) -> Scores:
        """Mean binary cross-entropy, and both areas as means over the labels that have them."""
        loss, baseline, count = self.sums.compute()
        each = self.areas.compute() if count else []
        both = [row for row in each if row["auroc"] == row["auroc"]]

        def mean(name: str) -> float:
            return sum(row[name] for row in both) / len(both) if both else float("nan")

        return Scores(
            model={"loss": loss, "auroc": mean("auroc"), "auprc": mean("auprc")},
            baseline={"loss": baseline, "auroc": 0.5, "auprc": mean("prevalence")},
            num_targets=count,
            baseline_name="label frequency",
            each=dict(zip(self.names, each, strict=False)),
        )


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
        """The task.

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


class RankCorrelation(Metric):
    """Spearman's correlation by scipy, exact; every pair of a pass is kept.

    Not torchmetrics' own, whose sums of ranks are int32 and overflow where 65,536 values are tied; phastCons
    gives whole elements one value.
    """

    full_state_update = False
    predicted: list[Tensor]
    true: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("predicted", [], dist_reduce_fx="cat")
        self.add_state("true", [], dist_reduce_fx="cat")

    def update(self, predicted_M: Tensor, true_M: Tensor) -> None:
        """Keep a micro-batch."""
        self.predicted.append(predicted_M.detach())
        self.true.append(true_M)

    def compute(self) -> float:
        """The correlation of mean ranks; NaN where either does not vary."""
        predicted, true = (dim_zero_cat(values).numpy(force=True) for values in (self.predicted, self.true))
        if len(true) < 2 or not np.ptp(predicted) or not np.ptp(true):
            return float("nan")
        return float(spearmanr(predicted, true).statistic)


class ConservationTask(TrackTask):
    """See `Conservation`. The baseline is the mean of the training side.

    Args:
        track: name of the track.
        mean, sd: of the track, to standardise by.
        delta: see `Conservation`.
        encoder: whose hidden states are read.
        per: see `TrackTask`.
    """

    training_mean: Tensor

    def __init__(
        self, track: str, *, mean: float, sd: float, delta: float, encoder: Encoder, per: Per = "token"
    ) -> None:
        super().__init__(track, num_outputs=1, encoder=encoder, per=per)
        self.mean, self.sd, self.delta = mean, sd, delta
        self.register_buffer("training_mean", torch.zeros(1), persistent=False)
        self.squares, self.ranks = Sums(), RankCorrelation()

    def begin_at(self, targets: Tensor) -> None:
        """The mean of the known values; the track's own where none is known."""
        known = targets[is_known(targets)]
        if len(known):
            self.training_mean.fill_(float(self.standardised(known.double()).mean()))
        self.head.start_at(self.training_mean)

    def standardised(self, values: Tensor) -> Tensor:
        """Values in standard deviations from the track's mean."""
        return (values - self.mean) / self.sd

    def loss(self, outputs_MO: Tensor, targets_M: Tensor) -> Tensor:
        """Summed Huber loss; its quadratic part is half the squared error."""
        return F.huber_loss(
            outputs_MO.squeeze(1), self.standardised(targets_M), reduction="sum", delta=self.delta
        )

    def baseline_outputs(self, num_tokens: int) -> Tensor:
        """The mean of the training side, (M, 1)."""
        return self.training_mean.expand(num_tokens, 1)

    def judge(self, outputs_MO: Tensor, targets_M: Tensor) -> None:
        """Add a micro-batch."""
        super().judge(outputs_MO, targets_M)
        true = self.standardised(targets_M)
        errors = (outputs_MO.squeeze(1) - true, self.training_mean - true)
        squares, baseline = (error_M.double().square().sum() for error_M in errors)
        self.squares.update(squares, baseline, torch.tensor(len(true)))
        self.ranks.update(outputs_MO.squeeze(1), true)

    def scores(self) -> Scores:
        """Mean Huber loss and mean squared error in squared standard deviations, Spearman's correlation."""
        loss, baseline, count = self.sums.compute()
        square, baseline_square, _ = self.squares.compute()
        return Scores(
            model={
                "loss": loss,
                "mse": square,
                "spearman": self.ranks.compute() if count else float("nan"),
            },
            baseline={"loss": baseline, "mse": baseline_square, "spearman": 0.0},
            num_targets=count,
            baseline_name="training mean",
        )


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
                fix="add a background to the track's recipe, or leave the objective out",
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
        """Count the classes; half a token is added to each, so that none is impossible."""
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
