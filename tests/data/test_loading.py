"""Worker processes that die are noticed, those that are slow are waited for, and order is kept."""

from __future__ import annotations

import os
import signal
import time

import pytest
from torch.utils.data import Dataset

from dnalm.data import loading
from dnalm.data.loading import Loader


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
    monkeypatch.setattr(loading, "_LOOK_S", 1)
    assert list(loader(Numbers(slow=8, slow_s=3.5))) == EXPECTED


def test_a_worker_that_takes_too_long_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_LOOK_S", 1)
    monkeypatch.setattr(loading, "_PATIENCE_S", 2)
    with pytest.raises(RuntimeError, match="DataLoader timed out after 1 seconds"):
        list(loader(Numbers(slow=8, slow_s=60)))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_is_killed_is_noticed_though_it_sends_no_signal(workers: int) -> None:
    with pytest.raises((RuntimeError, ConnectionError, EOFError)):
        list(loader(Numbers(kills=8), workers))


def test_batches_without_end_have_no_number() -> None:
    endless = Loader(Numbers(), iter([[1]]), collate=total, num_workers=0)
    with pytest.raises(TypeError, match="without end"):
        len(endless)
