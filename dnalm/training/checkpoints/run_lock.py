"""One process trains into a run directory: a lock that ends with its process, however that ends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from dnalm.console import stderr
from dnalm.durable import write_text
from dnalm.errors import CheckpointError
from dnalm.training.checkpoints.process import Process
from dnalm.training.checkpoints.saving import disk_errors

LOCK_FILE, HOLDER_FILE = ".lock", ".lock.json"
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class RunLock:
    """Hold a run directory while a block runs.

    The operating system gives the lock back when its holder ends, by kill -9 as well; `.lock.json` only
    says who it is. Where a file system has no locks, as some of NFS and Lustre, that file is the lock, and
    one that a process of another machine left must be removed by hand; both are said.

    Args:
        path: the run directory; made if absent.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._descriptor = path, -1

    @property
    def descriptor(self) -> int:
        """Of the locked file; a process that inherits it holds the lock too, for as long as it lives."""
        return self._descriptor

    def __enter__(self) -> RunLock:
        """Take the lock.

        Raises:
            CheckpointError: CKPT-12 (another process has it), CKPT-13 (the directory cannot be written).
        """
        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                if not self._lock():
                    self._stand_in()
                me = {**asdict(Process.this()), "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"}
                write_text(self.path / HOLDER_FILE, json.dumps(me) + "\n")
            except BaseException:
                os.close(self._descriptor)
                raise
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        (self.path / HOLDER_FILE).unlink(missing_ok=True)
        os.close(self._descriptor)

    def _lock(self) -> bool:
        """Whether the file system has locks; the lock is held then."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise self._taken(self._holder()) from error
            if error.errno not in _NO_LOCKS:
                raise
            return False
        return True

    def _stand_in(self) -> None:
        """Do without locks: whoever makes the holder's file has the directory."""
        stderr.print(f"{self.path} is on a file system without locks; {HOLDER_FILE} there stands in for one.")
        file = self.path / HOLDER_FILE
        holder = self._holder()
        if holder and holder[0].is_gone:
            file.unlink(missing_ok=True)
        try:
            file.touch(exist_ok=False)
        except FileExistsError as error:
            raise self._taken(holder, f", or remove {file} if it has ended") from error

    def _holder(self) -> tuple[Process, str] | None:
        """Who has the lock, and since when, if that can be read."""
        try:
            fields = json.loads((self.path / HOLDER_FILE).read_text())
            process = Process(str(fields["host"]), int(fields["pid"]), str(fields["birth"]))
            return process, str(fields["since"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _taken(self, holder: tuple[Process, str] | None, more: str = "") -> CheckpointError:
        found = "another process trains into it"
        if holder:
            process, since = holder
            found = f"process {process.pid} on {process.host} trains into it since {since}"
            if process.is_gone:
                found += "; it has ended, but a process that it started has not"
        return CheckpointError(
            "CKPT-12",
            where=str(self.path),
            found=found,
            expected="one process for a run directory",
            fix=f"wait for it or stop it, or choose another run.name{more}",
        )
