"""How fast a genome becomes a store, and in how much memory: plain FASTA, gzip and 2bit.

    python experiments/throughput/fasta_to_store.py --megabases 600

Every format is built in a process of its own, checksums and fsync included; `MB/s` counts bases.
"""

from __future__ import annotations

import argparse
import gzip
import multiprocessing
import resource
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dnalm.genome.store import build_store

LINE = 60
BLOCK = LINE * 100_000  # bases made at a time
CONTIG_BLOCKS = 40  # 240 Mb, about human chr1


def write_sources(folder: Path, megabases: int) -> dict[str, Path]:
    """One random genome, a tenth of it soft-masked, in three formats."""
    paths = {"plain": folder / "genome.fa", "gzip": folder / "genome.fa.gz", "2bit": folder / "genome.2bit"}
    num_blocks = max(1, megabases * 1_000_000 // BLOCK)
    block = _random_block(np.random.default_rng(0))
    text = np.pad(block.reshape(-1, LINE), ((0, 0), (0, 1)), constant_values=ord("\n")).tobytes()
    with paths["plain"].open("wb") as plain, gzip.open(paths["gzip"], "wb", compresslevel=1) as zipped:
        for number in range(num_blocks):
            header = f">chr{number // CONTIG_BLOCKS + 1}\n".encode() if number % CONTIG_BLOCKS == 0 else b""
            plain.write(header + text)
            zipped.write(header + text)
    sizes = [min(CONTIG_BLOCKS, num_blocks - start) for start in range(0, num_blocks, CONTIG_BLOCKS)]
    _write_twobit(paths["2bit"], block, sizes)
    return paths


def _random_block(rng: np.random.Generator) -> np.ndarray:
    """(BLOCK,) letters: every tenth run of 300 in lower case, like repeats."""
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)[rng.integers(0, 4, BLOCK, dtype=np.uint8)].reshape(
        -1, 300
    )
    letters[::10] |= 0x20
    return letters.reshape(-1)


def _write_twobit(path: Path, block: np.ndarray, sizes: list[int]) -> None:
    values = np.zeros(256, dtype=np.uint8)
    values[list(b"TCAGtcag")] = [0, 1, 2, 3, 0, 1, 2, 3]
    fours = values[block].reshape(-1, 4)
    packed = (fours << np.array([6, 4, 2, 0], dtype=np.uint8)).sum(axis=1, dtype=np.uint8).tobytes()
    names = [f"chr{number + 1}".encode() for number in range(len(sizes))]
    offset = 16 + sum(5 + len(name) for name in names)
    index, records = b"", []
    for name, num_blocks in zip(names, sizes, strict=True):
        starts = np.arange(0, BLOCK * num_blocks, 3000, dtype="<u4")
        masks = (
            struct.pack("<I", len(starts))
            + starts.tobytes()
            + np.full(len(starts), 300, dtype="<u4").tobytes()
        )
        records.append((struct.pack("<2I", BLOCK * num_blocks, 0) + masks + bytes(4), num_blocks))
        index += bytes([len(name)]) + name + struct.pack("<I", offset)
        offset += len(records[-1][0]) + num_blocks * len(packed)
    with path.open("wb") as file:
        file.write(struct.pack("<4I", 0x1A412743, 0, len(sizes), 0) + index)
        for head, num_blocks in records:
            file.write(head)
            for _ in range(num_blocks):
                file.write(packed)


def measure(source: Path, target: Path, report: Callable[[str], None]) -> None:
    """Build one store and say how it went."""
    start = time.perf_counter()
    store = build_store(source, target)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    report(
        f"{source.name:<14} {store.num_bases / 1e6:7.0f} Mb  {seconds:6.1f} s  "
        f"{store.num_bases / 1e6 / seconds:6.0f} MB/s  peak {peak:5.0f} MiB  {store.fingerprint}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabases", type=int, default=600, help="size of the genome")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where to write, the temporary folder if not given"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        for kind, source in write_sources(folder, arguments.megabases).items():
            process = multiprocessing.get_context("spawn").Process(
                target=measure, args=(source, folder / f"{kind}.store", print)
            )
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
