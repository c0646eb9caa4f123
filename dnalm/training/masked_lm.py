"""Masked language modelling: one LightningModule for every tokenizer and every encoder.

The targets of a step are the tokens to predict; see `step_training`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- its usual name

from dnalm.data import Batch, HiddenTensors
from dnalm.models import MaskedLM, Packed
from dnalm.training.bits import base_indicator, bits_of_marginals, bits_of_tokens
from dnalm.training.plan import TrainingPlan
from dnalm.training.step_training import StepTotals, StepTraining


@dataclass
class Totals(StepTotals):
    """Sums over the micro-batches of a step or of a validation pass on this rank."""

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


class MaskedLMTraining(StepTraining):
    """Train a masked language model.

    Args:
        model: the network.
        plan: everything else.

    Raises:
        NumericsError: the loss or a gradient of a step is not finite, and the guard does not let it pass.
        RolledBack: likewise, and the guard goes back to the last checkpoint.
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
        self.validation_totals = Totals()
        self.hidden_bits = HiddenBits()

    def forward(self, batch: Batch) -> Tensor:
        """Logits at the tokens to predict, (M, V)."""
        packed = Packed(cu_lengths=batch.cu_lengths, max_length=batch.max_length)
        logits_MV: Tensor = self.model(batch.ids_N, packed, batch.targets_M, batch.annotations_NC)
        return logits_MV

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The sum of the micro-batch's losses; dropout is keyed by (seed, step, micro-batch)."""
        self.key_dropout(batch_index)
        loss = F.cross_entropy(self(batch), batch.labels_M, reduction="sum")
        self.add_to_step(batch, loss)
        return loss

    def add_to_step(self, batch: Batch, loss: Tensor) -> None:
        """Count a micro-batch, whose summed loss at predicted tokens is given."""
        self.step_totals.loss += loss.detach().double()  # read once a step: reading waits for a GPU
        self.step_totals.targets += len(batch.labels_M)
        self.step_totals.masked += batch.num_masked
        self.step_totals.content += batch.num_content

    def log_step(self, totals: StepTotals) -> None:
        """The share of tokens that were masked."""
        assert isinstance(totals, Totals), "steps are counted so"
        self.log("mask_rate", totals.masked / max(1, totals.content))

    def on_validation_epoch_start(self) -> None:
        """Forget the last pass."""
        self.validation_totals, self.hidden_bits = Totals(), HiddenBits()
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
        totals.loss += F.cross_entropy(logits.float(), batch.labels_M, reduction="sum").double()
        totals.targets += len(batch.labels_M)
        totals.bits += bits.double().sum()
        totals.hidden += len(bits)
        self.hidden_bits.append(batch.hidden, bits)
        if self.plan.species:
            each = torch.stack([bits.double(), torch.ones_like(bits, dtype=torch.float64)], dim=1)
            self.species_bits.index_add_(0, self.species_of[batch.hidden.sequence_X], each)

    def on_validation_epoch_end(self) -> None:
        """Log the means over all ranks."""
        totals = self.over_ranks(self.validation_totals)
        self.validated_at = self.global_step
        self.log("val_loss", totals.loss / max(1, totals.targets))
        self.log("val_bits_per_base", totals.bits / max(1, totals.hidden))
        if self.plan.species:
            sums = self.trainer.strategy.reduce(self.species_bits, reduce_op="sum")
            for name, (bits, hidden) in zip(self.plan.species, sums.tolist(), strict=True):
                self.log(f"val_bits_per_base/{name}", bits / max(1, hidden))
