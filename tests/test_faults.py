"""A fault happens where, when and on whom it is asked for, and nowhere else."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from dnalm import faults
from dnalm.faults import fault


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DNALM_FAULT", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    faults._passed.clear()


def test_nothing_happens_unless_asked() -> None:
    fault("here")
    assert not faults._passed


def test_other_points_other_ranks_and_other_times_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNALM_FAULT", "here@1:3=raise")
    for _ in range(5):
        fault("here")  # of rank 0
    monkeypatch.setenv("RANK", "1")
    fault("there")
    fault("here")
    fault("here")
    with pytest.raises(RuntimeError, match="fault here"):
        fault("here")
    fault("here")


def test_a_full_disk_is_an_operating_systems_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNALM_FAULT", "here=enospc")
    with pytest.raises(OSError, match="No space left") as caught:
        fault("here")
    assert caught.value.errno == errno.ENOSPC


def test_a_hang_is_a_long_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = list[float]()
    monkeypatch.setattr(faults.time, "sleep", slept.append)
    monkeypatch.setenv("DNALM_FAULT", "here=sleep")
    fault("here")
    assert slept == [3600]


@pytest.mark.parametrize(
    ("action", "code"), [("kill9", -signal.SIGKILL), ("sigterm", -signal.SIGTERM), ("exit", 1)]
)
def test_the_process_ends_as_asked(action: str, code: int) -> None:
    program = "from dnalm.faults import fault; fault('here'); print('went on')"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "DNALM_FAULT": f"here={action}"},
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (code, b"")


@pytest.mark.parametrize("spec", ["here", "here@x=raise", "=raise", "here:=raise", "here=explode"])
def test_what_is_not_understood_is_said(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNALM_FAULT", spec)
    with pytest.raises(ValueError, match="DNALM_FAULT="):
        fault("here")
