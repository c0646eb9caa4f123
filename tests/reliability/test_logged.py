"""TensorBoard and W&B of a run that is killed twice; and a run whose W&B is killed beneath it."""

import json
import os
import signal
import subprocess

import pytest

from tests.logged import columns, offline_runs, scalars
from tests.reliability.harness import STILL, Place, killed_at_the_end

WORDS = (*STILL, "trainer.log_every=1")
OFFLINE = (*WORDS, "logger=wandb", "logger.offline=true")


def killed_twice(place: Place, *words: str) -> None:
    """By SIGKILL, some steps after a checkpoint, and by SIGTERM; then it comes to its end."""
    sign = place.folder / "run/ranks/0.json"
    step = 3
    for sent, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        sign.unlink(missing_ok=True)
        with killed_at_the_end(place.start("run", *words, "steps=100000")) as process:
            place.wait_for_step("run", step + 5)
            os.kill(process.pid, sent)
            assert process.wait(timeout=120) == code
        step = place.step_of("run", 0) or 0
    last = step + 6
    code, said = place.run("run", *words, f"steps={last}")
    assert code == 0, said
    assert "has failed" not in said


def test_wandb_continues_the_same_run(own: Place) -> None:
    """All rows since the SIGKILL come once, those before it as far as W&B had written them."""
    killed_twice(own, *OFFLINE)
    run = own.folder / "run"
    first, second, third = offline_runs(run)
    assert {second.id, third.id} == {(run / "wandb/id").read_text()}
    assert first.id in (second.id, "")  # nothing is written before there are 32 KiB
    assert (second.exit_code, second.is_preempting) == (143, True)
    assert (third.exit_code, third.is_preempting) == (0, False)
    begun = min(row["trainer/global_step"] for row in second.rows)
    assert begun % 5 == 0
    assert begun > 0
    for name, values in columns(run / "metrics.csv").items():
        since = [(r["trainer/global_step"], r[name]) for r in second.rows + third.rows if name in r]
        assert since == [(step, value) for step, value in values if step >= begun]
        assert {(r["trainer/global_step"], r[name]) for r in first.rows if name in r} <= set(values)
    summary = json.loads((run / "summary.json").read_text())
    assert third.summary["val_loss"] == summary["val_loss"]


def test_tensorboard_continues_in_the_same_folder_without_a_step_twice(own: Place) -> None:
    killed_twice(own, *WORDS, "logger=tensorboard")
    run = own.folder / "run"
    shown = scalars(run / "tensorboard")
    for name, values in columns(run / "metrics.csv").items():
        assert shown[name] == [(step, pytest.approx(value, rel=1e-6)) for step, value in values]


def test_a_run_outlives_its_wandb(own: Place) -> None:
    """W&B's own process is killed; the run says so once and has the bits of one without a logger."""
    with killed_at_the_end(own.start("run", *OFFLINE, "steps=400")) as process:
        own.wait_for_step("run", 8)
        core = services(own)
        for pid in core:
            os.kill(pid, signal.SIGKILL)
        assert core
        said, _ = process.communicate(timeout=240)
        assert process.returncode == 0, said
    assert said.count("W&B has failed: ") == 1
    assert "Training continues; " in said
    assert "Traceback" not in said
    assert own.run("plain", *WORDS, "steps=400")[0] == 0
    assert own.weights("run") == own.weights("plain")
    csv = "metrics.csv"
    assert (own.folder / "run" / csv).read_bytes() == (own.folder / "plain" / csv).read_bytes()


def services(place: Place) -> list[int]:
    """The processes of W&B that write into a place."""
    listed = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    candidates = [int(line.split()[0]) for line in listed.splitlines() if "wandb-core" in line]
    return [pid for pid in candidates if any(str(place.folder) in path for path in open_files(pid))]


def open_files(pid: int) -> list[str]:
    """What a process has open."""
    try:
        folder = f"/proc/{pid}/fd"
        return [os.readlink(f"{folder}/{number}") for number in os.listdir(folder)]  # noqa: PTH208, PTH115
    except OSError:
        return []
