"""Learning BPE merges: this project's pair counts beside the trainer of the `tokenizers` library.

    python experiments/throughput/bpe_training.py GENOME [GENOME …] --vocab 4096 --piece 1000 10000
    python experiments/throughput/bpe_training.py GENOME --vocab 609 --piece 20000 whole

Both read the same pieces, each in a process of its own, one after the other. Shown are seconds, peak memory
of the learning alone, and whether both learned the same merges. `whole` takes chromosomes as they are.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from multiprocessing.connection import Connection
from pathlib import Path

from dnalm.data import MultispeciesCorpus
from dnalm.genome.alphabet import bases, to_text
from dnalm.tokenizers import BpeRecipe
from dnalm.tokenizers.bpe_training import TextSample, draw_sample

SPECIAL = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]


def read(genomes: list[Path], piece: int | None) -> list[TextSample]:
    corpus = MultispeciesCorpus(genomes={path.name: path for path in genomes})
    sources = [genome.whole_text() for genome in corpus.genomes()]
    return draw_sample(sources, piece_bp=piece, most_bp=10**12, seed=1)


def ours(genomes: list[Path], piece: int | None, vocab: int) -> list[tuple[str, str]]:
    corpus = MultispeciesCorpus(genomes={path.name: path for path in genomes})
    recipe = BpeRecipe(vocab_size=vocab, piece_bp=piece, memory_gb=100)
    tokenizer, _ = recipe.train([genome.whole_text() for genome in corpus.genomes()])
    return tokenizer.merges()


def library(genomes: list[Path], piece: int | None, vocab: int) -> list[tuple[str, str]]:
    from tokenizers import Tokenizer, models, trainers

    def texts() -> object:
        for sample in read(genomes, piece):
            for start, end in sample.pieces.tolist():
                yield to_text(bases(sample.source.store.codes[start:end]))

    engine = Tokenizer(models.BPE(unk_token="[UNK]"))
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=SPECIAL,
        initial_alphabet=list("ACGT"),
        min_frequency=2,
        show_progress=False,
    )
    engine.train_from_iterator(texts(), trainer)
    return [(left, right) for left, right in json.loads(engine.to_str())["model"]["merges"]]


WAYS = {"dnalm": ours, "tokenizers": library}


def measure(way: str, genomes: list[Path], piece: int | None, vocab: int, pipe: Connection) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    merges = WAYS[way](genomes, piece, vocab)
    seconds = time.perf_counter() - began
    pipe.send((merges, seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("genomes", type=Path, nargs="+")
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--piece", nargs="+", default=["1000"], help="bases, or `whole`")
    parser.add_argument("--limit", type=float, default=300, help="seconds after which a way is given up")
    arguments = parser.parse_args()
    read(arguments.genomes, None)  # build the stores
    context = multiprocessing.get_context("spawn")
    for piece in (None if word == "whole" else int(word) for word in arguments.piece):
        learned, name = {}, f"pieces of {piece}" if piece else "whole stretches"
        for way in WAYS:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(
                target=measure, args=(way, arguments.genomes, piece, arguments.vocab, sender)
            )
            process.start()
            if not receiver.poll(arguments.limit):
                process.kill()
                print(f"{name}: {way:<10} given up after {arguments.limit:.0f} s")
                continue
            learned[way], seconds, gigabytes = receiver.recv()
            process.join()
            print(f"{name}: {way:<10} {len(learned[way])} merges  {seconds:6.1f} s  {gigabytes:5.2f} GB")
        if len(learned) == len(WAYS):
            same = learned["dnalm"] == learned["tokenizers"]
            print(f"  the same merges in the same order: {same}")


if __name__ == "__main__":
    main()
