"""A run's `checkpoints/`: written whole or not at all, verified on disk, and pruned only then.

`begin` makes a hidden folder, whoever likes writes files into it, `finish` sums them, brings everything to
disk and renames the folder. A process that is killed in between leaves a hidden folder, which
`remove_leftovers` of a later one removes; what is at a final name is complete at every moment.

The checkpoints that lie in a folder: which are good, and how those that are not kept go.

Which checkpoints are kept: the last ones, the best ones, every n-th, and never fewer than two.

What happens if a checkpoint cannot be written: once more, then on without it, and not for ever.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from dnalm.console import stderr
from dnalm.durable import DISK_FULL, NOT_WRITABLE, FileSum, file_sha256, sync, write_text
from dnalm.errors import CheckpointError, DnalmError
from dnalm.faults import fault
from dnalm.lock import Process
from dnalm.training.checkpoint_files import (
    MANIFEST_FILE,
    REMOVING,
    STATE_FILE,
    WRITING,
    Checkpoint,
    Manifest,
    NotAFileError,
    Rejected,
    check_kinds,
    files_inside,
    hidden_name,
    is_file_name,
    read_checkpoint,
    refused,
    sizes_inside,
    spell_state,
    step_name,
    step_of,
    writer_of,
)

LEAST_KEPT = 2


@dataclass(frozen=True)
class Retention:
    """Which checkpoints are kept.

    Attributes:
        last: so many of the newest.
        best: so many of the best by the metric; a checkpoint without it takes no part.
        every: all whose step is a multiple; none if None.
        metric: its name in the `metrics` of the state.
        mode: whether the lowest or the highest is best.
    """

    last: int = 3
    best: int = 1
    every: int | None = None
    metric: str = "val_bits_per_base"
    mode: Literal["min", "max"] = "min"

    def __post_init__(self) -> None:
        assert self.last >= 1, "the newest checkpoint is always kept"
        assert self.best >= 0
        assert self.every is None or self.every >= 1

    def kept(self, states: Mapping[int, Mapping[str, Any]]) -> set[int]:
        """Steps that are kept, of the good checkpoints by step, with their states."""
        newest = sorted(states, reverse=True)
        kept = set(newest[: self.last])
        kept |= {step for step in newest if self.every and step % self.every == 0}
        kept |= set(self.ranked(states)[: self.best])
        spare = (step for step in newest if step not in kept)
        while len(kept) < min(LEAST_KEPT, len(newest)):
            kept.add(next(spare))
        return kept

    def ranked(self, states: Mapping[int, Mapping[str, Any]]) -> list[int]:
        """Steps that have the figure, from the best to the worst, of equals the later first."""
        sign = 1 if self.mode == "min" else -1
        scored = {step: state.get("metrics", {}).get(self.metric) for step, state in states.items()}
        return [-step for _, step in sorted((sign * s, -step) for step, s in scored.items() if s is not None)]


_T = TypeVar("_T")


class SaveFailed(CheckpointError):  # noqa: N818
    """A checkpoint was not written, and nothing of it is left at a final name; trying again may help."""


class SavePolicy:
    """Try twice, then warn and train on; give up after so many saves in a row.

    Args:
        max_failed_saves: in a row, the last of which ends the run.
        warn: told of each save that was given up.
    """

    def __init__(
        self, *, max_failed_saves: int = 3, warn: Callable[[str], None] = lambda text: stderr.print(text)
    ) -> None:
        self.max_failed_saves, self.warn, self.failed_in_a_row = max_failed_saves, warn, 0

    def attempt(self, write: Callable[[], _T]) -> _T | None:
        """Write, with one more try; None if both have failed and training may go on.

        Args:
            write: begins, fills and finishes a checkpoint; where ranks do so together, it raises on all of
                them or on none.

        Raises:
            CheckpointError: CKPT-14, as many saves in a row have failed.
        """
        try:
            written = self._twice(write)
        except SaveFailed as failed:
            self.failed_in_a_row += 1
            if self.failed_in_a_row >= self.max_failed_saves:
                raise self._given_up(failed) from failed
            left = self.max_failed_saves - self.failed_in_a_row
            self.warn(
                f"Not saved: {failed} Training goes on; {left} more failed saves in a row would end the run."
            )
            return None
        self.failed_in_a_row = 0
        return written

    @staticmethod
    def _twice(write: Callable[[], _T]) -> _T:
        try:
            return write()
        except SaveFailed:
            return write()

    def _given_up(self, last: SaveFailed) -> CheckpointError:
        return CheckpointError(
            "CKPT-14",
            where=last.where,
            found=f"{self.failed_in_a_row} saves in a row have failed, the last: {last.found}",
            expected="a disk that takes a checkpoint",
            fix=f"{last.fix}, then start the run again: it goes on from its newest checkpoint",
        )


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Say of an operating system's error in a block that the save has failed.

    Raises:
        SaveFailed: CKPT-13 (not writable) or 14 (the disk is full, or does not work).
    """
    try:
        yield
    except OSError as error:
        raise save_failed(where, error) from error


def save_failed(where: Path, error: OSError) -> SaveFailed:
    """The failure that an operating system's error is."""
    reason = error.strerror or str(error)
    if error.errno in NOT_WRITABLE:
        expected, fix = "a folder that may be written", "mount it for writing, or give yourself the right"
        return SaveFailed(
            "CKPT-13", where=str(where), found=f"not writable ({reason})", expected=expected, fix=fix
        )
    if error.errno in DISK_FULL:
        return disk_full(where, f"the disk is full ({reason})")
    expected, fix = "a disk that works", "look at the disk's state"
    return SaveFailed(
        "CKPT-14", where=str(where), found=f"the disk says {reason}", expected=expected, fix=fix
    )


def disk_full(where: Path, found: str) -> SaveFailed:
    """A save that has failed, or would, for want of space."""
    return SaveFailed(
        "CKPT-14",
        where=str(where),
        found=found,
        expected="space for one more checkpoint",
        fix="free space there",
    )


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


_ROOM = 1.2  # of the size of the last checkpoint, as metrics grow and file systems have blocks


@dataclass(frozen=True)
class Saved:
    """What `finish` did.

    Attributes:
        checkpoint: the good one of the step.
        written: False if it was there already and nothing was replaced.
    """

    checkpoint: Checkpoint
    written: bool


class CheckpointFolder(StoredCheckpoints):
    """The checkpoints of one run, written by one process at a time (see `RunLock`).

    Args:
        path: the folder; made when the first checkpoint is.
        keep_last: so many of the newest are kept, and never fewer than two in all.
        keep_best: so many of the best by the metric, too.
        keep_every: and all whose step is a multiple of this.
        best_metric: its name in the `metrics` of the state.
        best_mode: whether the lowest or the highest is best.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep_last: int = 3,
        keep_best: int = 1,
        keep_every: int | None = None,
        best_metric: str = "val_bits_per_base",
        best_mode: Literal["min", "max"] = "min",
    ) -> None:
        super().__init__(path)
        self.retention = Retention(keep_last, keep_best, keep_every, best_metric, best_mode)
        self._begun: int | None = None

    def begin(self, step: int) -> Path:
        """Make the hidden folder that the files of a step go into.

        Files are named by letters, digits and . _ - and lie in it or one folder below. If the save that was
        begun before was not finished, what it left is removed and room is made (see `make_room`).

        Raises:
            SaveFailed: CKPT-13 (not writable), CKPT-14 (the disk is full).
        """
        folder = self._writing(step)
        with self._cleaning(step):
            fault("checkpoint.before_mkdir")
            self.path.mkdir(exist_ok=True)  # not the run directory, if that has vanished
            if self._begun is not None:
                self.abandon(self._begun)
                self.make_room()
            self._begun = step
            self._check_space()
            folder.mkdir()
            fault("checkpoint.after_mkdir")
        return folder

    def best(self) -> Checkpoint | None:
        """The good one with the best figure; None if none has it."""
        good = {found.step: found for found in self._good().values()}
        ranked = self.retention.ranked({step: found.state for step, found in good.items()})
        return good[ranked[0]] if ranked else None

    def abandon(self, step: int) -> None:
        """Remove the hidden folder of a step."""
        shutil.rmtree(self._writing(step), ignore_errors=True)

    def finish(self, step: int, state: Mapping[str, Any]) -> Saved:
        """Make a checkpoint of what has been written for a step, and remove those that are not kept.

        Args:
            step: that was begun.
            state: plain JSON types: contract, versions, metrics; `step` is added.

        Raises:
            SaveFailed: CKPT-13, 14, or how the disk spoilt it; older checkpoints are as they were, but where
                the disk is full only the two newest good ones are left.
            CheckpointError: CKPT-03, 04, 09, a file was written that a checkpoint must not have.
            NumericsError: CKPT-08, the state holds a number that is not finite.
            TypeError: the state is not of plain types.
        """
        target = self.path / step_name(step)
        with self._cleaning(step):
            text = spell_state({**state, "step": step})
            if isinstance(there := self.look_at(target), Checkpoint):
                self.abandon(step)
                return Saved(there, written=False)
            self._complete(self._writing(step), text)
            fault("checkpoint.before_rename")
            self.discard(target)
            self._writing(step).rename(target)
            fault("checkpoint.after_rename")
            sync(self.path)
            saved = self._read_back(target)
            self._begun = None
            fault("checkpoint.before_prune")
            self.prune(self.retention)
            fault("checkpoint.after_prune")
        return Saved(saved, written=True)

    def _writing(self, step: int) -> Path:
        return self.path / hidden_name(step_name(step), WRITING, Process.current())

    def _check_space(self) -> None:
        for path in self.paths():
            with suppress(NotAFileError):
                needed = int(_ROOM * sum(sizes_inside(path).values()))
                if needed > (free := shutil.disk_usage(self.path).free):
                    found = f"{needed:,} bytes are needed for a checkpoint, {free:,} are free"
                    raise disk_full(self.path, found)
                return

    @contextmanager
    def _cleaning(self, step: int) -> Iterator[None]:
        """Leave nothing of a save that has failed, and room for another."""
        try:
            with disk_errors(self.path):
                yield
        except NotAFileError as error:
            self.abandon(step)
            raise refused("CKPT-04", self._writing(step), str(error), "files only") from error
        except (DnalmError, TypeError) as error:
            self.abandon(step)
            if isinstance(error, SaveFailed) and error.code == "CKPT-14":
                self.make_room()
            raise

    def _complete(self, folder: Path, state: str) -> None:
        write_text(folder / STATE_FILE, state)
        fault("checkpoint.after_state")
        sizes = sizes_inside(folder)
        assert all(is_file_name(name) for name in sizes), f"names of {sorted(sizes)}"
        check_kinds(folder, sizes)
        manifest = Manifest(tuple(_settled(folder, name) for name in sorted(sizes)))
        for inner in {(folder / name).parent for name in sizes}:
            sync(inner)
        write_text(folder / MANIFEST_FILE, manifest.to_json())
        sync(folder)
        fault("checkpoint.after_manifest")

    def _read_back(self, path: Path) -> Checkpoint:
        """What lies on disk, which is not what was meant if the disk is bad; that is removed."""
        seen = self.look_at(path)
        if isinstance(seen, Rejected):
            self.discard(path)
            error = seen.error
            fix = "look at the disk's state"
            raise SaveFailed(
                error.code, where=error.where, found=error.found, expected=error.expected, fix=fix
            )
        return seen


def choose(folder: StoredCheckpoints) -> tuple[Checkpoint | None, list[Rejected]]:
    """What a run goes on from: the newest good checkpoint; None only where there has never been one.

    Raises:
        CheckpointError: CKPT-11, there are some and none is good.
    """
    found, rejected = folder.newest_good()
    if found is None and rejected:
        reasons = "".join(f"\n  {one}" for one in rejected)
        raise CheckpointError(
            "CKPT-11",
            where=str(folder.path),
            found=f"no usable checkpoint among {len(rejected)}:{reasons}\n",
            expected="one that is whole, for a run is not begun anew in silence",
            fix="copy one again from where it is whole, or begin a new run under another run.name",
        )
    return found, rejected


def _settled(folder: Path, name: str) -> FileSum:
    """Sum a file, bring it to disk, and forget it, so that reading it back reads the disk."""
    path = folder / name
    entry = FileSum(name, path.stat().st_size, file_sha256(path))
    sync(path)
    if hasattr(os, "posix_fadvise"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    return entry
