"""Which labels hold at a token, such as chromatin states of several tissues."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- its usual name
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc, binary_average_precision
from torchmetrics.utilities import dim_zero_cat

from dnalm.data.batch import is_known
from dnalm.data.targets import Per
from dnalm.genome.tracks import JoinedTrack
from dnalm.models import Encoder
from dnalm.training.objectives.task import Scores, TrackTask, check_kind, check_weight


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
        """Count each label; either answer is given half a token more, so that none is impossible."""
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
