"""Tiny fine-tuned models with heads of every kind and random weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from dnalm.data.labelled import TaskKind
from dnalm.evaluation.inference import LoadedModel
from dnalm.models import HeadShape, SequenceModel
from dnalm.training.model_directory import DescribedHead, Finetuned, write_model_directory
from tests.evaluation.embedding.models import tiny

CLASSES: dict[TaskKind, tuple[str, ...]] = {
    "binary": ("off", "on"),
    "multiclass": ("none", "weak", "strong"),
    "multilabel": ("liver", "brain"),
    "regression": (),
    "segmentation": ("none", "exon", "intron"),
}


def tuned(kind: TaskKind, name: str = "kmer", *, seed: int = 0, **changes: object) -> LoadedModel:
    """A model whose head answers a task; `changes` are of its description, and `pooling` of its shape."""
    network, tokenizer = tiny(name)
    torch.manual_seed(seed)
    shape = HeadShape(num_outputs=len(CLASSES[kind]) or 1, pooling=changes.pop("pooling", "mean"))
    model = SequenceModel(network, shape)
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.5)
        for parameter in network.encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    described = {"classes": list(CLASSES[kind]), "limit": 22, "length_bp": 20, "center": 0.0, "scale": 1.0}
    head = DescribedHead(task="tiny", kind=kind, shape=shape, **{**described, **changes})
    finetuned = Finetuned(model.eval(), tokenizer, head)
    return LoadedModel(network=network, tokenizer=tokenizer, finetuned=finetuned, name=f"{kind}{seed}")


def save_tuned(folder: Path, kind: TaskKind, name: str = "kmer", *, seed: int = 0, **changes: object) -> Path:
    """The directory of such a model."""
    loaded = tuned(kind, name, seed=seed, **changes)
    assert loaded.finetuned is not None
    write_model_directory(
        folder,
        model=loaded.network,
        weights=loaded.network.state_dict(),
        tokenizer=loaded.tokenizer,
        config={},
        data_fingerprint="none",
        precision="fp32",
        steps=0,
        window_tokens=None,
        heads={"task": loaded.finetuned.model.head.state_dict()},
        described={"head": dataclasses.asdict(loaded.finetuned.head)},
    )
    return folder
