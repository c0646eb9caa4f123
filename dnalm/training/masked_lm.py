"""Masked language modelling: one LightningModule for every tokenizer and every encoder.

The loss of an optimizer step is the sum of the predicted tokens' losses divided by their number in
the whole global batch, over all ranks and micro-batches, so that it does not depend on how the
batch is cut. Micro-batches therefore back-propagate sums, and gradients are divided once, before
clipping.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- its usual name
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dnalm.data import Batch, HiddenTensors
from dnalm.data.order import Stream, generator
from dnalm.errors import NumericsError
from dnalm.models import MaskedLM, Packed
from dnalm.training.bits import base_indicator, bits_of_marginals, bits_of_tokens
from dnalm.training.optimizers import parameter_groups
from dnalm.training.schedules import Schedule


@dataclass
class Totals:
    """Sums over the micro-batches of a step or of a validation pass on this rank."""

    loss: Tensor | float = 0.0
    targets: int = 0
    masked: int = 0
    content: int = 0
    bits: Tensor | float = 0.0
    hidden: int = 0


@dataclass
class HiddenBits:
    """Every hidden base of a validation pass on this rank, in the order they were met."""

    positions: list[npt.NDArray[np.int64]] = field(default_factory=list)
    windows: list[npt.NDArray[np.int64]] = field(default_factory=list)
    bits: list[npt.NDArray[np.float32]] = field(default_factory=list)

    def append(self, hidden: HiddenTensors, bits_X: Tensor) -> None:
        """Keep one micro-batch."""
        self.positions.append(hidden.position_X.numpy(force=True))
        self.windows.append(hidden.sequence_X.numpy(force=True))
        self.bits.append(bits_X.numpy(force=True))


class MaskedLMTraining(LightningModule):
    """Train a masked language model.

    Args:
        model: the network.
        token_bases: (V, K) bases that each id spells, for bits per base.
        overlap: neighbouring tokens that share a base; 1 where tokens tile the sequence.
        optimizer: makes the optimizer from parameter groups, all else filled in.
        schedule: factor of the learning rate by optimizer step.
        seed: the run's seed, which keys dropout.
        species: names of the genomes that judge, if each is to be logged.
        species_of: (W,) which of them each validation sample is of.

    Raises:
        NumericsError: the loss of a step is not finite.
    """

    def __init__(
        self,
        model: MaskedLM,
        *,
        token_bases: npt.NDArray[np.uint8],
        overlap: int,
        optimizer: Callable[..., Optimizer],
        schedule: Schedule,
        seed: int,
        species: Sequence[str] = (),
        species_of: npt.NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.optimizer = model, optimizer
        self.species = species
        self.species_of: Tensor
        of = np.zeros(0, dtype=np.int64) if species_of is None else species_of
        self.register_buffer("species_of", torch.from_numpy(of), persistent=False)
        self.species_bits = torch.zeros(0, 2)
        self.schedule, self.seed, self.overlap = schedule, seed, overlap
        self.indicator: Tensor
        self.register_buffer("indicator", base_indicator(torch.from_numpy(token_bases)), persistent=False)
        self.step_totals, self.validation_totals = Totals(), Totals()
        self.step_samples: list[int] = []
        self.hidden_bits = HiddenBits()
        self.validated_at = -1  # optimizer step of the last validation

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer and its schedule, stepped once per optimizer step."""
        optimizer = self.optimizer(parameter_groups(self.model))
        scheduler = LambdaLR(optimizer, self.schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def forward(self, batch: Batch) -> Tensor:
        """Logits at the tokens to predict, (M, V)."""
        packed = Packed(cu_lengths=batch.cu_lengths, max_length=batch.max_length)
        logits: Tensor = self.model(batch.ids_N, packed, batch.targets_M, batch.annotations_NC)
        return logits

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The sum of the micro-batch's losses; dropout is keyed by (seed, step, micro-batch)."""
        self.key_dropout(batch_index)
        loss = F.cross_entropy(self(batch), batch.labels_M, reduction="sum")
        self.add_to_step(batch, loss)
        return loss

    def key_dropout(self, batch_index: int) -> None:
        """Seed the generators of a training pass by (seed, step, micro-batch)."""
        passes = self.trainer.accumulate_grad_batches
        part = self.global_rank * passes + batch_index % passes
        key = generator(self.seed, Stream.DROPOUT, self.global_step, part)
        torch.manual_seed(int(key.integers(2**63)))

    def add_to_step(self, batch: Batch, loss: Tensor) -> None:
        """Count a micro-batch, whose summed loss at predicted tokens is given."""
        self.step_totals.loss += loss.detach().double()  # read once a step: reading waits for a GPU
        self.step_totals.targets += len(batch.labels_M)
        self.step_totals.masked += batch.num_masked
        self.step_totals.content += batch.num_content
        self.step_samples += batch.samples

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Divide the summed gradients by the global number of predicted tokens, then log the step.

        Lightning has divided them by the number of micro-batches and averaged over the ranks.
        """
        totals = self.log_step(optimizer)
        trainer = self.trainer
        factor = trainer.accumulate_grad_batches * trainer.world_size / max(1, totals.targets)
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        torch._foreach_mul_(gradients, factor)

    def log_step(self, optimizer: Optimizer) -> Totals:
        """Log the step's mean loss at predicted tokens, and begin to count anew; sums over all ranks."""
        totals, self.step_totals = self._over_ranks(self.step_totals), Totals()
        samples, self.step_samples = self.step_samples, []
        if not math.isfinite(totals.loss):
            raise self.not_finite(float(totals.loss), samples)
        self.log("train_loss", totals.loss / max(1, totals.targets))
        self.log("mask_rate", totals.masked / totals.content)
        self.log("learning_rate", optimizer.param_groups[0]["lr"])
        return totals

    def on_validation_epoch_start(self) -> None:
        """Forget the last pass."""
        self.validation_totals, self.hidden_bits = Totals(), HiddenBits()
        self.species_bits = torch.zeros(len(self.species), 2, dtype=torch.float64, device=self.device)

    def validation_step(self, batch: Batch, batch_index: int) -> None:  # noqa: ARG002
        """Sum the losses at masked tokens and the bits at hidden bases."""
        self.judge_masked(batch, self(batch))

    def judge_masked(self, batch: Batch, logits: Tensor) -> None:
        """Add a micro-batch's (M, V) logits to the sums of a validation pass."""
        assert batch.hidden is not None, "validation samples list their hidden bases"
        if self.overlap > 1:
            bits = bits_of_marginals(logits, self.indicator, batch.hidden)
        else:
            bits = bits_of_tokens(logits, batch.labels_M, batch.hidden)
        totals = self.validation_totals
        totals.loss += F.cross_entropy(logits.float(), batch.labels_M, reduction="sum").double()
        totals.targets += len(batch.labels_M)
        totals.bits += bits.double().sum()
        totals.hidden += len(bits)
        self.hidden_bits.append(batch.hidden, bits)
        if self.species:
            each = torch.stack([bits.double(), torch.ones_like(bits, dtype=torch.float64)], dim=1)
            self.species_bits.index_add_(0, self.species_of[batch.hidden.sequence_X], each)

    def on_validation_epoch_end(self) -> None:
        """Log the means over all ranks."""
        totals = self._over_ranks(self.validation_totals)
        self.validated_at = self.global_step
        self.log("val_loss", totals.loss / max(1, totals.targets))
        self.log("val_bits_per_base", totals.bits / max(1, totals.hidden))
        if self.species:
            sums = self.trainer.strategy.reduce(self.species_bits, reduce_op="sum")
            for name, (bits, hidden) in zip(self.species, sums.tolist(), strict=True):
                self.log(f"val_bits_per_base/{name}", bits / max(1, hidden))

    def _over_ranks(self, totals: Totals) -> Totals:
        values = [float(value) for value in astuple(totals)]
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        loss, targets, masked, content, bits, hidden = self.trainer.strategy.reduce(
            tensor, reduce_op="sum"
        ).tolist()
        return Totals(loss, int(targets), int(masked), int(content), bits, int(hidden))

    def not_finite(self, loss: float, samples: list[int], *, of: str = "training") -> NumericsError:
        """The error of a step whose loss is not finite."""
        return NumericsError(
            "NUM-01",
            where=f"optimizer step {self.global_step}, rank {self.global_rank}",
            found=f"the {of} loss is {loss} on samples {samples[0]} to {samples[-1]}",
            expected="a finite loss",
            fix="lower optim.lr or lengthen the warm-up; the last checkpoint is from before this step",
        )
