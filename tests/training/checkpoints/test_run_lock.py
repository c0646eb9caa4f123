"""One process trains into a run directory; one that was killed keeps nobody out."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from dnalm.errors import CheckpointError
from dnalm.training.checkpoints import RunLock, run_lock
from tests.training.checkpoints.library import in_a_process, names


def lock_and_die(path: Path) -> None:
    RunLock(path).__enter__()
    os.kill(os.getpid(), signal.SIGKILL)


def lock_leave_a_child_and_die(path: Path, said: Path) -> None:
    RunLock(path).__enter__()
    if child := os.fork():
        said.write_text(str(child))
        os._exit(1)
    time.sleep(60)


def refused(path: Path, pid: int) -> None:
    with pytest.raises(CheckpointError) as caught, RunLock(path):
        pass
    assert caught.value.exit_code == 4
    since = json.loads((path / ".lock.json").read_text())["since"]
    assert since.endswith(" UTC")
    assert str(caught.value) == (
        f"CKPT-12 {path}: process {pid} on {socket.gethostname()} trains into it since {since}; one "
        f"process for "
        "a run directory. Fix: wait for it or stop it, or choose another run.name."
    )


def test_another_process_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    with RunLock(tmp_path / "run"):
        assert in_a_process(refused, tmp_path / "run", os.getpid()) == 0
        refused(tmp_path / "run", os.getpid())
    with RunLock(tmp_path / "run"):
        pass
    assert names(tmp_path / "run") == [".lock"]


def test_a_killed_process_keeps_nobody_out(tmp_path: Path) -> None:
    assert in_a_process(lock_and_die, tmp_path) == -signal.SIGKILL
    assert (tmp_path / ".lock.json").exists()
    with RunLock(tmp_path):
        assert json.loads((tmp_path / ".lock.json").read_text())["pid"] == os.getpid()


def test_a_child_that_outlives_its_parent_is_told_apart(tmp_path: Path) -> None:
    assert in_a_process(lock_leave_a_child_and_die, tmp_path, tmp_path / "child") == 1
    try:
        with pytest.raises(
            CheckpointError, match=r"it has ended, but a process that it started has not; one"
        ):
            RunLock(tmp_path).__enter__()
    finally:
        os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_file_stands_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunLock(tmp_path):
        with pytest.raises(CheckpointError) as caught:
            RunLock(tmp_path).__enter__()
        assert str(caught.value).endswith(
            "Fix: wait for it or stop it, or choose another run.name, "
            f"or remove {tmp_path / '.lock.json'} if it has ended."
        )
    with RunLock(tmp_path):
        pass
    assert "is on a file system without locks; .lock.json there stands in for one." in capsys.readouterr().err


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_dead_process_of_this_machine_keeps_nobody_out(tmp_path: Path) -> None:
    holder = {"host": socket.gethostname(), "pid": os.getppid(), "birth": "00000000", "since": "then"}
    (tmp_path / ".lock.json").write_text(json.dumps(holder))
    with RunLock(tmp_path):
        pass
    (tmp_path / ".lock.json").write_text(json.dumps({**holder, "host": "node-7"}))
    with pytest.raises(
        CheckpointError, match=r"process \d+ on node-7 trains into it since then; one process"
    ):
        RunLock(tmp_path).__enter__()


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(run_lock, "write_text", refuse)
    with pytest.raises(CheckpointError, match=r"CKPT-13 .*: not writable \(Read-only file system\)"):
        RunLock(tmp_path).__enter__()
    monkeypatch.undo()
    with RunLock(tmp_path):
        pass
