"""Making a folder of a cache: whole or not at all, and by one process only.

The folder is written hidden beside its place and renamed when it is complete and on disk, so that
whatever is at the final name is whole. The lock of a place is held while building, so a hidden
folder whose lock is free was left by a process that died, and is removed.
"""

from __future__ import annotations

import glob
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from dnalm.console import stderr
from dnalm.durable import size_text, sync
from dnalm.errors import DataError
from dnalm.system_errors import disk_reason

_BUILDING = ".building-"


def acquire_lock(target: Path, holder: Callable[[], str]) -> FileLock:
    """Lock the place of a file or folder, whose parents are made; print who holds the lock if it is held.

    Raises:
        NotImplementedError: the file system has no locks.
        OSError: the parent is not writable.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(_lock_path(target.parent, target.name))
    try:
        lock.acquire(timeout=0.2)
    except Timeout:
        stderr.print(f"Waiting for {holder()} ...")
        lock.acquire()
    return lock


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the lock of a folder's place; print who holds it meanwhile.

    Raises:
        DataError: STORE-09 (the parent is not writable), STORE-11 (no locks there).
    """
    try:
        lock = acquire_lock(target, lambda: f"{_holder(target)}, which is building {target.name}")
    except NotImplementedError as error:
        fix = "put the cache on a local disk"
        raise store_error(
            "STORE-11", target.parent, "files cannot be locked here", "a file system with locks", fix
        ) from error
    except OSError as error:
        raise _not_writable(target.parent, error) from error
    try:
        yield
    finally:
        lock.release()


def build_folder(
    target: Path,
    write: Callable[[Path], None],
    *,
    needed_bytes: int,
    space: str,
    explain: Callable[[OSError], DataError | None] = lambda _: None,
) -> None:
    """Write beside the target, then rename; called with the lock held.

    Args:
        target: where nothing is.
        write: fills an empty folder and brings its files to disk.
        needed_bytes: about how much it will write; checked against the free space before.
        space: what the space is for, such as `space for one byte a base`.
        explain: a better error for an OSError of `write`, if there is one.

    Raises:
        DataError: STORE-09 (not writable), STORE-10 (too little space), or what `write` raises.
    """
    _remove_leftovers(target)
    free = shutil.disk_usage(target.parent).free
    if needed_bytes > free:
        found = f"about {size_text(needed_bytes)} are needed, {size_text(free)} are free"
        raise _disk_full(target, found, space)
    folder = target.parent / f".{target.name}{_BUILDING}{socket.gethostname()}-{os.getpid()}"
    try:
        folder.mkdir()
        write(folder)
        sync(folder)
        folder.rename(target)
        sync(target.parent)
    except OSError as error:
        reason = disk_reason(error.errno, target)
        if reason is not None and reason.code == "DISK-01":
            raise _disk_full(target, reason.found, space) from error
        raise (explain(error) or _not_writable(target.parent, error)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # already renamed if all went well


def store_error(code: str, where: Path, found: str, expected: str, fix: str) -> DataError:
    """An error about a folder of the cache."""
    return DataError(code, where=str(where), found=found, expected=expected, fix=fix)


def _lock_path(folder: Path, name: str) -> Path:
    return folder / f".{name}.lock"


def _holder(target: Path) -> str:
    for folder in target.parent.glob(f".{glob.escape(target.name)}{_BUILDING}*"):
        host, _, pid = folder.name.rpartition(_BUILDING)[2].rpartition("-")
        return f"process {pid} on {host}"
    return "another process"


def _remove_leftovers(target: Path) -> None:
    """Remove what killed processes left, in the place whose lock is held and wherever else a lock is free."""
    for folder in target.parent.glob(f".*{_BUILDING}*"):
        name = folder.name[1:].rpartition(_BUILDING)[0]
        if name == target.name:
            shutil.rmtree(folder, ignore_errors=True)
            continue
        with suppress(Timeout, OSError), FileLock(_lock_path(target.parent, name), timeout=0):
            shutil.rmtree(folder, ignore_errors=True)


def _disk_full(target: Path, found: str, space: str) -> DataError:
    fix = "free space there, or choose a cache folder on another disk"
    return store_error("STORE-10", target, found, space, fix)


def _not_writable(folder: Path, error: OSError) -> DataError:
    found = f"the folder is not writable ({error.strerror or error})"
    return store_error(
        "STORE-09", folder, found, "a cache folder you may write in", "choose another cache folder"
    )
