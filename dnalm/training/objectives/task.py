"""What an objective on a track is made of: a head on the encoder's hidden states, a loss, scores, a baseline.

N packed tokens, B sequences, M tokens or sequences with a target, D model width, O outputs of the head.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from dnalm.data.batch import Batch, is_known
from dnalm.data.targets import Per, target_name
from dnalm.errors import ConfigError
from dnalm.genome.tracks import JoinedTrack, TrackKind
from dnalm.models import Encoder, TokenHead


@runtime_checkable
class TrackObjective(Protocol):
    """What a config names: which track is learned, how much it counts, and the task it makes."""

    @property
    def track(self) -> str:
        """Name of the track among the corpus's."""

    @property
    def weight(self) -> float:
        """Factor of its loss."""

    @property
    def per(self) -> Per:
        """Whether each token has a target, or each window one."""

    def make(self, track: JoinedTrack, encoder: Encoder) -> TrackTask:
        """The task on an encoder's hidden states, newly initialised."""


@dataclass(frozen=True)
class Scores:
    """What a validation pass found, and what the baseline scores on the same targets.

    Attributes:
        model: figures by name, such as accuracy; NaN where they cannot be told.
        baseline: the same figures of the baseline.
        each: of every label: its figures.
        num_targets: known tokens or windows, or of labels known pairs of one and a label.
        baseline_name: what the baseline is.
    """

    model: dict[str, float]
    baseline: dict[str, float]
    num_targets: int
    baseline_name: str
    each: dict[str, dict[str, float]] = field(default_factory=dict)


class Sums(Metric):
    """Summed losses of model and baseline over all targets and ranks."""

    full_state_update = False
    loss: Tensor
    baseline: Tensor
    targets: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("loss", "baseline", "targets"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, loss: Tensor, baseline: Tensor, targets: Tensor) -> None:
        """Add the sums of a micro-batch."""
        self.loss += loss.double()
        self.baseline += baseline.double()
        self.targets += targets

    def compute(self) -> tuple[float, float, int]:
        """Mean loss of the model, of the baseline, and the number of targets; NaN where there are none."""
        count = float(self.targets)
        mean = (float(self.loss) / count, float(self.baseline) / count) if count else (float("nan"),) * 2
        return *mean, int(count)


class TrackTask(nn.Module):
    """One objective on one track.

    Args:
        track: name of the track.
        num_outputs: O.
        encoder: whose hidden states the head reads.
        per: `token`, or `window`: one target for each, and the head reads the mean of the hidden states
            of its tokens that spell bases.
    """

    def __init__(self, track: str, *, num_outputs: int, encoder: Encoder, per: Per = "token") -> None:
        super().__init__()
        self.track, self.target, self.per = track, target_name(track, per), per
        self.head = TokenHead(
            hidden_size=encoder.hidden_size,
            num_outputs=num_outputs,
            norm_eps=encoder.norm_eps,
            initializer_range=encoder.initializer_range,
        )
        self.sums = Sums()

    def on_batch(self, hidden_ND: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """As `forward`, of a micro-batch: of its tokens, or of the mean of each window's."""
        targets = batch.tracks[self.target]
        if self.per == "token":
            return self(hidden_ND, targets)  # type: ignore[no-any-return]
        return self(mean_of_content(hidden_ND, batch), targets)  # type: ignore[no-any-return]

    def forward(self, hidden_ND: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs at the tokens with a target, (M, O), and their targets, (M,) or (M, n); M may be 0.

        Args:
            hidden_ND: of all packed tokens, or of windows.
            targets_N: (N,) classes or values, (N, n) labels.
        """
        known = is_known(targets_N)
        places = (known.any(dim=1) if known.ndim > 1 else known).nonzero().squeeze(1)
        outputs_MO: Tensor = self.head(hidden_ND.index_select(0, places))
        return outputs_MO.float(), targets_N.index_select(0, places)

    @abstractmethod
    def begin_at(self, targets: Tensor) -> None:
        """Learn the baseline from targets of the training side, and let the head begin there.

        Args:
            targets: (T,) or (T, n) of many training tokens, unknown ones too.
        """

    @abstractmethod
    def loss(self, outputs_MO: Tensor, targets_M: Tensor) -> Tensor:
        """Sum of the losses over the known targets."""

    @abstractmethod
    def baseline_outputs(self, num_tokens: int) -> Tensor:
        """What the baseline gives for every token, (M, O)."""

    @abstractmethod
    def scores(self) -> Scores:
        """Figures of the validation pass, over all ranks."""

    def judge(self, outputs_MO: Tensor, targets_M: Tensor) -> None:
        """Add a micro-batch to the validation pass."""
        baseline = self.loss(self.baseline_outputs(len(targets_M)), targets_M)
        self.sums.update(self.loss(outputs_MO, targets_M), baseline, is_known(targets_M).sum())

    def forget(self) -> None:
        """Begin a validation pass."""
        for part in self.modules():
            if isinstance(part, Metric):
                part.reset()


def mean_of_content(hidden_ND: Tensor, batch: Batch) -> Tensor:
    """The mean of each sequence's hidden states over its tokens that spell bases, (B, D) of their type."""
    lengths_B = batch.cu_lengths.diff().long()
    content_N1 = batch.content_N.unsqueeze(1).float()
    sums_BD = torch.segment_reduce(hidden_ND.float() * content_N1, "sum", lengths=lengths_B)
    return (sums_BD / torch.segment_reduce(content_N1, "sum", lengths=lengths_B)).to(hidden_ND.dtype)


def check_kind(objective: str, track: str, given: JoinedTrack, kind: TrackKind) -> None:
    """Refuse a track that an objective cannot learn.

    Raises:
        ConfigError: OBJ-01, the track is of another kind.
    """
    if given.kind != kind:
        raise ConfigError(
            "OBJ-01",
            where=f"objectives, track {track!r}",
            found=f"a track of {given.kind} for {objective}",
            expected=f"a track of {kind}",
            fix="name another track, or another objective: RegionClass learns classes, ChromatinState "
            "labels, Conservation values",
        )


def check_weight(weight: float) -> None:
    """Refuse a weight that turns learning round.

    Raises:
        ValueError: the weight is not positive and finite.
    """
    if not 0 < weight < float("inf"):
        raise ValueError(f"weight is {weight}; it is a number above 0, and what is not wanted is left out")
