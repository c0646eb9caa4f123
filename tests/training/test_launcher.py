"""What ranks leave of where they are, and which of several that failed is the cause."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dnalm.errors import DataError
from dnalm.training import launcher
from dnalm.training.distributed import LAUNCHED, NCCL_DUMP, set_gpu_environment
from dnalm.training.launcher import Heartbeat, RunFolder, _cause, last_sign, report_crash


class Clock:
    """Stands for `time.monotonic` in the callback."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made)
    monkeypatch.delenv(LAUNCHED, raising=False)
    return made


@pytest.fixture
def heartbeat(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Heartbeat]:
    monkeypatch.setattr(Heartbeat, "_watch", lambda _: None)  # whose seconds are real ones
    assert time.monotonic is clock
    made = Heartbeat(RunFolder(tmp_path), 3, stall_s=1e9)
    made.on_train_start()
    yield made
    made.on_train_end()


def train(heartbeat: Heartbeat, step: int) -> None:
    trainer: Any = SimpleNamespace(global_step=step)
    batch: Any = SimpleNamespace(samples=(4 * step, 4 * step + 3))
    heartbeat.on_train_batch_start(trainer, batch, batch)


def test_a_rank_that_nobody_watches_writes_once_a_second(heartbeat: Heartbeat, clock: Clock) -> None:
    """The file system may be that of hundreds of ranks."""
    seen = []
    for step, seconds in enumerate((0.0, 0.4, 0.4, 0.4, 0.4, 0.4)):
        clock.now += seconds
        train(heartbeat, step)
        seen.append(last_sign(heartbeat.folder, 3).partition(",")[0])
    assert seen == ["step 0", "step 0", "step 0", "step 3", "step 3", "step 3"]


def test_a_rank_in_a_long_step_says_so_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts within the second after the last write, and no micro-batch follows."""
    monkeypatch.delenv(LAUNCHED, raising=False)
    monkeypatch.setattr(launcher, "_SIGNS_S", 0.05)
    heartbeat = Heartbeat(RunFolder(tmp_path), 3, stall_s=1e9)
    heartbeat._next_write = float("inf")
    heartbeat.on_train_start()
    train(heartbeat, 7)
    until = time.monotonic() + 60
    while last_sign(heartbeat.folder, 3) != "step 7, samples 28 to 31" and time.monotonic() < until:
        time.sleep(0.01)
    heartbeat.on_train_end()
    assert time.monotonic() < until


def test_a_rank_that_may_be_killed_and_reported_writes_each_micro_batch(
    heartbeat: Heartbeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LAUNCHED, "")
    for step in range(3):
        train(heartbeat, step)
        assert last_sign(heartbeat.folder, 3) == f"step {step}, samples {4 * step} to {4 * step + 3}"


def test_a_rank_that_fails_says_where_it_was_to_the_micro_batch(heartbeat: Heartbeat) -> None:
    for step in range(3):
        train(heartbeat, step)
    heartbeat.on_exception()
    assert last_sign(heartbeat.folder, 3) == "step 2, samples 8 to 11"


ABORTED, KILLED, HANGS = -signal.SIGABRT, -signal.SIGKILL, None


@pytest.mark.parametrize(
    ("codes", "rank", "found"),
    [
        ([ABORTED, ABORTED, HANGS], 2, "no answer while the others waited"),
        ([ABORTED, KILLED, ABORTED], 1, "killed by SIGKILL"),
        (
            [ABORTED, ABORTED, ABORTED],
            0,
            "aborted by NCCL, whose wait for the other ranks was too long; its coll",
        ),
        ([0, ABORTED, 0], 1, "killed by SIGABRT"),
    ],
)
def test_a_rank_that_nccl_has_aborted_is_a_victim(
    codes: list[int | None], rank: int, found: str, tmp_path: Path
) -> None:
    (tmp_path / f"{NCCL_DUMP}0").touch()
    crash = _cause(tmp_path, [n for n, code in enumerate(codes) if code != 0], codes)
    assert (crash.rank, crash.exit_code) == (rank, 6)
    assert f"DIST-03 rank {rank}, before the first step: {found}" in crash.message


def test_the_report_of_another_rank_outweighs_an_abort(tmp_path: Path) -> None:
    for error, at in ((DataError("DATA-20", where="x", found="y", expected="z", fix="f"), "DATA-20 x"),):
        report_crash(tmp_path, 1, error)
        assert _cause(tmp_path, [0, 1], [ABORTED, 3]).message.startswith(at)
    report_crash(tmp_path, 1, RuntimeError("Connection closed by peer"))
    assert _cause(tmp_path, [0, 1], [ABORTED, 6]).rank == 1  # both are victims; one says of what
    assert _cause(tmp_path, [0, 1, 2], [ABORTED, 6, KILLED]).rank == 2


def test_cuda_and_nccl_are_set_once_and_a_users_words_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"TORCH_NCCL_DUMP_ON_TIMEOUT": "0"})
    set_gpu_environment(Path("run/ranks"))
    assert os.environ == {
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "TORCH_FR_BUFFER_SIZE": "2000",
        "TORCH_FR_DUMP_TEMP_FILE": "run/ranks/nccl_",
        "TORCH_NCCL_DUMP_ON_TIMEOUT": "0",
    }
    monkeypatch.setattr(os, "environ", {"PYTORCH_ALLOC_CONF": "max_split_size_mb:512"})
    set_gpu_environment(Path("run/ranks"))
    assert "PYTORCH_CUDA_ALLOC_CONF" not in os.environ
