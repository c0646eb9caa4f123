"""Masked language modelling: the LightningModules, bits per base, and the run.

The targets of a step are the tokens to predict (see `step`). With objectives on annotation tracks, each has
a head on the one encoder, and the loss of an optimizer step is the weighted sum of their mean losses, each a
mean over the targets of that objective in the whole global batch, over all ranks and micro-batches. So it
does not depend on how the batch is cut, and an objective counts the same whether few or many of the tokens
are labelled; windows without a label cost it nothing.

Bits per base at hidden bases compare tokenizers fairly. Where tokens tile the sequence, a hidden token costs
minus log2 of its probability, shared equally by its bases. This charges for the length of the token too: to
judge single bases of a token whose length is taken as known would flatter vocabularies of unequal lengths,
since their long words are the predictable ones. Where tokens overlap, a hidden base lies in several masked
ones. A masked token's distribution over the vocabulary gives one over the base at each of its places, by
summing the tokens that spell that base there; the base's distribution is the mean of theirs, which is again
a distribution.

Embeddings may start from what is known: the bases a token spells, and its position. With independent random
rows, as published, a model must first learn from scratch that ACGTAC is followed by CGTAC?, for each of 4^k
tokens, and that position 17 follows 16; short runs end before that. Here a token's row starts as the sum of
one random vector for each base at each place, and a position's as its sinusoids (Vaswani et al. 2017, section
3.5), both with the variance of the rows they replace. All rows are trained as usual. Our choice for small
budgets, measured in experiments/LOG.md; no published recipe uses it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from lightning.pytorch import seed_everything
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from dnalm.data import Batch, Corpus, HiddenTensors, Masking, WindowRecipe
from dnalm.data.batch import MASKED_BASES, MASKED_TOKENS
from dnalm.data.module import GenomeData
from dnalm.data.targets import AbsentTrack
from dnalm.genome.alphabet import UNKNOWN
from dnalm.limits import Steps
from dnalm.models import Encoder, Initialisation, MaskedLM, Packed, Pretrained, inform_embeddings
from dnalm.models.config import check_length
from dnalm.models.initialisation import EmbeddingInit
from dnalm.models.layers import base_probabilities, summed_loss
from dnalm.models.memory import PackSize
from dnalm.tokenizers import BpeRecipe, Ids, Tokenizer
from dnalm.training.model_directory import write_model_directory
from dnalm.training.objectives import (
    LossName,
    LossWeights,
    MaskedTokens,
    ObjectiveSet,
    Scores,
    TrackObjective,
    TrackTask,
    WeightingName,
    check_loss,
    check_sources,
    make_tasks,
)
from dnalm.training.run import Contract, Run
from dnalm.training.step import (
    ClosedStep,
    StepPlan,
    StepTotals,
    StepTraining,
    sum_over_ranks,
    to_device,
)

_TINY = torch.finfo(torch.float32).tiny


def base_indicator(token_bases_VK: Tensor) -> Tensor:
    """Which base each id spells at each place.

    Args:
        token_bases_VK: (V, K) values 0-3, other values where the id spells none.

    Returns:
        (V, K * 4) float, 1 where id v spells base b at place k, in column 4 k + b.
    """
    spelled = torch.nn.functional.one_hot(token_bases_VK.long().clamp(max=4), num_classes=5)[..., :4]
    return spelled.flatten(1).float()


def bits_of_tokens(logits_MV: Tensor, labels_M: Tensor, hidden: HiddenTensors) -> Tensor:
    """Bits of each hidden base where tokens tile: its token's bits, shared by the token's bases.

    Args:
        logits_MV: (M, V) logits at the masked tokens.
        labels_M: (M,) their true ids.
        hidden: the batch's hidden bases, each in one pair.

    Returns:
        (X,) bits.
    """
    nats_M = torch.nn.functional.cross_entropy(logits_MV.float(), labels_M, reduction="none")
    bases_M = torch.bincount(hidden.pair_token_P, minlength=len(labels_M))
    bits_P = (nats_M / bases_M / math.log(2))[hidden.pair_token_P]
    return torch.empty_like(bits_P).index_copy_(0, hidden.pair_base_P, bits_P)


def bits_of_marginals(logits_MV: Tensor, indicator: Tensor, hidden: HiddenTensors) -> Tensor:
    """Bits of each hidden base where tokens overlap: minus log2 of the mean of its marginal probabilities.

    Args:
        logits_MV: (M, V) logits at the masked tokens.
        indicator: (V, K * 4) from `base_indicator`.
        hidden: the batch's hidden bases.

    Returns:
        (X,) bits. Ids that spell no base at a place have no share in its distribution.
    """
    marginal_MK4 = base_probabilities(logits_MV.float(), indicator)
    marginal_MK4 = marginal_MK4 / marginal_MK4.sum(-1, keepdim=True).clamp_min(_TINY)
    true_base_P = hidden.base_X[hidden.pair_base_P]
    known_P = marginal_MK4[hidden.pair_token_P, hidden.pair_offset_P, true_base_P]
    sums = torch.zeros_like(hidden.base_X, dtype=torch.float32).index_add_(0, hidden.pair_base_P, known_P)
    counts = torch.bincount(hidden.pair_base_P, minlength=len(hidden.base_X))
    mean = (sums / counts).clamp_min(_TINY)
    return -mean.log() / math.log(2)


def _packed(batch: Batch) -> Packed:
    return Packed(cu_lengths=batch.cu_lengths, max_length=batch.max_length)


@dataclass(frozen=True, kw_only=True)
class TrainingPlan(StepPlan):
    """What masked language modelling needs beside its network.

    Args:
        token_bases: (V, K) bases that each id spells, for bits per base.
        overlap: neighbouring tokens that share a base; 1 where tokens tile the sequence.
        loss: of masked tokens, see `MaskedTokens`.
        species: names of the genomes that judge, if each is to be logged.
        species_of: (W,) which of them each validation sample is of.
    """

    token_bases: npt.NDArray[np.uint8]
    overlap: int
    loss: LossName = "cross_entropy"
    species: Sequence[str] = ()
    species_of: npt.NDArray[np.int64] | None = None


@dataclass
class Totals(StepTotals):
    """Sums over the micro-batches of a step or of a validation pass on this rank."""

    masked: int = 0
    content: int = 0
    bits: Tensor | float = 0.0
    hidden: int = 0


@dataclass
class _Pass:
    """Columns of a validation pass on this rank: a list of the micro-batches' arrays in each field."""

    windows: list[npt.NDArray[np.int64]] = field(default_factory=list)

    def gather(self) -> Self:
        """The columns of every rank on the first, in the order of windows, whichever rank judged them.

        On other ranks, what they have themselves. Called on every rank.
        """
        mine = [np.concatenate(part) if part else np.zeros(0) for part in vars(self).values()]
        parts: list[Any] = [mine]
        if dist.is_initialized() and dist.get_world_size() > 1:
            first = dist.get_rank() == 0
            parts = [None] * dist.get_world_size()
            dist.gather_object(mine, parts if first else None)
            if not first:
                return self
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        order: npt.NDArray[np.int64] = np.argsort(columns[0], kind="stable")
        return type(self)(*([column[order]] for column in columns))


@dataclass
class HiddenBits(_Pass):
    """Every hidden base of a validation pass on this rank, and the id of the token that spells it."""

    positions: list[npt.NDArray[np.int64]] = field(default_factory=list)
    bits: list[npt.NDArray[np.float32]] = field(default_factory=list)
    ids: list[npt.NDArray[np.int64]] = field(default_factory=list)

    def append(self, hidden: HiddenTensors, bits_X: Tensor, ids_M: Ids, lengths_M: Ids) -> None:
        """Keep one micro-batch, whose masked tokens have these ids and lengths in bases."""
        token_X = central_tokens(hidden, lengths_M)
        self.windows.append(hidden.sequence_X.numpy(force=True))
        self.positions.append(hidden.position_X.numpy(force=True))
        self.bits.append(bits_X.numpy(force=True))
        self.ids.append(ids_M[token_X])


@dataclass
class MaskedHits(_Pass):
    """Every masked token of a validation pass on this rank: its id, and whether that was ranked first."""

    ids: list[npt.NDArray[np.int64]] = field(default_factory=list)
    hits: list[npt.NDArray[np.bool_]] = field(default_factory=list)

    def append(self, batch: Batch, logits_MV: Tensor) -> None:
        """Keep one micro-batch and its logits."""
        starts_B, targets_M = batch.cu_lengths.numpy(force=True), batch.targets_M.numpy(force=True)
        sequence_M = starts_B.searchsorted(targets_M, side="right") - 1
        self.windows.append(np.array(batch.samples, dtype=np.int64)[sequence_M])
        self.ids.append(batch.labels_M.numpy(force=True))
        self.hits.append((logits_MV.argmax(-1) == batch.labels_M).numpy(force=True))


def central_tokens(hidden: HiddenTensors, lengths_M: Ids) -> Ids:
    """Of the masked tokens that cover a hidden base, the one in whose middle it lies, else the first.

    Args:
        hidden: of a micro-batch.
        lengths_M: (M,) bases of each masked token.

    Returns:
        (X,) index of a masked token for each hidden base.
    """
    base_P, token_P, offset_P = (
        each.numpy(force=True) for each in (hidden.pair_base_P, hidden.pair_token_P, hidden.pair_offset_P)
    )
    is_central = offset_P == (lengths_M[token_P] - 1) // 2
    token_X = np.zeros(len(hidden.base_X), dtype=np.int64)
    token_X[base_P[::-1]] = token_P[::-1]
    token_X[base_P[is_central]] = token_P[is_central]
    return token_X


class MaskedLMTraining(StepTraining):
    """Train a masked language model.

    Args:
        model: the network.
        plan: everything else.

    Raises:
        NumericsError: the loss or a gradient of a step is not finite, and the policy does not let it pass.
        RolledBack: likewise, and the policy goes back to the last checkpoint.
    """

    def __init__(self, model: MaskedLM, plan: TrainingPlan) -> None:
        super().__init__(model, plan, Totals)
        self.model: MaskedLM
        self.plan: TrainingPlan
        self.step_totals: Totals
        self.species_of: Tensor
        of = np.zeros(0, dtype=np.int64) if plan.species_of is None else plan.species_of
        self.register_buffer("species_of", torch.from_numpy(of), persistent=False)
        self.species_bits = torch.zeros(0, 2)
        self.indicator: Tensor
        bases = torch.from_numpy(plan.token_bases)
        self.register_buffer("indicator", base_indicator(bases), persistent=False)
        self.lengths_V: Ids = (plan.token_bases < UNKNOWN).sum(1)
        self.validation_totals = Totals()
        self.hidden_bits, self.masked_hits = HiddenBits(), MaskedHits()

    def forward(self, batch: Batch) -> Tensor:
        """Logits at the tokens to predict, (M, V)."""
        logits_MV: Tensor = self.model(batch.ids_N, _packed(batch), batch.targets_M, batch.annotations_NC)
        return logits_MV

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The sum of the micro-batch's losses; dropout is keyed by (seed, step, micro-batch)."""
        self.key_dropout(batch_index)
        loss: Tensor = self.model.loss(
            batch.ids_N,
            _packed(batch),
            batch.targets_M,
            batch.labels_M,
            batch.annotations_NC,
            self.loss_indicator,
        )
        self.add_to_step(batch, loss)
        return loss

    @property
    def loss_indicator(self) -> Tensor | None:
        """The bases that ids spell, where these are what the loss is of; see `summed_loss`."""
        return self.indicator if self.plan.loss == "per_base" else None

    def num_targets(self, batch: Batch) -> int:
        """What a micro-batch's loss is a sum over: its tokens to predict, or the bases that they spell."""
        return batch.num_targets if self.loss_indicator is None else batch.num_target_bases

    def add_to_step(self, batch: Batch, loss: Tensor) -> None:
        """Count a micro-batch, whose summed loss at predicted tokens is given."""
        self.step_totals.loss += loss.detach().double()  # read once a step: reading waits for a GPU
        self.step_totals.targets += self.num_targets(batch)
        self.step_totals.masked += batch.num_masked
        self.step_totals.content += batch.num_content

    def log_step(self, totals: StepTotals) -> None:
        """The share of tokens that were masked."""
        assert isinstance(totals, Totals), "steps are counted so"
        self.log("mask_rate", totals.masked / max(1, totals.content))

    def on_validation_epoch_start(self) -> None:
        """Forget the last pass."""
        self.validation_totals = Totals()
        self.hidden_bits, self.masked_hits = HiddenBits(), MaskedHits()
        self.species_bits = torch.zeros(len(self.plan.species), 2, dtype=torch.float64, device=self.device)

    def validation_step(self, batch: Batch, batch_index: int) -> None:  # noqa: ARG002
        """Sum the losses at masked tokens and the bits at hidden bases."""
        self.judge_masked(batch, self(batch))

    def judge_masked(self, batch: Batch, logits: Tensor) -> None:
        """Add a micro-batch's (M, V) logits to the sums of a validation pass."""
        assert batch.hidden is not None, "validation samples list their hidden bases"
        if self.plan.overlap > 1:
            bits = bits_of_marginals(logits, self.indicator, batch.hidden)
        else:
            bits = bits_of_tokens(logits, batch.labels_M, batch.hidden)
        totals = self.validation_totals
        totals.loss += summed_loss(logits, batch.labels_M, self.loss_indicator).double()
        totals.targets += self.num_targets(batch)
        totals.bits += bits.double().sum()
        totals.hidden += len(bits)
        ids_M = batch.labels_M.numpy(force=True)
        self.hidden_bits.append(batch.hidden, bits, ids_M, self.lengths_V[ids_M])
        self.masked_hits.append(batch, logits)
        if self.plan.species:
            each = torch.stack([bits.double(), torch.ones_like(bits, dtype=torch.float64)], dim=1)
            sequence_X = batch.hidden.sequence_X.to(self.species_of.device)
            self.species_bits.index_add_(0, self.species_of[sequence_X], each)

    def on_validation_epoch_end(self) -> None:
        """Log the means over all ranks."""
        totals = self.over_ranks(self.validation_totals)
        self.validated_at = self.global_step
        self.log("val_loss", totals.loss / max(1, totals.targets))
        self.log("val_bits_per_base", totals.bits / max(1, totals.hidden))
        if self.plan.species:
            sums = sum_over_ranks(self.species_bits).tolist()
            for name, (bits, hidden) in zip(self.plan.species, sums, strict=True):
                self.log(f"val_bits_per_base/{name}", bits / max(1, hidden))


class MultiObjectiveTraining(MaskedLMTraining):
    """Train a masked language model that learns tracks too.

    It logs what `MaskedLMTraining` logs, so that runs compare, and of every objective `train_<name>_loss` and
    `val_<name>_<metric>`.

    Args:
        model: the network; extra heads lie beside it, so that its weights are named as in any other run.
        tasks: the objectives on tracks by name.
        masked_tokens: the name of masked language modelling among the weights.
        weights: how the losses are summed.
        plan: as of `MaskedLMTraining`.

    Raises:
        NumericsError: a loss of a step is not finite.
    """

    def __init__(
        self,
        model: MaskedLM,
        *,
        tasks: Mapping[str, TrackTask],
        masked_tokens: str,
        weights: LossWeights,
        plan: TrainingPlan,
    ) -> None:
        super().__init__(model, plan)
        self.tasks, self.weights, self.masked_tokens = nn.ModuleDict(dict(tasks)), weights, masked_tokens
        self.own_targets: dict[str, int] = {}  # of each objective in the step under way, on this rank
        self.counts: dict[str, Tensor] = {}  # on all ranks, () float32
        self.step_losses: dict[str, Tensor] = {}
        self.scores: dict[str, Scores] = {}  # of the last validation

    def named_tasks(self) -> list[tuple[str, TrackTask]]:
        """The objectives on tracks."""
        return [(name, task) for name, task in self.tasks.items() if isinstance(task, TrackTask)]

    def named_heads(self) -> dict[str, nn.Module]:
        """The heads of the objectives on tracks."""
        return {name: task.head for name, task in self.named_tasks()}

    def trained_beside(self) -> list[nn.Module]:
        """The heads, and the weights of the objectives if they are learned."""
        learned = [self.weights] if self.weights.log_variance is not None else []
        return [*super().trained_beside(), *learned]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer of encoder, heads and learned weights, and its schedule."""
        return self.scheduled_optimizer(self)

    def encode(self, batch: Batch) -> Tensor:
        """Hidden states of all packed tokens, (N, D)."""
        return self.model.encode(batch.ids_N, _packed(batch), batch.annotations_NC)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The micro-batch's part of the step's loss; Lightning divides by the number of parts."""
        self.key_dropout(batch_index)
        if batch_index % self.trainer.accumulate_grad_batches == 0:
            self.own_targets = self._own_targets(batch)
            sums = sum_over_ranks(to_device([*self.own_targets.values()], self.device))
            self.counts = dict(zip(self.own_targets, sums.float(), strict=True))
        hidden_ND = self.encode(batch)
        losses = {
            self.masked_tokens: self.model.predicted_loss(
                hidden_ND, batch.targets_M, batch.labels_M, self.loss_indicator
            )
        }
        for name, task in self.named_tasks():
            losses[name] = task.loss(*task.on_batch(hidden_ND, batch))
        self._add_losses(batch, losses)
        parts = self.num_parts
        means = {name: loss / self.counts[name].clamp(min=1) for name, loss in losses.items()}
        present = {name: count > 0 for name, count in self.counts.items()}
        total: Tensor = self.weights(means, present=present, share=1 / parts)
        return total * parts

    def gradient_factor(self, targets: Tensor) -> Tensor:
        """The losses are divided already."""
        return torch.ones_like(targets)

    def further_sums(self) -> dict[str, Tensor | float]:
        """The losses of the objectives, and their numbers of targets."""
        losses, self.step_losses = self.step_losses, {}
        targets = {f"{name} targets": float(count) for name, count in self.own_targets.items()}
        return {**losses, **targets}

    def log_further(self, further: Mapping[str, float]) -> None:
        """The mean loss of each objective that had a target, and the weights that are learned."""
        for name, _ in self.named_tasks():
            if count := further[f"{name} targets"]:
                self.log(f"train_{name}_loss", further[name] / count)
        if self.weights.log_variance is not None:
            for name, factor in self.weights.factors().items():
                self.log(f"weight_{name}", factor)

    def own_losses(self, closed: ClosedStep) -> dict[str, float]:
        """Of each objective."""
        return {name: float(closed.further[name]) for name in self.own_targets}

    def on_validation_epoch_start(self) -> None:
        """Forget the last pass."""
        super().on_validation_epoch_start()
        for _, task in self.named_tasks():
            task.forget()

    def validation_step(self, batch: Batch, batch_index: int) -> None:  # noqa: ARG002
        """Judge the hidden tokens, and every labelled token, hidden or not."""
        hidden_ND = self.encode(batch)
        self.judge_masked(batch, self.model.predict(hidden_ND, batch.targets_M))
        for _, task in self.named_tasks():
            task.judge(*task.on_batch(hidden_ND, batch))

    def on_validation_epoch_end(self) -> None:
        """Log the figures of every objective."""
        super().on_validation_epoch_end()
        self.scores = {name: task.scores() for name, task in self.named_tasks()}
        for name, scores in self.scores.items():
            for metric, value in scores.model.items():
                self.log(f"val_{name}_{metric}", value)

    def _add_losses(self, batch: Batch, sums: Mapping[str, Tensor]) -> None:
        self.add_to_step(batch, sums[self.masked_tokens])
        for name, loss in sums.items():
            self.step_losses[name] = self.step_losses.get(name, 0.0) + loss.detach().double()

    def _own_targets(self, batch: Batch) -> dict[str, int]:
        """Targets of each objective in the optimizer step that a batch begins, on this rank."""
        tracks = {
            self.masked_tokens: MASKED_TOKENS if self.loss_indicator is None else MASKED_BASES,
            **{name: task.target for name, task in self.named_tasks()},
        }
        return {name: batch.step_targets.get(track, 0) for name, track in tracks.items()}


_LOGGED = 32  # genomes that have a column of their own in metrics.csv


@dataclass(kw_only=True, eq=False)
class Pretraining(Run[GenomeData, MaskedLMTraining]):
    """A run of masked language modelling on genomes, alone or beside objectives on their tracks.

    Args:
        data: the genomes.
        tokenizer: bases to ids, or how to learn that from the training parts of the genomes.
        windows: how long windows are and where they come from.
        masking: what is hidden.
        model: makes the encoder, or loads a model to continue from.
        steps: optimizer steps.
        embedding_init: how embeddings begin: random rows, or with what is known of bases and places.
        objectives: what is learned, by name; masked tokens alone if absent.
        weighting: whether the weights of objectives are fixed, or learned with the model.
        inputs: names of tracks of labels or classes that the model reads beside every token (LOGO).
    """

    command = "pretrain"
    shorter = "size=tiny or size=small is a smaller model; steps=3000 is a shorter run"

    data: Corpus
    tokenizer: Tokenizer | BpeRecipe
    windows: WindowRecipe
    masking: Masking
    model: Callable[..., Encoder | MaskedLM]
    steps: Steps
    embedding_init: EmbeddingInit = "normal"
    objectives: dict[str, MaskedTokens | TrackObjective] | None = None
    weighting: WeightingName = "fixed"
    inputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.num_steps = self.steps
        self.learned = ObjectiveSet(self.objectives, self.weighting, self.inputs)
        check_loss(self.learned.loss, self.tokenizer)
        super().__post_init__()

    def prepare(self) -> GenomeData:
        """The genomes prepared and divided, their windows laid out.

        Raises:
            ConfigError: CFG-30, an input is the annotation that an objective learns.
        """
        genome = GenomeData(
            self.data,
            tokenizer=learned_tokenizer(self.tokenizer, self.data),
            windows=self.windows,
            masking=self.masking,
            batch=self.batch,
            seed=self.seed,
            targets=self.learned.targets,
            inputs=self.learned.inputs,
        )
        genome.prepare_data()
        genome.setup("fit")
        tracks = [opened.tracks for opened in genome.opened]
        check_sources(self.learned.inputs, self.learned.on_tracks, tracks)
        return genome

    def build(self, data: GenomeData) -> MaskedLMTraining:
        """The network for the tokenizer's ids, and how it is trained."""
        seed_everything(self.seed, verbose=False)
        network = self._network(data)
        trainer = self.fit_memory(network.encoder, partial(self._largest_pack, data))
        data.batch = self.batch
        names = [genome.name for genome in data.opened]
        plan = TrainingPlan(
            token_bases=data.tokenizer.token_bases,
            overlap=data.tokenizer.overlap,
            loss=self.learned.loss,
            optimizer=self.optim,
            schedule=self.schedule(total_steps=self.num_steps),
            seed=self.seed,
            global_batch=self.batch.global_size,
            species=names if 1 < len(names) <= _LOGGED else (),
            species_of=np.array([number for number, _ in data.validation_windows]),
            stop_flags=self.stop_flags,
            parallel=trainer.parallel,
            exact=trainer.strategy == "exact",
        )
        if not self.learned.on_tracks:
            return MaskedLMTraining(network, plan)
        return MultiObjectiveTraining(
            network,
            plan=plan,
            tasks=make_tasks(self.learned.on_tracks, data, network.encoder),
            masked_tokens=self.learned.masked_tokens,
            weights=self.learned.weights,
        )

    def _network(self, data: GenomeData) -> MaskedLM:
        """A new network, or one to continue from, whose embeddings stay as they are."""
        tokenizer, special = data.tokenizer, data.tokenizer.special
        made = self.model(
            vocab_size=tokenizer.vocab_size,
            padding_id=special.padding,
            mask_id=special.mask,
            annotations=data.channels.names,
        )
        network = made if isinstance(made, MaskedLM) else MaskedLM(made)
        longest = self.windows.max_tokens + special.num_wrapping
        check_length(network.encoder, longest)
        if network is not made and self.embedding_init == "informed":
            inform_embeddings(network, tokenizer.token_bases)
        return network

    def _largest_pack(self, data: GenomeData, num_windows: int) -> PackSize:
        """Of full-length windows, as many tokens predicted as the highest rate says."""
        predicted = math.ceil(self.masking.highest_share * num_windows * self.windows.max_tokens)
        longest = self.windows.max_tokens + data.tokenizer.special.num_wrapping
        return PackSize.of([longest] * num_windows, predicted=predicted)

    def contract(self, data: GenomeData) -> Contract:
        """See `contract_of`; and the loss, where it is not what it is in every checkpoint that names none."""
        name, loss = self.learned.masked_tokens, self.learned.loss
        return contract_of(data) | ({} if loss == "cross_entropy" else {f"objectives.{name}.loss": loss})

    def write_model(
        self,
        data: GenomeData,
        module: MaskedLMTraining,
        *,
        weights: Mapping[str, Tensor] | None,
        heads: Mapping[str, Mapping[str, Tensor]],
        steps: int,
    ) -> None:
        """Write the model directory, the heads of objectives on tracks beside the model."""
        write_model_directory(
            self.run.model,
            model=module.model,
            weights=weights,
            tokenizer=data.tokenizer,
            config=self.config,
            data_fingerprint=data.fingerprint,
            precision=self.trainer.arithmetic,
            steps=steps,
            window_tokens=self.windows.max_tokens,
            heads=heads,
            began=self._initialisation(),
        )

    def _initialisation(self) -> Initialisation | None:
        """How the network began: by the seed of this run, or of the run that it continues from."""
        if isinstance(self.model, Pretrained):
            return self.model.initialisation()
        return Initialisation(embeddings=self.embedding_init, seed=self.seed)


def learned_tokenizer(tokenizer: Tokenizer | BpeRecipe, data: Corpus) -> Tokenizer:
    """The tokenizer itself, or what its recipe learns on the parts of the genomes that train.

    Raises:
        DataError: TOK-09, no part trains.
    """
    if not isinstance(tokenizer, BpeRecipe):
        return tokenizer
    data.prepare(tracks=())
    genomes = data.genomes(tracks=())
    training = [genome for genome in genomes if len(genome.division.train)] or genomes  # or TOK-09 names them
    return tokenizer.open_or_train([genome.training_text() for genome in training], data.cache)


def contract_of(data: GenomeData) -> Contract:
    """What must not change of genomes that are divided and laid out, and of how they are read."""
    contract: Contract = {"seed": data.seed, "batch.global_size": data.batch.global_size}
    contract["tokenizer"] = data.tokenizer.fingerprint
    for name, settings in (("windows", data.windows), ("masking", data.masking)):
        for entry in fields(settings):
            contract[f"{name}.{entry.name}"] = getattr(settings, entry.name)
    for opened, genome in zip(data.opened, data.genomes, strict=True):
        trained = hashlib.sha256(genome.train.tobytes()).hexdigest()[:16]
        contract[f"data.{genome.name}"] = genome.store.fingerprint
        contract[f"data.{genome.name}.split"] = trained
        contract[f"data.{genome.name}.weight"] = opened.weight
        for track, store in genome.tracks.items():
            known = None if isinstance(store, AbsentTrack) else store.fingerprint
            contract[f"data.{genome.name}.tracks.{track}"] = known
    return contract
