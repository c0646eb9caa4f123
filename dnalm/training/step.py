"""What every run trains by: the loss of an optimizer step is a mean over its whole global batch.

It is the sum of the losses of all targets divided by their number, over all ranks and micro-batches, so that
it does not depend on how the batch is cut. Micro-batches therefore back-propagate sums, and gradients are
divided once, before clipping.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dnalm.data.windows import Stream, generator
from dnalm.errors import NumericsError
from dnalm.models import MaskedLM, SequenceModel
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


@dataclass(frozen=True, kw_only=True)
class ClosedStep:
    """A step whose sums are on their way to the host.

    Attributes:
        step: the optimizer step.
        mine: what this rank has counted.
        further: what it has summed besides, by name.
        is_finite: whether its loss and gradients are, () bool on the device.
        sums: the same of all ranks, (K,) float64 on the host.
        copied: when they have come; None if they are there.
        optimizer: which takes the step.
    """

    step: int
    mine: StepTotals
    further: Mapping[str, Tensor | float]
    is_finite: Tensor
    sums: Tensor
    copied: torch.cuda.Event | None
    optimizer: Optimizer

    def read(self) -> tuple[StepTotals, dict[str, float]]:
        """Wait for the sums of all ranks; those of the totals, and the further ones by name."""
        if self.copied is not None:
            self.copied.synchronize()
        sums: list[float] = self.sums.tolist()
        number = len(fields(self.mine))
        return _totals(self.mine, sums[:number]), dict(zip(self.further, sums[number:], strict=True))


class StepTraining(LightningModule):
    """The part of a training module that does not depend on what is learned.

    A step is judged by sums over all ranks: one whose loss or gradients are not finite somewhere, or whose
    loss is a spike, changes nothing. The sums are read before the optimizer runs. A GPU would run out of work
    at each step so. There a fused Adam is given a flag on the device that makes it leave weights and its own
    state as they are (`found_inf`, made for the scaling of gradients), and the sums are read when the next
    step is closed. That step began from unchanged weights, as if the bad one had been read in time. Before a
    validation, a checkpoint and the end of training `settle` reads them, so no checkpoint is of a step that
    was not judged. Steps that are logged are read in time; a signal is acted upon a step later.

    Args:
        model: the network, one of those whose directory a run leaves.
        plan: how its steps are taken.
        totals: the kind of sums that a step is counted with.

    Raises:
        NumericsError: the loss or a gradient of a step is not finite, and the policy does not let it pass.
        RolledBack: likewise, and the policy goes back to the last checkpoint.
    """

    late_devices: ClassVar[tuple[str, ...]] = ("cuda",)  # where a step may be read when the next is closed
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
        self._closed: ClosedStep | None = None  # not judged yet
        self._norm = torch.zeros(())  # of the gradients of the step that was closed last

    def configure_model(self) -> None:
        """Make the model fit the machine; once, since Lightning asks before each fit and validation."""
        if self._is_configured:
            return
        self._is_configured = True
        self.plan.parallel(self.model, self.trained_beside(), self.device_mesh)

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
        """Divide the summed gradients by the global number of targets, judge the step and log it.

        Lightning has divided them by the number of micro-batches and averaged over the ranks.
        """
        self.close_step(optimizer)

    @property
    def num_parts(self) -> int:
        """Micro-batches of an optimizer step over all ranks."""
        return self.trainer.accumulate_grad_batches * self.trainer.world_size

    def gradient_factor(self, targets: Tensor) -> Tensor:
        """What gradients are multiplied by, given the global number of targets, () float64 both."""
        return self.num_parts / targets.clamp(min=1)

    def further_sums(self) -> dict[str, Tensor | float]:
        """What a step sums beside its totals, by name, on this rank; begins the sums of the next."""
        return {}

    def close_step(self, optimizer: Optimizer) -> None:
        """Sum what all ranks have counted and flagged, scale the gradients, and judge the step.

        All of it is computed on the device. One norm of the gradients says whether they are finite (one that
        overflows is not) and by how much they are clipped.
        """
        self.settle()
        if self._exact_sums is not None:
            self._exact_sums.reduce_into(self._trained(), self.trainer.world_size)
        mine, self.step_totals = self.step_totals, type(self.step_totals)()
        mine.preempted, mine.interrupted = self.stop_flags.flags()
        further, device = self.further_sums(), self.device
        sums = sum_over_ranks(to_device([*_values(mine), *further.values()], device))
        loss, targets, ranks_not_finite = sums[:3].unbind()
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        gradients = [each.grad for each in parameters if each.grad is not None]
        self._scale(gradients, self.gradient_factor(targets))
        self._norm = _whole(nn.utils.get_total_norm(gradients))
        is_finite = self._norm.isfinite() & torch.as_tensor(mine.loss).isfinite()
        ranks_not_finite.copy_(sum_over_ranks((~is_finite).double().to(device)))
        limit = self.losses.spike_limit(self.stop_flags.loss_spike)
        is_bad = (ranks_not_finite > 0) | (loss / targets.clamp(min=1) > limit)
        host, copied = _to_host(sums)
        self._closed = ClosedStep(
            step=self.global_step,
            mine=mine,
            further=further,
            is_finite=is_finite,
            sums=host,
            copied=copied,
            optimizer=optimizer,
        )
        if self._is_read_late(optimizer):
            optimizer.found_inf = is_bad.float()  # type: ignore[attr-defined]  # as GradScaler sets it
            return
        self._finish_in_time(optimizer, parameters)

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
            parameters = [each for group in optimizer.param_groups for each in group["params"]]
            nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, self._norm)

    def on_validation_start(self) -> None:
        """No step is validated that is not judged."""
        self.settle()

    def on_train_end(self) -> None:
        """Judge the last step."""
        self.settle()

    def settle(self) -> None:
        """Act on what the last step has summed, if that has not been done; the same on every rank.

        To be called before anything is kept of a step.

        Raises:
            NumericsError, RolledBack: as of the class.
        """
        if self._closed is not None:
            self._judge()

    def _is_read_late(self, optimizer: Optimizer) -> bool:
        """Whether the sums are read when the next step is closed.

        A step that is logged or left out is read at once.
        """
        is_logged = (self.global_step + 1) % self.trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
        is_fused = isinstance(optimizer, torch.optim.Adam) and optimizer.defaults["fused"]
        is_known = self.global_step in self.stop_flags.left_out or self.trainer.should_stop
        return self.device.type in self.late_devices and is_fused and not is_logged and not is_known

    def _finish_in_time(self, optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> None:
        """Read the sums of the step just closed, and log it; a bad one loses its gradients."""
        if isinstance(optimizer, torch.optim.Adam):
            optimizer.found_inf = None  # type: ignore[attr-defined]
        totals, further, is_dropped = self._judge()
        if is_dropped:
            for parameter in parameters:
                parameter.grad = None
        self.log("train_loss", float(totals.loss) / max(1, totals.targets))
        self.log_step(totals)
        self.log("gradient_norm", self._norm)  # before they are clipped; read when it is written
        self._log_rates(optimizer)
        if self.stop_flags.left_out:
            self.log("left_out_steps", float(len(self.stop_flags.left_out)))
        self.log_further(further)

    def _log_rates(self, optimizer: Optimizer) -> None:
        """The learning rate, and where groups of parameters have rates of their own, that of each."""
        rates = [group["lr"] for group in optimizer.param_groups]
        self.log("learning_rate", rates[0])
        if len({float(rate) for rate in rates}) > 1:
            for number, rate in enumerate(rates):
                self.log(f"learning_rate/group{number}", rate)

    def _judge(self) -> tuple[StepTotals, dict[str, float], bool]:
        """Read the sums of the closed step and act on them; the sums, and whether it changes nothing."""
        closed, self._closed = self._closed, None
        assert closed is not None, "there is one"
        totals, further = closed.read()
        self.stop_flags.update(totals.preempted, totals.interrupted)
        loss = float(totals.loss) / max(1, totals.targets)
        is_spike = self.losses.is_spike(loss, self.stop_flags.loss_spike)

        def reason() -> NumericsError:
            return self._spike(closed.step, loss) if is_spike else self._not_finite(closed, totals)

        is_bad = bool(totals.not_finite) or is_spike
        is_dropped = self.stop_flags.drops(closed.step, is_bad=is_bad, reason=reason)
        if not is_dropped:
            self.losses.append(loss, spread=self.loss_spread / math.sqrt(max(1, totals.targets)))
        return totals, further, is_dropped

    def log_step(self, totals: StepTotals) -> None:
        """Log what a step has counted beside its loss, over all ranks."""

    def log_further(self, further: Mapping[str, float]) -> None:
        """Log what a step has summed beside its totals, over all ranks, by the names of `further_sums`."""

    def over_ranks(self, totals: Sums) -> Sums:
        """The sums of all ranks."""
        return _totals(totals, sum_over_ranks(to_device(_values(totals), self.device)).tolist())

    def own_losses(self, closed: ClosedStep) -> dict[str, float]:
        """The summed losses of a step on this rank, by name."""
        return {"training": float(closed.mine.loss)}

    def _scale(self, gradients: Sequence[Tensor], factor: Tensor) -> None:
        """Multiply all gradients; exact sums are sums over the ranks, and not yet their mean."""
        factor = factor / self.trainer.world_size if self._exact_sums is not None else factor
        local = [each.to_local() if isinstance(each, DTensor) else each for each in gradients]
        if local:
            torch._foreach_mul_(local, factor.float())

    def _trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def _spike(self, step: int, loss: float) -> NumericsError:
        """The error of a step whose loss is far above those before it."""
        usual = statistics.median(self.losses.last)
        return NumericsError(
            "NUM-03",
            where=f"optimizer step {step}",
            found=f"the loss is {loss:.4g}, and the median of the steps before it {usual:.4g}",
            expected=f"at most trainer.loss_spike={self.stop_flags.loss_spike:g} times that",
            fix="lower optim.lr, or set trainer.not_finite=skip or rollback, or raise trainer.loss_spike",
        )

    def _not_finite(self, closed: ClosedStep, all_ranks: StepTotals) -> NumericsError:
        """The error of a step that some rank cannot finish, as this rank sees it."""
        per_step = self.plan.global_batch
        first = closed.step * per_step
        losses = self.own_losses(closed)
        bad = [f"the {name} loss is {loss}" for name, loss in losses.items() if not math.isfinite(loss)]
        what = " and ".join(bad) or "a gradient is not finite"
        is_mine = not closed.is_finite
        if not is_mine:
            what = f"the loss or a gradient is not finite on {all_ranks.not_finite} other ranks"
        kind = NumericsError if is_mine else OnOtherRanks
        return kind(
            "NUM-01",
            where=f"optimizer step {closed.step}, rank {self.global_rank}",
            found=f"{what} on samples {first} to {first + per_step - 1}",
            expected="finite losses and gradients",
            fix=f"{how_to_stay_finite(closed.optimizer)}; the last checkpoint is from before this step",
        )


def _values(totals: StepTotals) -> list[Tensor | float]:
    return [getattr(totals, each.name) for each in fields(totals)]


def _totals(like: Sums, sums: Sequence[float]) -> Sums:
    """Sums as they were counted: whole numbers where those are counts."""
    named: dict[str, Any] = {
        each.name: int(value) if isinstance(each.default, int) else value
        for each, value in zip(fields(like), sums, strict=True)
    }
    return type(like)(**named)


def to_device(values: Sequence[Tensor | float], device: torch.device) -> Tensor:
    """Values as (K,) float64 on a device, which is not waited for; tensors among them are there already."""
    numbers = [0.0 if isinstance(value, Tensor) else float(value) for value in values]
    host = torch.tensor(numbers, dtype=torch.float64, pin_memory=device.type == "cuda")
    sent = host.to(device, non_blocking=True)
    for place, value in enumerate(values):
        if isinstance(value, Tensor):
            sent[place] = value
    return sent


def _to_host(sums: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """A copy on the host, and what says that it has come; a GPU is not waited for."""
    if sums.device.type != "cuda":
        return sums.clone(), None
    host = torch.empty(sums.shape, dtype=sums.dtype, pin_memory=True)
    host.copy_(sums, non_blocking=True)
    copied: torch.cuda.Event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()
    return host, copied


def _whole(norm: Tensor) -> Tensor:
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
