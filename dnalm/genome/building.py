"""Building a genome store: streaming, checked, atomic, and by one process only.

A store is written in a hidden folder beside its place and renamed when it is complete and on disk,
so that whatever is at the final name is whole. The lock of a place is held while building, so a
hidden folder whose lock is free was left by a process that died, and is removed.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from dnalm.console import progress_bar, stderr
from dnalm.errors import DataError
from dnalm.genome.bgzf import CHUNK_BYTES
from dnalm.genome.faidx import IndexEntry, check_index, index_path, read_index
from dnalm.genome.fasta import FastaReader
from dnalm.genome.manifest import MANIFEST_FILE, FileSum, Manifest, file_sha256
from dnalm.genome.sources import check_source, estimate_num_bases, has_twobit_magic, is_store
from dnalm.genome.store import GenomeStore
from dnalm.genome.store_writer import StoreWriter
from dnalm.genome.twobit import TwoBitReader

_SUFFIXES = (".gz", ".bgz", ".fa", ".fasta", ".fna", ".fas", ".2bit")
_BUILDING = ".building-"
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
    if is_store(source):
        return GenomeStore.open(source, verify=verify)
    cache = Path(cache) if cache else platformdirs.user_cache_path("dnalm") / "genomes"
    target = cache / _store_name(source)
    if not target.exists():
        with _locked(target):
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
    with _locked(target):
        if target.exists():
            fix = "delete it or choose another place"
            raise _error("STORE-08", target, "already exists", "a new folder", fix)
        return _build(source, target, chunk_bytes=chunk_bytes)


def _store_name(source: Path) -> str:
    status = source.stat()
    identity = f"{source.resolve()}|{status.st_size}|{status.st_mtime_ns}"
    stem = source.name
    while Path(stem).suffix in _SUFFIXES:
        stem = Path(stem).stem
    return f"{stem[:100]}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Hold the lock of a store's place; say whom one waits for."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(_lock_path(target.parent, target.name))
        try:
            lock.acquire(timeout=0.2)
        except Timeout:
            stderr.print(f"Waiting for {_holder(target)}, which is building {target.name} ...")
            lock.acquire()
    except NotImplementedError as error:
        fix = "put the cache on a local disk"
        raise _error(
            "STORE-11", target.parent, "files cannot be locked here", "a file system with locks", fix
        ) from error
    except OSError as error:
        raise _not_writable(target.parent, error) from error
    try:
        yield
    finally:
        lock.release()


def _lock_path(folder: Path, name: str) -> Path:
    return folder / f".{name}.lock"


def _holder(target: Path) -> str:
    for folder in target.parent.glob(f".{glob.escape(target.name)}{_BUILDING}*"):
        host, _, pid = folder.name.rpartition(_BUILDING)[2].rpartition("-")
        return f"process {pid} on {host}"
    return "another process"


def _remove_leftovers(target: Path) -> None:
    """Remove what killed processes left, in the place whose lock is held and wherever else a lock is free."""
    for folder in target.parent.glob(f".*{_BUILDING}*"):
        name = folder.name[1:].rpartition(_BUILDING)[0]
        if name == target.name:
            shutil.rmtree(folder, ignore_errors=True)
            continue
        with suppress(Timeout, OSError), FileLock(_lock_path(target.parent, name), timeout=0):
            shutil.rmtree(folder, ignore_errors=True)


def _build(source: Path, target: Path, *, chunk_bytes: int) -> GenomeStore:
    """Write beside the target, then rename; called with the lock held."""
    _remove_leftovers(target)
    needed, free = estimate_num_bases(source), shutil.disk_usage(target.parent).free
    if needed > free:
        raise _disk_full(target, f"about {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")
    folder = target.parent / f".{target.name}{_BUILDING}{socket.gethostname()}-{os.getpid()}"
    try:
        folder.mkdir()
        _write(source, folder, chunk_bytes=chunk_bytes)
        folder.rename(target)
        _sync_folder(target.parent)
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise _disk_full(target, f"the disk is full ({error.strerror})") from error
        if error.filename and Path(error.filename) == source:
            fix = "check the file and its disk"
            raise _error(
                "FASTA-28", source, f"cannot be read ({error.strerror})", "a readable file", fix
            ) from error
        raise _not_writable(target.parent, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # already renamed if all went well
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
        if has_twobit_magic(source):
            reader = TwoBitReader(source, chunk_bytes=chunk_bytes, on_read=advance)
        else:
            reader = FastaReader(source, keep_records=has_index, chunk_bytes=chunk_bytes, on_read=on_read)
        with StoreWriter(folder) as writer:
            for name, codes in reader:
                writer.add(name, codes)
            content = writer.finish()
    if isinstance(reader, FastaReader) and has_index:
        _check_index(index, reader)
    sha256 = digest.hexdigest() if isinstance(reader, FastaReader) else file_sha256(source)
    after = source.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        fix = "wait until it is written, then try again"
        raise _error("STORE-12", source, "the file changed while it was read", "a file at rest", fix)
    manifest = Manifest(
        ambiguous_counts=dict(sorted(reader.ambiguous.items())),
        source=FileSum(source.name, before.st_size, sha256),
        **content,
    )
    with (folder / MANIFEST_FILE).open("w", encoding="utf-8") as file:
        file.write(manifest.to_json())
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(folder)


def _check_index(path: Path, reader: FastaReader) -> None:
    ending = reader.line_end_bytes
    actual = [
        IndexEntry(record.name, record.length, record.offset, record.width, record.width + ending)
        for record in reader.records
    ]
    check_index(path, read_index(path), actual, reader.num_text_bytes)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk_full(target: Path, found: str) -> DataError:
    fix = "free space there, or choose a cache folder on another disk"
    return _error("STORE-10", target, found, "space for one byte a base", fix)


def _not_writable(folder: Path, error: OSError) -> DataError:
    found = f"the folder is not writable ({error.strerror or error})"
    return _error("STORE-09", folder, found, "a cache folder you may write in", "choose another cache folder")


def _error(code: str, where: Path, found: str, expected: str, fix: str) -> DataError:
    return DataError(code, where=str(where), found=found, expected=expected, fix=fix)
