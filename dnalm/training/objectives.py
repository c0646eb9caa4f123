"""All that a run learns and from what: objectives, their weights, and annotations as inputs.

An objective on a track is a head on the encoder's hidden states, a loss, scores, and a baseline that the head
starts from; `track_objectives` has those there are. Masked language modelling is one objective among several.

No annotation is both an input and a target. Tracks are the same annotation if they have one name, were made
from one file, whatever its name, or say the same of every base. The same knowledge in files that differ is
not found: a promoter of a GFF and a promoter state of a BED are for the user to tell apart.

N packed tokens, B sequences, M tokens or sequences with a target, D model width, O outputs of the head.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torchmetrics import Metric

from dnalm.data.batch import Batch, is_known
from dnalm.data.module import GenomeData
from dnalm.data.targets import Per, Target, target_name
from dnalm.errors import ConfigError
from dnalm.genome.alphabet import UNKNOWN
from dnalm.genome.tracks import JoinedTrack, TrackKind, TrackStore
from dnalm.models import Encoder, TokenHead
from dnalm.tokenizers import BpeRecipe, Tokenizer


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
        model: figures by name, such as accuracy; NaN where they are not defined.
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
    """One objective on one track: a head, and a baseline from whose outputs the head starts.

    Args:
        track: name of the track.
        num_outputs: O.
        encoder: whose hidden states the head reads.
        per: `token`, or `window`: one target for each, and the head reads the mean of the hidden states
            of its tokens that spell bases.
    """

    baseline: Tensor

    def __init__(self, track: str, *, num_outputs: int, encoder: Encoder, per: Per = "token") -> None:
        super().__init__()
        self.track, self.target, self.per = track, target_name(track, per), per
        self.head = TokenHead(
            hidden_size=encoder.hidden_size,
            num_outputs=num_outputs,
            norm_eps=encoder.norm_eps,
            initializer_range=encoder.initializer_range,
        )
        self.register_buffer("baseline", torch.zeros(num_outputs), persistent=False)
        self.sums = Sums()

    def on_batch(self, hidden_ND: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """As `forward`, of a micro-batch: of its tokens, or of the mean of each window's."""
        read = hidden_ND if self.per == "token" else mean_of_content(hidden_ND, batch)
        return self(read, batch.tracks[self.target], batch.labelled[self.target])  # type: ignore[no-any-return]

    def forward(self, hidden_ND: Tensor, targets_N: Tensor, places_M: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs at the tokens with a target, (M, O), and their targets, (M,) or (M, n); M may be 0.

        Args:
            hidden_ND: of all packed tokens, or of windows.
            targets_N: (N,) classes or values, (N, n) labels.
            places_M: of the tokens with a target, int64; see `labelled_places`.
        """
        outputs_MO: Tensor = self.head(hidden_ND.index_select(0, places_M))
        return outputs_MO.float(), targets_N.index_select(0, places_M)

    def begin_at(self, targets: Tensor) -> None:
        """Learn the baseline from targets of the training side, and let the head start there."""
        self.baseline.copy_(self.learn_baseline(targets))
        self.head.start_at(self.baseline)

    @abstractmethod
    def learn_baseline(self, targets: Tensor) -> Tensor:
        """What the baseline gives for any token, (O,).

        Args:
            targets: (T,) or (T, n) of many training tokens, unknown ones too.
        """

    @abstractmethod
    def loss(self, outputs_MO: Tensor, targets_M: Tensor) -> Tensor:
        """Sum of the losses over the known targets."""

    def baseline_outputs(self, num_tokens: int) -> Tensor:
        """What the baseline gives for every token, (M, O)."""
        return self.baseline.expand(num_tokens, -1)

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
    content_N1 = batch.content_N.to(hidden_ND.device, non_blocking=True).unsqueeze(1).float()
    # unsafe: the lengths are right, and to check them would wait for the device
    sum_up = partial(torch.segment_reduce, reduce="sum", lengths=lengths_B, unsafe=True)
    return (sum_up(hidden_ND.float() * content_N1) / sum_up(content_N1)).to(hidden_ND.dtype)


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


BASELINE_WINDOWS = 4096  # training windows whose targets the baselines are learned on; our choice


def make_tasks(
    objectives: Mapping[str, TrackObjective], data: GenomeData, encoder: Encoder
) -> dict[str, TrackTask]:
    """The tasks, whose heads begin at what the first training windows are like.

    Of several genomes those windows are of the ones that have the track, mixed as in training.

    Args:
        objectives: those on tracks, by name.
        data: already set up, with their tracks.
        encoder: whose hidden states the heads read.

    Raises:
        ConfigError: OBJ-01, a track is of another kind than its objective; OBJ-02, it cannot be learned.
        DataError: DATA-07, no genome that trains has a track.
    """
    tracks = data.training_tracks()
    tasks = {name: objective.make(tracks[objective.track], encoder) for name, objective in objectives.items()}
    drawn: dict[frozenset[str], list[Mapping[str, Target]]] = {}  # by the genomes that have the track
    for task in tasks.values():
        genomes = frozenset(tracks[task.track].genomes)
        if genomes not in drawn:
            samples = data.training_samples(track=task.track)
            drawn[genomes] = [samples[index].tracks for index in range(BASELINE_WINDOWS)]
        task.begin_at(torch.from_numpy(np.concatenate([targets[task.target] for targets in drawn[genomes]])))
    return tasks


LossName = Literal["cross_entropy", "per_base"]


@dataclass(frozen=True, kw_only=True)
class MaskedTokens:
    """Predict the hidden tokens; its head is the model's own.

    Args:
        weight: factor of its loss.
        loss: `cross_entropy` is minus the logarithm of the true token's probability, a mean over the tokens
            to predict, as published. `per_base`, for k-mers: minus the logarithms of the probabilities that
            the token spells each of its true bases at its place, whatever its others are, a mean over the
            bases of the tokens to predict; over log 2 it is in bits per base. Every id counts in these
            probabilities: one that spells no base at a place, as special tokens, is wrong there. A base under
            several overlapping k-mers is judged in each: the mean is of logarithms, so that every k-mer by
            itself is held to the truth, which the logarithm of their mean would not do.
    """

    weight: float = 1.0
    loss: LossName = "cross_entropy"

    def __post_init__(self) -> None:
        check_weight(self.weight)


def check_loss(loss: LossName, tokenizer: Tokenizer | BpeRecipe) -> None:
    """Refuse a loss of single bases for a vocabulary that lacks some words of its longest length, as BPE's.

    There the probability of a base at a place would depend on which words were learned.

    Raises:
        ConfigError: OBJ-06, it is of bases, and the vocabulary lacks strings of its longest length.
    """
    if loss == "cross_entropy":
        return
    if not isinstance(tokenizer, BpeRecipe):
        spells_VK = tokenizer.token_bases < UNKNOWN
        if int(spells_VK.all(axis=1).sum()) == 4 ** spells_VK.shape[1]:
            return
    raise ConfigError(
        "OBJ-06",
        where="objectives.masked_tokens.loss",
        found=f"{loss} for {type(tokenizer).__name__}, whose tokens are not all strings of one length",
        expected="per_base for k-mers, or cross_entropy",
        fix="leave it out, or choose tokenizer=kmer, logo or nt_v2",
    )


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

    def forward(self, losses: Mapping[str, Tensor], *, present: Mapping[str, Tensor], share: float) -> Tensor:
        """The weighted sum.

        Args:
            losses: of each objective, this micro-batch's part of the step's mean.
            present: whether an objective has any target in the step, () bool on the device of its loss; only
                then is its s learned.
            share: of the step that this micro-batch is, so that s / 2 is counted once a step.
        """
        factors = self.factors()
        total = sum((factors[name] * loss for name, loss in losses.items()), torch.zeros(()))
        if self.log_variance is not None:
            here = torch.stack([present[name] for name in self.weights])
            total = total + share * self.log_variance.masked_fill(~here, 0.0).sum() / 2
        return total

    def factors(self) -> dict[str, Tensor | float]:
        """What each loss is multiplied by, now."""
        if self.log_variance is None:
            return dict(self.weights)
        held = self.log_variance
        whole = held.full_tensor() if isinstance(held, DTensor) else held  # sharded, outside of `forward`
        return dict(zip(self.weights, (-whole).exp(), strict=True))


def check_sources(
    inputs: Sequence[str],
    objectives: Mapping[str, TrackObjective],
    genomes: Iterable[Mapping[str, TrackStore]],
) -> None:
    """Refuse inputs that have other names than what is learned, and are the same annotation.

    Args:
        inputs: names of the input tracks.
        objectives: those on tracks, by name.
        genomes: the tracks of each genome, by name.

    Raises:
        ConfigError: CFG-30, an input and a target were made from the same file, or hold the same.
    """
    for tracks in genomes:
        for given in (name for name in inputs if name in tracks):
            sources = {source.sha256: source.name for source in tracks[given].manifest.sources}
            for name, objective in objectives.items():
                if (learned := objective.track) not in tracks:
                    continue
                theirs = {source.sha256 for source in tracks[learned].manifest.sources}
                shared = [source for checksum, source in sources.items() if checksum in theirs]
                if shared:
                    same = f"made from {shared[0]} as track {learned!r} is"
                elif tracks[learned].fingerprint == tracks[given].fingerprint:
                    same = f"which says of every base what track {learned!r} does"
                else:
                    continue
                raise _leak(given, name, f"track {given!r}, {same}, which that objective learns")


def _leak(track: str, objective: str, found: str) -> ConfigError:
    return ConfigError(
        "CFG-30",
        where=f"inputs, objectives.{objective}",
        found=found,
        expected="inputs that tell nothing of a target, for the model would read the answer off its input "
        "(leakage)",
        fix=f"leave {track} out of inputs, or leave objectives.{objective} out",
    )


class ObjectiveSet:
    """The objectives of a run.

    Args:
        objectives: by name; masked tokens alone if None.
        weighting: whether their weights are fixed or learned.
        inputs: names of the tracks that the model reads.

    Attributes:
        masked_tokens: the name of masked language modelling among the objectives.
        on_tracks: the others, by name.
        loss: of masked language modelling.
        targets: what they learn of tracks, each once; see `target_name`.
        weights: how losses are summed.

    Raises:
        ConfigError: CFG-30, a track is an input and learned, or an input twice; OBJ-03, masked language
            modelling is not among the objectives, or twice; OBJ-04, a name is no identifier; OBJ-05, weights
            are given where they are learned.
    """

    def __init__(
        self,
        objectives: Mapping[str, MaskedTokens | TrackObjective] | None = None,
        weighting: WeightingName = "fixed",
        inputs: Sequence[str] = (),
    ) -> None:
        objectives = objectives or {"masked_tokens": MaskedTokens()}
        self.on_tracks = {n: each for n, each in objectives.items() if not isinstance(each, MaskedTokens)}
        masked = [name for name in objectives if name not in self.on_tracks]
        if len(masked) != 1:
            raise ConfigError(
                "OBJ-03",
                where="objectives",
                found=f"{len(masked)} objectives that predict masked tokens among {', '.join(objectives)}",
                expected="one, since the model directory is that of a masked language model",
                fix="give objectives.masked_tokens with dnalm.training.objectives.MaskedTokens",
            )
        self.masked_tokens, self.inputs = masked[0], tuple(inputs)
        (self.loss,) = (each.loss for each in objectives.values() if isinstance(each, MaskedTokens))
        for name, objective in self.on_tracks.items():
            if not name.isidentifier():  # it becomes a name of metrics and of weights
                raise ConfigError(
                    "OBJ-04",
                    where=f"objectives.{name}",
                    found="a name that is more than letters, digits and _",
                    expected="names that metrics can have, as in val_region_mcc",
                    fix="rename the objective",
                )
            if objective.track in inputs:
                raise _leak(objective.track, name, f"track {objective.track!r}, which that objective learns")
        for track in inputs:
            if self.inputs.count(track) > 1:
                raise ConfigError(
                    "CFG-30",
                    where="inputs",
                    found=f"track {track!r} twice",
                    expected="each input once",
                    fix="leave the second one out",
                )
        targets = (target_name(objective.track, objective.per) for objective in self.on_tracks.values())
        self.targets = list(dict.fromkeys(targets))
        weights = {name: objective.weight for name, objective in objectives.items()}
        try:
            self.weights = LossWeights(weights, weighting=weighting)
        except ValueError as error:
            raise ConfigError(
                "OBJ-05",
                where="weighting",
                found=str(error),
                expected="either of both",
                fix="leave the weights out, or set weighting=fixed",
            ) from error
