"""R5, R5b, R5c, R13: what a run sees, and what it computes, do not depend on how many processes share it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability.harness import ROOT, STILL, Place

HOPS = ((1, 0, 4), (2, 1, 8), (4, 0, 12), (2, 2, 16), (1, 1, 20))  # processes, loader workers, steps by then
LARGE = ("batch.global_size=8", "trainer.validate_every=4", *STILL)


@pytest.fixture(scope="module")
def straight(place: Place) -> str:
    code, said = place.run(
        "straight", *LARGE, "steps=20", "trainer.strategy=exact", "trainer.checkpoint_every=4"
    )
    assert code == 0, said
    return "straight"


def test_one_two_four_two_one_processes_give_the_same_bits(place: Place, straight: str) -> None:
    for devices, workers, steps in HOPS:
        shape = (f"trainer.devices={devices}", f"batch.num_workers={workers}", f"steps={steps}")
        code, said = place.run("hops", *LARGE, *shape, "trainer.strategy=exact", "trainer.checkpoint_every=4")
        assert code == 0, said
    assert place.ledger("hops") == place.ledger(straight)
    assert place.weights("hops") == place.weights(straight)
    judged = [json.loads((place.folder / run / "summary.json").read_text()) for run in ("hops", straight)]
    assert judged[0]["val_bits_per_base"] == judged[1]["val_bits_per_base"]
    assert judged[0]["hidden_bases"] == judged[1]["hidden_bases"]


def test_ordinary_replicas_see_the_same_and_compute_nearly_the_same(place: Place) -> None:
    """Dropout is keyed by micro-batch, so it is left out where micro-batches change."""
    still = (*LARGE, "model.dropout=0.0")
    assert place.run("ddp1", *still, "steps=12")[0] == 0
    for devices, micro, steps in ((1, 8, 4), (2, 1, 8), (2, 4, 12)):
        shape = (f"trainer.devices={devices}", f"batch.micro_size={micro}", f"steps={steps}")
        code, said = place.run("ddp2", *still, *shape)
        assert code == 0, said
    seen = [sorted(_samples(place, run)) for run in ("ddp1", "ddp2")]
    assert seen[0] == seen[1] == [(step, 8 * step + j) for step in range(12) for j in range(8)]
    ours, theirs = (_losses(place, run) for run in ("ddp2", "ddp1"))
    assert max(abs(a - b) / b for a, b in zip(ours, theirs, strict=True)) <= 1e-5


def test_micro_batches_by_tokens_are_resumed_to_the_bit_and_two_processes_see_the_same(place: Place) -> None:
    """Two windows of up to 64 tokens at once; of the four on each of two ranks, other packs."""
    by_tokens = (*LARGE, "batch.micro_size=null", "batch.micro_tokens=130", "trainer.checkpoint_every=4")
    code, said = place.run("tokens", *by_tokens, "steps=8")
    assert code == 0, said
    assert "4 micro-batches a step on each rank, of at most 2 samples and 128 tokens" in said
    for workers, steps in ((0, 4), (2, 8)):
        code, said = place.run("tokens_cut", *by_tokens, f"steps={steps}", f"batch.num_workers={workers}")
        assert code == 0, said
    assert place.ledger("tokens_cut") == place.ledger("tokens")
    assert place.weights("tokens_cut") == place.weights("tokens")
    code, said = place.run("tokens_of_two", *by_tokens, "steps=8", "trainer.devices=2")
    assert code == 0, said
    assert sorted(_samples(place, "tokens_of_two")) == sorted(_samples(place, "tokens"))


def test_a_loss_of_single_bases_does_not_depend_on_processes_and_may_not_change(place: Place) -> None:
    """R5 once more, where a step is a mean over bases; and the loss is part of the contract."""
    per_base = (*LARGE, "trainer.strategy=exact", "trainer.checkpoint_every=4")
    loss = "objectives.masked_tokens.loss=per_base"
    assert place.run("bases_at_once", *per_base, loss, "steps=8")[0] == 0
    for devices, steps in ((1, 4), (2, 8)):
        code, said = place.run("bases", *per_base, loss, f"steps={steps}", f"trainer.devices={devices}")
        assert code == 0, said
    assert place.ledger("bases") == place.ledger("bases_at_once")
    assert place.weights("bases") == place.weights("bases_at_once")
    code, said = place.run("bases", *per_base, "steps=12")
    assert code == 2
    assert "objectives.masked_tokens.loss was per_base, now absent" in said


def _samples(place: Place, run: str) -> list[tuple[int, int]]:
    return [(step, sample) for step, samples in place.ledger(run) for sample in samples]


def _losses(place: Place, run: str) -> list[float]:
    """Summed loss of each step."""
    sums: dict[int, float] = {}
    for (step, _), lines in place.ledger(run).items():
        ((_, loss, _),) = lines
        sums[step] = sums.get(step, 0.0) + float.fromhex(loss)
    return [sums[step] for step in sorted(sums)]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_step_of_two_processes_is_that_of_one(strategy: str, own: Place) -> None:
    """R5b: counts of masked tokens differ by rank and micro-batch; plain descent shows the gradient."""
    plain = (
        "steps=3",
        "model.dropout=0.0",
        "optim=sgd_for_tests",
        "~optim.betas",
        "~optim.eps",
        "optim.weight_decay=0.0",
        "trainer.gradient_clip=0.0",
        *STILL,
    )
    configs = own.folder / "configs/optim"
    configs.mkdir(parents=True)
    (configs / "sgd_for_tests.yaml").write_text("_target_: torch.optim.SGD\n_partial_: true\n")
    with_them = ("--config-dir", str(own.folder / "configs"))
    code, said = own.run("one", *plain, "batch.micro_size=4", *with_them)
    assert code == 0, said
    shape = ("trainer.devices=2", "batch.micro_size=1", f"trainer.strategy={strategy}")
    code, said = own.run("two", *plain, *shape, *with_them)
    assert code == 0, said
    ours, theirs = (_weights(own, run) for run in ("two", "one"))
    for name, tensor in theirs.items():
        assert tensor.sub(ours[name]).abs().max() <= 1e-6 * tensor.abs().max().clamp(min=1), name


def _weights(place: Place, run: str):  # type: ignore[no-untyped-def] # noqa: ANN202
    from safetensors.torch import load_file

    return load_file(place.folder / run / "model/model.safetensors")


RESHARD = """
import gc
gc.disable()
import hashlib, os, sys, torch, torch.distributed as dist, torch.multiprocessing as mp
from pathlib import Path
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from dnalm.training.checkpoint import read_state, state_tensors, write_state
torch.set_num_threads(1)

def share(rank, folder, act, ranks):
    if ranks:
        meeting = f"file://{folder}/{act}{ranks}"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=ranks)
    torch.manual_seed(0 if act == "save" else 1)
    model = torch.nn.Sequential(torch.nn.Linear(33, 65), torch.nn.Linear(65, 7), torch.nn.Linear(7, 1))
    if ranks:
        mesh = init_device_mesh("cpu", (ranks,))
        for part in (*model, model):
            fully_shard(part, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    if act == "save":
        for _ in range(3):
            model(torch.ones(2, 33)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        write_state(folder / "state", state_tensors(model, optimizer))
    else:
        read_state(folder / "state", model, optimizer)
    digest = hashlib.sha256()
    for name, tensor in sorted(state_tensors(model, optimizer).items()):
        whole = tensor.full_tensor() if ranks and hasattr(tensor, "full_tensor") else tensor
        digest.update(name.encode() + whole.detach().contiguous().numpy().tobytes())
    os.write(1, f"{act} {ranks} {digest.hexdigest()}\\n".encode())  # whole lines, though ranks write at once
    if ranks:
        dist.barrier()
        os._exit(0)  # gloo sometimes aborts where ranks end one after the other

for act, ranks in (("save", 2), ("load", 0), ("load", 1), ("load", 2), ("load", 4)):
    words = (Path(sys.argv[1]), act, ranks)
    mp.start_processes(share, words, nprocs=max(ranks, 1), start_method="fork")
"""


def test_what_two_ranks_have_sharded_one_two_and_four_load_to_the_bit(tmp_path: Path) -> None:
    """R5c: odd shapes, with the optimizer's state; 0 ranks are a process that shards nothing."""
    (tmp_path / "state").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", RESHARD, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = [line.split() for line in done.stdout.splitlines()]
    told = [(act, int(ranks)) for act, ranks, _ in sorted(found)]
    assert told == [("load", ranks) for ranks in (0, 1, 2, 2, 4, 4, 4, 4)] + [("save", 2)] * 2
    assert len({digest for _, _, digest in found}) == 1
