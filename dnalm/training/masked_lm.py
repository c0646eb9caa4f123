"""Masked language modelling: one LightningModule for every tokenizer and every encoder.

The loss of an optimizer step is the sum of the predicted tokens' losses divided by their number in
the whole global batch, over all ranks and micro-batches, so that it does not depend on how the
batch is cut. Micro-batches therefore back-propagate sums, and gradients are divided once, before
clipping.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- its usual name
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dnalm.data import Batch, HiddenTensors
from dnalm.data.order import Stream, generator
from dnalm.errors import NumericsError
from dnalm.faults import fault
from dnalm.models import MaskedLM, Packed
from dnalm.training.bits import base_indicator, bits_of_marginals, bits_of_tokens
from dnalm.training.crash import OnOtherRanks
from dnalm.training.exact_sums import ExactSums
from dnalm.training.guard import are_finite
from dnalm.training.optimizers import parameter_groups
from dnalm.training.plan import TrainingPlan


@dataclass
class Totals:
    """Sums over the micro-batches of a step or of a validation pass on this rank."""

    loss: Tensor | float = 0.0
    targets: int = 0
    masked: int = 0
    content: int = 0
    bits: Tensor | float = 0.0
    hidden: int = 0
    not_finite: int = 0  # ranks whose loss or gradients are not
    preempted: int = 0  # ranks that were told to stop
    interrupted: int = 0


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
        plan: everything else.

    Raises:
        NumericsError: the loss or a gradient of a step is not finite, and the guard does not let it pass.
        RolledBack: likewise, and the guard goes back to the last checkpoint.
    """

    def __init__(self, model: MaskedLM, plan: TrainingPlan) -> None:
        super().__init__()
        self.model, self.plan, self.guard = model, plan, plan.guard
        self.species_of: Tensor
        of = np.zeros(0, dtype=np.int64) if plan.species_of is None else plan.species_of
        self.register_buffer("species_of", torch.from_numpy(of), persistent=False)
        self.species_bits = torch.zeros(0, 2)
        self.indicator: Tensor
        bases = torch.from_numpy(plan.token_bases)
        self.register_buffer("indicator", base_indicator(bases), persistent=False)
        self.step_totals, self.validation_totals = Totals(), Totals()
        self.hidden_bits = HiddenBits()
        self.validated_at = -1  # optimizer step of the last validation
        self._exact_sums = ExactSums() if plan.exact else None
        self._is_configured = False

    def configure_model(self) -> None:
        """Make the model fit the machine; once, since Lightning asks before each fit and validation."""
        if self._is_configured:
            return
        self._is_configured = True
        mesh = self.device_mesh["data_parallel"] if self.device_mesh is not None else None
        self.plan.parallel.apply(self.model, self.trained_beside(), mesh)

    def named_heads(self) -> dict[str, nn.Module]:
        """Heads of further objectives, which are kept beside the model."""
        return {}

    def trained_beside(self) -> list[nn.Module]:
        """All modules that train beside the model."""
        return [*self.named_heads().values()]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer and its schedule, stepped once per optimizer step."""
        optimizer = self.plan.optimizer(parameter_groups(self.model))
        scheduler = LambdaLR(optimizer, self.plan.schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def forward(self, batch: Batch) -> Tensor:
        """Logits at the tokens to predict, (M, V)."""
        packed = Packed(cu_lengths=batch.cu_lengths, max_length=batch.max_length)
        hidden_ND = self.model.encode(batch.ids_N, packed, batch.annotations_NC)
        return self.model.predict(hidden_ND, batch.targets_M)

    def on_train_start(self) -> None:
        """Set the learning rate, which is a function of the step and is not restored."""
        for config in self.trainer.lr_scheduler_configs:
            scheduler = config.scheduler
            assert isinstance(scheduler, LambdaLR), "configure_optimizers makes it"
            scheduler.last_epoch = self.global_step
            for group, rate in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, strict=True):
                group["lr"] = rate * self.plan.schedule(self.global_step)

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
        key = generator(self.plan.seed, Stream.DROPOUT, self.global_step, part)
        torch.manual_seed(int(key.integers(2**63)))

    def add_to_step(self, batch: Batch, loss: Tensor) -> None:
        """Count a micro-batch, whose summed loss at predicted tokens is given."""
        self.step_totals.loss += loss.detach().double()  # read once a step: reading waits for a GPU
        self.step_totals.targets += len(batch.labels_M)
        self.step_totals.masked += batch.num_masked
        self.step_totals.content += batch.num_content

    def on_after_backward(self) -> None:
        """Take the gradients of a micro-batch into the exact sum, if they are summed so."""
        if self._exact_sums is not None:
            self._exact_sums.take(self._trained())

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Divide the summed gradients by the global number of predicted tokens, then log the step.

        Lightning has divided them by the number of micro-batches and averaged over the ranks.
        """
        totals = self.close_step(optimizer)
        self.scale_gradients(self.num_parts / max(1, totals.targets))

    @property
    def num_parts(self) -> int:
        """Micro-batches of an optimizer step over all ranks."""
        return self.trainer.accumulate_grad_batches * self.trainer.world_size

    def scale_gradients(self, factor: float) -> None:
        """Multiply all gradients; exact sums are sums over the ranks, and not yet their mean."""
        factor = factor / self.trainer.world_size if self._exact_sums is not None else factor
        gradients = [p.grad for p in self._trained() if p.grad is not None]
        if gradients and factor != 1:
            torch._foreach_mul_(gradients, factor)

    def close_step(self, optimizer: Optimizer) -> Totals:
        """Hear what all ranks have counted and flagged, and log it; sums over all ranks.

        A step that some rank cannot finish has no gradients afterwards, so that it changes nothing.
        """
        if self._exact_sums is not None:
            self._exact_sums.give(self._trained(), self.trainer.world_size)
        fault("train.gradients")
        mine, self.step_totals = self.step_totals, Totals()
        gradients = [p.grad for p in self._trained() if p.grad is not None]
        mine.not_finite = int(not math.isfinite(mine.loss) or not are_finite(gradients))
        mine.preempted, mine.interrupted = self.guard.flags()
        totals = self._over_ranks(mine)
        self.guard.hear(totals.preempted, totals.interrupted)
        reason = self._not_finite(mine, totals)
        if self.guard.drops(self.global_step, ranks_not_finite=totals.not_finite, reason=reason):
            for parameter in self._trained():
                parameter.grad = None
        self.log("train_loss", totals.loss / max(1, totals.targets))
        self.log("mask_rate", totals.masked / max(1, totals.content))
        self.log("learning_rate", optimizer.param_groups[0]["lr"])
        if self.guard.left_out:
            self.log("left_out_steps", float(len(self.guard.left_out)))
        return totals

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
        totals = self._over_ranks(self.validation_totals)
        self.validated_at = self.global_step
        self.log("val_loss", totals.loss / max(1, totals.targets))
        self.log("val_bits_per_base", totals.bits / max(1, totals.hidden))
        if self.plan.species:
            sums = self.trainer.strategy.reduce(self.species_bits, reduce_op="sum")
            for name, (bits, hidden) in zip(self.plan.species, sums.tolist(), strict=True):
                self.log(f"val_bits_per_base/{name}", bits / max(1, hidden))

    def _over_ranks(self, totals: Totals) -> Totals:
        values = [float(value) for value in astuple(totals)]
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        loss, targets, masked, content, bits, hidden, *flags = self.trainer.strategy.reduce(
            tensor, reduce_op="sum"
        ).tolist()
        counts = (int(targets), int(masked), int(content))
        return Totals(loss, *counts, bits, int(hidden), *(int(flag) for flag in flags))

    def _losses(self, mine: Totals) -> list[tuple[str, float]]:
        """The summed losses of the step under way on this rank, by name."""
        return [("training", float(mine.loss))]

    def _trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def _not_finite(self, mine: Totals, all_ranks: Totals) -> NumericsError:
        """The error of a step that some rank cannot finish, as this rank sees it."""
        per_step = self.plan.global_batch
        first = self.global_step * per_step
        bad = [f"the {name} loss is {loss}" for name, loss in self._losses(mine) if not math.isfinite(loss)]
        what = " and ".join(bad) or "a gradient is not finite"
        if not mine.not_finite:
            what = f"the loss or a gradient is not finite on {all_ranks.not_finite} other ranks"
        kind = NumericsError if mine.not_finite else OnOtherRanks
        return kind(
            "NUM-01",
            where=f"optimizer step {self.global_step}, rank {self.global_rank}",
            found=f"{what} on samples {first} to {first + per_step - 1}",
            expected="finite losses and gradients",
            fix="lower optim.lr or lengthen the warm-up, or set trainer.not_finite=skip or rollback; the "
            "last checkpoint is from before this step",
        )
