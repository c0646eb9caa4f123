"""The measurement of whole training works: one tiny pair beside `transformers.Trainer`, and its table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments/throughput/training.py"


def test_a_pair_is_measured_and_written_down(tmp_path: Path) -> None:
    """Both trained, so there are figures of both, and the table has what the file has."""
    ended = subprocess.run(
        [sys.executable, SCRIPT, "--out", tmp_path, "--tiny", "--rounds", "1"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (row,) = json.loads((tmp_path / "training.json").read_text())
    assert (row["model"], row["windows"], row["precision"], row["dropout"]) == ("1 x 64", "mix", "fp32", 0.1)
    both = row["dnalm, tokens/s"] / row["Trainer, tokens/s"]
    assert float(row["ratio (least to largest)"].split()[0]) == pytest.approx(both, rel=0.02, abs=0.01)
    assert 0 < row["MFU of measured"] < 1
    assert (
        f"| {row['dnalm, tokens/s']} | {row['Trainer, tokens/s']} |" in (tmp_path / "training.md").read_text()
    )
