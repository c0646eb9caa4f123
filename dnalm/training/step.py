"""What every run trains by: the loss of an optimizer step is a mean over its whole global batch.

It is the sum of the losses of all targets divided by their number, over all ranks and micro-batches, so that
it does not depend on how the batch is cut. Micro-batches therefore back-propagate sums, and gradients are
divided once, before clipping.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field, fields
from typing import TypeVar

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dnalm.data.windows import Stream, generator
from dnalm.errors import NumericsError
from dnalm.models import MaskedLM, SequenceModel
from dnalm.models.weights import not_finite
from dnalm.training.distributed import ExactSums
from dnalm.training.launcher import OnOtherRanks
from dnalm.training.optim import Schedule, how_to_stay_finite, make_optimizer
from dnalm.training.stop_flags import LossHistory, StopFlags

ChangeModel = Callable[[MaskedLM | SequenceModel, Sequence[nn.Module], DeviceMesh | None], None]


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """How any run takes its steps.

    Args:
        optimizer: makes the optimizer from parameter groups, all else filled in.
        schedule: factor of the learning rate by optimizer step.
        seed: the run's seed, which keys dropout.
        global_batch: samples of an optimizer step.
        stop_flags: what the ranks decide together.
        parallel: changes the model in place, so that it fits the machine; see `TrainerRecipe.parallel`.
        exact: sum gradients in an order that does not depend on the number of processes.
    """

    optimizer: Callable[..., Optimizer]
    schedule: Schedule
    seed: int
    global_batch: int
    stop_flags: StopFlags = field(default_factory=StopFlags)
    parallel: ChangeModel = lambda *_: None
    exact: bool = False


@dataclass
class StepTotals:
    """Sums over the micro-batches of a step or of a validation pass on this rank."""

    loss: Tensor | float = 0.0
    targets: int = 0
    not_finite: int = 0  # ranks whose loss or gradients are not
    preempted: int = 0  # ranks that a signal has asked to stop
    interrupted: int = 0


Sums = TypeVar("Sums", bound=StepTotals)


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sum a tensor in place over all ranks; called on every rank.

    Lightning's `Strategy.reduce` waits for all ranks at a barrier first, on gloo where GPUs compute.
    """
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


class StepTraining(LightningModule):
    """The part of a training module that does not depend on what is learned.

    Args:
        model: the network, one of those whose directory a run leaves.
        plan: how its steps are taken.
        totals: the kind of sums that a step is counted with.

    Raises:
        NumericsError: the loss or a gradient of a step is not finite, and the policy does not let it pass.
        RolledBack: likewise, and the policy goes back to the last checkpoint.
    """

    loss_spread = 1.0  # standard deviation of a target's loss over its mean, at most, before it is learned

    def __init__(
        self, model: MaskedLM | SequenceModel, plan: StepPlan, totals: type[StepTotals] = StepTotals
    ) -> None:
        super().__init__()
        self.model, self.plan, self.stop_flags = model, plan, plan.stop_flags
        self.step_totals = totals()
        self.losses = LossHistory()
        self.validated_at = -1  # optimizer step of the last validation
        self._exact_sums = ExactSums() if plan.exact else None
        self._is_configured = False

    def configure_model(self) -> None:
        """Make the model fit the machine; once, since Lightning asks before each fit and validation."""
        if self._is_configured:
            return
        self._is_configured = True
        mesh = self.device_mesh["data_parallel"] if self.device_mesh is not None else None
        self.plan.parallel(self.model, self.trained_beside(), mesh)

    def named_heads(self) -> dict[str, nn.Module]:
        """Heads that lie beside the model in its directory."""
        return {}

    def trained_beside(self) -> list[nn.Module]:
        """All modules that train beside the model."""
        return [*self.named_heads().values()]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer and its schedule, stepped once per optimizer step."""
        return self.scheduled_optimizer(self.model)

    def scheduled_optimizer(self, trained: nn.Module) -> OptimizerLRScheduler:
        """The optimizer of the parameters of `trained`, and its schedule."""
        optimizer = make_optimizer(self.plan.optimizer, trained, self.trainer.strategy.root_device)
        scheduler = LambdaLR(optimizer, self.plan.schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        """Set the learning rate, which is a function of the step and is not restored."""
        for config in self.trainer.lr_scheduler_configs:
            scheduler = config.scheduler
            assert isinstance(scheduler, LambdaLR), "configure_optimizers makes it"
            scheduler.last_epoch = self.global_step
            for group, rate in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, strict=True):
                group["lr"] = rate * self.plan.schedule(self.global_step)

    def key_dropout(self, batch_index: int) -> None:
        """Seed the generators of a training pass by (seed, step, micro-batch)."""
        passes = self.trainer.accumulate_grad_batches
        part = self.global_rank * passes + batch_index % passes
        key = generator(self.plan.seed, Stream.DROPOUT, self.global_step, part)
        torch.manual_seed(int(key.integers(2**63)))

    def on_after_backward(self) -> None:
        """Take the gradients of a micro-batch into the exact sum, if they are summed so."""
        if self._exact_sums is not None:
            self._exact_sums.accumulate(self._trained())

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Divide the summed gradients by the global number of targets, then log the step.

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

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,  # noqa: ARG002 -- Lightning's signature
    ) -> None:
        """Clip by the norm of all gradients, sharded ones included.

        Lightning does so too, and refuses fused optimizers in bf16-mixed, since those may divide by the scale
        of losses, which float16 alone has.
        """
        if gradient_clip_val:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    def close_step(self, optimizer: Optimizer) -> StepTotals:
        """Sum what all ranks have counted and flagged, act on it and log it; the sums.

        A step that some rank cannot finish has no gradients afterwards, so that it changes nothing.
        """
        if self._exact_sums is not None:
            self._exact_sums.reduce_into(self._trained(), self.trainer.world_size)
        mine, self.step_totals = self.step_totals, type(self.step_totals)()
        gradients = {name: p.grad for name, p in self.named_parameters() if p.grad is not None}
        mine.not_finite = int(not math.isfinite(mine.loss) or bool(not_finite(gradients)))
        mine.preempted, mine.interrupted = self.stop_flags.flags()
        totals = self.over_ranks(mine)
        self.stop_flags.update(totals.preempted, totals.interrupted)
        loss = float(totals.loss) / max(1, totals.targets)
        is_spike = self.losses.is_spike(loss, self.stop_flags.loss_spike)
        reason = self._spike(loss) if is_spike else self._not_finite(mine, totals, optimizer)
        if self.stop_flags.drops(self.global_step, is_bad=bool(totals.not_finite) or is_spike, reason=reason):
            for parameter in self._trained():
                parameter.grad = None
        else:
            self.losses.append(loss, spread=self.loss_spread / math.sqrt(max(1, totals.targets)))
        self.log("train_loss", loss)
        self.log_step(totals)
        self.log("learning_rate", optimizer.param_groups[0]["lr"])
        if self.stop_flags.left_out:
            self.log("left_out_steps", float(len(self.stop_flags.left_out)))
        return totals

    def log_step(self, totals: StepTotals) -> None:
        """Log what a step has counted beside its loss, over all ranks."""

    def over_ranks(self, totals: Sums) -> Sums:
        """The sums of all ranks."""
        values = [float(value) for value in astuple(totals)]
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        sums = sum_over_ranks(tensor).tolist()
        whole = [isinstance(field.default, int) for field in fields(totals)]
        return type(totals)(*(int(v) if count else v for count, v in zip(whole, sums, strict=True)))

    def _losses(self, mine: StepTotals) -> list[tuple[str, float]]:
        """The summed losses of the step under way on this rank, by name."""
        return [("training", float(mine.loss))]

    def _trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def _spike(self, loss: float) -> NumericsError:
        """The error of a step whose loss is far above those before it."""
        usual = statistics.median(self.losses.last)
        return NumericsError(
            "NUM-03",
            where=f"optimizer step {self.global_step}",
            found=f"the loss is {loss:.4g}, and the median of the steps before it {usual:.4g}",
            expected=f"at most trainer.loss_spike={self.stop_flags.loss_spike:g} times that",
            fix="lower optim.lr, or set trainer.not_finite=skip or rollback, or raise trainer.loss_spike",
        )

    def _not_finite(self, mine: StepTotals, all_ranks: StepTotals, optimizer: Optimizer) -> NumericsError:
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
            fix=f"{how_to_stay_finite(optimizer)}; the last checkpoint is from before this step",
        )
