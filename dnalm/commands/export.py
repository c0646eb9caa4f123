"""`dnalm export`: a run's or a published model as a Hugging Face directory."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from dnalm.console import stdout
from dnalm.errors import CheckpointError
from dnalm.evaluation.model_card import write_card
from dnalm.models import Pretrained, TaskHead, family_of, fit_vocabulary, save_pretrained
from dnalm.models.families import Family
from dnalm.paths import as_typed
from dnalm.small_files import read_provenance
from dnalm.tokenizers import Tokenizer, load_tokenizer
from dnalm.training import RunDirectory
from dnalm.training.model_directory import (
    HEADS_FILE,
    find_checkpoint,
    head_weights,
    load_checkpoint_model,
    model_folder,
    read_head,
    seal,
    stock_head,
)


def export(
    *,
    model: Pretrained,
    run: RunDirectory,
    config: dict[str, object],
    tokenizer: Tokenizer | None = None,
    layout: Literal["safe", "published"] = "safe",
) -> None:
    """Read a model strictly, hold its tokenizer against it, and write both in the published layout.

    Args:
        model: what to read; a checkpoint of a run too, or a run whose newest one is meant.
        run: the folder to leave.
        config: the composed config.
        tokenizer: what the model's ids mean; that of the model's folder if absent.
        layout: `published` writes config.json as the publishers do, for their own code; `safe` differs where
            stock `transformers` would open that as another model (DNABERT-2).

    Raises:
        CheckpointError: the model cannot be read, the tokenizer does not fit it, or it has annotation inputs.
        DataError: the folder has no tokenizer, or one that cannot be used.
    """
    with run.opened(config, resumable=False):
        checkpoint = find_checkpoint(model.source)
        if checkpoint is None:
            folder, network = model.folder(), model.load(needs_head=False)
        else:
            folder = model_folder(checkpoint)
            network = load_checkpoint_model(checkpoint, kernel=model.kernel)
        if network.encoder.annotations:
            raise CheckpointError(
                "MODEL-14",
                where=model.source,
                found=f"a model whose inputs beside tokens are {', '.join(network.encoder.annotations)}",
                expected="a model of tokens alone, for no published layout has annotation inputs",
                fix=f"use {folder} as it is, which dnalm reads, or export a model trained without inputs",
            )
        tokenizer = tokenizer or load_tokenizer(folder)
        fit_vocabulary(network, tokenizer.vocab_size, where=str(folder))
        head = _task_head(folder)
        run.create(config)
        save_pretrained(network, run.path, task_head=head, published=layout == "published")
        tokenizer.save(run.path, published=layout == "published")
        if (folder / HEADS_FILE).is_file():
            shutil.copyfile(folder / HEADS_FILE, run.path / HEADS_FILE)
        if provenance := read_provenance(folder):
            if checkpoint:  # what the run found out at its end is of other weights
                provenance = {name: value for name, value in provenance.items() if name != "results"}
                provenance["steps"] = checkpoint.step
            seal(run.path, provenance)
        write_card(run.path)
        family = family_of(network.encoder)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        summary = {
            "source": str(checkpoint.path) if checkpoint else model.source,
            **({"steps": checkpoint.step} if checkpoint else {}),
            "layout": family.name,
            "parameters": parameters,
            "vocab_size": tokenizer.vocab_size,
            "tokenizer_fingerprint": tokenizer.fingerprint,
        }
        path = run.write_summary(summary)
        stdout.print(f"{parameters:,} parameters in the layout of {family.name}: {run.path}")
        for line in _notes(family, head, layout):
            stdout.print(line)
        this = as_typed("model", run.as_path)
        stdout.print(f"next: dnalm finetune {this} task=demo_promoter budget=tiny")
        stdout.print(f"summary: {path}")


def _task_head(folder: Path) -> TaskHead | None:
    """The head of a fine-tuned model."""
    described = read_head(folder)
    is_there = described is not None and (folder / HEADS_FILE).is_file()
    return stock_head(described, head_weights(folder)) if described is not None and is_there else None


def _notes(family: Family, head: TaskHead | None, layout: str) -> list[str]:
    """What a user of `transformers` must know of the directory."""
    notes = []
    if head is not None and head.is_stock(family):
        notes.append(f"head: in heads.safetensors, and as {family.classes.classifier} in model.safetensors")
    elif head is not None:
        notes.append(
            "head: in heads.safetensors, which dnalm reads; transformers has no class for it (pooling="
            f"{head.shape.pooling}, dense={str(head.shape.dense).lower()}) and refuses to open the "
            "directory as a classifier"
        )
    if layout == "published" and family.published_fields:
        notes.append(
            "layout=published: open it with the publishers' code alone; stock transformers takes "
            f"{family.name} for a BERT and gives its layers random weights"
        )
    return notes
