"""What happens if a checkpoint cannot be written: once more, then on without it, and not for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from dnalm.console import stderr
from dnalm.durable import DISK_FULL, NOT_WRITABLE
from dnalm.errors import CheckpointError

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
