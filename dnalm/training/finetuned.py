"""A fine-tuned model in its directory: `dnalm.yaml` describes the head, `heads.safetensors` holds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from safetensors.torch import load_file

from dnalm.data.labelled import TaskKind
from dnalm.data.labelled.module import SequenceData
from dnalm.errors import CheckpointError
from dnalm.models import SequenceModel, head_shape, load_pretrained
from dnalm.models.kernels import KernelName
from dnalm.tokenizers import Tokenizer, load_tokenizer
from dnalm.training.finetuning import Finetuning
from dnalm.training.model_directory import HEADS_FILE, PROVENANCE_FILE

_NAME = "task."  # what the head's weights begin with


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


def describe_head(module: Finetuning, data: SequenceData) -> dict[str, object]:
    """The entry of `dnalm.yaml` that `load_finetuned` reads."""
    told = {
        "task": data.task.title,
        "kind": data.task.kind,
        "classes": list(data.task.classes),
        "limit": data.limit,
        "length_bp": int(np.median(data.division.train.lengths)),
        "center": module.center,
        "scale": module.scale,
        "shape": module.model.head.shape.as_plain(),
    }
    return {"head": told}


def load_finetuned(folder: Path, *, kernel: KernelName = "sdpa") -> Finetuned:
    """Read a model directory that `dnalm finetune` has left.

    Raises:
        CheckpointError: CKPT-04, it has no head, or what `load_pretrained` raises.
    """
    described = yaml.safe_load((folder / PROVENANCE_FILE).read_text()) if _is_there(folder) else {}
    if "head" not in described or not (folder / HEADS_FILE).is_file():
        raise CheckpointError(
            "CKPT-04",
            where=str(folder),
            found="a model without the head of a task",
            expected=f"what dnalm finetune leaves: {PROVENANCE_FILE} with `head`, and {HEADS_FILE}",
            fix="fine-tune it first: dnalm finetune model=… task=…",
        )
    told = described["head"]
    model = SequenceModel(load_pretrained(folder, kernel=kernel), head_shape(told["shape"]))
    weights = load_file(folder / HEADS_FILE)
    model.head.load_state_dict({name.removeprefix(_NAME): tensor for name, tensor in weights.items()})
    return Finetuned(
        model.eval(),
        load_tokenizer(folder),
        told["task"],
        told["kind"],
        tuple(told["classes"]),
        told["limit"],
        told["center"],
        told["scale"],
    )


def head_length_bp(folder: Path) -> int | None:
    """Median bases of the sequences that a head was trained on; None of a model without one."""
    described = yaml.safe_load((folder / PROVENANCE_FILE).read_text()) if _is_there(folder) else {}
    return int(described["head"]["length_bp"]) if "head" in described else None


def _is_there(folder: Path) -> bool:
    return (folder / PROVENANCE_FILE).is_file()
