"""A value of each token, such as conservation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- its usual name
from torchmetrics import Metric
from torchmetrics.functional import pearson_corrcoef
from torchmetrics.utilities import dim_zero_cat

from dnalm.data.batch import is_known
from dnalm.data.targets import Per
from dnalm.errors import ConfigError
from dnalm.genome.tracks import JoinedTrack
from dnalm.models import Encoder
from dnalm.training.objectives.task import Scores, TrackTask, check_kind, check_weight


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
                fix="leave the objective out, or give the track without a background",
            )
        return ConservationTask(self.track, mean=mean, sd=sd, delta=self.delta, encoder=encoder, per=self.per)


class RankCorrelation(Metric):
    """Spearman's correlation, exact; every pair of a pass is kept.

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
        ranks = [mean_ranks(dim_zero_cat(values)) for values in (self.predicted, self.true)]
        if any(len(values) < 2 or not values.std() for values in ranks):
            return float("nan")
        return float(pearson_corrcoef(*ranks))


def mean_ranks(values_M: Tensor) -> Tensor:
    """Ranks from 1, equal values all having the mean of theirs, (M,) float64."""
    _, inverse, counts = torch.unique(values_M, return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    ranks: Tensor = (last.double() - (counts - 1).double() / 2)[inverse]
    return ranks


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
        self.squares, self.ranks = SquaredErrors(), RankCorrelation()

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
        self.squares.update(outputs_MO.squeeze(1) - true, self.training_mean - true)
        self.ranks.update(outputs_MO.squeeze(1), true)

    def scores(self) -> Scores:
        """Mean Huber loss and mean squared error in squared standard deviations, Spearman's correlation."""
        loss, baseline, count = self.sums.compute()
        square, baseline_square = self.squares.compute() if count else (float("nan"), float("nan"))
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


class SquaredErrors(Metric):
    """Mean squared errors of model and baseline."""

    full_state_update = False
    sums: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, error_M: Tensor, baseline_error_M: Tensor) -> None:
        """Add a micro-batch."""
        self.sums += torch.stack([error_M.double().square().sum(), baseline_error_M.double().square().sum()])
        self.count += len(error_M)

    def compute(self) -> tuple[float, float]:
        """Of the model and of the baseline."""
        model, baseline = (self.sums / self.count).tolist()
        return model, baseline
