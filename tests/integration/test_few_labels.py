"""A benchmark over numbers of labels, from its jobs to its curves."""

import csv
from pathlib import Path

import pytest

from dnalm.commands.benchmark import BenchmarkFolder, benchmark
from dnalm.sweeps import LocalLauncher
from tests.conftest import random_sequence
from tests.evaluation.benchmark import test_benchmark as toy

ROWS = 60


def test_counts_of_kmers_learn_from_ten_rows_and_from_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, split in enumerate(("train", "dev", "test")):
        rows = [(random_sequence(30, 100 * seed + n), str(n % 2)) for n in range(ROWS)]
        toy.write_split(tmp_path / f"root/toy/{split}.csv", rows)
    benchmark(
        benchmark=toy.benchmark(tmp_path, root=tmp_path / "root"),
        models=("kmer_logistic",),
        sweep=BenchmarkFolder(dir=tmp_path / "out"),
        launcher=LocalLauncher(),
        config_dir=None,
        config={},
        seeds=1,
        labels=(10, "all"),
    )
    assert "curves by labels: " in capsys.readouterr().out
    with (tmp_path / "out/labels.csv").open(newline="") as file:
        found = {int(row["labels"]): float(row["mean"]) for row in csv.DictReader(file)}
    assert set(found) == {10, ROWS}
    with (tmp_path / "out/benchmark.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["mean"]) == found[ROWS]
    assert (tmp_path / "out/labels.png").is_file()
