"""A program: validate lists of every length in micro-batches of every size, and print what each rank has met.

python -m tests.reliability.uneven FOLDER SIZES MICROS
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback

from dnalm.data import BatchPlan, GenomeCorpus, Masking, WindowRecipe
from dnalm.data.module import GenomeData
from dnalm.models import Encoder, MaskedLM
from dnalm.tokenizers import KmerTokenizer
from dnalm.training import MaskedLMTraining, TrainerRecipe
from dnalm.training.distributed import Ranks, join
from dnalm.training.trainer import quiet_frameworks
from tests.training.fitting import plan_of

TOKENIZER = KmerTokenizer(k=3)


class Seen(Callback):
    """The samples of each batch, those that fill up left out."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.samples: list[int] = []

    def on_validation_batch_end(self, *given: Any, **named: Any) -> None:  # noqa: ANN401 -- Lightning's
        batch = named.get("batch", given[3] if len(given) > 3 else None)
        self.samples += [sample for sample in batch.samples if sample < self.size]


def network() -> MaskedLM:
    """The same on every rank."""
    torch.manual_seed(0)
    encoder = Encoder(
        vocab_size=TOKENIZER.vocab_size, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32
    )
    return MaskedLM(encoder)


def validated(folder: Path, ranks: Ranks, *, size: int, micro: int) -> dict[str, object]:
    """What this rank has seen of a list, its own sums, and the figures that all ranks agree on."""
    batch = BatchPlan(global_size=micro * ranks.world_size, micro_size=micro)
    data = GenomeData(
        GenomeCorpus(fasta=folder / "genome.fa", cache=folder / "cache"),
        tokenizer=TOKENIZER,
        windows=WindowRecipe(min_tokens=5, max_tokens=60, num_validation=size),
        masking=Masking(),
        batch=batch,
        seed=1,
    )
    recipe = TrainerRecipe(devices=ranks.world_size)
    seen = Seen(size)
    trainer = recipe.make(
        batch=batch, steps=1, loggers=[], callbacks=[seen], root=folder, stop_flags=recipe.stop_flags()
    )
    module = MaskedLMTraining(network(), plan_of(TOKENIZER, global_batch=batch.global_size, lr=0.1))
    (figures,) = trainer.validate(module, datamodule=data, verbose=False)
    assert len(data.validation_windows) == size
    mine = module.validation_totals
    sums = {
        "loss": float(mine.loss),
        "targets": mine.targets,
        "bits": float(mine.bits),
        "hidden": mine.hidden,
    }
    told = {name: float(value) for name, value in figures.items()}
    return {"size": size, "micro": micro, "rank": ranks.rank, "samples": seen.samples, **sums, **told}


def main(folder: Path, sizes: list[int], micros: list[int]) -> None:
    """Print a line for each."""
    torch.set_num_threads(1)
    quiet_frameworks()
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    ranks = Ranks(rank, rank, world, world)
    if world > 1:
        join(ranks, "local", device="cpu", timeout_s=60)
    for size in sizes:
        for micro in micros:
            line = json.dumps(validated(folder, ranks, size=size, micro=micro))
            os.write(1, f"{line}\n".encode())  # whole lines, though ranks write at once
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3]))
