"""How fast windows become tokens and batches, on one core.

    python experiments/throughput/tokenize_windows.py GENOME --bpe tokenizer.json
    python experiments/throughput/tokenize_windows.py GENOME --bpe tokenizer.json --samples . --before ../old
    python experiments/throughput/tokenize_windows.py GENOME --bpe tokenizer.json --samples . --stored

The first: how many bases a second each tokenizer encodes, in windows as training reads them. A round takes
every tokenizer in turn, so that a busy machine is busy for all of them; the median of the rounds is shown.
BPE stands beside the `tokenizers` library called in batch on the same windows, as text.

The second: tokens per second of CPU time of the whole path of a sample (window, strand, tokens, mask, batch)
for published experiments, of this checkout and, where one is given, of an earlier one; with --stored, of BPE
without and with stored tokens. Each has a process, and they take turns round by round; the median of the
rounds' ratios, last to first, is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"  # before the library starts its threads

import numpy as np
from tokenizers import Tokenizer as Engine

from dnalm.compose.check import build
from dnalm.compose.config import read_config
from dnalm.data.batch import collate
from dnalm.data.module import GenomeData
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


OF_BPE = ("dnabert2", "grover")
EXPERIMENTS = ("dnabert", *OF_BPE, "nt_v1_500m", "nt_v2_500m", "logo")
GROVER_MERGES = 600
MOST_MICRO = 64


def data_of(experiment: str, genome: Path, bpe: Path, cache: Path, *, stored: bool) -> GenomeData:
    """The data of an experiment on a genome; its BPE is the given one, of as many merges as it has."""
    words = [f"experiment={experiment}", "data=fasta", f"data.fasta={genome}", f"data.cache={cache}"]
    config = read_config("pretrain", words)
    tokenizer = {
        "dnabert2": lambda: load_tokenizer(bpe),
        "grover": lambda: load_tokenizer(bpe, merges=GROVER_MERGES),
    }.get(experiment, lambda: build(config["tokenizer"], key="tokenizer"))()
    parts = {key: build(config[key], key=key) for key in ("windows", "masking", "batch")}
    data = GenomeData(build(config["data"], key="data"), tokenizer=tokenizer, seed=1, **parts)
    data.prepare_data()
    if stored:
        from dnalm.data.token_store import prepare_tokens  # an earlier checkout has none

        prepare_tokens(open_or_build(genome, cache), tokenizer, cache)
    data.setup("fit")
    return data


def serve(genome: Path, bpe: Path, cache: Path, count: int, *, stored: bool) -> None:
    """For every experiment named on standard input, print its tokens and seconds of CPU time."""
    opened: dict[str, GenomeData] = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in opened:
            opened[name] = data_of(name, genome, bpe, cache, stored=stored)
        data = opened[name]
        samples, micro = data.training_samples(), min(data.batch.most, MOST_MICRO)
        began = time.process_time()
        drawn = [samples[index] for index in range(count)]
        for start in range(0, count, micro):
            collate(drawn[start : start + micro])
        seconds = time.process_time() - began
        print(json.dumps([sum(len(sample.ids) for sample in drawn), seconds]), flush=True)


def compare_samples(
    sides: list[tuple[str, Path, bool]],
    experiments: Sequence[str],
    genome: Path,
    bpe: Path,
    *,
    rounds: int,
    count: int,
) -> None:
    """Print tokens per second of CPU time by experiment.

    Args:
        sides: what is compared: a name, a checkout, and whether it reads stored tokens.
        experiments: by name.
        genome, bpe: what is read, and how.
        rounds, count: how often, and samples each time.
    """
    own = [sys.executable, str(Path(__file__).resolve()), str(genome.resolve())]
    own += ["--bpe", str(bpe.resolve()), "--count", str(count), "--serve"]
    caches = [tempfile.mkdtemp() for _ in sides]
    served = [
        subprocess.Popen(
            [*own, cache, *(["--stored"] if stored else [])],
            env=os.environ | {"PYTHONPATH": str(path.resolve()), "OMP_NUM_THREADS": "1"},
            cwd=path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for (_, path, stored), cache in zip(sides, caches, strict=True)
    ]

    def ask(process: subprocess.Popen[str], experiment: str) -> float:
        assert process.stdin is not None
        assert process.stdout is not None
        print(experiment, file=process.stdin, flush=True)
        tokens, seconds = json.loads(process.stdout.readline())
        return float(tokens / seconds)

    names = " | ".join(f"{name}, M tokens/CPU-s" for name, _, _ in sides)
    print(f"| experiment | {names} | ratio, median (least to largest) |")
    print(f"|---|{'---:|' * len(sides)}---:|")
    for experiment in experiments:
        speeds = [[ask(process, experiment) for process in served] for _ in range(rounds + 1)][1:]
        medians = " | ".join(f"{statistics.median(of) / 1e6:.2f}" for of in zip(*speeds, strict=True))
        ratios = [of[-1] / of[0] for of in speeds]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {experiment} | {medians} | {spread} |", flush=True)
    for process, cache in zip(served, caches, strict=True):
        process.communicate()
        shutil.rmtree(cache)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("genome", type=Path, help="FASTA, 2bit or store")
    parser.add_argument("--bpe", type=Path, required=True, help="tokenizer.json or its folder")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--megabases", type=float, default=3.0, help="bases encoded in a round")
    parser.add_argument("--samples", type=Path, metavar="CHECKOUT", help="time whole samples of a checkout")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="beside those of an earlier one")
    parser.add_argument("--stored", action="store_true", help="without and with stored tokens, of BPEs")
    parser.add_argument("--serve", type=Path, metavar="CACHE", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=400, help="samples in a round")
    arguments = parser.parse_args()
    genome, bpe, count, stored = arguments.genome, arguments.bpe, arguments.count, arguments.stored
    if arguments.serve is not None:
        serve(genome, bpe, arguments.serve, count, stored=stored)
        return
    if arguments.samples is not None:
        sides = [(str(arguments.samples), arguments.samples, False)]
        if arguments.before is not None:
            sides.insert(0, (str(arguments.before), arguments.before, False))
        if stored:
            sides.append((f"{arguments.samples} with stored tokens", arguments.samples, True))
        experiments = OF_BPE if stored else EXPERIMENTS
        compare_samples(sides, experiments, genome, bpe, rounds=arguments.rounds, count=count)
        return
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
