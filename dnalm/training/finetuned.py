"""A fine-tuned model in its directory: `dnalm.yaml` describes the head, `heads.safetensors` holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import FiniteFloat, PositiveInt, TypeAdapter, ValidationError
from torch import Tensor

from dnalm.data.labelled import TaskKind
from dnalm.data.labelled.module import SequenceData
from dnalm.errors import CheckpointError
from dnalm.models import HeadShape, SequenceModel, TaskHead, load_pretrained
from dnalm.models.finite import not_finite
from dnalm.models.kernels import KernelName
from dnalm.models.sequence_model import SequenceHead
from dnalm.models.weight_files import read_weights
from dnalm.small_files import PROVENANCE_FILE, read_provenance, refused_provenance, shown
from dnalm.tokenizers import Tokenizer, load_tokenizer
from dnalm.training.finetuning import Finetuning
from dnalm.training.model_directory import HEADS_FILE

_PROBLEMS: dict[TaskKind, str] = {  # in the words of `transformers`, which has none for a label a base
    "binary": "single_label_classification",
    "multiclass": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}
_NAME = "task."  # what the head's weights begin with


@dataclass(frozen=True, kw_only=True)
class DescribedHead:
    """The entry `head` of `dnalm.yaml`; attributes as of `Finetuned`.

    Attributes:
        length_bp: median bases of the sequences that it was trained on.
        shape: what it is made of.
    """

    task: str
    kind: TaskKind
    classes: list[str]
    limit: PositiveInt | None
    length_bp: PositiveInt
    center: FiniteFloat
    scale: FiniteFloat
    shape: HeadShape


@dataclass(frozen=True)
class Finetuned:
    """A model that answers a task.

    Attributes:
        model: the network, in evaluation mode.
        tokenizer: bases to ids.
        task: what the task is called.
        kind: what its labels are.
        classes: their texts, if they have any.
        limit: tokens of a piece at most, special ones not counted; None for any.
        center: what is added to the outputs of regression, times `scale`.
        scale: their unit.
    """

    model: SequenceModel
    tokenizer: Tokenizer
    task: str
    kind: TaskKind
    classes: tuple[str, ...]
    limit: int | None
    center: float
    scale: float


def describe_head(module: Finetuning, data: SequenceData) -> DescribedHead:
    """What `dnalm.yaml` is to say of a head."""
    return DescribedHead(
        task=data.task.title,
        kind=data.task.kind,
        classes=list(data.task.classes),
        limit=data.limit,
        length_bp=int(np.median(data.division.train.lengths)),
        center=module.center,
        scale=module.scale,
        shape=module.model.head.shape,
    )


def load_finetuned(folder: Path, *, kernel: KernelName = "sdpa", needs_lm_head: bool = False) -> Finetuned:
    """Read a model directory that `dnalm finetune` has left.

    Args:
        folder: the directory.
        kernel: how attention is computed.
        needs_lm_head: refuse an encoder that has lost the head that predicts tokens.

    Raises:
        CheckpointError: CKPT-04, it has no head; CKPT-05, `dnalm.yaml` describes none that can be; CKPT-07,
            the stored head is of another shape; or what `load_pretrained` raises.
    """
    head = read_head(folder)
    if head is None or not (folder / HEADS_FILE).is_file():
        raise CheckpointError(
            "CKPT-04",
            where=str(folder),
            found="a model without the head of a task",
            expected=f"what dnalm finetune leaves: {PROVENANCE_FILE} with `head`, and {HEADS_FILE}",
            fix="fine-tune it first: dnalm finetune model=… task=…",
        )
    backbone = load_pretrained(folder, kernel=kernel, needs_head=needs_lm_head)
    weights = head_weights(folder)
    with torch.device("meta"):
        head_alone = SequenceHead(
            head.shape, hidden_size=backbone.encoder.hidden_size, initializer_range=0.02
        )
    wanted = {name: tuple(tensor.shape) for name, tensor in head_alone.state_dict().items()}
    if wanted != (found := {name: tuple(tensor.shape) for name, tensor in weights.items()}):
        raise CheckpointError(
            "CKPT-07",
            where=str(folder / HEADS_FILE),
            found=f"a head of {_say(found)}",
            expected=f"{_say(wanted)}, as {PROVENANCE_FILE} describes it",
            fix=f"copy {PROVENANCE_FILE} and {HEADS_FILE} again, both of one run",
        )
    if bad := not_finite(weights):
        raise CheckpointError(
            "CKPT-08",
            where=str(folder / HEADS_FILE),
            found=f"weights that are not finite: {', '.join(bad[:5])}",
            expected="finite weights only",
            fix="fine-tune again, or take an earlier checkpoint",
        )
    model = SequenceModel(backbone, head.shape)
    model.head.load_state_dict(weights)
    return Finetuned(
        model.eval(),
        load_tokenizer(folder),
        head.task,
        head.kind,
        tuple(head.classes),
        head.limit,
        head.center,
        head.scale,
    )


def read_head(folder: Path) -> DescribedHead | None:
    """What `dnalm.yaml` of a model directory says of its head; None of a model without one.

    Raises:
        CheckpointError: CKPT-05, it describes none that can be.
    """
    described = read_provenance(folder).get("head")
    if described is None:
        return None
    try:
        return TypeAdapter(DescribedHead).validate_python(described)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(["head", *map(str, first["loc"])])
        raise refused_provenance(folder, f"{key} is {shown(first['input'])}", first["msg"]) from error


def head_weights(folder: Path) -> dict[str, Tensor]:
    """The stored weights of a fine-tuned model's head, by their names in it."""
    stored = read_weights(folder / HEADS_FILE)
    return {name.removeprefix(_NAME): tensor.float() for name, tensor in stored.items()}


def stock_head(described: DescribedHead, weights: Mapping[str, Tensor]) -> TaskHead:
    """A head as `save_pretrained` writes it for `transformers`."""
    return TaskHead(
        weights=weights,
        shape=described.shape,
        problem=_PROBLEMS.get(described.kind),
        classes=tuple(described.classes),
        center=described.center,
        scale=described.scale,
    )


def head_length_bp(folder: Path) -> int | None:
    """Median bases of the sequences that a head was trained on; None of a model without one."""
    head = read_head(folder)
    return None if head is None else head.length_bp


def _say(shapes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in sorted(shapes.items())[:5]) or "nothing"
