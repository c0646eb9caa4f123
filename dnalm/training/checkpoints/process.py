"""Which process did something, told apart from a later one that has been given the same number."""

from __future__ import annotations

import hashlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Process:
    """A process of some machine.

    Attributes:
        host: name of the machine.
        pid: its number there.
        birth: of letters and digits, from when the machine and the process started.
    """

    host: str
    pid: int
    birth: str

    @classmethod
    def this(cls) -> Process:
        """The one that asks."""
        return cls(socket.gethostname(), os.getpid(), _birth(os.getpid()) or _UNKNOWN)

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, of this machine."""
        return self.host == socket.gethostname()

    @property
    def is_gone(self) -> bool:
        """Whether it has ended for sure, which is not known of another machine's."""
        return self.is_here and _birth(self.pid) != self.birth


def _birth(pid: int) -> str | None:
    """None if there is no such process, or it has ended and nobody has asked how."""
    if not (_PROC / "self/stat").exists():
        return _UNKNOWN if _is_there(pid) else None
    try:
        status = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        boot = (_PROC / "sys/kernel/random/boot_id").read_text()
    except OSError:
        return None
    state, started = status[0], status[19]
    return None if state in "ZX" else hashlib.sha256(f"{boot} {started}".encode()).hexdigest()[:8]


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
