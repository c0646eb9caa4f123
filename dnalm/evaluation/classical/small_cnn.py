"""A small convolutional network, trained from scratch: what motifs and their places say of a sequence.

Two layers of filters over one-hot bases, the maximum over each eighth of the sequence, so that places are
roughly known, a linear layer. Weights of the epoch of the lowest validation loss are kept.

S sequences, L bases of the longest, C classes.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- its usual name

from dnalm.data.labelled import Division, TablePart
from dnalm.evaluation.classical.classifier import Fitted, Probabilities, log_loss
from dnalm.genome.alphabet import bases
from dnalm.limits import Epochs, LayerWidth, Samples

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
        """Learn until the validation loss falls no more; see `Classifier`."""
        labels = torch.from_numpy(division.train.labels.astype(np.int64))
        truth = division.val.labels.astype(np.int64)
        random = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Network(self, division.num_classes)
            optimizer = torch.optim.Adam(network.parameters(), lr=self.lr)
            best, kept, best_epoch = float("inf"), copy.deepcopy(network.state_dict()), 0
            for epoch in range(1, self.epochs + 1):
                for rows in torch.split(torch.randperm(len(labels), generator=random), self.batch):
                    loss = F.cross_entropy(network(one_hot(division.train, rows.numpy())), labels[rows])
                    optimizer.zero_grad()
                    torch.autograd.backward(loss)
                    optimizer.step()
                lost = log_loss(_answers(network, division.val), truth)
                if lost < best:
                    best, kept, best_epoch = lost, copy.deepcopy(network.state_dict()), epoch
                elif epoch - best_epoch >= self.patience:
                    break
        network.load_state_dict(kept)
        return Fitted(
            answer=lambda part: _answers(network, part),
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            chosen=f"epoch {best_epoch}",
        )


class Network(nn.Module):
    """The network itself.

    Args:
        recipe: its sizes.
        num_classes: of the task.
    """

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


@torch.no_grad()
def _answers(network: Network, part: TablePart) -> Probabilities:
    network.eval()
    logits = [network(one_hot(part, rows)) for rows in _batches(len(part))]
    network.train()
    return np.asarray(torch.cat(logits).double().softmax(1).numpy())


def _batches(size: int) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    return np.array_split(np.arange(size), range(_JUDGED_AT_ONCE, size, _JUDGED_AT_ONCE))
