"""Metrics of predictions, in numpy, so that any of them can be computed again from what a run has left.

A metric is a function of labels (N,) and scores. Scores of classes are probabilities: (N,) of class 1 where
there are two classes, (N, K) of all classes; scores of values are the predicted values, (N,). A metric that
is not defined, such as the AUROC of one class, is NaN. Each is higher where predictions are better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.integer] | npt.NDArray[np.floating]
Scores = npt.NDArray[np.floating]
Metric = Callable[[Labels, Scores], float]
_HALF = 0.5


def chosen(scores: Scores) -> npt.NDArray[np.int64]:
    """The class that scores choose: (N,) of 0 and 1 from half on, or the largest of (N, K)."""
    picked = scores.argmax(axis=1) if scores.ndim == 2 else scores >= _HALF
    return picked.astype(np.int64)


def confusion(labels: Labels, scores: Scores) -> npt.NDArray[np.int64]:
    """How often each class was called each: (C, C), the true class first."""
    true, called = labels.astype(np.int64), chosen(scores)
    size = 1 + max(int(true.max(initial=1)), int(called.max(initial=1)))
    return np.bincount(true * size + called, minlength=size * size).reshape(size, size)


def accuracy(labels: Labels, scores: Scores) -> float:
    """Share of items whose class is chosen."""
    return float((labels == chosen(scores)).mean()) if len(labels) else np.nan


def mcc(labels: Labels, scores: Scores) -> float:
    """Matthews' correlation, of any number of classes; 0 where only one is called.

    Source: Gorodkin 2004, Comput Biol Chem 28:367 (R_K).
    """
    table = confusion(labels, scores).astype(np.float64)
    true, called, number = table.sum(axis=1), table.sum(axis=0), table.sum()
    agreement = np.trace(table) * number - true @ called
    spread = (number**2 - true @ true) * (number**2 - called @ called)
    return float(agreement / np.sqrt(spread)) if spread > 0 else 0.0


def f1(labels: Labels, scores: Scores) -> float:
    """F1, averaged over the classes that occur or are called."""
    table = confusion(labels, scores)
    both = table.sum(axis=0) + table.sum(axis=1)
    return float((2 * table.diagonal()[both > 0] / both[both > 0]).mean()) if both.any() else np.nan


def auroc(labels: Labels, scores: Scores) -> float:
    """Area under the ROC curve; of several classes the mean of one against the rest."""
    return _over_classes(_auroc, labels, scores)


def auprc(labels: Labels, scores: Scores) -> float:
    """Average precision; of several classes the mean of one against the rest."""
    return _over_classes(_average_precision, labels, scores)


def pearson(labels: Labels, scores: Scores) -> float:
    """Pearson's correlation."""
    first, second = labels - labels.mean(), scores - scores.mean()
    spread = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / spread) if spread > 0 else np.nan


def spearman(labels: Labels, scores: Scores) -> float:
    """Spearman's rank correlation, ties given their mean rank."""
    return pearson(_ranks(labels), _ranks(scores))


def r2(labels: Labels, scores: Scores) -> float:
    """Share of the variance that is explained."""
    spread = ((labels - labels.mean()) ** 2).sum()
    return float(1 - ((labels - scores) ** 2).sum() / spread) if spread > 0 else np.nan


METRICS: Mapping[str, Metric] = {
    metric.__name__: metric for metric in (mcc, f1, accuracy, auroc, auprc, spearman, pearson, r2)
}
OF_CLASSES = ("mcc", "f1", "accuracy", "auroc", "auprc")


def _over_classes(area: Metric, labels: Labels, scores: Scores) -> float:
    if scores.ndim == 1:
        return area(labels == 1, scores)
    return float(np.mean([area(labels == each, scores[:, each]) for each in range(scores.shape[1])]))


def _auroc(positive: Labels, scores: Scores) -> float:
    """From the rank sum of the positive items (Mann and Whitney)."""
    number = int(positive.sum())
    pairs = number * (len(positive) - number)
    if not pairs:
        return np.nan
    return float((_ranks(scores)[positive.astype(bool)].sum() - number * (number + 1) / 2) / pairs)


def _average_precision(positive: Labels, scores: Scores) -> float:
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order].astype(np.int64))
    if not len(hits) or not hits[-1]:
        return np.nan
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    gained = np.diff(hits[ends], prepend=0)
    return float((gained * hits[ends] / (ends + 1)).sum() / hits[-1])


def _ranks(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """From 1, ties at their mean."""
    _, member, counts = np.unique(values, return_inverse=True, return_counts=True)
    last: npt.NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return last[member]
