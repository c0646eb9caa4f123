"""Processes end with the one that started them, wherever they are when it is killed, and by signals."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dnalm import lifetime
from dnalm.lifetime import SignalCount, StoppedBySignal, stopping_on_signals, worker_pool

ROOT = Path(__file__).parents[1]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux does it")
_PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture
def subreaper() -> Iterator[None]:
    """Orphans are adopted by this process and not by process 1, as in containers and user sessions."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    yield
    prctl(_PR_SET_CHILD_SUBREAPER, 0)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def gone_within(seconds: float, pids: list[int]) -> bool:
    until = time.monotonic() + seconds
    while any(map(is_alive, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    return not any(map(is_alive, pids))


def start(code: str, *, folder: Path) -> subprocess.Popen[str]:
    """A program that prints a line of pids once they are known."""
    (folder / "program.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"}
    return subprocess.Popen(
        [sys.executable, folder / "program.py"], stdout=subprocess.PIPE, text=True, env=environment
    )


def pids_of(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    return [int(word) for word in process.stdout.readline().split()]


CHILD = (
    "import os, sys, time\n{delay}\nfrom dnalm.lifetime import die_with_launcher\n"
    "die_with_launcher()\nopen(sys.argv[1], 'w').close()\ntime.sleep(60)"
)
PARENT = (
    "import os, subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', {child!r}, {mark!r}],\n"
    "                         env={{**os.environ, 'DNALM_PARENT': str(os.getpid())}})\n"
    "print(child.pid, flush=True)\ntime.sleep(60)\n"
)


@LINUX
@pytest.mark.usefixtures("subreaper")
@pytest.mark.parametrize("when", ["before it asks", "afterwards"])
def test_a_child_ends_with_a_parent_that_is_killed_before_and_after_it_has_asked(
    when: str, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    child = CHILD.format(delay="time.sleep(0.5)" if when == "before it asks" else "")
    with start(PARENT.format(child=child, mark=str(mark)), folder=tmp_path) as parent:
        pids = pids_of(parent)
        while when == "afterwards" and not mark.exists():
            time.sleep(0.01)
        parent.kill()
    assert gone_within(2, pids)
    assert mark.exists() == (when == "afterwards"), "an orphan does nothing"


def test_the_name_of_the_parent_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lifetime.PARENT, str(os.getppid()))
    monkeypatch.setattr(lifetime, "die_with_parent", int)
    assert lifetime.die_with_launcher()
    assert lifetime.PARENT not in os.environ
    assert not lifetime.die_with_launcher()


POOL = (
    "import time\nfrom dnalm.lifetime import worker_pool\n"
    "if __name__ == '__main__':\n"
    "    from slow import begin, work\n"
    "    with worker_pool(2, begin) as pool:\n"
    "        futures = [pool.submit(work) for _ in range(2)]\n"
    "        print(*pool._processes, flush=True)\n"
    "        time.sleep(60)\n"
)
SLOW = (  # takes its time to import in a worker alone
    "import multiprocessing, time\n"
    "if multiprocessing.parent_process() is not None:\n    time.sleep({seconds})\n"
    "def begin():\n    pass\n"
    "def work():\n    time.sleep(60)\n"
)


@LINUX
@pytest.mark.usefixtures("subreaper")
@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 0.6, 1.0])
def test_workers_end_with_their_parent_while_they_import(delay: float, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW.format(seconds=30))
    with start(POOL, folder=tmp_path) as parent:
        pids = pids_of(parent)
        assert len(pids) == 2
        time.sleep(delay)
        parent.kill()
    assert gone_within(2, pids)


def sleep_long() -> None:
    time.sleep(60)


def ready() -> int:
    return os.getpid()


def stop() -> None:
    raise StoppedBySignal(signal.SIGTERM)


def test_workers_end_at_once_where_the_block_fails() -> None:
    began = time.monotonic()
    with pytest.raises(StoppedBySignal), worker_pool(1, sys.getsizeof, 0) as pool:  # noqa: PT012
        pid = pool.submit(ready).result()
        pool.submit(sleep_long)
        began = time.monotonic()
        stop()
    assert time.monotonic() - began < 5, "and not the sixty seconds that its work takes"
    assert gone_within(1, [pid])


def test_a_signal_to_the_group_is_the_parents_matter() -> None:
    with worker_pool(1, sys.getsizeof, 0) as pool:
        pid = pool.submit(ready).result()
        for number in lifetime.STOP_CODES:
            os.kill(pid, number)
        assert pool.submit(ready).result() == pid


def test_workers_hold_a_lock_that_they_are_given(tmp_path: Path) -> None:
    import fcntl

    path = tmp_path / "lock"
    mine = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(mine, fcntl.LOCK_EX)
    with worker_pool(1, sys.getsizeof, 0, held=mine) as pool, path.open() as other:
        pool.submit(ready).result()
        os.close(mine)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGHUP, 143), (signal.SIGINT, 130)],
)
def test_a_signal_stops_the_block_with_the_exit_code_of_shells(number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(StoppedBySignal, match=number.name) as stopped, stopping_on_signals():
        signal.raise_signal(number)
    assert stopped.value.exit_code == code
    assert signal.getsignal(number) == before


class _Raising:
    """Gets a signal where Python ignores exceptions."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def _in_a_destructor() -> None:
    _Raising()


class _Referred:
    """What a weak reference refers to."""


def _in_a_callback() -> None:
    referred = _Referred()
    _kept = weakref.ref(referred, lambda _: signal.raise_signal(signal.SIGTERM))
    del referred


def _under_a_bare_except() -> None:
    with contextlib.suppress(BaseException):  # as the bare `except:` of some libraries
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("drop", [_in_a_destructor, _in_a_callback, _under_a_bare_except])
def test_a_signal_that_is_dropped_is_raised_again(
    drop: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StoppedBySignal) as stopped, stopping_on_signals():  # noqa: PT012
        drop()
        for _ in range(1000):
            time.sleep(0.01)
    assert stopped.value.exit_code == 143
    assert capsys.readouterr().err == "", "Python would say that it ignores an exception"


def test_a_signal_that_ends_the_block_is_raised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where cleaning up takes long, and where another exception takes its place."""
    monkeypatch.setattr(lifetime, "_AGAIN_S", 0.0)
    with pytest.raises(ValueError, match="cleaned"), stopping_on_signals():  # noqa: PT012
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            gc.collect()
            time.sleep(0.05)
            raise ValueError("cleaned up")
    gc.collect()
    time.sleep(0.05)


def test_ignored_signals_stay_ignored() -> None:
    """Under nohup a run outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping_on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_is_distinguished_from_an_echo(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter([0.0, 0.1, 0.5, 9.0, 9.0, 99.0])
    monkeypatch.setattr(lifetime.time, "monotonic", lambda: next(times))
    count = SignalCount()
    assert not count.is_second(signal.SIGTERM)
    assert not count.is_second(signal.SIGTERM), "a launcher passes on what its group was sent"
    assert count.is_second(signal.SIGTERM)
    assert not count.is_second(signal.SIGINT), "another signal is a first one"
    assert not count.is_second(signal.SIGUSR1)
    assert not count.is_second(signal.SIGUSR1), "a warning may be repeated"


def test_a_worker_that_is_asked_to_end_does_so_a_little_later() -> None:
    """multiprocessing ends workers by SIGTERM, and waits for ever where it is ignored."""
    with worker_pool(1, sys.getsizeof, 0) as pool:
        pid = pool.submit(ready).result()
        pool.submit(sleep_long)
        os.kill(pid, signal.SIGTERM)
        assert gone_within(lifetime._PATIENCE_S + 2, [pid])
