"""How answers are judged: the figures of each kind of task, by torchmetrics, over all rows at once.

R rows, O outputs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable

import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- its usual name
from torchmetrics.functional import classification as of_classes
from torchmetrics.functional import regression as of_values

from dnalm.data.labelled import MetricName, TaskKind

Figure = Callable[[Tensor, Tensor, int], Tensor]  # scores, labels, number of outputs
_LIKELY = 0.5


def scores_of(kind: TaskKind, outputs_RO: Tensor) -> Tensor:
    """What outputs say: of two classes the second's probability (R,), else their own (R, O), or values (R,).

    Args:
        kind: of the task.
        outputs_RO: float64.
    """
    scores_RO = probabilities_of(kind, outputs_RO)
    if kind == "regression":
        return scores_RO.squeeze(1)
    return scores_RO[:, 1] if kind == "binary" else scores_RO


def probabilities_of(kind: TaskKind, outputs_RO: Tensor) -> Tensor:
    """Probabilities of all classes or labels, (R, O); the values of regression as they are, (R, 1)."""
    if kind == "regression":
        return outputs_RO
    return outputs_RO.sigmoid() if kind == "multilabel" else outputs_RO.softmax(1)


def mean_loss(
    kind: TaskKind, outputs_RO: Tensor, labels: Tensor, *, weights_O: Tensor | None = None
) -> Tensor:
    """The loss of each row, (R,): cross-entropy, the mean of those of labels, or the squared error.

    Args:
        kind: of the task.
        outputs_RO: the model's.
        labels: (R,) classes or standardised values, or (R, O) labels.
        weights_O: of the classes.
    """
    if kind == "regression":
        return F.mse_loss(outputs_RO.squeeze(1), labels.to(outputs_RO.dtype), reduction="none")
    if kind == "multilabel":
        each = F.binary_cross_entropy_with_logits(outputs_RO, labels.to(outputs_RO.dtype), reduction="none")
        return each.mean(1)
    losses = F.cross_entropy(outputs_RO, labels, reduction="none")
    return losses if weights_O is None else losses * weights_O[labels]


def judge(
    names: Iterable[MetricName], kind: TaskKind, scores: Tensor, labels: Tensor, *, num_outputs: int
) -> dict[MetricName, float]:
    """Figures of a task; one that is not defined on these rows is NaN.

    Args:
        names: those that are wanted.
        kind: of the task.
        scores: as of `scores_of`.
        labels: (R,) classes or values, or (R, O) labels.
        num_outputs: classes or labels.
    """
    if kind == "multilabel":
        there = [n for n in range(num_outputs) if 0 < labels[:, n].sum() < len(labels)]
        scores, labels, num_outputs = scores[:, there], labels[:, there], len(there)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torchmetrics warns of what is NaN here
        if not num_outputs or len(labels) < 2:
            return dict.fromkeys(names, math.nan)
        return {name: float(_FIGURES[kind][name](scores, labels, num_outputs)) for name in names}


def _spearman(scores: Tensor, labels: Tensor, _: int) -> Tensor:
    """Not defined where all rows are predicted alike; torchmetrics says 0 there.

    Its sums of ranks are int32 too, which some 65,000 equal values overflow.
    """
    if (scores == scores[0]).all() or (labels == labels[0]).all():
        return scores.new_tensor(math.nan)
    ranks = (torch.from_numpy(rankdata(values.numpy(force=True))) for values in (scores, labels))
    return of_values.pearson_corrcoef(*ranks)


def _mcc(scores: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """0 where all rows, or all predictions, are alike, as is the custom; torchmetrics puts a limit there."""
    predicted = (scores > _LIKELY).long() if scores.ndim == 1 else scores.argmax(1)
    if (predicted == predicted[0]).all() or (labels == labels[0]).all():
        return scores.new_zeros(())
    return of_classes.multiclass_matthews_corrcoef(predicted, labels, num_classes)


def _of_both(curve: Callable[[Tensor, Tensor], Tensor]) -> Figure:
    """The area under a curve, which rows of one class have not; torchmetrics says 0 there."""

    def area(scores: Tensor, labels: Tensor, _: int) -> Tensor:
        return curve(scores, labels) if 0 < labels.sum() < len(labels) else scores.new_tensor(math.nan)

    return area


def _of_each(curve: Callable[..., Tensor]) -> Figure:
    """The mean of the areas of each class against the others, of those classes that have one."""

    def area(scores: Tensor, labels: Tensor, num_classes: int) -> Tensor:
        counts = torch.bincount(labels, minlength=num_classes)
        there = (counts > 0) & (counts < len(labels))
        return curve(scores, labels, num_classes, average=None)[there].mean()

    return area


_BINARY: dict[MetricName, Figure] = {
    "mcc": _mcc,
    "f1_macro": lambda s, y, _: of_classes.multiclass_f1_score((s > _LIKELY).long(), y, 2, average="macro"),
    "accuracy": lambda s, y, _: of_classes.binary_accuracy(s, y),
    "auroc": _of_both(of_classes.binary_auroc),
    "auprc": _of_both(of_classes.binary_average_precision),
    "f1": lambda s, y, _: of_classes.binary_f1_score((s > _LIKELY).long(), y),
}
_MULTICLASS: dict[MetricName, Figure] = {
    "mcc": _mcc,
    "f1_macro": lambda s, y, n: of_classes.multiclass_f1_score(s, y, n, average="macro"),
    "accuracy": lambda s, y, n: of_classes.multiclass_accuracy(s, y, n, average="micro"),
    "auroc": _of_each(of_classes.multiclass_auroc),
    "auprc": _of_each(of_classes.multiclass_average_precision),
}
_MULTILABEL: dict[MetricName, Figure] = {
    "auroc": lambda s, y, n: of_classes.multilabel_auroc(s, y, n, average="macro"),
    "auprc": lambda s, y, n: of_classes.multilabel_average_precision(s, y, n, average="macro"),
    "f1_macro": lambda s, y, n: of_classes.multilabel_f1_score(s, y, n, average="macro"),
    "accuracy": lambda s, y, n: of_classes.multilabel_accuracy(s, y, n, average="macro"),
}
_REGRESSION: dict[MetricName, Figure] = {
    "spearman": _spearman,
    "pearson": lambda s, y, _: of_values.pearson_corrcoef(s, y),
    "r2": lambda s, y, _: of_values.r2_score(s, y),
}
_FIGURES: dict[TaskKind, dict[MetricName, Figure]] = {
    "binary": _BINARY,
    "multiclass": _MULTICLASS,
    "multilabel": _MULTILABEL,
    "regression": _REGRESSION,
    "segmentation": _MULTICLASS,
}


def standardised(labels: Tensor, center: float, scale: float) -> Tensor:
    """Values as a model learns them."""
    return (labels - center) / scale


def class_weights(labels: Tensor, num_classes: int) -> Tensor:
    """Weights that let every class count the same, of mean 1 over the rows, (O,) float32."""
    counts = torch.bincount(labels, minlength=num_classes)
    present = int((counts > 0).sum())
    return torch.where(counts > 0, len(labels) / (present * counts.clamp(min=1)), 0.0).float()
