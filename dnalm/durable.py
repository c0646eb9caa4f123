"""Files that are to outlive the process and the machine's power: written through to the disk, and summed."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
_HASH_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class FileSum:
    """A file by name, size in bytes and sha256 (hex)."""

    name: str
    num_bytes: int
    sha256: str


def write_text(path: Path, text: str) -> None:
    """Write a text file and bring it to disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        rest = memoryview(text.encode())
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
        return sha256_of(file)


def sha256_of(file: FileIO) -> str:
    """Checksum, in hex, of what is left to read of an open file."""
    digest = hashlib.sha256()
    while piece := file.read(_HASH_BYTES):
        digest.update(piece)
    return digest.hexdigest()
