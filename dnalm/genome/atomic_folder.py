"""Folders of a cache: built whole or not at all, by one process only, and checked when they are opened.

The folder is written hidden beside its place and renamed when it is complete and on disk, so that
whatever is at the final name is whole. The lock of a place is held while building, so a hidden
folder whose lock is free was left by a process that died, and is removed.

A folder of arrays has a `manifest.json` with the sizes and checksums of its files (`FolderFormat`).
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from dnalm.console import stderr
from dnalm.durable import FileSum, file_sha256, size_text, sync
from dnalm.errors import DataError
from dnalm.system_errors import disk_reason

Parsed = TypeVar("Parsed")
MANIFEST_FILE = "manifest.json"
_BUILDING = ".building-"
_verified: set[tuple[object, ...]] = set()  # folders whose checksums this process has compared


@contextmanager
def hold_lock(target: Path, holder: Callable[[], str]) -> Iterator[None]:
    """Hold the lock of a file's or folder's place, whose parents are made; print who else holds it meanwhile.

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
    try:
        yield
    finally:
        lock.release()


def _lock_path(folder: Path, name: str) -> Path:
    return folder / f".{name}.lock"


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the lock of a folder's place while it is built.

    Raises:
        DataError: STORE-09 (the parent is not writable), STORE-11 (no locks there).
    """

    def holder() -> str:
        for folder in target.parent.glob(f".{glob.escape(target.name)}{_BUILDING}*"):
            host, _, pid = folder.name.rpartition(_BUILDING)[2].rpartition("-")
            return f"process {pid} on {host}, which is building {target.name}"
        return f"another process, which is building {target.name}"

    with ExitStack() as stack:  # only what locking raises is translated, not what is done under the lock
        try:
            stack.enter_context(hold_lock(target, holder))
        except NotImplementedError as error:
            found, fix = "files cannot be locked here", "put the cache on a local disk"
            raise store_error("STORE-11", target.parent, found, "a file system with locks", fix) from error
        except OSError as error:
            raise _not_writable(target.parent, error) from error
        yield


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


@dataclass(frozen=True, kw_only=True)
class FolderFormat:
    """A kind of folder whose `manifest.json` describes its files.

    Attributes:
        name: `format` in the manifest.
        codes: what the codes of errors begin with: 01 (no manifest), 02 (damaged), 03 (another version),
            04 (a file is missing), 05 (its size differs), 06 (its checksum differs).
        noun: what messages call the folder.
        version: `version` in the manifest.
        source: what the folder can be rebuilt from, for messages.
    """

    name: str
    codes: str
    noun: str
    version: int
    source: str = "its source"

    def read(self, path: Path, parse: Callable[[dict[str, Any]], Parsed]) -> tuple[str, Parsed]:
        """The manifest in a folder, as text and as what `parse` makes of its fields.

        Raises:
            DataError: 01 to 03.
        """
        try:
            text = (path / MANIFEST_FILE).read_text(encoding="utf-8")
            fields = json.loads(text)
            version = fields.pop("version")
            if isinstance(version, int) and version != self.version:
                found = f"the {self.noun} has format version {version}"
                raise self.broken("03", path, found, f"version {self.version}")
            if fields.pop("format") != self.name or version != self.version:
                raise ValueError(f"not the manifest of a {self.noun}")
            return text, parse(fields)
        except OSError as error:
            found = f"{MANIFEST_FILE} is missing or unreadable ({error.strerror})"
            raise self.broken("01", path, found, f"a {self.noun} has one") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            found = f"{MANIFEST_FILE} is damaged ({type(error).__name__}: {error})"
            raise self.broken("02", path, found, "the JSON that dnalm wrote") from error

    def check_files(
        self, path: Path, manifest: str, files: Sequence[FileSum], *, verify: bool, source: str = ""
    ) -> None:
        """Compare sizes, and checksums once for each process and state of the folder.

        Args:
            path: the folder.
            manifest: the text of its manifest.
            files: as the manifest lists them.
            verify: compare checksums too, which reads every byte.
            source: what this folder can be rebuilt from, where it is known by name.

        Raises:
            DataError: 04 to 06.
        """
        state: list[object] = [path.resolve(), hashlib.sha256(manifest.encode()).digest()]
        for entry in files:
            try:
                status = (path / entry.name).stat()
            except OSError as error:
                found = f"{entry.name} is missing or unreadable ({error.strerror})"
                raise self.broken("04", path, found, "all files of its manifest", source) from error
            if status.st_size != entry.num_bytes:
                found, expected = (
                    f"{entry.name} has {status.st_size} bytes",
                    f"{entry.num_bytes} by its manifest",
                )
                raise self.broken("05", path, found, expected, source)
            state += [status.st_ino, status.st_mtime_ns]
        if verify and tuple(state) not in _verified:
            for entry in files:
                if file_sha256(path / entry.name) != entry.sha256:
                    found = f"the checksum of {entry.name} differs"
                    raise self.broken("06", path, found, "the one in its manifest", source)
            _verified.add(tuple(state))

    def broken(self, case: str, path: Path, found: str, expected: str, source: str = "") -> DataError:
        """A folder that cannot be used as it is."""
        fix = f"delete the folder, it is rebuilt from {source or self.source}"
        return store_error(f"{self.codes}-{case}", path, found, expected, fix)
