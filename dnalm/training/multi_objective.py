"""Masked language modelling together with objectives on annotation tracks: one encoder, a head each.

The loss of an optimizer step is the weighted sum of the objectives' mean losses, each mean over the targets
of that objective in the whole global batch, over all ranks and micro-batches. So it does not depend on how
the batch is cut, and an objective counts the same whether few or many of the tokens are labelled; windows
without a label cost it nothing. Micro-batches carry the numbers of targets of their step for that.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- its usual name
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dnalm.data import Batch
from dnalm.data.step_targets import MASKED_TOKENS
from dnalm.models import MaskedLM, Packed
from dnalm.training.masked_lm import MaskedLMTraining
from dnalm.training.objectives import LossWeights, Scores, TrackTask
from dnalm.training.optimizers import parameter_groups
from dnalm.training.plan import TrainingPlan
from dnalm.training.step_training import StepTotals


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
        self.counts: dict[str, int] = {}  # targets of each objective in the step under way
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
        optimizer = self.plan.optimizer(parameter_groups(self))
        scheduler = LambdaLR(optimizer, self.plan.schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def encode(self, batch: Batch) -> Tensor:
        """Hidden states of all packed tokens, (N, D)."""
        packed = Packed(cu_lengths=batch.cu_lengths, max_length=batch.max_length)
        return self.model.encode(batch.ids_N, packed, batch.annotations_NC)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The micro-batch's part of the step's loss; Lightning divides by the number of parts."""
        self.key_dropout(batch_index)
        if batch_index % self.trainer.accumulate_grad_batches == 0:
            self.counts = self._counts_over_ranks(batch)
        hidden_ND = self.encode(batch)
        logits_MV = self.model.predict(hidden_ND, batch.targets_M)
        sums = {self.masked_tokens: F.cross_entropy(logits_MV, batch.labels_M, reduction="sum")}
        for name, task in self.named_tasks():
            sums[name] = task.loss(*task.on_batch(hidden_ND, batch))
        self._add_losses(batch, sums)
        parts = self.num_parts
        means = {name: loss / max(1, self.counts[name]) for name, loss in sums.items()}
        present = {name: count > 0 for name, count in self.counts.items()}
        total: Tensor = self.weights(means, present=present, share=1 / parts)
        return total * parts

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log the step; its gradients are divided already."""
        names = list(self.step_losses)
        sums = torch.stack([self.step_losses[name] for name in names])
        losses = dict(zip(names, self.trainer.strategy.reduce(sums, reduce_op="sum").tolist(), strict=True))
        self.close_step(optimizer)
        self.step_losses = {}
        self.scale_gradients(1.0)
        for name, _ in self.named_tasks():
            if self.counts[name]:
                self.log(f"train_{name}_loss", losses[name] / self.counts[name])
        if self.weights.log_variance is not None:
            for name, factor in self.weights.factors().items():
                self.log(f"weight_{name}", factor)

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

    def _losses(self, mine: StepTotals) -> list[tuple[str, float]]:  # noqa: ARG002
        return [(name, float(loss)) for name, loss in self.step_losses.items()]

    def _add_losses(self, batch: Batch, sums: Mapping[str, Tensor]) -> None:
        self.add_to_step(batch, sums[self.masked_tokens])
        for name, loss in sums.items():
            self.step_losses[name] = self.step_losses.get(name, 0.0) + loss.detach().double()

    def _counts_over_ranks(self, batch: Batch) -> dict[str, int]:
        """Targets of each objective in the global batch."""
        tracks = {
            self.masked_tokens: MASKED_TOKENS,
            **{name: task.target for name, task in self.named_tasks()},
        }
        mine = [float(batch.step_targets.get(track, 0)) for track in tracks.values()]
        counts = torch.tensor(mine, dtype=torch.float64, device=self.device)
        counts = self.trainer.strategy.reduce(counts, reduce_op="sum")
        return {name: int(count) for name, count in zip(tracks, counts.tolist(), strict=True)}
