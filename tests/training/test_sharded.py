"""Sharded training: what accumulating gradients sends, and what several machines shard."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from dnalm.training.trainer import Sharded
from tests.conftest import random_sequence
from tests.reliability.harness import ROOT
from tests.training.sharded import LAYERS, PASSES, STEPS

pytestmark = pytest.mark.usefixtures("forked_programs")
GROUPS = LAYERS + 1  # each block, and the rest of the model


def train(folder: Path, way: str, *, world: int, on_each: int | None = None) -> list[dict[str, Any]]:
    """What each rank has written, of so many processes on each machine."""
    genome, on_each = folder / "genome.fa", on_each or world
    if not genome.exists():
        genome.write_text(f">chr1\n{random_sequence(20_000)}\n>chr2\n{random_sequence(4_000, 1)}\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    common |= {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(on_each), "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-m", "tests.training.sharded", str(folder), way]
    ranks = [
        subprocess.Popen(
            program,
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank % on_each)},
            stderr=subprocess.PIPE,
            cwd=ROOT,
        )
        for rank in range(world)
    ]
    for rank in ranks:
        _, said = rank.communicate(timeout=300)
        assert rank.returncode == 0, said.decode()[-3000:]
    return [json.loads((folder / f"{way}.{rank}.of{world}.json").read_text()) for rank in range(world)]


def weights(ranks: list[dict[str, Any]]) -> torch.Tensor:
    return torch.cat([torch.tensor(values) for values in ranks[0]["weights"].values()])


def test_gradients_are_reduced_once_a_step_and_weights_are_those_of_reducing_each(tmp_path: Path) -> None:
    ours, each = (train(tmp_path, way, world=2) for way in ("once", "each"))
    for rank in each:
        assert rank["collectives"]["_reduce_scatter_base_"] == STEPS * PASSES * GROUPS
        gathered = STEPS * PASSES * (2 * LAYERS + 1)  # blocks in both passes, the rest of the model in one
        assert rank["collectives"]["_allgather_base_"] == gathered
    for rank in ours:
        assert rank["collectives"]["_reduce_scatter_base_"] == STEPS * GROUPS
        assert rank["collectives"]["_allgather_base_"] == STEPS * ((PASSES + 1) * LAYERS + 1)
    difference = (weights(ours) - weights(each)).abs().max()
    assert difference <= 1e-6  # the order of a sum of three


def test_a_checkpoint_between_two_micro_batches_holds_shards(tmp_path: Path) -> None:
    """Though the weights lie whole on each rank then; training continues to the same weights."""
    saved, plain = (train(tmp_path, way, world=2) for way in ("saved", "once"))
    assert all(rank["saved"] for rank in saved)
    assert torch.equal(weights(saved), weights(plain))


def test_validation_before_the_first_step_changes_nothing(tmp_path: Path) -> None:
    """On GPUs Lightning does so in inference mode; weights gathered in it first could not train later."""
    validated, plain = (train(tmp_path, way, world=2) for way in ("validated", "once"))
    assert [rank["backend"] for rank in validated] == ["cpu:gloo"] * 2
    assert [rank["validated"] for rank in validated] == [[0, STEPS]] * 2
    assert torch.equal(weights(validated), weights(plain))


@pytest.mark.parametrize("way", ["once", "bf16"])
def test_machines_shard_each_by_itself_and_replicate_between(way: str, tmp_path: Path) -> None:
    two, alone = train(tmp_path, way, world=4, on_each=2), train(tmp_path, way, world=2)
    assert len({json.dumps(rank["weights"]) for rank in two}) == 1
    for rank in two:
        assert rank["share"] == pytest.approx(1 / 2, abs=0.05)  # uneven where a dimension is odd
        assert rank["collectives"]["_reduce_scatter_base_"] == STEPS * GROUPS
    assert two[0]["collectives"]["allreduce_"] - alone[0]["collectives"]["allreduce_"] == STEPS * GROUPS
    assert (weights(two) - weights(alone)).abs().max() <= (1e-6 if way == "once" else 1e-2)


def test_whole_weights_stay_where_they_take_at_most_a_quarter_of_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gradient of 4 bytes and a weight of 4; on a CPU always."""
    module = torch.nn.Linear(100, 10, bias=False)
    strategy = Sharded(timeout=timedelta(seconds=60))
    for device, memory, fits in (("cuda:0", 32_000, True), ("cuda:0", 31_999, False), ("cpu", 1, True)):
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda _, m=memory: type("P", (), {"total_memory": m})
        )
        assert strategy.holds_whole(module, torch.device(device)) == fits
