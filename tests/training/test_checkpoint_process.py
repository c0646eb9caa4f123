"""A process is distinguished from one that has ended, and from a later one of the same number."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from dnalm import lock
from dnalm.lock import Process, _birth
from dnalm.training.checkpoint import hidden_name, writer_of


def test_this_process_lives_and_its_number_may_be_anothers() -> None:
    this = Process.current()
    assert not this.is_gone
    assert replace(this, birth="00000000").is_gone
    assert not replace(this, host="node-7", birth="00000000").is_gone, "unknown of another machine's"


def test_a_process_has_ended_though_nobody_has_asked_how() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        running = replace(Process.current(), pid=child.pid, birth=_birth(child.pid) or "")
        assert not running.is_gone
        os.kill(child.pid, signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert running.is_gone
    assert running.is_gone


def test_without_proc_a_number_is_all_that_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_PROC", tmp_path)
    with subprocess.Popen(["true"]) as child:
        running = Process.current()
        child.wait()
    assert not running.is_gone
    assert replace(running, pid=child.pid).is_gone


def test_a_hidden_name_says_who_wrote_it() -> None:
    writer = Process("node-7.cluster.org", 12, "abcdef01")
    assert writer_of(hidden_name("step-00000005", "tmp", writer)) == writer
    assert writer_of("step-00000005") is None
    assert writer_of(".lock") is None
