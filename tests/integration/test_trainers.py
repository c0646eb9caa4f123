"""Every way to compute a run comes to its end and leaves a model that loads."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from dnalm.cli import main
from dnalm.models import load_pretrained

WAYS = {
    "bf16-true": ["experiment=nt_v2_50m", "trainer.precision=bf16-true"],
    "bf16-true, sharded, with tracks": [
        "experiment=logo_multitask", "trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=2",
        "trainer.precision=bf16-true",
    ],
    "bf16-mixed, sharded, recomputed": [
        "experiment=dnabert2", "trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=2",
    ],
    "bf16-mixed, replicated, learned weights": [
        "experiment=logo_multitask", "weighting=uncertainty", "trainer=ddp", "trainer.accelerator=cpu",
        "trainer.devices=2",
    ],
    "compiled": ["experiment=dnabert", "trainer.compile=true"],
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # inside torch.compile
@pytest.mark.parametrize("way", WAYS)
def test_a_run_comes_to_its_end(way: str, tmp_path: Path) -> None:
    if way == "compiled" and shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler on a CPU, and there is none here")
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *WAYS[way], "size=tiny", "debug=fast", "data=demo", f"run.dir={tmp_path}/run"])
    assert ended.value.code in (0, None)
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["steps"] == 4
    assert math.isfinite(summary["val_bits_per_base"])
    weights = load_pretrained(tmp_path / "run/model").state_dict().values()
    assert all(torch.isfinite(weight).all() for weight in weights)
