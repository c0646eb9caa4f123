"""Writes the arrays of a genome store as its bases stream by, in bounded memory."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, TypedDict

import numpy as np
import numpy.typing as npt

from dnalm.durable import FileSum, file_sha256
from dnalm.genome.alphabet import BASE_MASK, SOFT_MASK, UNKNOWN, Codes
from dnalm.genome.manifest import BASES_FILE, UNKNOWN_FILE, Contig

_FLUSH_BYTES = 1 << 20


class Content(TypedDict):
    """The part of a manifest that follows from the bases."""

    contigs: tuple[Contig, ...]
    num_unknown: int
    num_soft_masked: int
    base_counts: dict[str, int]
    files: tuple[FileSum, FileSum]


class StoreWriter:
    """Writes `bases.bin` and `unknown.npy` into a folder.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bases: BinaryIO = (folder / BASES_FILE).open("wb", buffering=0)
        self._unknown: BinaryIO = (folder / UNKNOWN_FILE).open("wb")
        _write_header(self._unknown, 0)
        self._digest = hashlib.sha256()
        self._waiting: list[Codes] = []
        self._num_waiting = 0
        self._names: list[str] = []
        self._lengths: list[int] = []
        self._counts = dict.fromkeys("ACGT", 0)
        self._num_soft_masked = self._num_written = self._num_runs = 0
        self._run_start: int | None = None

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bases.close()
        self._unknown.close()

    def add(self, name: str, codes: Codes) -> None:
        """Append bases to a contig, which begins with its first bases.

        Args:
            name: the contig; its pieces follow one another.
            codes: (length,) codes.
        """
        if not self._names or self._names[-1] != name:
            self._names.append(name)
            self._lengths.append(0)
        self._lengths[-1] += codes.size
        self._waiting.append(codes)
        self._num_waiting += codes.size
        if self._num_waiting >= _FLUSH_BYTES:
            self._flush()

    def finish(self) -> Content:
        """Bring all to disk, and say what was written."""
        self._flush()
        if self._run_start is not None:
            self._write_runs(np.array([self._run_start, self._num_written], dtype=np.int64))
        self._unknown.seek(0)
        _write_header(self._unknown, self._num_runs)
        for file in (self._bases, self._unknown):
            file.flush()
            os.fsync(file.fileno())
        ends = np.cumsum(self._lengths, dtype=np.int64).tolist()
        parts = zip(self._names, ends, self._lengths, strict=True)
        num_unknown = self._num_written - sum(self._counts.values())
        unknown = self._folder / UNKNOWN_FILE
        return Content(
            contigs=tuple(Contig(name, end - length, length) for name, end, length in parts),
            num_unknown=num_unknown,
            num_soft_masked=self._num_soft_masked,
            base_counts={**self._counts, "N": num_unknown},
            files=(
                FileSum(BASES_FILE, self._num_written, self._digest.hexdigest()),
                FileSum(UNKNOWN_FILE, unknown.stat().st_size, file_sha256(unknown)),
            ),
        )

    def _flush(self) -> None:
        if not self._waiting:
            return
        block = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        self._waiting, self._num_waiting = [], 0
        rest = memoryview(block.data)
        self._digest.update(rest)
        while rest:  # an unbuffered write may take a part
            rest = rest[self._bases.write(rest) :]
        bases = block & BASE_MASK
        num_known = 0
        for code, letter in enumerate("ACGT"):
            count = int(np.count_nonzero(bases == code))
            self._counts[letter] += count
            num_known += count
        self._num_soft_masked += int(np.count_nonzero(block >= SOFT_MASK))
        if num_known < block.size or self._run_start is not None:
            self._find_runs(bases == UNKNOWN)
        self._num_written += block.size

    def _find_runs(self, is_unknown: npt.NDArray[np.bool_]) -> None:
        changes = np.flatnonzero(np.diff(is_unknown, prepend=self._run_start is not None)) + self._num_written
        if self._run_start is not None:
            changes = np.concatenate([[self._run_start], changes])
        self._run_start = int(changes[-1]) if changes.size % 2 else None
        self._write_runs(changes[: changes.size - changes.size % 2])

    def _write_runs(self, ends: npt.NDArray[np.int64]) -> None:
        self._unknown.write(ends.astype("<i8").tobytes())
        self._num_runs += ends.size // 2


def _write_header(file: BinaryIO, num_runs: int) -> None:
    """The header of an npy file, which has the same length for any number of rows."""
    fields = {"descr": "<i8", "fortran_order": False, "shape": (num_runs, 2)}
    np.lib.format.write_array_header_1_0(file, fields)
