"""A run's `checkpoints/`: written whole or not at all, verified on disk, and pruned only then.

`begin` makes a hidden folder, whoever likes writes files into it, `finish` sums them, brings everything to
disk and renames the folder. A process that is killed in between leaves a hidden folder, which
`remove_leftovers` of a later one removes; what is at a final name is complete at every moment.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dnalm.durable import FileSum, file_sha256, sync, write_text
from dnalm.errors import CheckpointError, DnalmError
from dnalm.faults import fault
from dnalm.lock import Process
from dnalm.training.checkpoints.inside import NotAFileError, sizes_inside
from dnalm.training.checkpoints.manifest import Manifest
from dnalm.training.checkpoints.names import (
    MANIFEST_FILE,
    STATE_FILE,
    WRITING,
    hidden_name,
    is_file_name,
    step_name,
)
from dnalm.training.checkpoints.plain_state import spell_state
from dnalm.training.checkpoints.reading import Checkpoint, Rejected, check_kinds, refused
from dnalm.training.checkpoints.retention import Retention
from dnalm.training.checkpoints.saving import SaveFailed, disk_errors, disk_full
from dnalm.training.checkpoints.stored import StoredCheckpoints

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
