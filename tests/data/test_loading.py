"""Worker processes that die are noticed, those that are slow are waited for, and order is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import Dataset

from dnalm.data import loading
from dnalm.data.loading import Loader
from tests.reliability.harness import alive

pytestmark = pytest.mark.usefixtures("forked_programs")

ROOT = Path(__file__).parents[2]


class Numbers(Dataset[int]):
    """Sample i is i; one of them kills its worker or takes its time."""

    def __init__(self, *, kills: int = -1, slow: int = -1, slow_s: float = 0.0) -> None:
        self.kills, self.slow, self.slow_s = kills, slow, slow_s

    def __getitem__(self, index: int) -> int:
        if index == self.kills:
            os.kill(os.getpid(), signal.SIGKILL)
        if index == self.slow:
            time.sleep(self.slow_s)
        return index


def total(samples: list[int]) -> int:
    return sum(samples)


def loader(numbers: Numbers, workers: int = 2) -> Loader[int]:
    return Loader(numbers, [[n, n + 1] for n in range(0, 20, 2)], collate=total, num_workers=workers)


EXPECTED = [2 * n + 1 for n in range(0, 20, 2)]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_come_in_order(workers: int) -> None:
    made = loader(Numbers(), workers)
    assert list(made) == EXPECTED
    assert len(made) == 10


def test_a_slow_sample_is_waited_for_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_POLL_S", 1)
    assert list(loader(Numbers(slow=8, slow_s=3.5))) == EXPECTED


def test_a_worker_that_takes_too_long_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_POLL_S", 1)
    monkeypatch.setattr(loading, "_TIMEOUT_S", 2)
    with pytest.raises(RuntimeError, match="DataLoader timed out after 1 seconds"):
        list(loader(Numbers(slow=8, slow_s=60)))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_is_killed_is_noticed_though_it_sends_no_signal(workers: int) -> None:
    with pytest.raises((RuntimeError, ConnectionError, EOFError)):
        list(loader(Numbers(kills=8), workers))


PROGRAM = """
import os, sys
from tests.data.test_loading import Pids, hand_over
from dnalm.data.loading import Loader
if __name__ == "__main__":
    batches = iter(Loader(Pids(), [[n] for n in range(50)], collate=hand_over, num_workers=2))
    pids = {next(batches)[0] for _ in range(6)}
    os.write(1, (" ".join(map(str, pids)) + "\\n").encode())
    sys.stdin.read()
"""


class Pids(Dataset[tuple[int, bytes]]):
    """The process that fetched a sample, and more bytes than a pipe holds."""

    def __getitem__(self, index: int) -> tuple[int, bytes]:
        return os.getpid(), bytes(1 << 20)


def hand_over(samples: list[tuple[int, bytes]]) -> tuple[int, bytes]:
    return samples[0]


def test_workers_end_with_a_process_that_is_killed_while_they_send() -> None:
    """Nobody reads any more what they are about to send, so that they could not end by themselves."""
    words = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as process:
        assert process.stdout is not None
        workers = [int(word) for word in process.stdout.readline().split()]
        assert len(workers) == 2
        time.sleep(0.5)  # both fill their pipes
        process.kill()
        assert process.communicate(timeout=30)[0] == "", "the output ends when no process holds it"
    assert alive(workers) == []


class Broken(Pids):
    """Its workers meet an error outside of any sample, as where they hand on what is no longer fetched."""

    def __getitem__(self, index: int) -> tuple[int, bytes]:
        loading._REPORT_AFTER_S = 3  # for a busy machine
        broken = BrokenPipeError("nobody fetches this")
        threading.Thread(target=lambda: sys.excepthook(BrokenPipeError, broken, None)).start()
        return super().__getitem__(index)


@pytest.mark.parametrize(("lives_s", "told"), [(0, ""), (6, "BrokenPipeError: nobody fetches this\n")])
def test_a_worker_says_nothing_of_what_the_death_of_its_trainer_broke(lives_s: float, told: str) -> None:
    program = PROGRAM.replace("Pids", "Broken")
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert len(process.stdout.readline().split()) == 2
        time.sleep(lives_s)
        process.kill()
        said = process.communicate(timeout=30)[1]
    lines = [line for line in said.splitlines(keepends=True) if "resource_tracker" not in line]
    assert {line for line in lines if "warnings.warn" not in line} == ({told} if told else set())


def test_what_is_waited_for_batches_is_counted_and_not_what_is_done_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(loading, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def take_two_seconds(samples: list[int]) -> int:
        clock.now += 2
        return sum(samples)

    loader = Loader(Numbers(), [[0], [1], [2]], collate=take_two_seconds, num_workers=0)
    for _ in loader:
        clock.now += 5
    assert loader.waited_s == 3 * 2


@pytest.mark.parametrize(
    ("device", "asked", "cores", "workers"),
    [
        ("cpu", None, 16, 0),
        ("cuda", None, 16, 4),
        ("cuda", None, 2, 2),
        ("cuda", 0, 16, 0),
        ("cpu", 3, 16, 3),
    ],
)
def test_workers_and_pinned_memory_are_for_the_device_that_computes(
    device: str, asked: int | None, cores: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine with a GPU too: what a CPU reads is not pinned, which would make a context on the GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    made = Loader(Numbers(), [[0]], collate=total, num_workers=asked, device=torch.device(device))._loader
    assert (made.num_workers, made.pin_memory) == (workers, device == "cuda")
    ahead = {"cpu": 2, "cuda": 4}[device] if workers else None  # 2 is torch's own
    assert made.prefetch_factor == ahead


def test_batches_without_end_have_no_number() -> None:
    endless = Loader(Numbers(), iter([[1]]), collate=total, num_workers=0)
    with pytest.raises(TypeError, match="without end"):
        len(endless)
