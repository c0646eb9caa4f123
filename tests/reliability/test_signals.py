"""R7: told to stop, on whatever rank and at whatever moment, all ranks save the same step and end."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from dnalm.training.checkpoints import open_checkpoint
from tests.reliability.harness import STILL, Place, alive, children, killed_at_the_end

LONG = ("steps=100000", "trainer.checkpoint_every=1000", "trainer.validate_every=100000", "trainer.devices=2")
TERM, USR1, INT = signal.SIGTERM, signal.SIGUSR1, signal.SIGINT
CELLS = [
    ("launcher", TERM, "train"), ("launcher", USR1, "train"), ("launcher", INT, "train"),
    ("rank0", TERM, "train"), ("rank1", TERM, "train"), ("rank1", USR1, "train"), ("rank0", INT, "train"),
    ("all", TERM, "train"), ("all", INT, "train"),
    ("launcher", TERM, "validate"), ("rank1", TERM, "validate"), ("launcher", TERM, "start"),
]  # fmt: skip


def tell(process: subprocess.Popen[str], target: str, number: signal.Signals) -> None:
    ranks = children(process.pid)
    pids = {"launcher": [process.pid], "rank0": [ranks.get(0)], "rank1": [ranks.get(1)]}
    for pid in pids.get(target, [*ranks.values()]):
        assert pid is not None, ranks
        os.kill(pid, number)


@pytest.mark.parametrize(("target", "number", "phase"), CELLS)
def test_all_ranks_save_the_same_step_and_end(
    target: str, number: signal.Signals, phase: str, own: Place
) -> None:
    more = ["trainer.validate_every=5", "windows.num_validation=1000"] if phase == "validate" else []
    with killed_at_the_end(own.start("run", *LONG, *STILL, *more)) as process:
        for rank in (0, 1):
            own.wait_for_step("run", 0 if phase == "start" else 4, rank=rank)
        time.sleep(0.3 if phase == "validate" else 0.0)
        ranks = children(process.pid)
        assert sorted(ranks) == [0, 1]
        tell(process, target, number)
        began = time.monotonic()
        said, _ = process.communicate(timeout=60)
        assert process.returncode == (130 if number == INT else 143), said
        assert time.monotonic() - began < 30, "R7 asks for seconds"
        assert alive([*ranks.values()]) == []
    (path,) = (own.folder / "run/checkpoints").iterdir()
    step = open_checkpoint(path).step
    assert f"stopped after step {step:,}, which is saved" in " ".join(said.split())
    done = {key[0] for key in own.ledger("run")}
    assert done == set(range(step)), "every rank has done these steps and no other"
    assert all(len(list(key[1])) == 2 for key in own.ledger("run"))


def test_a_preempted_run_goes_on_to_the_bit(own: Place) -> None:
    with killed_at_the_end(own.start("cut", *LONG, *STILL)) as process:
        own.wait_for_step("cut", 10)
        process.send_signal(TERM)
        process.communicate(timeout=60)
    (path,) = (own.folder / "cut/checkpoints").iterdir()
    steps = open_checkpoint(path).step + 4
    for run in ("cut", "whole"):
        code, said = own.run(run, "trainer.devices=2", *STILL, f"steps={steps}")
        assert code == 0, said
    assert own.ledger("cut") == own.ledger("whole")
    assert own.weights("cut") == own.weights("whole")


def test_a_second_ctrl_c_ends_at_once(own: Place) -> None:
    sleeping = {"DNALM_FAULT": "train.gradients:3=sleep"}
    with killed_at_the_end(own.start("run", "steps=50", *STILL, environment=sleeping)) as process:
        own.wait_for_step("run", 2)
        time.sleep(0.5)
        for _ in range(2):
            process.send_signal(INT)
            time.sleep(0.5)
        process.communicate(timeout=20)
        assert process.returncode == 130
