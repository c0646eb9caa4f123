"""How many bases a second each tokenizer encodes, on one core, in windows as training reads them.

    python experiments/throughput/tokenize_windows.py GENOME --bpe tokenizer.json

A round takes every tokenizer in turn, so that a busy machine is busy for all of them; the median of the
rounds is shown. BPE stands beside the `tokenizers` library called in batch on the same windows, as text.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"  # before the library starts its threads

import numpy as np
from tokenizers import Tokenizer as Engine

from dnalm.genome.alphabet import Codes, bases, to_text
from dnalm.genome.store import open_or_build
from dnalm.tokenizers import KmerTokenizer, LogoTokenizer, SixMerTokenizer, Tokenizer, load_tokenizer


def encode_all(tokenizer: Tokenizer, windows: list[Codes], *, with_spans: bool) -> None:
    for codes in windows:
        ids = tokenizer.encode(codes)
        if with_spans:
            tokenizer.spans(codes, ids)


def library_batch(engine: Engine, texts: list[str]) -> None:
    for encoding in engine.encode_batch(texts):
        np.array(encoding.ids)


def ways(windows: list[Codes], bpe: Path) -> dict[str, Callable[[], None]]:
    """What is timed, by name."""
    tokenizers: dict[str, Tokenizer] = {
        "k-mer, k=6": KmerTokenizer(k=6),
        "character": KmerTokenizer(k=1),
        "NT 6-mers": SixMerTokenizer(version=2),
        "LOGO, k=5": LogoTokenizer(k=5),
        "BPE": load_tokenizer(bpe),
    }
    engine = Engine.from_file(str(bpe / "tokenizer.json" if bpe.is_dir() else bpe))
    texts = [to_text(bases(codes)) for codes in windows]
    calls: dict[str, Callable[[], None]] = {}
    for name, tokenizer in tokenizers.items():
        calls[name] = lambda t=tokenizer: encode_all(t, windows, with_spans=False)
        calls[f"{name}, with spans"] = lambda t=tokenizer: encode_all(t, windows, with_spans=True)
    calls["BPE, tokenizers library, encode_batch"] = lambda: library_batch(engine, texts)
    return calls


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("genome", type=Path, help="FASTA, 2bit or store")
    parser.add_argument("--bpe", type=Path, required=True, help="tokenizer.json or its folder")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--megabases", type=float, default=3.0, help="bases encoded in a round")
    arguments = parser.parse_args()
    store = open_or_build(arguments.genome)
    for length in (515, 700, 6000):
        count = int(arguments.megabases * 1e6 / length)
        starts = np.random.default_rng(0).integers(0, store.num_bases - length, count)
        windows = [store.codes[start : start + length].view(np.ndarray).copy() for start in starts]
        calls = ways(windows, arguments.bpe)
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(arguments.rounds):
            for name, call in calls.items():
                began = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - began)
        print(f"windows of {length} bases, {count} a round, {arguments.rounds} rounds")
        for name, taken in seconds.items():
            print(f"  {name:<40} {count * length / statistics.median(taken) / 1e6:8.1f} million bases/s")
        ratios = [
            theirs / ours
            for theirs, ours in zip(
                seconds["BPE, tokenizers library, encode_batch"], seconds["BPE"], strict=True
            )
        ]
        print(f"  BPE, ours over the library's: {statistics.median(ratios):.2f} (lowest {min(ratios):.2f})")


if __name__ == "__main__":
    main()
