"""Files that are to outlive the process and the machine's power: written through to the disk, and summed."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
_LITTLE_SPACE = 4 << 20  # less than this is a full disk
_OF_RUST = re.compile(r"\(os error (\d+)\)")  # safetensors and tokenizers have errors of their own
_OF_NUMPY = re.compile(r"\d+ requested and \d+ written")


@dataclass(frozen=True, slots=True)
class FileSum:
    """A file by name, size in bytes and sha256 (hex)."""

    name: str
    num_bytes: int
    sha256: str


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a path beside a file; what is written there takes the file's place, on disk, when the block ends.

    If the block fails, the file is as it was and nothing is left beside it. The path has the file's ending,
    by which libraries choose a format. It has the mode that the umask gives, also where a library such as
    safetensors makes files that nobody else may read.

    Raises:
        NotWritten: it names the file and the reason, whatever library found out.
    """
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        with naming(path, beside):
            beside.touch()
            mode = beside.stat().st_mode
            beside.unlink()
            yield beside
            beside.chmod(mode)
            sync(beside)
            beside.replace(path)
            sync(path.parent)
    finally:
        beside.unlink(missing_ok=True)


class NotWritten(OSError):  # noqa: N818
    """A file that could not be written.

    Attributes:
        needed: how much space it takes, in words, where that is known.
    """

    needed = ""


@contextmanager
def naming(path: Path, beside: Path | None = None) -> Iterator[None]:
    """Let errors of writing a file name it, and the operating system's reason, which libraries leave out.

    Args:
        path: the file.
        beside: what is written in its stead, and may be named by the error.

    Raises:
        NotWritten: with `errno` and `filename`.
    """
    free = shutil.disk_usage(path.parent).free
    try:
        yield
    except Exception as error:
        number = errno_of(error)
        if number is None and type(error) is OSError:
            number = _silent_reason(path)
        if number is None:
            raise
        named = getattr(error, "filename", None)
        if named is not None and named != str(beside):
            raise
        failed = NotWritten(number, os.strerror(number), str(path))
        failed.needed = getattr(error, "needed", "")
        if not failed.needed and free:
            failed.needed = f"more than {size_text(free)}"
        raise failed from error


def errno_of(error: BaseException) -> int | None:
    """The operating system's number of an error, also one that a library puts into words; None without."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if isinstance(error, OSError) and _OF_NUMPY.search(str(error)):
        return _silent_reason(None)
    said = _OF_RUST.search(str(error))
    return int(said[1]) if said else None


def _silent_reason(path: Path | None) -> int:
    """The likely number of an error that a library reports without one, when a file cannot be written."""
    if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        return errno.EFBIG
    if path is not None and shutil.disk_usage(path.parent).free > _LITTLE_SPACE:
        return errno.EIO
    return errno.ENOSPC


def size_text(num_bytes: int) -> str:
    """A size in the largest unit that leaves a number of at least 1, such as `1.3 GB` or `512 bytes`."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} bytes"


def reserve(path: Path, num_bytes: int) -> None:
    """Allocate the first bytes of a file on disk; the file is made if absent and keeps what it holds.

    A memory map of a file with holes ends the process by a signal, without a word, where the disk fills up.

    Raises:
        NotWritten: there is no room.
    """
    try:
        with path.open("ab") as file:
            if num_bytes and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, num_bytes)
            elif num_bytes > path.stat().st_size:
                file.truncate(num_bytes)
    except OSError as error:
        failed = NotWritten(error.errno, error.strerror, str(path))
        failed.needed = size_text(num_bytes)
        raise failed from error


def write_text(path: Path, text: str) -> None:
    """Write a text file and bring it to disk."""
    with naming(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            _write_all(descriptor, text)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def append(path: Path, text: str) -> None:
    """Append to a file all of a text or nothing, such as a line; the file is made if absent.

    Raises:
        NotWritten: the file is as it was.
    """
    with naming(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            try:
                _write_all(descriptor, text)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)


def _write_all(descriptor: int, text: str) -> None:
    rest = memoryview(text.encode())
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync(path: Path) -> None:
    """Bring a file's content, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Checksum of a file, in hex, read in pieces."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
