"""A genome on disk, ready for training: one folder of flat arrays opened as memory maps.

    bases.bin      (num_bases,) uint8 codes of `alphabet`, all contigs end to end
    unknown.npy    (R, 2) int64, the maximal runs of unknown bases, sorted, counted over all contigs
    manifest.json  contigs, counts, the source's checksum, the two files' checksums

All coordinates are 0-based and half-open, on the forward strand. A store is built from FASTA or 2bit in
bounded memory, whole or not at all, and by one process only (see `atomic_folder`); its source is checked
before any work starts.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

import numpy as np
import numpy.typing as npt
import platformdirs

from dnalm.console import progress_bar
from dnalm.durable import FileSum, file_sha256, write_text
from dnalm.errors import DataError
from dnalm.genome.alphabet import BASE_MASK, SOFT_MASK, UNKNOWN, Codes
from dnalm.genome.atomic_folder import MANIFEST_FILE, FolderFormat, build_folder, locked, store_error
from dnalm.genome.fasta import (
    HEAD_BYTES,
    FastaReader,
    check_head,
    check_index,
    index_path,
    read_index,
)
from dnalm.genome.text import CHUNK_BYTES, compression, read_chunks
from dnalm.genome.twobit import TwoBitReader, is_twobit

BASES_FILE, UNKNOWN_FILE = "bases.bin", "unknown.npy"
_FLUSH_BYTES = 1 << 20
_SEARCHED_NAMES = 5000  # of contigs, for names like one that is not there
_GZIP_RATIO = 3  # bases a byte; real genomes give 3.1 to 4, so this is no overestimate
_SUFFIXES = (".gz", ".bgz", ".fa", ".fasta", ".fna", ".fas", ".2bit")


@dataclass(frozen=True, slots=True)
class Contig:
    """A sequence of the genome: `length` bases from `offset` in the flat array."""

    name: str
    offset: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of `manifest.json`.

    Attributes:
        contigs: in the order of the source; offsets follow from the lengths.
        num_unknown: bases that are N, replaced ambiguous letters included.
        num_soft_masked: bases in lower case.
        base_counts: bases by letter A, C, G, T, N, in either case; they sum to the genome.
        ambiguous_counts: how many of the N were which IUPAC letter.
        source: the file the store was built from.
        files: bases.bin and unknown.npy.
    """

    contigs: tuple[Contig, ...]
    num_unknown: int
    num_soft_masked: int
    base_counts: dict[str, int]
    ambiguous_counts: dict[str, int]
    source: FileSum
    files: tuple[FileSum, FileSum]

    @property
    def num_bases(self) -> int:
        """Bases of all contigs."""
        return self.contigs[-1].offset + self.contigs[-1].length

    def to_json(self) -> str:
        """Spell the manifest as JSON, a contig a line."""
        fields = {"format": FORMAT.name, "version": FORMAT.version, **vars(self)}
        fields |= {"source": asdict(self.source), "files": [asdict(file) for file in self.files]}
        del fields["contigs"]
        contigs = ",\n".join(
            json.dumps([contig.name, contig.offset, contig.length]) for contig in self.contigs
        )
        return f'{json.dumps(fields, indent=1)[:-2]},\n "contigs": [\n{contigs}\n]}}\n'

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Manifest:
        """Read what `to_json` wrote, format and version left out.

        Raises:
            ValueError, KeyError, TypeError: it is not that.
        """
        bases, unknown = (FileSum(**entry) for entry in fields.pop("files"))
        contigs = tuple(Contig(*row) for row in fields.pop("contigs"))
        manifest = cls(
            contigs=contigs, source=FileSum(**fields.pop("source")), files=(bases, unknown), **fields
        )
        ends = [0, *(contig.offset + contig.length for contig in contigs)]
        if ends[:-1] != [contig.offset for contig in contigs] or ends[-1] != bases.num_bytes or not contigs:
            raise ValueError("the contigs do not cover the bases")
        return manifest


FORMAT = FolderFormat(name="dnalm genome", codes="STORE", noun="genome store", version=1)


class GenomeStore:
    """A genome, read-only; the arrays are mapped on first use.

    So a store may be opened before workers are forked, or be sent to spawned ones: none of them
    shares a file position with another.

    Attributes:
        path: the folder.
        manifest: counts and checksums.
        contigs: in the order of the source.
        source: the file that the store was built from.
        num_bases: of all contigs.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self.contigs, self.source, self.num_bases = manifest.contigs, manifest.source, manifest.num_bases

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
        text, manifest = FORMAT.read(path, Manifest.from_fields)
        FORMAT.check_files(path, text, manifest.files, source=manifest.source.name, verify=verify)
        return cls(path, manifest)

    @cached_property
    def intervals(self) -> npt.NDArray[np.int64]:
        """The contigs as half-open intervals of `codes`, (C, 2)."""
        rows = [(contig.offset, contig.offset + contig.length) for contig in self.contigs]
        return np.array(rows, dtype=np.int64)

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Where each contig begins in `codes`, (C,)."""
        return self.intervals[:, 0]

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that differ between genomes of other bases, soft-mask or contig table."""
        table = [(contig.name, contig.length) for contig in self.contigs]
        identity = json.dumps([self.manifest.files[0].sha256, table])
        return hashlib.sha256(identity.encode()).hexdigest()[:16]

    @cached_property
    def codes(self) -> np.memmap[Any, np.dtype[np.uint8]]:
        """(num_bases,) codes of all contigs end to end, read-only.

        Raises:
            DataError: STORE-04, the file is gone.
        """
        try:
            return np.memmap(self.path / BASES_FILE, dtype=np.uint8, mode="r", shape=(self.num_bases,))
        except FileNotFoundError as error:
            found = f"{BASES_FILE} has been deleted since the store was opened"
            raise FORMAT.broken("04", self.path, found, "a store that stays", self.source.name) from error

    @cached_property
    def unknown_runs(self) -> npt.NDArray[np.int64]:
        """(R, 2) maximal runs of unknown bases in `codes`, sorted; a run may cross from contig to contig."""
        runs: npt.NDArray[np.int64] = np.load(self.path / UNKNOWN_FILE, mmap_mode="r", allow_pickle=False)
        return runs

    def contig(self, name: str) -> Contig:
        """The contig of a name.

        Raises:
            DataError: STORE-07, there is none; the message has the nearest names.
        """
        if name not in self._contig_of:
            raise DataError(
                "STORE-07",
                where=str(self.path),
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

    def __reduce__(self) -> tuple[type[GenomeStore], tuple[Path, Manifest]]:
        return GenomeStore, (self.path, self.manifest)

    def __repr__(self) -> str:
        return f"GenomeStore({str(self.path)!r}, {len(self.contigs)} contigs, {self.num_bases} bases)"


def nearest_names(name: str, store: GenomeStore) -> str:
    """Up to three contig names like an unknown one, such as `chr1` for `1`, to end an error with."""
    alike = {name.lower(), f"chr{name}".lower(), name.lower().removeprefix("chr")}
    names = [contig.name for contig in store.contigs]
    near = [known for known in names if known.lower() in alike]
    near += difflib.get_close_matches(name, names[:_SEARCHED_NAMES], n=3, cutoff=0.5)
    near += [] if near else names
    return " or ".join(f"`{known}`" for known in list(dict.fromkeys(near))[:3])


def open_or_build(source: Path, cache: Path | None = None, *, verify: bool = True) -> GenomeStore:
    """The store of a genome, built on first use.

    A source counts as the same while its resolved path, size and time of change are the same: its
    bytes are not hashed again on every opening, which would cost seconds a gigabyte. A file edited
    with all three kept would go unnoticed.

    Args:
        source: FASTA, 2bit, or the folder of a store, which is opened as it is.
        cache: folder of stores; the user's cache if not given.
        verify: compare the checksums of a store that is there, which reads every byte.

    Raises:
        DataError: the source is unusable (FASTA-.., TWOBIT-..), the store is damaged (STORE-01 to
            06), or cannot be written (STORE-09 to 11).
    """
    source = Path(source)
    check_source(source)
    if _is_store(source):
        return GenomeStore.open(source, verify=verify)
    cache = Path(cache) if cache else platformdirs.user_cache_path("dnalm") / "genomes"
    target = cache / _store_name(source)
    if not target.exists():
        with locked(target):
            if not target.exists():
                return _build(source, target, chunk_bytes=CHUNK_BYTES)
    return GenomeStore.open(target, verify=verify)


def build_store(source: Path, target: Path, *, chunk_bytes: int = CHUNK_BYTES) -> GenomeStore:
    """Build a store at a place where nothing is.

    Args:
        source: FASTA (plain, gzip, bgzip) or 2bit.
        target: the folder to make; its parents are made too.
        chunk_bytes: text read at a time. About 20 times as much memory is used.

    Raises:
        DataError: as `open_or_build`; STORE-08, the target exists.
    """
    source, target = Path(source), Path(target)
    check_source(source)
    with locked(target):
        if target.exists():
            fix = "delete it or choose another place"
            raise store_error("STORE-08", target, "already exists", "a new folder", fix)
        return _build(source, target, chunk_bytes=chunk_bytes)


def _store_name(source: Path) -> str:
    status = source.stat()
    identity = f"{source.resolve()}|{status.st_size}|{status.st_mtime_ns}"
    stem = source.name
    while Path(stem).suffix in _SUFFIXES:
        stem = Path(stem).stem
    return f"{stem[:100]}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def _build(source: Path, target: Path, *, chunk_bytes: int) -> GenomeStore:
    """Build at a place where nothing is; called with the lock held."""

    def explain(error: OSError) -> DataError | None:
        if not error.filename or Path(error.filename) != source:
            return None
        found = f"cannot be read ({error.strerror})"
        return store_error("FASTA-28", source, found, "a readable file", "check the file and its disk")

    build_folder(
        target,
        lambda folder: _write(source, folder, chunk_bytes=chunk_bytes),
        needed_bytes=_estimate_num_bases(source),
        space="space for one byte a base",
        explain=explain,
    )
    return GenomeStore.open(target, verify=False)


def _write(source: Path, folder: Path, *, chunk_bytes: int) -> None:
    before = source.stat()
    with progress_bar(f"Reading {source.name}", total=before.st_size, in_bytes=True) as advance:
        digest = hashlib.sha256()

        def on_read(piece: bytes) -> None:
            digest.update(piece)
            advance(len(piece))

        index = index_path(source)
        has_index = index.is_file()
        reader: FastaReader | TwoBitReader
        if is_twobit(_read_head(source)):
            reader = TwoBitReader(source, chunk_bytes=chunk_bytes, on_read=advance)
        else:
            reader = FastaReader(source, keep_records=has_index, chunk_bytes=chunk_bytes, on_read=on_read)
        with closing(StoreWriter(folder)) as writer:
            for name, codes in reader:
                writer.add(name, codes)
            content = writer.finish()
    if isinstance(reader, FastaReader) and has_index:
        check_index(index, reader)
    sha256 = digest.hexdigest() if isinstance(reader, FastaReader) else file_sha256(source)
    after = source.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        fix = "wait until it is written, then try again"
        raise store_error("STORE-12", source, "the file changed while it was read", "a file at rest", fix)
    manifest = Manifest(
        ambiguous_counts=dict(sorted(reader.ambiguous.items())),
        source=FileSum(source.name, before.st_size, sha256),
        **content,
    )
    write_text(folder / MANIFEST_FILE, manifest.to_json())


class Content(TypedDict):
    """The part of a manifest that follows from the bases."""

    contigs: tuple[Contig, ...]
    num_unknown: int
    num_soft_masked: int
    base_counts: dict[str, int]
    files: tuple[FileSum, FileSum]


class StoreWriter:
    """Writes `bases.bin` and `unknown.npy` into an empty folder."""

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

    def close(self) -> None:
        """Close both files."""
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
        """Bring all to disk; return what the manifest lists of it."""
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
        counts = {letter: int(np.count_nonzero(bases == code)) for code, letter in enumerate("ACGT")}
        for letter, count in counts.items():
            self._counts[letter] += count
        self._num_soft_masked += int(np.count_nonzero(block >= SOFT_MASK))
        if sum(counts.values()) < block.size or self._run_start is not None:
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


def check_source(source: Path) -> None:
    """Look whether a genome can be read, without reading more than its beginning.

    Args:
        source: FASTA (plain, gzip, bgzip), UCSC 2bit, or the folder of a store.

    Raises:
        DataError: FASTA-28 (missing, a folder, not a regular file, not readable), or what its first
            bytes, its index or its manifest show to be wrong.
    """
    if _is_store(source):
        GenomeStore.open(source, verify=False)
        return
    expected, head = "a readable FASTA or 2bit file", b""
    try:
        mode = source.stat().st_mode
        found, fix = "is no regular file, such as a pipe", "write it to disk first"
        if stat.S_ISDIR(mode):
            found, fix = "is a directory without a genome store", "give a file in it"
        if stat.S_ISREG(mode):
            found, head = "", _read_head(source)
    except FileNotFoundError:
        found, fix = "not found", "check the path"
    except PermissionError:
        found, fix = "permission denied", "make the file readable to you"
    except OSError as error:
        found, fix = f"cannot be read ({error.strerror})", "check the path and the disk"
    if found:
        raise store_error("FASTA-28", source, found, expected, fix)
    if is_twobit(head) or source.suffix == ".2bit":
        TwoBitReader(source)
        return
    check_head(source, next(read_chunks(source, chunk_bytes=HEAD_BYTES), b""))
    if index_path(source).is_file():
        read_index(index_path(source))


def _is_store(source: Path) -> bool:
    """Whether a source is the folder of a built store."""
    return (source / MANIFEST_FILE).is_file()


def _estimate_num_bases(source: Path) -> int:
    """About how many bases a source holds, rather too few than too many."""
    num_bytes = source.stat().st_size
    if is_twobit(_read_head(source)):
        return 4 * num_bytes * 9 // 10  # the rest is blocks
    return num_bytes * 9 // 10 if compression(source) == "plain" else _GZIP_RATIO * num_bytes


def _read_head(source: Path) -> bytes:
    descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK)  # a pipe put there meanwhile must not block
    try:
        return os.read(descriptor, HEAD_BYTES)
    finally:
        os.close(descriptor)
