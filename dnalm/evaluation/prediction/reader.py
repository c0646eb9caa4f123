"""Sequences in, predictions out: tokens, pieces of them, the task's head, both strands, several models.

A prediction equals that of fine-tuning's own test: a long sequence is read in pieces whose tokens are pooled
together, the outputs on both strands are averaged before softmax or sigmoid, and both are done where the head
was tested so. The probabilities or values of several models are averaged.

Predictions depend neither on the size of batches nor on what else is read, but for the last bits of float32.

O outputs: classes, labels of a multi-label task, or one value; L bases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from dnalm.data.labelled import LongSequence, SequenceRecipe
from dnalm.data.labelled.samples import cut
from dnalm.errors import CheckpointError, ConfigError, DataError, NumericsError, listed
from dnalm.evaluation.inference import Device, Floats, InferenceQueue, LoadedModel, Precision
from dnalm.genome.alphabet import Codes, reverse_complement
from dnalm.limits import Tokens
from dnalm.models import Pretrained
from dnalm.training.metrics import probabilities_of
from dnalm.training.model_directory import DescribedHead, Finetuned

Strands = Literal["as_trained", "forward", "both"]
ReadOutputs = Callable[[], Floats]  # a head's outputs, once the queue has run


@dataclass(frozen=True, kw_only=True)
class PredictionRecipe:
    """How a sequence becomes a prediction.

    Args:
        strands: `both` averages the head's outputs on a sequence and on its reverse complement, `forward`
            reads it as it is given; `as_trained` does what each head was tested with.
        long: what is done with a sequence of more tokens than the head was trained on: `pieces`, `truncate`
            or `refuse`; as each head was tested if absent.
        batch_tokens: tokens of a batch, about; changes speed and memory, and no prediction.
    """

    strands: Strands = "as_trained"
    long: LongSequence | None = None
    batch_tokens: Tokens = 16_384

    def of_head(self, head: DescribedHead) -> SequenceRecipe:
        """How one head's sequences are read.

        Raises:
            ConfigError: PRED-01, a part of a sequence would have no prediction.
        """
        if self.long == "truncate" and head.kind == "segmentation":
            raise ConfigError(
                "PRED-01",
                where="long",
                found="truncate, and a model that judges every base",
                expected="pieces or refuse, for such a model",
                fix="set long=pieces",
            )
        both = head.average_strands if self.strands == "as_trained" else self.strands == "both"
        return SequenceRecipe(long=self.long or head.long, average_strands=both)


def submit_outputs(queue: InferenceQueue, codes: Codes, recipe: SequenceRecipe, *, where: str) -> ReadOutputs:
    """Queue a sequence for the head of the queue's model.

    Args:
        queue: computes.
        codes: (L,).
        recipe: pieces and strands.
        where: the place of the sequence, for errors.

    Returns:
        What reads the outputs, (O,) or of every base (L, O), float64, once the queue has run: of both strands
        the mean, at each base of the forward strand.

    Raises:
        DataError: SEQ-01, it is too short for a token; SEQ-02, too long and `long` is `refuse`.
    """
    tuned = queue.model.finetuned
    assert tuned is not None, "opened with its head"
    per_base = tuned.head.kind == "segmentation"
    strands = (codes, reverse_complement(codes)) if recipe.average_strands else (codes,)
    found: list[Floats] = []
    for number, strand in enumerate(strands):
        try:
            pieces = cut(
                strand, queue.model.tokenizer, recipe, limit=tuned.head.limit, where=where, per_base=per_base
            )
        except DataError as error:
            raise _unreadable(error) from error
        turned = per_base and number == 1
        queue.submit_pieces(pieces, _keep_turned(found) if turned else found.append)
    return lambda: np.mean(found, axis=0, dtype=np.float64) if len(found) > 1 else found[0]


def _keep_turned(found: list[Floats]) -> Callable[[Floats], None]:
    """Keep the outputs of the other strand's bases in the order of the forward strand."""
    return lambda outputs_LO: found.append(outputs_LO[::-1])


def _unreadable(error: DataError) -> DataError:
    """The error of a table's row, in the words of a command that reads any input."""
    parts = error.as_parts()
    fix = (
        "set long=pieces, which reads all of it, or long=truncate"
        if error.code == "SEQ-02"
        else "leave it out"
    )
    return DataError(
        error.code, where=parts["where"], found=parts["found"], expected=parts["expected"], fix=fix
    )


def in_label_units(head: DescribedHead, outputs: Floats) -> Floats:
    """Probabilities of classes or labels, or the value in the unit of the labels; (..., O), float64."""
    flat = torch.from_numpy(np.ascontiguousarray(outputs.reshape(-1, outputs.shape[-1]), dtype=np.float64))
    probabilities: Floats = probabilities_of(head.kind, flat).numpy() * head.scale + head.center
    return probabilities.reshape(outputs.shape)


class Predictor:
    """One fine-tuned model, or several of the same task whose predictions are averaged.

    Args:
        models: opened with their heads; each has its own tokenizer.
        recipe: strands, long sequences and batches.

    Attributes:
        head: of the first model; the others' have the same kind and the same classes.
        names: of the outputs in their order: classes, labels, or `value`.

    Raises:
        CheckpointError: PRED-02, the models are of different tasks.
        ConfigError: PRED-01, the recipe does not fit the task.
    """

    def __init__(self, models: Sequence[LoadedModel], recipe: PredictionRecipe) -> None:
        self.models, self.recipe = tuple(models), recipe
        heads = [_finetuned(model).head for model in models]
        self.head = heads[0]
        for model, head in zip(models[1:], heads[1:], strict=True):
            _check_alike((models[0].name, self.head), (model.name, head))
        self.names = output_names(self.head)
        self._readers = [
            (InferenceQueue(model, batch_tokens=recipe.batch_tokens), recipe.of_head(head), head)
            for model, head in zip(models, heads, strict=True)
        ]

    @classmethod
    def open(
        cls,
        sources: Sequence[Pretrained],
        recipe: PredictionRecipe | None = None,
        *,
        device: Device = "auto",
        precision: Precision = "float32",
    ) -> Predictor:
        """Read one or several model directories.

        Args:
            sources: runs of `dnalm finetune`, or the directories that they left.
            recipe: as each head was tested if absent.
            device: `auto` is a GPU where there is one.
            precision: of matrix products.

        Raises:
            CheckpointError: one cannot be read or has no task's head (CKPT-04); PRED-02, they are of
                different tasks.
            ConfigError: CFG-51, there is no GPU; PRED-01, the recipe does not fit the task.
        """
        models = [
            LoadedModel.open(
                source, device=device, precision=precision, needs_lm_head=False, needs_task_head=True
            )
            for source in sources
        ]
        return cls(models, recipe or PredictionRecipe())

    @property
    def per_base(self) -> bool:
        """Whether every base is judged, and not the sequence."""
        return self.head.kind == "segmentation"

    def predict(self, sequences: Sequence[Codes], *, where: Sequence[str] | None = None) -> list[Floats]:
        """The prediction of each sequence, in their order, float64.

        Args:
            sequences: (L,) codes each.
            where: the place of each, for errors; their numbers if absent.

        Returns:
            Of each (O,), or (L, O) where bases are judged: probabilities, or the value in the labels' unit.

        Raises:
            DataError: SEQ-01, one is too short for a token; SEQ-02, too long and `long` is `refuse`.
            NumericsError: NUM-10, a prediction is not finite.
        """
        places = where or [f"sequence {number}" for number in range(len(sequences))]
        total: list[Floats] = []
        for queue, recipe, head in self._readers:
            queued = [
                submit_outputs(queue, codes, recipe, where=place)
                for codes, place in zip(sequences, places, strict=True)
            ]
            queue.run()
            found = [in_label_units(head, read()) for read in queued]
            total = [one + other for one, other in zip(total, found, strict=True)] if total else found
        means: list[Floats] = [each / len(self._readers) for each in total]
        for place, mean in zip(places, means, strict=True):
            if not np.isfinite(mean).all():
                raise NumericsError(
                    "NUM-10",
                    where=place,
                    found="a prediction that is not finite",
                    expected="finite predictions",
                    fix="check the model's weights",
                )
        return means


def output_names(head: DescribedHead) -> tuple[str, ...]:
    """Classes or labels by name, by number where they have no names; `value` of regression."""
    number = head.shape.num_outputs
    if head.kind == "regression":
        return ("value",)
    return tuple(head.classes) if len({*head.classes}) == number else tuple(map(str, range(number)))


def _finetuned(model: LoadedModel) -> Finetuned:
    assert model.finetuned is not None, "opened with its head"
    return model.finetuned


def _check_alike(first: tuple[str, DescribedHead], other: tuple[str, DescribedHead]) -> None:
    (name, head), (other_name, other_head) = first, other
    for what, one, two in (
        ("tasks", head.kind, other_head.kind),
        ("outputs", head.shape.num_outputs, other_head.shape.num_outputs),
        ("classes", listed(output_names(head)), listed(output_names(other_head))),
    ):
        if one != two:
            raise CheckpointError(
                "PRED-02",
                where="model",
                found=f"{what} that differ: {one} of {name}, and {two} of {other_name}",
                expected="models of one task, whose predictions can be averaged",
                fix="name those alone that were fine-tuned on it, such as seeds of one run",
            )
