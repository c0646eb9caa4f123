"""k-mer counts and logistic regression: what composition alone says of a sequence.

A sequence is its counts of overlapping k-mers, scaled to length 1; k-mers with an N count nothing. The
strength of the penalty is the one of the lowest loss on the validation set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import PositiveFloat
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from dnalm.data.labelled import Division, TablePart
from dnalm.evaluation.classical.classifier import Fitted, Probabilities, log_loss
from dnalm.evaluation.kmers import kmers

_LARGEST_K = 8


@dataclass(frozen=True, kw_only=True)
class KmerLogistic:
    """Logistic regression on k-mer counts.

    Args:
        k: bases of a k-mer, 1 to 8.
        inverse_penalties: scikit-learn's C, of which the validation set chooses.
    """

    k: int = 5
    inverse_penalties: tuple[PositiveFloat, ...] = (0.1, 1.0, 10.0, 100.0)
    name = "kmer_logistic"

    def __post_init__(self) -> None:
        if not 1 <= self.k <= _LARGEST_K:
            raise ValueError(f"k is {self.k}; k-mers of 1 to {_LARGEST_K} bases are counted")
        if not self.inverse_penalties:
            raise ValueError("inverse_penalties is empty; one at least is tried")

    def fit(self, division: Division, *, seed: int) -> Fitted:
        """Learn with each penalty and keep the best; see `Classifier`."""
        train, val = self.counts(division.train), self.counts(division.val)
        best: tuple[float, LogisticRegression] | None = None
        for each in self.inverse_penalties:
            model = LogisticRegression(C=each, max_iter=1000, random_state=seed)
            model.fit(train, division.train.labels)
            loss = log_loss(_answers(model, val, division.num_classes), division.val.labels.astype(np.int64))
            if best is None or loss < best[0]:
                best = loss, model
        assert best is not None, "one penalty at least is tried"
        model = best[1]
        return Fitted(
            answer=lambda part: _answers(model, self.counts(part), division.num_classes),
            parameters=int(model.coef_.size + model.intercept_.size),
            chosen=f"C {model.C:g}",
        )

    def counts(self, part: TablePart) -> sparse.csr_array:
        """Scaled counts of k-mers, (R, 4^k), k-mers in the order of A, C, G, T."""
        indices, values, ends = [], [], [0]
        for row in part.rows:
            found, number = np.unique(kmers(part.table.sequence(int(row)), self.k), return_counts=True)
            indices.append(found)
            values.append(number / max(np.sqrt((number**2).sum()), 1.0))
            ends.append(ends[-1] + len(found))
        flat = (np.concatenate(values), np.concatenate(indices), np.array(ends))
        return sparse.csr_array(flat, shape=(len(part), 4**self.k))


def _answers(model: LogisticRegression, counts: sparse.csr_array, num_classes: int) -> Probabilities:
    """Probabilities of all classes, also of those that never trained."""
    answers = np.zeros((counts.shape[0], num_classes))
    answers[:, model.classes_] = model.predict_proba(counts)
    return answers
