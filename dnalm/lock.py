"""One process at a time for an output: locks that end with their holder, however it ends.

The kernel frees a lock when the last process that holds its descriptor is gone, by kill -9 as well. A child
process holds the lock as long as it inherits the descriptor, so that a worker that outlives its killed parent
still keeps others out.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from dnalm.console import stderr
from dnalm.durable import write_text
from dnalm.errors import CheckpointError

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
_PROC = Path("/proc")
_UNKNOWN = "unknown"
_CHILDREN_S = 15.0  # time that the children of a killed holder have to end
_CHANGE_S = 0.5  # from taking a lock to naming oneself as its holder
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Process:
    """A process of some machine, distinguished from a later one that has been given the same number.

    Attributes:
        host: name of the machine.
        pid: its number there.
        birth: of letters and digits, from when the machine and the process started.
    """

    host: str
    pid: int
    birth: str

    @classmethod
    def current(cls) -> Process:
        """The calling process."""
        return cls(socket.gethostname(), os.getpid(), _birth(os.getpid()) or _UNKNOWN)

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, of this machine."""
        return self.host == socket.gethostname()

    @property
    def is_gone(self) -> bool:
        """Whether it has ended for sure, which is not known of another machine's."""
        return self.is_here and _birth(self.pid) != self.birth


class Lock:
    """A lock file; processes that inherit the descriptor hold it too.

    Args:
        file: made if absent, in a folder that is there.
    """

    def __init__(self, file: Path) -> None:
        self.descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)

    def acquire(self) -> bool:
        """Take the lock if it is free; whether it was.

        Raises:
            OSError: the file system has no locks, or does not work.
        """
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def release(self) -> None:
        """Close this process's descriptor; those that inherited one still hold the lock."""
        os.close(self.descriptor)


class OutputLock:
    """Hold an output, a folder or a file, while a block runs.

    `<file>.json` names the holder. Where a file system has no locks, as some of NFS and Lustre, it is the
    lock, and one that a process of another machine left must be removed by hand; both are said. A holder
    that leaves the block removes both files, and the folders that it made for them if nothing else came
    into those.

    Args:
        file: the lock file; made with its folders.
        output: what is locked, for messages.
        key: of the config, that names the output.
    """

    def __init__(self, file: Path, *, output: Path, key: str) -> None:
        self.file, self.output, self.key = file, output, key
        self.holder_file = file.with_name(f"{file.name}.json")
        self._lock: Lock | None = None
        self._made: list[Path] = []

    @property
    def descriptor(self) -> int:
        """What a child process inherits to hold the lock too."""
        assert self._lock, "the block has been entered"
        return self._lock.descriptor

    def __enter__(self) -> OutputLock:
        """Take the lock; wait a little for the children of a holder that was killed.

        Raises:
            CheckpointError: CKPT-12, another process has it.
            OSError: the file cannot be made.
        """
        try:
            self._take()
            since = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
            write_text(self.holder_file, json.dumps({**asdict(Process.current()), "since": since}) + "\n")
        except BaseException:
            if self._lock is not None:
                self._lock.release()
            self._remove_folders()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Release the lock; what lies at its place and is not its own, stays."""
        assert self._lock, "the block has been entered"
        if is_in_place := self.is_in_place():
            self.holder_file.unlink(missing_ok=True)
            self.file.unlink(missing_ok=True)
        self._lock.release()
        if is_in_place:
            self._remove_folders()

    def is_in_place(self) -> bool:
        """Whether the lock file still lies at its path: nobody has moved or replaced the folder."""
        return self._lock is not None and self._is_current(self._lock)

    def move_folder(self, target: Path) -> None:
        """Rename the folder that holds the lock file, and lock its old place anew.

        Raises:
            CheckpointError: CKPT-12, another process was faster to take the place.
            OSError: it cannot be moved.
        """
        old, folder = self._lock, self.file.parent
        assert old, "the block has been entered"
        folder.rename(target)
        for name in (self.holder_file.name, self.file.name):
            (target / name).unlink(missing_ok=True)
        try:
            self.__enter__()
        finally:
            old.release()

    def _take(self) -> None:
        began = time.monotonic()
        while not self._try():
            holder = self._holder()
            patience = _CHANGE_S if holder is None else _CHILDREN_S if holder[0].is_gone else 0.0
            if time.monotonic() - began >= patience:
                raise self._taken(holder)
            time.sleep(_POLL_S)

    def _try(self) -> bool:
        """Open the file and lock it; whether the lock is held, of the file that is still there."""
        self._make_folders()
        try:
            lock = Lock(self.file)
        except FileNotFoundError:  # another holder has just removed the folder
            return False
        try:
            free = lock.acquire()
            if free and self._is_current(lock):
                self._lock = lock
                return True
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                lock.release()
                raise
            self._lock = lock
            self._stand_in()
            return True
        lock.release()
        return False

    def _is_current(self, lock: Lock) -> bool:
        """Whether the file was not removed by an earlier holder since it was opened."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(lock.descriptor), self.file.stat())
        return False

    def _stand_in(self) -> None:
        """Do without locks: whoever makes the holder's file has the output."""
        name = self.holder_file.name
        stderr.print(f"{self.output} is on a file system without locks; {name} there stands in for one.")
        holder = self._holder()
        if holder and holder[0].is_gone:
            self.holder_file.unlink(missing_ok=True)
        try:
            self.holder_file.touch(exist_ok=False)
        except FileExistsError as error:
            raise self._taken(holder, f", or remove {self.holder_file} if it has ended") from error

    def _holder(self) -> tuple[Process, str] | None:
        """Who has the lock, and since when, if that can be read."""
        try:
            fields = json.loads(self.holder_file.read_text())
            process = Process(str(fields["host"]), int(fields["pid"]), str(fields["birth"]))
            return process, str(fields["since"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _taken(self, holder: tuple[Process, str] | None, more: str = "") -> CheckpointError:
        found = "another process is writing to it"
        if holder:
            process, since = holder
            found = f"process {process.pid} on {process.host} has been writing to it since {since}"
            if process.is_gone:
                found += "; it has ended, but a process that it started has not"
        return CheckpointError(
            "CKPT-12",
            where=str(self.output),
            found=found,
            expected="one process at a time",
            fix=f"wait for it or stop it, or choose another {self.key}{more}",
        )

    def _make_folders(self) -> None:
        missing, folder = [], self.file.parent
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for each in reversed(missing):
            with suppress(FileExistsError):
                each.mkdir()
                self._made.append(each)

    def _remove_folders(self) -> None:
        for folder in reversed(self._made):
            with suppress(OSError):  # it is not empty
                folder.rmdir()
        self._made = []


def _birth(pid: int) -> str | None:
    """None if there is no such process, or it has ended and nobody has asked how."""
    if not (_PROC / "self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass  # of another user
        return _UNKNOWN
    try:
        status = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        boot = (_PROC / "sys/kernel/random/boot_id").read_text()
    except OSError:
        return None
    state, started = status[0], status[19]
    return None if state in "ZX" else hashlib.sha256(f"{boot} {started}".encode()).hexdigest()[:8]
