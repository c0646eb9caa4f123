"""Looking into a stranger's folder without being led out of it: no link is followed, only files opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

_MOST_ENTRIES = 50_000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class NotAFileError(ValueError):
    """Something in the folder is neither a file nor a folder of files."""


def files_inside(folder: Path) -> dict[str, os.stat_result]:
    """Files of a folder and of those in it, by names such as `a.json` and `sub/b.json`.

    Raises:
        NotAFileError: a link, a device, a pipe, a folder two levels down, or too many entries.
        OSError: it cannot be read.
    """
    files: dict[str, os.stat_result] = {}
    descriptor = os.open(folder, _FOLDER)
    try:
        for name, status in _entries(descriptor):
            if not stat.S_ISDIR(status.st_mode):
                files[name] = status
                continue
            below = os.open(name, _FOLDER, dir_fd=descriptor)
            try:
                files |= {f"{name}/{inner}": status for inner, status in _entries(below)}
            finally:
                os.close(below)
    finally:
        os.close(descriptor)
    for name, status in files.items():
        _check_kind(name, status)
    return files


def sizes_inside(folder: Path) -> dict[str, int]:
    """Sizes in bytes of the same files; raises the same."""
    return {name: status.st_size for name, status in files_inside(folder).items()}


@contextmanager
def opened_inside(folder: Path, name: str) -> Iterator[FileIO]:
    """Open a file by its name in the folder.

    Raises:
        NotAFileError: it is something else.
        OSError: it cannot be read.
    """
    *parents, last = name.split("/")
    descriptor = os.open(folder, _FOLDER)
    for parent in parents:
        above = descriptor
        try:
            descriptor = os.open(parent, _FOLDER, dir_fd=above)
        finally:
            os.close(above)
    try:  # a pipe that nobody writes to would keep a plain open waiting
        file = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    with os.fdopen(file, "rb", buffering=0) as stream:
        _check_kind(name, os.fstat(stream.fileno()))
        assert isinstance(stream, FileIO)
        yield stream


def _entries(descriptor: int) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(descriptor) as entries:
        for number, entry in enumerate(entries):
            if number >= _MOST_ENTRIES:
                raise NotAFileError(f"more than {_MOST_ENTRIES:,} entries")
            yield entry.name, entry.stat(follow_symlinks=False)


def _check_kind(name: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotAFileError(f"{name} is {_kind(status.st_mode)}")


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a link"
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a folder below a folder" if stat.S_ISDIR(mode) else "a device"
