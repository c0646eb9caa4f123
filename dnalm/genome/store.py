"""A genome on disk, ready for training: one folder of flat arrays opened as memory maps.

    bases.bin      (num_bases,) uint8 codes of `alphabet`, all contigs end to end
    unknown.npy    (R, 2) int64, the maximal runs of unknown bases, sorted, counted over all contigs
    manifest.json  contigs, counts, the source's checksum, the two files' checksums

Made by `building`. All coordinates are 0-based and half-open, on the forward strand.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dnalm.durable import FileSum
from dnalm.errors import DataError
from dnalm.genome.alphabet import Codes
from dnalm.genome.file_sums import check_files
from dnalm.genome.manifest import (
    BASES_FILE,
    UNKNOWN_FILE,
    Contig,
    Manifest,
    broken,
    read_manifest,
)

_SEARCHED_NAMES = 5000


class GenomeStore:
    """A genome, read-only. Holds a path and a manifest; the arrays are mapped on first use in each process.

    So a store may be opened before workers are forked, or be sent to spawned ones: none of them
    shares a file position with another.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self._path, self._manifest = path, manifest
        self._maps: tuple[int, np.memmap[Any, np.dtype[np.uint8]]] | None = None

    @classmethod
    def open(cls, path: Path, *, verify: bool = True) -> GenomeStore:
        """Open a store's folder.

        Args:
            path: the folder.
            verify: compare checksums, which reads every byte; done once for each process and store.
                Sizes are compared always.

        Raises:
            DataError: STORE-01 (no manifest), 02 (unreadable manifest), 03 (another format version),
                04 (file missing), 05 (size differs), 06 (checksum differs).
        """
        path = Path(path)
        text, manifest = read_manifest(path)

        def fault(case: str, found: str, expected: str) -> DataError:
            return broken(f"STORE-{case}", path, found, expected, manifest)

        check_files(path, text, manifest.files, verify=verify, fault=fault)
        return cls(path, manifest)

    @property
    def path(self) -> Path:
        """The folder."""
        return self._path

    @property
    def contigs(self) -> tuple[Contig, ...]:
        """The contigs in the order of the source."""
        return self._manifest.contigs

    @cached_property
    def intervals(self) -> npt.NDArray[np.int64]:
        """The contigs as half-open intervals of `codes`, (C, 2)."""
        rows = [(contig.offset, contig.offset + contig.length) for contig in self.contigs]
        return np.array(rows, dtype=np.int64)

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Where each contig begins in `codes`, (C,)."""
        return self.intervals[:, 0]

    @property
    def num_bases(self) -> int:
        """Bases of all contigs."""
        return self._manifest.num_bases

    @property
    def source(self) -> FileSum:
        """The file the store was built from."""
        return self._manifest.source

    @property
    def base_counts(self) -> dict[str, int]:
        """Bases by letter A, C, G, T, N in either case; they sum to `num_bases`."""
        return dict(self._manifest.base_counts)

    @property
    def ambiguous_counts(self) -> dict[str, int]:
        """How many of the N were which IUPAC letter in the source."""
        return dict(self._manifest.ambiguous_counts)

    @property
    def num_soft_masked(self) -> int:
        """Bases in lower case."""
        return self._manifest.num_soft_masked

    @property
    def num_unknown(self) -> int:
        """Bases that are N."""
        return self._manifest.num_unknown

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that tell genomes apart: their bases, soft-mask and contig table."""
        table = [(contig.name, contig.length) for contig in self.contigs]
        identity = json.dumps([self._manifest.files[0].sha256, table])
        return hashlib.sha256(identity.encode()).hexdigest()[:16]

    @property
    def codes(self) -> np.memmap[Any, np.dtype[np.uint8]]:
        """(num_bases,) codes of all contigs end to end, read-only.

        Raises:
            DataError: STORE-04, the file is gone.
        """
        if self._maps is None or self._maps[0] != os.getpid():
            try:
                bases = np.memmap(self._path / BASES_FILE, dtype=np.uint8, mode="r", shape=(self.num_bases,))
            except FileNotFoundError as error:
                found = f"{BASES_FILE} has been deleted since the store was opened"
                raise broken("STORE-04", self._path, found, "a store that stays", self._manifest) from error
            self._maps = os.getpid(), bases
        return self._maps[1]

    @cached_property
    def unknown_runs(self) -> npt.NDArray[np.int64]:
        """(R, 2) maximal runs of unknown bases in `codes`, sorted; a run may cross from contig to contig."""
        runs: npt.NDArray[np.int64] = np.load(self._path / UNKNOWN_FILE, mmap_mode="r", allow_pickle=False)
        return runs

    def contig(self, name: str) -> Contig:
        """The contig of a name.

        Raises:
            DataError: STORE-07, there is none; the message has the nearest names.
        """
        if name not in self._contig_of:
            raise DataError(
                "STORE-07",
                where=str(self._path),
                found=f"there is no contig `{name}`",
                expected=f"one of the {len(self.contigs)} contigs of {self.source.name}",
                fix=f"did you mean {nearest_names(name, self)}?",
            )
        return self._contig_of[name]

    def fetch(self, name: str, start: int, end: int) -> Codes:
        """Bases [start, end) of a contig as (end - start,) codes, read-only.

        Raises:
            DataError: STORE-07, there is no such contig.
            ValueError: the interval does not lie within it.
        """
        contig = self.contig(name)
        if not 0 <= start <= end <= contig.length:
            raise ValueError(f"{name}:{start}-{end} does not lie within [0, {contig.length})")
        return self.codes[contig.offset + start : contig.offset + end].view(np.ndarray)

    def __contains__(self, name: object) -> bool:
        return name in self._contig_of

    def __iter__(self) -> Iterator[str]:
        return iter(self._contig_of)

    @cached_property
    def _contig_of(self) -> dict[str, Contig]:
        return {contig.name: contig for contig in self.contigs}

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "_manifest": self._manifest, "_maps": None}

    def __repr__(self) -> str:
        return f"GenomeStore({str(self._path)!r}, {len(self.contigs)} contigs, {self.num_bases} bases)"


def nearest_names(name: str, store: GenomeStore) -> str:
    """Up to three contig names like an unknown one, such as `chr1` for `1`, to end an error with."""
    alike = {name.lower(), f"chr{name}".lower(), name.lower().removeprefix("chr")}
    names = [contig.name for contig in store.contigs]
    near = [known for known in names if known.lower() in alike]
    near += difflib.get_close_matches(name, names[:_SEARCHED_NAMES], n=3, cutoff=0.5)
    near += [] if near else names
    return " or ".join(f"`{known}`" for known in list(dict.fromkeys(near))[:3])
