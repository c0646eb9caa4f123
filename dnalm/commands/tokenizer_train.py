"""`dnalm tokenizer train`: learn a BPE vocabulary on one's own genomes."""

from __future__ import annotations

import time
from dataclasses import replace

from dnalm.console import stdout
from dnalm.data import Corpus
from dnalm.paths import as_typed
from dnalm.tokenizers import BpeRecipe
from dnalm.training import RunDirectory, peak_memory_bytes


def train_tokenizer(
    *,
    run: RunDirectory,
    data: Corpus,
    kind: BpeRecipe,
    config: dict[str, object],
    vocab_size: int | None = None,
) -> None:
    """Learn on every contig of the genomes, and leave a folder that `tokenizer=files` and transformers read.

    Args:
        run: the folder to leave.
        data: the genomes.
        kind: the recipe.
        config: the composed config.
        vocab_size: ids of the vocabulary; the recipe's own if absent.
    """
    began = time.perf_counter()
    with run.opened(config, resumable=False):
        recipe = kind if vocab_size is None else replace(kind, vocab_size=vocab_size)
        data.prepare(tracks=())
        tokenizer, samples = recipe.train([genome.whole_text() for genome in data.genomes(tracks=())])
        run.create(config)
        tokenizer.save(run.path)
        read = {sample.source.name: sample.num_bases for sample in samples}
        summary = {
            "vocab_size": tokenizer.vocab_size,
            "merges": tokenizer.num_merges,
            "longest_token_bp": tokenizer.token_bases.shape[1],
            "bases_read": read,
            "bases_given": {sample.source.name: sample.source.store.num_bases for sample in samples},
            "fingerprint": tokenizer.fingerprint,
            "seconds": round(time.perf_counter() - began, 1),
            "peak_memory": peak_memory_bytes(),
        }
        path = run.write_summary(summary)
        told = ", ".join(f"{bases:,} of {name}" for name, bases in read.items())
        stdout.print(
            f"{tokenizer.vocab_size:,} ids, {tokenizer.num_merges:,} merges, learned from bases: {told}"
        )
        stdout.print(f"tokenizer: {run.path}")
        stdout.print(f"next: dnalm tokenizer inspect {as_typed('tokenizer', run.as_path)}")
        stdout.print(f"summary: {path}")
