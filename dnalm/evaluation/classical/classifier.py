"""What a classical baseline is: it learns classes, chooses by a validation set, and answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dnalm.data.labelled import Division, TablePart, TaskKind
from dnalm.errors import ConfigError

Probabilities = npt.NDArray[np.float64]  # of each row and class, (R, C)


@dataclass(frozen=True)
class Fitted:
    """A baseline that has learned.

    Attributes:
        answer: probabilities of each row and class, (R, C).
        parameters: numbers that were learned.
        chosen: what the validation set chose, in words.
    """

    answer: Callable[[TablePart], Probabilities]
    parameters: int
    chosen: str


class Classifier(Protocol):
    """Learns a task of classes."""

    name: str

    def fit(self, division: Division, *, seed: int) -> Fitted:
        """Learn.

        Args:
            division: the rows; those of `test` are not touched.
            seed: of everything random.
        """


def log_loss(probabilities: Probabilities, labels: npt.NDArray[np.integer]) -> float:
    """The mean negative log-probability of the true classes, in nats."""
    own = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(own, 1e-15, None)).mean())


def refuse_other_kinds(name: str, kind: TaskKind) -> None:
    """A classical baseline learns classes.

    Raises:
        ConfigError: BENCH-07, the task is of another kind.
    """
    if kind not in ("binary", "multiclass"):
        raise ConfigError(
            "BENCH-07",
            where="task.kind",
            found=f"a {kind} task for {name}",
            expected="a binary or multiclass one",
            fix="compare with model=random of dnalm finetune, which learns every kind",
        )
