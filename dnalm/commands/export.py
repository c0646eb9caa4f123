"""`dnalm export`: a run's or a published model as a Hugging Face directory."""

from __future__ import annotations

import shutil
from pathlib import Path

from dnalm.console import stdout
from dnalm.errors import CheckpointError
from dnalm.evaluation.model_card import write_card
from dnalm.models import (
    LayoutName,
    MaskedLM,
    Pretrained,
    TaskHead,
    fit_vocabulary,
    layout_of,
    load_pretrained,
    save_pretrained,
)
from dnalm.models.families import DNABERT2, NT_V2, OURS, Family
from dnalm.paths import as_typed
from dnalm.small_files import read_provenance
from dnalm.tokenizers import Tokenizer, load_tokenizer
from dnalm.training import RunDirectory
from dnalm.training.model_directory import (
    HEADS_FILE,
    find_checkpoint,
    head_weights,
    load_checkpoint_model,
    make_task_head,
    model_folder,
    read_head,
    seal,
)


def export(
    *,
    model: Pretrained,
    run: RunDirectory,
    config: dict[str, object],
    tokenizer: Tokenizer | None = None,
    layout: LayoutName = "safe",
) -> None:
    """Read a model strictly, hold its tokenizer against it, and write both.

    Args:
        model: what to read; a checkpoint of a run too, or a run whose newest one is meant.
        run: the folder to leave.
        config: the composed config.
        tokenizer: what the model's ids mean; that of the model's folder if absent.
        layout: `safe` is that of stock `transformers` where it has the model and its head, else ours, which
            opens after `import dnalm.hf`; `standalone` adds the code to ours, so that it opens without dnalm;
            `published` writes names and config.json of the publishers, for their own code.

    Raises:
        CheckpointError: the model cannot be read, the tokenizer does not fit it, or it has annotation inputs
            and is to be `published`.
        DataError: the folder has no tokenizer, or one that cannot be used.
    """
    model.require_trained("dnalm export")
    with run.opened(config, resumable=False):
        checkpoint = find_checkpoint(model.source)
        if checkpoint is None:
            folder = model.folder()
            network = load_pretrained(folder, kernel=model.kernel, needs_head=False)
        else:
            folder = model_folder(checkpoint)
            network = load_checkpoint_model(checkpoint, kernel=model.kernel)
        if layout == "published":
            _require_tokens_alone(network, model.source)
        tokenizer = tokenizer or load_tokenizer(folder)
        fit_vocabulary(network, tokenizer.vocab_size, where=str(folder))
        head = _task_head(folder, tokenizer)
        run.create(config)
        save_pretrained(network, run.path, task_head=head, layout=layout)
        tokenizer.save(run.path, published=layout == "published")
        if (folder / HEADS_FILE).is_file():
            shutil.copyfile(folder / HEADS_FILE, run.path / HEADS_FILE)
        if provenance := read_provenance(folder):
            if checkpoint:  # what the run found out at its end is of other weights
                provenance = {name: value for name, value in provenance.items() if name != "results"}
                provenance["steps"] = checkpoint.step
            seal(run.path, provenance)
        write_card(run.path)
        family = layout_of(network.encoder, head, layout)
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
        for line in _notes(family, network, head, layout):
            stdout.print(line)
        this = as_typed("model", run.as_path)
        stdout.print(f"next: dnalm finetune {this} task=demo_promoter budget=tiny")
        stdout.print(f"summary: {path}")


def _require_tokens_alone(network: MaskedLM, source: str) -> None:
    if network.encoder.annotations:
        raise CheckpointError(
            "MODEL-14",
            where=source,
            found=f"a model whose inputs beside tokens are {', '.join(network.encoder.annotations)}",
            expected="a model of tokens alone, for no published layout has annotation inputs",
            fix="use layout=standalone, or export a model trained without inputs",
        )


def _task_head(folder: Path, tokenizer: Tokenizer) -> TaskHead | None:
    """The head of a fine-tuned model."""
    described = read_head(folder)
    if described is None or not (folder / HEADS_FILE).is_file():
        return None
    return make_task_head(described, head_weights(folder), tokenizer)


def _notes(family: Family, network: MaskedLM, head: TaskHead | None, layout: LayoutName) -> list[str]:
    """How to open the directory with `transformers`."""
    opens = {
        "safe": "after import dnalm.hf; for people without dnalm: layout=standalone",
        "standalone": "with trust_remote_code=True, or after import dnalm.hf",
        "published": "after import dnalm.hf; no publisher has a layout for this model",
    }
    if family is OURS:
        notes = [f"transformers opens it {opens[layout]}"]
    elif family in (DNABERT2, NT_V2):
        taken = "a BERT and gives its layers random weights" if family is DNABERT2 else "a plain ESM"
        notes = [
            "layout=published: open it with the publishers' code alone; stock transformers takes "
            f"{family.name} for {taken}"
        ]
    else:
        notes = ["transformers opens it as it is"]
    if head is not None and not head.fits(family, network.encoder):
        notes.append(
            f"head: in {HEADS_FILE} alone, which dnalm reads; the published classes have none with pooling="
            f"{head.shape.pooling}, dense={str(head.shape.dense).lower()}, or for such texts"
        )
    elif head is not None:
        notes.append(f"head: in {HEADS_FILE}, and as {head.class_name(family)} in model.safetensors")
    return notes
