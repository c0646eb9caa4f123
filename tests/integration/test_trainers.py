"""Every way to compute a run comes to its end and leaves a model that loads."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dnalm.cli import main
from dnalm.models import load_pretrained

pytestmark = pytest.mark.usefixtures("forked_programs")

WAYS = {
    "bf16-true": ["experiment=nt_v2_50m", "trainer.precision=bf16-true"],
    "bf16-true, sharded, with tracks": [
        "experiment=logo_multitask", "trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=2",
        "trainer.precision=bf16-true", "objectives.chromatin.per=window",
    ],
    "bf16-mixed, sharded, recomputed": [
        "experiment=dnabert2", "trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=2",
        "trainer.activation_checkpointing=true",
    ],
    "bf16-mixed, replicated, learned weights": [
        "experiment=logo_multitask", "weighting=uncertainty", "trainer=ddp", "trainer.accelerator=cpu",
        "trainer.devices=2", "objectives.region.per=window",
    ],
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_run_comes_to_its_end(way: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *WAYS[way], "size=tiny", "debug=fast", "data=demo", f"run.dir={tmp_path}/run"])
    assert ended.value.code in (0, None)
    check(tmp_path / "run")


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on a CPU: none here")
def test_a_compiled_run_comes_to_its_end(tmp_path: Path) -> None:
    """As a program of its own: here warnings are errors, and torch's compiler has some of its own."""
    words = ["experiment=dnabert", "trainer.compile=true", "size=tiny", "debug=fast", "data=demo"]
    program = [sys.executable, "-m", "dnalm", "pretrain", *words, f"run.dir={tmp_path}/run"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    check(tmp_path / "run")


def check(run: Path) -> None:
    """The run is whole, and its weights are finite."""
    summary = json.loads((run / "summary.json").read_text())
    assert summary["steps"] == 4
    assert math.isfinite(summary["val_bits_per_base"])
    weights = load_pretrained(run / "model").state_dict().values()
    assert all(torch.isfinite(weight).all() for weight in weights)
