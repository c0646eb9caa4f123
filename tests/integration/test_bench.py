"""The measurements of training on a CPU work: tiny rounds, and the tables of them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

THROUGHPUT = Path(__file__).parents[2] / "experiments/throughput"


def measure(script: str, out: Path) -> None:
    """One tiny round."""
    ended = subprocess.run(
        [sys.executable, THROUGHPUT / script, "--out", out, "--tiny", "--rounds", "1"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_pair_is_measured_and_written_down(tmp_path: Path) -> None:
    """Both trained, so there are figures of both, and the table has what the file has."""
    measure("training.py", tmp_path)
    (row,) = json.loads((tmp_path / "training.json").read_text())
    assert (row["model"], row["windows"], row["precision"], row["dropout"]) == ("1 x 64", "mix", "fp32", 0.1)
    both = row["dnalm, tokens/s"] / row["Trainer, tokens/s"]
    assert float(row["ratio (least to largest)"].split()[0]) == pytest.approx(both, rel=0.02, abs=0.01)
    assert 0 < row["MFU of measured"] < 1
    assert (
        f"| {row['dnalm, tokens/s']} | {row['Trainer, tokens/s']} |" in (tmp_path / "training.md").read_text()
    )


def test_costs_are_measured_written_down_and_drawn(tmp_path: Path) -> None:
    measure("scaling.py", tmp_path)
    with (tmp_path / "scaling.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shortest = [(row["who"], row["precision"]) for row in rows if row["against"] == "length"]
    assert shortest == [("dnalm", "fp32"), ("stock", "fp32"), ("dnalm", "bf16"), ("stock", "bf16")]
    (of_processes,) = (row for row in rows if row["against"] == "processes")
    assert (of_processes["value"], 0 <= float(of_processes["data_wait"]) < 1) == ("2", True)
    assert all(float(row["tokens_per_s"]) > 0 for row in rows)
    assert {path.name for path in tmp_path.iterdir()} == {"scaling.csv", "scaling.png"}
