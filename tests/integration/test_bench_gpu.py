"""The measurements for a GPU work: on a CPU, tiny, every part of them ends without a failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "experiments/throughput/gpu.py"
PARTS = [
    "ceilings",
    "placement",
    "parity",
    "pretrain trainer=gpu",
    "pretrain trainer=fsdp",
    "throughput",
    "whole training",
    "transformers Trainer",
    "inference",
    "kernels",
]


def test_no_part_fails(tmp_path: Path) -> None:
    """But for tests/gpu, which are tests of their own."""
    ended = subprocess.run(
        [sys.executable, SCRIPT, "--out", tmp_path, "--size", "tiny", "--budget", "3000", "--only", *PARTS],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert list(found) == PARTS
    assert all("left out" not in part and "failed" not in part for part in found.values())
    assert found["parity"]["largest relative difference"]["cpu, bfloat16"] < 0.03
    models = {row["model"] for row in found["throughput"]["rows"]}
    assert models == {"dnabert", "dnabert, no dropout", "dnabert2", "nt_v2_100m", "nt_v2_500m"}
    assert all(found[part]["steps"] == 20 for part in PARTS[3:5]), "stopped at 10, and gone on with"
    for name in (*(f"## {part}" for part in PARTS), "| model | pack | kernel |"):
        assert name in (tmp_path / "gpu.md").read_text()
