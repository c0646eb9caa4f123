"""The difference that a variant makes to what a fine-tuned model predicts."""

from __future__ import annotations

import numpy as np
import torch

from dnalm.evaluation.board import Board, Floats
from dnalm.evaluation.variants.scores import Tell, read_text
from dnalm.evaluation.variants.windows import Pair
from dnalm.training.finetuned import Finetuned
from dnalm.training.task_metrics import scores_of


class Prediction:
    """`prediction`: what the head says of ALT minus what it says of REF.

    Of two classes it is the difference of the second's probability, P(active | ALT) - P(active | REF); of a
    regression that of the values, in their unit; of more classes or labels one number each,
    `prediction_<number>`.

    Args:
        finetuned: the model with its head.
    """

    def __init__(self, finetuned: Finetuned) -> None:
        self._finetuned = finetuned
        outputs = finetuned.model.head.shape.num_outputs
        single = finetuned.kind in ("binary", "regression")
        self.names = ("prediction",) if single else tuple(f"prediction_{n}" for n in range(outputs))

    def ask(self, board: Board, pair: Pair) -> Tell:
        """See `Score.ask`."""
        said: list[Floats] = [np.zeros(0)] * 2
        for index, window in enumerate((pair.ref, pair.alt)):
            text = read_text(board.tokenizer, window)
            pooled = text.touching(0, len(window.codes))
            if self._finetuned.model.head.shape.pooling == "cls":
                pooled = np.zeros(1, dtype=np.int64)

            def read(outputs_O: Floats, index: int = index) -> None:
                said[index] = self._as_scored(outputs_O)

            board.ask_outputs(text.ids, pooled, read)
        return lambda: [float(value) for value in said[1] - said[0]]

    def _as_scored(self, outputs_O: Floats) -> Floats:
        scores = scores_of(self._finetuned.kind, torch.from_numpy(outputs_O)[None]).numpy().reshape(-1)
        scaled: Floats = scores * self._finetuned.scale + self._finetuned.center
        return scaled
