"""How a job ended, from its exit code, its summary and the end of what it printed."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dnalm.errors import ConfigError
from dnalm.sweeps.ledger import read_summary

Status = Literal["done", "failed", "config", "timeout", "killed", "oom", "interrupted"]
Stopped = Literal["timeout", "interrupted"]

_TAIL_BYTES = 8192
_MEMORY = re.compile(
    r"^([\w.]*(MemoryError|OutOfMemoryError)\b|.*(std::bad_alloc|can't allocate memory|CUDA out of memory))",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Ended:
    """A job's end.

    Args:
        status: `done` only if it exited with 0 and left a summary.
        exit_code: negative for a signal; None where nobody saw it end.
        seconds: how long it ran.
        error: one line, empty if it is done.
    """

    status: Status
    exit_code: int | None
    seconds: float
    error: str = ""


def judge_end(
    exit_code: int,
    *,
    seconds: float,
    summary: Path,
    log: Path,
    log_start: int = 0,
    stopped: Stopped | None = None,
    memory_kill: bool = False,
) -> Ended:
    """Say how a process ended.

    Args:
        exit_code: negative for a signal.
        seconds: how long it ran.
        summary: the `summary.json` that a finished job leaves.
        log: what it printed.
        log_start: byte at which its part of the log begins.
        stopped: why it was told to stop, if it was.
        memory_kill: the kernel killed a process for want of memory meanwhile.
    """
    if exit_code == 0 and read_summary(summary) is not None:
        return Ended("done", exit_code, seconds)
    tail = _tail(log, log_start)
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    said = lines[-1].removeprefix("dnalm: ")[:300] if lines else ""
    if stopped:
        return Ended(stopped, exit_code, seconds, f"stopped: {stopped}")
    if exit_code == 0:
        return Ended("failed", exit_code, seconds, "exit code 0, but no summary.json was left")
    by_memory = exit_code == -signal.SIGKILL and memory_kill
    if by_memory or _MEMORY.search("\n".join(lines[-8:])):
        return Ended("oom", exit_code, seconds, "killed for want of memory" if by_memory else said)
    why = _signal_name(exit_code) if exit_code < 0 else said or f"exit code {exit_code}"
    return Ended(_status(exit_code), exit_code, seconds, why)


def _status(exit_code: int) -> Status:
    """A shell, and our own program, report the signal n as 128 + n."""
    number = -exit_code if exit_code < 0 else exit_code - 128
    if number in (signal.SIGINT, signal.SIGTERM):
        return "interrupted"
    if exit_code < 0 or number == signal.SIGKILL:
        return "killed"
    return "config" if exit_code == ConfigError.exit_code else "failed"


def _signal_name(exit_code: int) -> str:
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


def _tail(log: Path, start: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def memory_kills() -> int:
    """How often the kernel has killed a process of our control group for want of memory; 0 if unknown."""
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return 0
    for line in groups:
        _, controllers, path = line.split(":", 2)
        root = Path("/sys/fs/cgroup", controllers, path.lstrip("/"))
        name = "memory.events" if not controllers else "memory.oom_control"
        if controllers in ("", "memory") and (root / name).is_file():
            fields = dict(line.split(maxsplit=1) for line in (root / name).read_text().splitlines())
            return int(fields.get("oom_kill", 0))
    return 0
