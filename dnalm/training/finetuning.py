"""Fine-tuning: one LightningModule for classes, labels and values of sequences.

The targets of a step are its sequences, or their bases where these are labelled: a base has the mean of the
hidden states of the tokens that spell it, so the loss and the figures are of bases, whatever the tokens are.
See `step_training`.

S sequences, R rows, O outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dnalm.data.labelled import AnyTask, Division, LabelledBatch, MetricName, Part, TaskKind
from dnalm.models import Packed, SequenceModel
from dnalm.training.answers import Answers
from dnalm.training.plan import StepPlan
from dnalm.training.step_training import StepTraining
from dnalm.training.task_metrics import class_weights, judge, mean_loss, scores_of, standardised


@dataclass(frozen=True)
class Verdict:
    """How a model did on a part.

    Attributes:
        scores: as of `scores_of`, in the unit of the labels.
        figures: by metric.
        loss: mean over the rows.
    """

    scores: Tensor
    figures: dict[MetricName, float]
    loss: float


class Finetuning(StepTraining):
    """Fine-tune a model on a task.

    Args:
        model: the network.
        task: what is asked.
        division: what trains, chooses and judges.
        plan: how steps are taken.
        balanced: let every class count the same in the loss.
    """

    def __init__(
        self, model: SequenceModel, task: AnyTask, division: Division, plan: StepPlan, *, balanced: bool
    ) -> None:
        super().__init__(model, plan)
        self.model: SequenceModel
        self.task, self.division = task, division
        self.verdicts: dict[Part, Verdict] = {}  # of the last test
        self._answers = Answers()
        self._tested: list[Answers] = []
        labels = torch.from_numpy(division.train.labels)
        is_values = self.kind == "regression"
        self.loss_spread = 2.0 if is_values else 1.0  # squares of normal errors: the root of 2
        self.center = float(labels.double().mean()) if is_values else 0.0
        self.scale = float(labels.double().std()) if is_values else 1.0
        of_classes = balanced and self.kind in ("binary", "multiclass", "segmentation")
        weights_O = class_weights(labels, division.num_classes) if of_classes else torch.zeros(0)
        self.weights_O: Tensor
        self.register_buffer("weights_O", weights_O, persistent=False)

    @property
    def kind(self) -> TaskKind:
        """Of the task."""
        return self.task.kind

    def forward(self, batch: LabelledBatch) -> Tensor:
        """Outputs, (S, O)."""
        packed = Packed(cu_lengths=batch.cu_lengths, max_length=batch.max_length)
        outputs_SO: Tensor = self.model(
            batch.ids_N,
            packed,
            batch.used_N,
            batch.owner_P,
            len(batch.rows),
            batch.pooled_SD,
            batch.covers_Q2,
        )
        return outputs_SO

    def training_step(self, batch: LabelledBatch, batch_index: int) -> Tensor:
        """The sum of the losses; dropout is keyed by (seed, step, micro-batch)."""
        self.key_dropout(batch_index)
        weights_O = self.weights_O if len(self.weights_O) else None
        labels_S = self._as_learned(batch.labels_S)
        loss = mean_loss(self.kind, self(batch).float(), labels_S, weights_O=weights_O).sum()
        self.step_totals.loss += loss.detach().double()
        self.step_totals.targets += len(batch.rows)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the last pass."""
        self._answers = Answers()

    def validation_step(self, batch: LabelledBatch, batch_index: int) -> None:  # noqa: ARG002
        """Take note of what the model says."""
        self._answers.append(batch.rows, self(batch))

    def on_validation_epoch_end(self) -> None:
        """Judge all rows, and log it."""
        verdict = self._judged("val", self._answers)
        self.validated_at = self.global_step
        self.log("val_loss", verdict.loss)
        for name, value in verdict.figures.items():
            self.log(f"val_{name}", value)

    def on_test_epoch_start(self) -> None:
        """Forget the last pass."""
        self._tested = [Answers(), Answers()]

    def test_step(self, batch: LabelledBatch, batch_index: int, dataloader_idx: int = 0) -> None:  # noqa: ARG002
        """Take note of what the model says of the rows that choose, and of those that judge."""
        self._tested[dataloader_idx].append(batch.rows, self(batch))

    def on_test_epoch_end(self) -> None:
        """Judge all rows."""
        val, test = self._tested
        self.verdicts = {"val": self._judged("val", val), "test": self._judged("test", test)}

    def _as_learned(self, labels: Tensor) -> Tensor:
        if self.kind != "regression":
            return labels
        return standardised(labels, self.center, self.scale)

    def _judged(self, part: Part, answers: Answers) -> Verdict:
        rows = self.division.parts[part]
        labels = torch.from_numpy(rows.labels)
        outputs_RO = answers.over_ranks(len(labels))
        loss = mean_loss(
            self.kind, outputs_RO, self._as_learned(labels.double() if labels.is_floating_point() else labels)
        )
        scores = scores_of(self.kind, outputs_RO) * self.scale + self.center
        truth = labels.double() if labels.is_floating_point() else labels
        figures = judge(self.task.metrics, self.kind, scores, truth, num_outputs=self.division.num_classes)
        return Verdict(scores, figures, float(loss.mean()))
