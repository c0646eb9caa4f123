"""R13: lists of any length are validated by any number of processes, each sample once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.data.batch import validation_batches
from tests.conftest import random_sequence
from tests.reliability.harness import ROOT

Found = dict[tuple[int, int], list[dict[str, Any]]]


@given(st.integers(1, 200), st.integers(1, 9), st.integers(1, 9))
def test_batches_hold_every_sample_once_and_are_equally_many(size: int, micro: int, world: int) -> None:
    lists = [validation_batches(size, micro_size=micro, rank=rank, world_size=world) for rank in range(world)]
    met = [index for batches in lists for batch in batches for index in batch]
    assert sorted(index for index in met if index < size) == list(range(size))
    assert len({len(batches) for batches in lists}) == 1, "else a rank would wait for ever"
    assert all(1 <= len(batch) <= micro for batches in lists for batch in batches)


def judge(folder: Path, world: int, sizes: Iterable[int], micros: Iterable[int]) -> Found:
    """What all ranks have said of each list, by its size and that of micro-batches."""
    genome = folder / "genome.fa"
    if not genome.exists():
        genome.write_text(f">chr1\n{random_sequence(20_000)}\n>chr2\n{random_sequence(4_000, 1)}\n")
    program = [sys.executable]
    if world > 1:
        program += ["-m", "torch.distributed.run", f"--nproc-per-node={world}", "--standalone"]
    words = ["-m", "tests.reliability.uneven", str(folder), json.dumps([*sizes]), json.dumps([*micros])]
    done = subprocess.run(
        [*program, *words], env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: Found = defaultdict(list)
    for text in done.stdout.splitlines():
        line = json.loads(text)
        found[line["size"], line["micro"]].append(line)
    return found


def compare(folder: Path, worlds: Iterable[int], sizes: list[int], micros: list[int]) -> tuple[int, float]:
    """Hold each world against one process; lists compared, and the largest relative difference."""
    alone = judge(folder, 1, sizes, micros)
    assert len(alone) == len(sizes) * len(micros)
    count, worst = 0, 0.0
    for world in worlds:
        for (size, micro), ranks in judge(folder, world, sizes, micros).items():
            (one,) = alone[size, micro]
            assert len(ranks) == world
            assert sorted(sample for rank in ranks for sample in rank["samples"]) == list(range(size))
            assert len({(rank["val_loss"], rank["val_bits_per_base"]) for rank in ranks}) == 1
            for name in ("targets", "hidden"):
                assert sum(rank[name] for rank in ranks) == one[name]
            for name in ("loss", "bits"):
                off = abs(sum(rank[name] for rank in ranks) / one[name] - 1)
                # One sequence at a time is computed alike wherever; several share a matrix product in fp32.
                assert off <= (1e-12 if micro == 1 else 1e-6), (world, size, micro, name)
                worst = max(worst, off)
            count += 1
    return count, worst


def test_two_processes_judge_any_list_as_one_does(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """R13. Sums are compared before they are rounded."""
    count, worst = compare(tmp_path, [2], [1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33], [1, 2, 3, 5])
    record_property("lists", count)
    record_property("worst", worst)


@pytest.mark.long
def test_two_and_four_processes_judge_lists_of_every_length_as_one_does(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """R13. The whole product."""
    count, worst = compare(tmp_path, [2, 4], [*range(1, 34)], [1, 2, 3, 4, 5])
    record_property("lists", count)
    record_property("worst", worst)
