"""A lock that the kernel frees when the last process that holds it is gone, however it went."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Lock:
    """A lock file; processes that inherit the descriptor hold it too.

    Args:
        path: the file; it is made, and stays.
    """

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)

    def acquire(self) -> bool:
        """Take the lock if it is free; whether it was."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let go, for this process; those that inherited it hold on."""
        os.close(self.descriptor)
