"""The checkpoints that lie in a folder: which are good, and how those that are not kept go."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from dnalm.durable import sync
from dnalm.errors import CheckpointError
from dnalm.faults import fault
from dnalm.lock import Process
from dnalm.training.checkpoints.inside import NotAFileError, files_inside
from dnalm.training.checkpoints.names import MANIFEST_FILE, REMOVING, hidden_name, step_of, writer_of
from dnalm.training.checkpoints.reading import Checkpoint, Rejected, read_checkpoint
from dnalm.training.checkpoints.retention import LEAST_KEPT, Retention
from dnalm.training.checkpoints.saving import disk_errors

_STALE_S = 24 * 3600


class StoredCheckpoints:
    """What lies in a folder of checkpoints.

    Args:
        path: the folder, which need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._verified: dict[Path, tuple[object, Checkpoint]] = {}

    def newest_good(self) -> tuple[Checkpoint | None, list[Rejected]]:
        """The newest whose every byte is as it was written, and those passed over, newest first."""
        rejected: list[Rejected] = []
        for path in self.paths():
            try:
                return read_checkpoint(path), rejected
            except CheckpointError as error:
                rejected.append(Rejected(path, error))
        return None, rejected

    def paths(self) -> list[Path]:
        """Checkpoints, good or bad, newest first."""
        steps = {path: step_of(path.name) for path in self._entries()}
        return sorted((path for path in steps if steps[path] is not None), key=lambda p: -(steps[p] or 0))

    def look_at(self, path: Path) -> Checkpoint | Rejected:
        """Verify a checkpoint, or remember that it was and has not been touched since."""
        state = _touched(path)
        if state is None or path not in self._verified or self._verified[path][0] != state:
            try:
                self._verified[path] = state, read_checkpoint(path)
            except CheckpointError as error:
                return Rejected(path, error)
        return self._verified[path][1]

    def prune(self, retention: Retention) -> None:
        """Remove the good ones that are not kept; bad ones stay, to be looked into."""
        good = self._good()
        kept = retention.kept({found.step: found.state for found in good.values()})
        for path, found in reversed(good.items()):
            if found.step not in kept:
                self.discard(path)

    def make_room(self) -> None:
        """Remove all but the two newest good ones, bad ones too; nothing if there are not two."""
        kept = list(self._good())[:LEAST_KEPT]
        for path in reversed(self.paths()) if len(kept) == LEAST_KEPT else ():
            if path not in kept:
                self.discard(path)

    def discard(self, path: Path) -> None:
        """Hide, then remove, so that a kill in between leaves nothing incomplete at a final name."""
        if not os.path.lexists(path):
            return
        hidden = self.path / hidden_name(path.name, REMOVING, Process.current())
        _remove(hidden)
        path.rename(hidden)
        self._verified.pop(path, None)
        sync(self.path)
        with suppress(OSError):
            (hidden / MANIFEST_FILE).unlink()
        fault("checkpoint.during_prune")
        _remove(hidden)

    def remove_leftovers(self) -> list[Path]:
        """Remove what processes that have ended left half written or half removed; call it at a run's start.

        Another machine's process may live: what it left goes when nothing in it has changed for a day.
        """
        removed = []
        with disk_errors(self.path):
            for path in self._entries():
                writer = writer_of(path.name)
                if writer and (writer == Process.current() or writer.is_gone or _is_stale(path, writer)):
                    _remove(path)
                    removed.append(path)
        return removed

    def _entries(self) -> list[Path]:
        return sorted(self.path.iterdir()) if self.path.is_dir() else []

    def _good(self) -> dict[Path, Checkpoint]:
        seen = {path: self.look_at(path) for path in self.paths()}
        return {path: found for path, found in seen.items() if isinstance(found, Checkpoint)}


def _remove(path: Path) -> None:
    """Remove a folder, or a file or link in the place of one; what cannot go now goes at the next start."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _touched(path: Path) -> object:
    """Differs once a file of a checkpoint has been written to or replaced; None if that cannot be seen."""
    try:
        files = files_inside(path)
    except (OSError, NotAFileError):
        return None
    return {name: (s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in files.items()}


def _is_stale(path: Path, writer: Process) -> bool:
    times = [part.lstat().st_mtime for part in (path, *path.rglob("*"))]
    return not writer.is_here and time.time() - max(times) > _STALE_S
