"""A track on disk: what every base of one genome is, opened as memory maps.

    values.bin      dense: (num_bases,) uint8 of classes, float32 of values
    starts.bin      runs: (R,) int64, where each run of equal bases begins, the first at 0
    rows.bin        runs: (R,) float32 of values; or (R, W) uint8 of labels, W = 2 x ceil(n / 8): bits of the
                    labels that hold, then bits of those that are known
    manifest.json   kind, names, genome, sources, statistics, checksums

Classes are dense, for a byte a base is the same as the genome takes and reads fastest. Labels are runs: five
tissues x 13 states of human chr22 take 0.8 MB so, and would take 462 MB bit-packed base by base. Values are
whichever is smaller. Coordinates are flat ones of the genome store, on the forward strand; whoever reads the
reverse strand reverses the first axis of what is read.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dnalm.errors import DataError
from dnalm.genome.file_sums import check_files
from dnalm.genome.store import GenomeStore
from dnalm.genome.tracks.manifest import (
    TrackKind,
    TrackManifest,
    TrackStatistics,
    read_track_manifest,
    track_error,
)

MISSING = 255  # of classes and labels; values have NaN
VALUES_FILE, STARTS_FILE, ROWS_FILE = "values.bin", "starts.bin", "rows.bin"
TrackArray = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
_Maps = tuple[npt.NDArray[Any], ...]


class TrackStore:
    """A track, read-only. Holds a path and a manifest; arrays are mapped on first use in each process.

    So it may be opened before workers are forked, or be sent to spawned ones.
    """

    def __init__(self, path: Path, manifest: TrackManifest) -> None:
        self._path, self._manifest = path, manifest
        self._maps: tuple[int, _Maps] | None = None

    @classmethod
    def open(cls, path: Path, store: GenomeStore, *, verify: bool = True) -> TrackStore:
        """Open a track's folder.

        Args:
            path: the folder.
            store: the genome; it must be the one that the track was made for.
            verify: compare checksums, once for each process and track. Sizes are compared always.

        Raises:
            DataError: TRACK-01 to 06, as STORE-01 to 06 of a genome store; TRACK-07, another genome.
        """
        path = Path(path)
        text, manifest = read_track_manifest(path)
        if manifest.genome != store.fingerprint:
            found = f"the track belongs to {manifest.genome_name} (fingerprint {manifest.genome})"
            expected = f"{store.source.name} (fingerprint {store.fingerprint})"
            raise track_error("TRACK-07", path, found, expected, "prepare the track for this genome")

        def fault(case: str, found: str, expected: str) -> DataError:
            return track_error(f"TRACK-{case}", path, found, expected)

        check_files(path, text, manifest.files, verify=verify, fault=fault)
        return cls(path, manifest)

    @property
    def path(self) -> Path:
        """The folder."""
        return self._path

    @property
    def manifest(self) -> TrackManifest:
        """All that is known of the track, sources, notes and checksums too."""
        return self._manifest

    @property
    def kind(self) -> TrackKind:
        """`classes` (one of them a base), `labels` (each 0 or 1) or `values` (a number)."""
        return self._manifest.kind

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes or labels, in the order of their numbers; empty of values."""
        return self._manifest.names

    @property
    def num_bases(self) -> int:
        """Of the genome."""
        return self._manifest.statistics.num_bases

    @property
    def statistics(self) -> TrackStatistics:
        """How the track fills the genome."""
        return self._manifest.statistics

    @property
    def fingerprint(self) -> str:
        """16 hex digits that tell tracks apart: genome, names and arrays."""
        parts = [self._manifest.genome, *self.names, *(entry.sha256 for entry in self._manifest.files)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def read(self, flat_start: int, flat_end: int) -> TrackArray:
        """What the bases [flat_start, flat_end) of the genome are, forward strand.

        Args:
            flat_start: in the flat coordinates of the genome store (`Contig.offset` + position).
            flat_end: the same; windows may reach over contigs.

        Returns:
            L = flat_end - flat_start. Classes: (L,) uint8, 255 = missing; a read-only view. Labels: (L, n)
            uint8, 0 or 1, 255 = missing. Values: (L,) float32, NaN = missing.

        Raises:
            ValueError: the window does not lie within the genome.
        """
        if not 0 <= flat_start <= flat_end <= self.num_bases:
            raise ValueError(f"[{flat_start}, {flat_end}) does not lie within [0, {self.num_bases})")
        maps = self._arrays()
        if len(maps) == 1:
            dense: TrackArray = maps[0][flat_start:flat_end]
            return dense
        starts, rows = maps
        first = int(starts.searchsorted(flat_start, "right")) - 1
        last = max(int(starts.searchsorted(flat_end, "left")), first + 1)
        edges = np.empty(last - first + 1, dtype=np.int64)
        edges[0], edges[1:-1], edges[-1] = flat_start, starts[first + 1 : last], flat_end
        found = rows[first:last]
        if self.kind == "labels":
            found = unpack_labels(found, len(self.names))
        return np.repeat(found, np.diff(edges), axis=0)

    def _arrays(self) -> _Maps:
        """(dense,) or (starts, rows), mapped by this process."""
        if self._maps is None or self._maps[0] != os.getpid():
            self._maps = os.getpid(), self._open_maps()
        return self._maps[1]

    def _open_maps(self) -> _Maps:
        dtype = np.float32 if self.kind == "values" else np.uint8
        if self._manifest.encoding == "dense":
            return (self._map(VALUES_FILE, dtype),)
        rows = self._map(ROWS_FILE, dtype)
        if self.kind == "labels":
            rows = rows.reshape(-1, 2 * packed_width(len(self.names)))
        return self._map(STARTS_FILE, np.int64), rows

    def _map(self, name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        return np.memmap(self._path / name, dtype=dtype, mode="r").view(np.ndarray)

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "_manifest": self._manifest, "_maps": None}

    def __repr__(self) -> str:
        what = f"{len(self.names)} {self.kind}" if self.names else self.kind
        return f"TrackStore({str(self._path)!r}, {what}, {self.num_bases} bases)"


def packed_width(num_labels: int) -> int:
    """Bytes of a row's bits for so many labels."""
    return -(-num_labels // 8)


def unpack_labels(rows: npt.NDArray[np.uint8], num_labels: int) -> npt.NDArray[np.uint8]:
    """(R, W) bits to (R, num_labels) of 0, 1 or 255."""
    width = packed_width(num_labels)
    holds = np.unpackbits(rows[:, :width], axis=1, count=num_labels)
    known = np.unpackbits(rows[:, width:], axis=1, count=num_labels)
    return holds | (known - np.uint8(1))  # unknown is 0 - 1 = 255
