"""Holding the files of a folder against the sizes and checksums of its manifest, for every kind of store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from dnalm.durable import FileSum, file_sha256
from dnalm.errors import DataError

_verified: set[tuple[object, ...]] = set()  # folders whose checksums this process has compared


def check_files(
    path: Path,
    manifest: str,
    files: Sequence[FileSum],
    *,
    verify: bool,
    fault: Callable[[str, str, str], DataError],
) -> None:
    """Compare sizes, and checksums once for each process and state of the folder.

    Args:
        path: the folder.
        manifest: the text of its manifest.
        files: what the manifest says of its files.
        verify: compare checksums too, which reads every byte.
        fault: makes the error of a case, `04` to `06`, from what was found and what is expected.

    Raises:
        DataError: 04 (a file is missing), 05 (its size differs), 06 (its checksum differs).
    """
    state: list[object] = [path.resolve(), hashlib.sha256(manifest.encode()).digest()]
    for entry in files:
        try:
            status = (path / entry.name).stat()
        except OSError as error:
            found = f"{entry.name} is missing or unreadable ({error.strerror})"
            raise fault("04", found, "all files of its manifest") from error
        if status.st_size != entry.num_bytes:
            found = f"{entry.name} has {status.st_size} bytes"
            raise fault("05", found, f"{entry.num_bytes} by its manifest")
        state += [status.st_ino, status.st_mtime_ns]
    if verify and tuple(state) not in _verified:
        for entry in files:
            if file_sha256(path / entry.name) != entry.sha256:
                raise fault("06", f"the checksum of {entry.name} differs", "the one in its manifest")
        _verified.add(tuple(state))
