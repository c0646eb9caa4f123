"""One process writes an output; one that was killed keeps nobody out."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from dnalm import lock
from dnalm.errors import CheckpointError
from dnalm.lock import OutputLock
from dnalm.training.run_directory import RunLock
from tests.training.checkpoint_library import in_a_process, names


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
        f"CKPT-12 {path}: process {pid} on {socket.gethostname()} has been writing to it since {since}; "
        "one process at a time. Fix: wait for it or stop it, or choose another run.name."
    )


def test_another_process_is_refused_and_the_holder_is_named(tmp_path: Path) -> None:
    with RunLock(tmp_path / "run"):
        assert in_a_process(refused, tmp_path / "run", os.getpid()) == 0
        refused(tmp_path / "run", os.getpid())
    with RunLock(tmp_path / "run"):
        (tmp_path / "run/config.yaml").touch()
    assert names(tmp_path / "run") == ["config.yaml"]


def test_a_killed_process_keeps_nobody_out(tmp_path: Path) -> None:
    assert in_a_process(lock_and_die, tmp_path) == -signal.SIGKILL
    assert (tmp_path / ".lock.json").exists()
    with RunLock(tmp_path):
        assert json.loads((tmp_path / ".lock.json").read_text())["pid"] == os.getpid()


def test_a_child_that_outlives_its_parent_is_distinguished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_CHILDREN_S", 0.2)
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
        CheckpointError, match=r"process \d+ on node-7 has been writing to it since then; one process"
    ):
        RunLock(tmp_path).__enter__()


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(lock, "write_text", refuse)
    with pytest.raises(CheckpointError, match=r"CKPT-13 .*: not writable \(Read-only file system\)"):
        RunLock(tmp_path).__enter__()
    monkeypatch.undo()
    with RunLock(tmp_path):
        pass


def lock_leave_a_short_child_and_die(path: Path) -> None:
    RunLock(path).__enter__()
    if os.fork():
        os._exit(1)
    time.sleep(1)
    os._exit(0)


def test_the_children_of_a_killed_holder_are_waited_for(tmp_path: Path) -> None:
    assert in_a_process(lock_leave_a_short_child_and_die, tmp_path) == 1
    with RunLock(tmp_path):
        assert json.loads((tmp_path / ".lock.json").read_text())["pid"] == os.getpid()


def test_a_lock_leaves_nothing_where_nothing_was_written(tmp_path: Path) -> None:
    with RunLock(tmp_path / "runs/a/b"):
        assert names(tmp_path / "runs/a/b") == [".lock", ".lock.json"]
    assert names(tmp_path) == []
    with RunLock(tmp_path / "runs/a"):
        (tmp_path / "runs/other").mkdir()
    assert names(tmp_path) == ["runs"]
    assert names(tmp_path / "runs") == ["other"]
    with pytest.raises(CheckpointError), RunLock(tmp_path / "held"), RunLock(tmp_path / "held"):
        pass
    assert names(tmp_path) == ["runs"]


def take_turns(path: Path, count: Path, rounds: int) -> None:
    """Add 1 to a number, which only one process at a time may do."""
    done = 0
    while done < rounds:
        try:
            with OutputLock(path / "sub/.out.lock", output=path / "out", key="out"):
                number = int(count.read_text())
                time.sleep(0.001)
                count.write_text(str(number + 1))
                done += 1
        except CheckpointError:
            continue


def test_processes_that_remove_the_lock_file_and_its_folder_still_take_turns(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=take_turns, args=(tmp_path, tmp_path / "count", 20)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert (tmp_path / "count").read_text() == "60"


def test_a_folder_that_is_moved_away_is_locked_anew(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").touch()
    with RunLock(tmp_path / "run") as held:
        held.move_folder(tmp_path / "run.old-1")
        refused(tmp_path / "run", os.getpid())
        with RunLock(tmp_path / "run.old-1"):
            pass
    assert names(tmp_path) == ["run.old-1"]
    assert names(tmp_path / "run.old-1") == ["config.yaml"]
