"""R7: asked to stop, on whatever rank and at whatever moment, all ranks save the same step and end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest

from dnalm.training.checkpoint import open_checkpoint
from tests.reliability.harness import STILL, Place, alive, children, faulty, killed_at_the_end, patched

LONG = ("steps=100000", "trainer.checkpoint_every=1000", "trainer.validate_every=100000", "trainer.devices=2")
MODULE = "dnalm.training.pretraining"
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


def test_a_preempted_run_continues_to_the_bit(own: Place) -> None:
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


SLOWLY = (
    "import time\n_right = MaskedLMTraining.training_step\n"
    "def _slow(self, batch, index):\n    time.sleep(0.3)\n    return _right(self, batch, index)\n"
    "MaskedLMTraining.training_step = _slow\n"
)
EIGHT = ("batch.global_size=32", "trainer.log_every=1", "schedule.warmup_steps=1", "steps=3")


@pytest.mark.parametrize(("devices", "target", "number"), [(1, "launcher", INT), (2, "rank1", TERM)])
def test_a_long_step_is_left_at_the_next_micro_batch_and_repeated_to_the_bit(
    devices: int, target: str, number: signal.Signals, own: Place
) -> None:
    """Steps of 16 or 8 micro-batches of 0.3 s; the signal comes in the second one."""
    words, slow = (*EIGHT, f"trainer.devices={devices}"), patched(own.folder / "patch", {MODULE: SLOWLY})
    with killed_at_the_end(own.start("cut", *words, environment=slow)) as process:
        for rank in range(devices):
            own.wait_for_step("cut", 1, rank=rank)
        time.sleep(0.7)
        began = time.monotonic()
        tell(process, target, number)
        said, _ = process.communicate(timeout=60)
        assert time.monotonic() - began < (4 if devices == 1 else 10), said
        assert process.returncode == (130 if number == INT else 143), said
    message = " ".join(said.split())
    assert "stopped after step 1, which is saved; step 2 was left unfinished and will be repeated" in message
    if target == "launcher":
        assert "dnalm: SIGINT: stopping after this micro-batch; a second signal stops at once" in message
    (path,) = (own.folder / "cut/checkpoints").iterdir()
    assert open_checkpoint(path).step == 1
    begun = [samples for step, samples in own.ledger("cut") if step == 1]
    assert 0 < len(begun) < 16
    for run in ("cut", "whole"):
        code, said = own.run(run, *words)
        assert code == 0, said
    assert own.ledger("cut") == own.ledger("whole")
    assert own.weights("cut") == own.weights("whole")
    metrics = [(own.folder / run / "metrics.csv").read_text() for run in ("cut", "whole")]
    assert metrics[0] == metrics[1]
    counted = [json.loads((own.folder / run / "summary.json").read_text()) for run in ("cut", "whole")]
    for figure in ("tokens", "bases", "realised_mask_rate"):
        assert counted[0][figure] == counted[1][figure]


def test_a_run_that_is_left_within_its_first_step_saves_nothing(own: Place) -> None:
    slow = patched(own.folder / "patch", {MODULE: SLOWLY})
    with killed_at_the_end(own.start("cut", *EIGHT, environment=slow)) as process:
        own.wait_for_step("cut", 0)
        time.sleep(0.7)
        process.send_signal(TERM)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 143
    assert "stopped before the first step was complete; step 1 was left unfinished" in " ".join(said.split())
    assert not (own.folder / "cut/checkpoints").exists()


@pytest.mark.usefixtures("real_programs")
@pytest.mark.parametrize(
    ("after_s", "devices", "number"), [(0.3, 1, TERM), (2.0, 2, USR1), (4.0, 1, INT), (8.0, 2, TERM)]
)
def test_a_signal_ends_the_preparation_at_once(
    after_s: float, devices: int, number: signal.Signals, own: Place
) -> None:
    """While it imports, while it reads the genome, while its processes import."""
    with killed_at_the_end(own.start("run", *STILL, "steps=100000", f"trainer.devices={devices}")) as process:
        time.sleep(after_s)
        ranks = children(process.pid)
        process.send_signal(number)
        began = time.monotonic()
        said, _ = process.communicate(timeout=60)
        assert time.monotonic() - began < 15, said
        assert process.returncode == (130 if number == INT else 143), said
        assert alive([*ranks.values()]) == []
    assert "Traceback" not in said
    assert f"dnalm: {number.name}: stop" in said
    found = {path.name for path in own.folder.glob("cache/**/*") if path.name.startswith(".tmp")}
    assert found == set(), "nothing is left half-made"


@pytest.mark.parametrize("number", [TERM, INT])
def test_a_second_signal_ends_at_once(number: signal.Signals, own: Place) -> None:
    sleeping = faulty(own.folder / "patch", "train.gradients:3=sleep")
    with killed_at_the_end(own.start("run", "steps=50", *STILL, environment=sleeping)) as process:
        own.wait_for_step("run", 2)
        time.sleep(0.5)
        for _ in range(2):
            process.send_signal(number)
            time.sleep(0.5)
        process.communicate(timeout=20)
        assert process.returncode == (130 if number == INT else 143)
