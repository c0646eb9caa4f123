"""Building a genome store: streaming, checked, atomic, and by one process only (see `atomic_folder`)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import platformdirs

from dnalm.console import progress_bar
from dnalm.durable import FileSum, file_sha256, write_text
from dnalm.errors import DataError
from dnalm.genome.atomic_folder import build_folder, locked, store_error
from dnalm.genome.bgzf import CHUNK_BYTES
from dnalm.genome.faidx import IndexEntry, check_index, index_path, read_index
from dnalm.genome.fasta import FastaReader
from dnalm.genome.manifest import MANIFEST_FILE, Manifest
from dnalm.genome.sources import check_source, estimate_num_bases, has_twobit_magic, is_store
from dnalm.genome.store import GenomeStore
from dnalm.genome.store_writer import StoreWriter
from dnalm.genome.twobit import TwoBitReader

_SUFFIXES = (".gz", ".bgz", ".fa", ".fasta", ".fna", ".fas", ".2bit")


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
        needed_bytes=estimate_num_bases(source),
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
        raise store_error("STORE-12", source, "the file changed while it was read", "a file at rest", fix)
    manifest = Manifest(
        ambiguous_counts=dict(sorted(reader.ambiguous.items())),
        source=FileSum(source.name, before.st_size, sha256),
        **content,
    )
    write_text(folder / MANIFEST_FILE, manifest.to_json())


def _check_index(path: Path, reader: FastaReader) -> None:
    ending = reader.line_end_bytes
    actual = [
        IndexEntry(record.name, record.length, record.offset, record.width, record.width + ending)
        for record in reader.records
    ]
    check_index(path, read_index(path), actual, reader.num_text_bytes)
