"""R7c, R8, R9, R10: what fails is named and ends the run in time."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.reliability.harness import STILL, Place, alive, children, faulty, killed_at_the_end

TWO = ("steps=40", "trainer.devices=2", *STILL)


LONG = pytest.mark.long


@pytest.mark.parametrize(
    ("action", "rank"),
    [
        ("raise", 0),
        ("exit", 0),
        ("kill9", 1),
        pytest.param("raise", 1, marks=LONG),
        pytest.param("exit", 1, marks=LONG),
        pytest.param("kill9", 0, marks=LONG),
    ],
)
def test_a_rank_that_fails_ends_the_run_and_is_named(action: str, rank: int, own: Place) -> None:
    """R8. At its fourth step, so after samples 0 to 11 and before a checkpoint."""
    fault = faulty(own.folder / "patch", f"train.gradients@{rank}:4={action}")
    with killed_at_the_end(own.start("run", *TWO, environment=fault)) as process:
        own.wait_for_step("run", 3, rank=rank)
        began, ranks = time.monotonic(), children(process.pid)
        said, _ = process.communicate(timeout=60)
        assert time.monotonic() - began < 20, "R8 asks for seconds"
        assert alive([*ranks.values()]) == []
    message = " ".join(said.split())
    samples = f"samples {12 + 2 * rank} to {13 + 2 * rank}"
    if (
        action == "raise"
    ):  # no user can mend what nobody has foreseen: a bug, of which the traceback is wanted
        crash = json.loads((own.folder / f"run/ranks/{rank}.crash.json").read_text())
        assert process.returncode == 1, message
        assert f"rank {rank}, step 3, {samples}: RuntimeError: fault train.gradients" in message
        assert "Traceback" in message
        assert "this is a bug in dnalm" in message
        assert crash["at"] == f"step 3, {samples}"
    else:
        assert process.returncode == 6, message
        assert "Traceback" not in message
        assert f"DIST-03 rank {rank}, step 3, {samples}: " in message
        assert ("killed by SIGKILL" if action == "kill9" else "ended with exit code 1") in message


def test_two_processes_may_not_train_into_one_run(own: Place) -> None:
    """R8: the second is refused by name of the first, which goes on."""
    with killed_at_the_end(own.start("run", "steps=100000", *STILL)) as process:
        own.wait_for_step("run", 2)
        code, said = own.run("run", "steps=100000", *STILL)
        assert code == 4
        assert f"CKPT-12 {own.folder}/run: process {process.pid} on" in said
        assert process.poll() is None


def test_a_rank_that_hangs_is_found_and_its_stacks_are_left(own: Place) -> None:
    """R9."""
    fault = faulty(own.folder / "patch", "train.gradients@1:4=sleep")
    began = time.monotonic()
    code, said = own.run("run", *TWO, "trainer.stall_s=4", "trainer.timeout_s=60", environment=fault)
    assert time.monotonic() - began < 60
    assert code == 6, said
    assert "DIST-04 rank" in said
    assert "no progress for 4 s" in said
    for rank in (0, 1):
        assert "in close_step" in (own.folder / f"run/ranks/{rank}.stacks").read_text()


FETCHED = ("steps=8", "batch.num_workers=2", *STILL)


@pytest.fixture(scope="module")
def fetched(place: Place) -> str:
    """A run whose loader workers all live."""
    assert place.run("fetched", *FETCHED)[0] == 0
    return "fetched"


@pytest.mark.parametrize(
    ("action", "expected", "message"),
    [
        ("kill9", 3, "DATA-20 rank 0, "),
        ("enospc", 3, "DISK-01 "),
        ("raise", 1, "RuntimeError: fault data.sample"),
        pytest.param("exit", 3, "DATA-20 rank 0, ", marks=LONG),
    ],
)
def test_a_loader_worker_that_fails_is_distinguished_from_one_that_dies(
    action: str, expected: int, message: str, own: Place, place: Place, fetched: str
) -> None:
    """R10; what a worker raises is what the run ends with, and the resumed run is exact."""
    fault = faulty(own.folder / "patch", f"data.sample:6={action}")
    code, said = own.run("cut", *FETCHED, "trainer.checkpoint_every=1", environment=fault)
    assert code == expected, said
    assert message in said
    assert ("Traceback" in said) == (action == "raise")
    assert ("rank 0, " in said) == (action != "enospc")
    assert own.run("cut", *FETCHED, "trainer.checkpoint_every=1")[0] == 0
    assert own.ledger("cut") == place.ledger(fetched)


def test_a_loader_worker_that_is_stuck_is_a_data_error(own: Place) -> None:
    """R10; after some seconds here, and after five minutes elsewhere."""
    soon = {"dnalm.data.loading": "_POLL_S, _TIMEOUT_S = 1, 3"}
    fault = faulty(own.folder / "patch", "data.sample:6=sleep", soon)
    began = time.monotonic()
    code, said = own.run("run", *FETCHED, environment=fault)
    assert time.monotonic() - began < 40
    assert code == 3, said
    assert "DATA-20 rank 0, step" in said
    assert "DataLoader timed out after 1 seconds" in said
    assert own.run("run", *FETCHED)[0] == 0


CHANGES = {
    "seed": (["seed=2"], "seed was 1, now 2"),
    "genome": ([], "data.genome.fa was "),
    "window": (["windows.max_tokens=50"], "windows.max_tokens was 62, now 50"),
    "batch": (["batch.global_size=8"], "batch.global_size was 4, now 8"),
    "mask": (["masking.rate=0.3"], "masking.rate was 0.15, now 0.3"),
    "tokenizer": (["tokenizer=char"], "tokenizer was "),
}


@pytest.fixture(scope="module")
def begun(place: Place) -> str:
    assert place.run("begun", "steps=5", *STILL)[0] == 0
    return "begun"


@pytest.mark.parametrize("change", CHANGES)
def test_what_decides_the_samples_may_not_change(
    change: str, place: Place, begun: str, tmp_path: Path
) -> None:
    """R7c."""
    words, message = CHANGES[change]
    if change == "genome":
        text = (place.folder / "genome.fa").read_text()
        (tmp_path / "genome.fa").write_text(text[:2000] + ("A" if text[2000] != "A" else "C") + text[2001:])
        words = [f"data.fasta={tmp_path}/genome.fa"]
    code, said = place.run(begun, "steps=9", *STILL, *words)
    assert code == 2, said
    assert "CKPT-10" in said
    assert message in said


def test_a_killed_launcher_takes_its_ranks_along(own: Place) -> None:
    with killed_at_the_end(own.start("run", "steps=100000", "trainer.devices=2", *STILL)) as process:
        own.wait_for_step("run", 3, rank=1)
        ranks = children(process.pid)
        assert sorted(ranks) == [0, 1]
        os.kill(process.pid, signal.SIGKILL)
        until = time.monotonic() + 10
        while alive([*ranks.values()]) and time.monotonic() < until:
            time.sleep(0.1)
        assert alive([*ranks.values()]) == []
