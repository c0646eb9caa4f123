"""`dnalm export`: a run's or a published model as a Hugging Face directory."""

from __future__ import annotations

import shutil

from dnalm.console import stdout
from dnalm.errors import CheckpointError
from dnalm.models import Pretrained, check_vocabulary, family_of, save_pretrained
from dnalm.tokenizers import Tokenizer, load_tokenizer
from dnalm.training import RunDirectory
from dnalm.training.checkpoint_model import find_checkpoint, load_checkpoint_model, model_folder
from dnalm.training.model_directory import PROVENANCE_FILE


def export(
    *,
    model: Pretrained,
    run: RunDirectory,
    config: dict[str, object],
    tokenizer: Tokenizer | None = None,
) -> None:
    """Read a model strictly, hold its tokenizer against it, and write both in the published layout.

    Args:
        model: what to read; a checkpoint of a run too, or a run whose newest one is meant.
        run: the folder to leave.
        config: the composed config.
        tokenizer: what the model's ids mean; that of the model's folder if absent.

    Raises:
        CheckpointError: the model cannot be read, the tokenizer does not fit it, or it has annotation inputs.
        DataError: the folder has no tokenizer, or one that cannot be used.
    """
    run.claim(goes_on=False)
    checkpoint = find_checkpoint(model.source)
    if checkpoint is None:
        folder, network = model.folder(), model.load()
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
    check_vocabulary(network, tokenizer.vocab_size, where=str(folder))
    run.create(config)
    save_pretrained(network, run.path)
    tokenizer.save(run.path)
    if (folder / PROVENANCE_FILE).is_file():
        shutil.copyfile(folder / PROVENANCE_FILE, run.path / PROVENANCE_FILE)
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
    stdout.print(f"next: dnalm pretrain model={run.as_path} tokenizer={run.as_path} experiment=… data=…")
    stdout.print(f"summary: {path}")
