"""Classical baselines of labelled tasks: logistic regression on k-mer counts, and a small network.

A baseline learns classes, or labels one by one, chooses by the validation set, and predicts probabilities.

`KmerLogistic`: what composition alone says of a sequence. A sequence is its counts of overlapping k-mers,
scaled to length 1; k-mers with an N count nothing. The strength of the penalty is the one of the lowest loss
on the validation set.

`SmallCnn`, trained from scratch: what motifs and their places say of a sequence. Two layers of filters over
one-hot bases, the maximum over each eighth of the sequence, so that places are roughly known, a linear layer.
Weights of the epoch of the lowest validation loss are kept.

S sequences, R rows, L bases of the longest, C classes or labels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from pydantic import PositiveFloat, PositiveInt
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- its usual name

from dnalm.data.labelled import Division, TablePart, TaskKind
from dnalm.errors import ConfigError
from dnalm.genome.alphabet import UNKNOWN, Codes, bases
from dnalm.limits import Epochs, LayerWidth, Samples

Probabilities = npt.NDArray[np.float64]  # of each row and class, (R, C)


@dataclass(frozen=True)
class Fitted:
    """A baseline that has learned.

    Attributes:
        answer: probabilities of each row and class or label, (R, C).
        parameters: numbers that were learned.
        chosen: what the validation set chose, in words.
    """

    answer: Callable[[TablePart], Probabilities]
    parameters: int
    chosen: str


def log_loss(probabilities: Probabilities, labels: npt.NDArray[np.integer]) -> float:
    """The mean negative log-probability of the true classes, (R,), or of the labels, (R, C), in nats."""
    if labels.ndim > 1:
        own = np.where(labels > 0, probabilities, 1 - probabilities)
    else:
        own = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(own, 1e-15, None)).mean())


def refuse_other_kinds(name: str, kind: TaskKind) -> None:
    """A classical baseline learns classes or labels of sequences.

    Raises:
        ConfigError: BENCH-07, the task is of another kind.
    """
    if kind not in ("binary", "multiclass", "multilabel"):
        raise ConfigError(
            "BENCH-07",
            where="task.kind",
            found=f"a {kind} task for {name}",
            expected="a binary, multiclass or multilabel one",
            fix="compare with model=tiny of dnalm finetune, which learns every kind",
        )


_JUDGED_AT_ONCE = 256
_PARTS = 8  # of a sequence


@dataclass(frozen=True, kw_only=True)
class SmallCnn:
    """The recipe of a small network; all numbers are our choice.

    Args:
        filters: of each layer.
        width: bases that a filter of the first layer spans.
        epochs: passes over the training set at most.
        patience: epochs without a lower validation loss that end training.
        batch: sequences a step.
        lr: of Adam.
        dropout: share of pooled features zeroed in training.
    """

    filters: LayerWidth = 64
    width: LayerWidth = 11
    epochs: Epochs = 20
    patience: PositiveInt = 4
    batch: Samples = 32
    lr: PositiveFloat = 1e-3
    dropout: float = 0.2
    name = "cnn"

    def fit(self, division: Division, *, seed: int) -> Fitted:
        """Learn until the validation loss falls no more; rows of `test` are not touched."""
        labels = torch.from_numpy(division.train.labels.astype(np.int64))
        truth, by_label = division.val.labels.astype(np.int64), labels.ndim > 1
        random = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Network(self, division.num_classes)
            optimizer = torch.optim.Adam(network.parameters(), lr=self.lr)
            best, kept, best_epoch = float("inf"), copy.deepcopy(network.state_dict()), 0
            for epoch in range(1, self.epochs + 1):
                for rows in torch.split(torch.randperm(len(labels), generator=random), self.batch):
                    loss = _loss(network(one_hot(division.train, rows.numpy())), labels[rows])
                    optimizer.zero_grad()
                    torch.autograd.backward(loss)
                    optimizer.step()
                lost = log_loss(_network_answers(network, division.val, by_label), truth)
                if lost < best:
                    best, kept, best_epoch = lost, copy.deepcopy(network.state_dict()), epoch
                elif epoch - best_epoch >= self.patience:
                    break
        network.load_state_dict(kept)
        return Fitted(
            answer=lambda part: _network_answers(network, part, by_label),
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            chosen=f"epoch {best_epoch}",
        )


class Network(nn.Module):
    """The network of a recipe."""

    def __init__(self, recipe: SmallCnn, num_classes: int) -> None:
        super().__init__()
        self.motifs = nn.Conv1d(4, recipe.filters, recipe.width, padding=recipe.width // 2)
        self.pairs = nn.Conv1d(recipe.filters, recipe.filters, 7, padding=3)
        self.dropout = nn.Dropout(recipe.dropout)
        self.head = nn.Linear(_PARTS * recipe.filters, num_classes)

    def forward(self, bases_S4L: Tensor) -> Tensor:
        """Logits, (S, C), of one-hot bases, (S, 4, L), zero past the end of a sequence."""
        x = self.motifs(bases_S4L).relu()
        x = F.max_pool1d(x, 4, ceil_mode=True)
        x = self.pairs(x).relu()
        pooled = F.adaptive_max_pool1d(x, _PARTS).flatten(1)
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


def one_hot(part: TablePart, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Tensor:
    """Bases of some rows of a part, (S, 4, L) float32; an N is zero, and so is what lies past the end."""
    texts = [bases(part.table.sequence(int(part.rows[row]))) for row in rows]
    hot = np.zeros((len(texts), 4, max(map(len, texts))), np.float32)
    for number, codes in enumerate(texts):
        places = np.flatnonzero(codes < 4)
        hot[number, codes[places], places] = 1.0
    return torch.from_numpy(hot)


def _loss(logits_SC: Tensor, labels: Tensor) -> Tensor:
    """The mean over rows, of classes (S,) or of labels (S, C)."""
    if labels.ndim > 1:
        return F.binary_cross_entropy_with_logits(logits_SC, labels.float())
    return F.cross_entropy(logits_SC, labels)


@torch.no_grad()
def _network_answers(network: Network, part: TablePart, by_label: bool) -> Probabilities:
    network.eval()
    size = len(part)
    batches = np.array_split(np.arange(size), range(_JUDGED_AT_ONCE, size, _JUDGED_AT_ONCE))
    logits = [network(one_hot(part, rows)) for rows in batches]
    network.train()
    outputs = torch.cat(logits).double()
    return np.asarray((outputs.sigmoid() if by_label else outputs.softmax(1)).numpy())


def kmers(codes: Codes, k: int) -> npt.NDArray[np.int64]:
    """The number of each overlapping k-mer without N, from left to right; the first base counts most."""
    plain = bases(codes).astype(np.int64)
    size = len(plain) - k + 1
    if size < 1:
        return np.zeros(0, np.int64)
    numbers, known = np.zeros(size, np.int64), np.ones(size, np.bool_)
    for place in range(k):
        letters = plain[place : place + size]
        numbers = numbers * 4 + letters
        known &= letters != UNKNOWN
    return numbers[known]


def kmer_frequencies(sequences: Sequence[Codes], *, k: int) -> npt.NDArray[np.float32]:
    """The share of each k-mer, k from 1 to 8, among a sequence's without N, (S, 4^k); 0 where it has none."""
    counts = np.zeros((len(sequences), 4**k), dtype=np.float32)
    for row, codes in enumerate(sequences):
        counts[row] = np.bincount(kmers(codes, k), minlength=4**k)
    frequencies: npt.NDArray[np.float32] = counts / counts.sum(1, keepdims=True).clip(1)
    return frequencies


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
        """Learn with each penalty and keep the best; rows of `test` are not touched."""
        train, val = self.counts(division.train), self.counts(division.val)
        labels, truth = division.train.labels, division.val.labels.astype(np.int64)
        by_label = labels.ndim > 1
        best: tuple[float, float, list[LogisticRegression]] | None = None
        for each in self.inverse_penalties:
            models = [
                LogisticRegression(C=each, max_iter=1000, random_state=seed).fit(train, column)
                for column in (labels.T if by_label else labels[None])
            ]
            loss = log_loss(_answers(models, val, division.num_classes, by_label), truth)
            if best is None or loss < best[0]:
                best = loss, each, models
        assert best is not None, "one penalty at least is tried"
        _, chosen, models = best
        return Fitted(
            answer=lambda part: _answers(models, self.counts(part), division.num_classes, by_label),
            parameters=sum(int(model.coef_.size + model.intercept_.size) for model in models),
            chosen=f"C {chosen:g}",
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


def _answers(
    models: list[LogisticRegression], counts: sparse.csr_array, num_classes: int, by_label: bool
) -> Probabilities:
    """Probabilities of all labels, a model each; or of all classes by one, the untrained ones too."""
    answers = np.zeros((counts.shape[0], num_classes))
    for number, model in enumerate(models):
        if by_label:
            answers[:, number] = model.predict_proba(counts)[:, 1]
        else:
            answers[:, model.classes_] = model.predict_proba(counts)
    return answers
