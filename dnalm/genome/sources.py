"""Which file a genome is read from, judged before any work starts."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from dnalm.errors import DataError
from dnalm.genome.bgzf import compression, read_chunks
from dnalm.genome.faidx import index_path, read_index
from dnalm.genome.fasta import HEAD_BYTES
from dnalm.genome.fasta_errors import check_head
from dnalm.genome.manifest import MANIFEST_FILE
from dnalm.genome.store import GenomeStore
from dnalm.genome.twobit import TwoBitReader, is_twobit

_GZIP_RATIO = 3  # bases a byte; real genomes give 3.1 to 4, so this is no overestimate


def is_store(source: Path) -> bool:
    """Whether a source is the folder of a built store."""
    return (source / MANIFEST_FILE).is_file()


def check_source(source: Path) -> None:
    """Look whether a genome can be read, without reading more than its beginning.

    Args:
        source: FASTA (plain, gzip, bgzip), UCSC 2bit, or the folder of a store.

    Raises:
        DataError: FASTA-28 (missing, a folder, not a regular file, not readable), or what its first
            bytes, its index or its manifest show to be wrong.
    """
    if is_store(source):
        GenomeStore.open(source, verify=False)
        return
    try:
        mode = source.stat().st_mode
        if stat.S_ISDIR(mode):
            raise _unreadable(source, "is a directory without a genome store", "give a file in it")
        if not stat.S_ISREG(mode):
            raise _unreadable(source, "is no regular file, such as a pipe", "write it to disk first")
        head = _read_head(source)
    except FileNotFoundError:
        raise _unreadable(source, "not found", "check the path") from None
    except PermissionError:
        raise _unreadable(source, "permission denied", "make the file readable to you") from None
    except OSError as error:
        raise _unreadable(
            source, f"cannot be read ({error.strerror})", "check the path and the disk"
        ) from error
    if is_twobit(head) or source.suffix == ".2bit":
        TwoBitReader(source)
        return
    check_head(source, next(read_chunks(source, chunk_bytes=HEAD_BYTES), b""))
    if index_path(source).is_file():
        read_index(index_path(source))


def estimate_num_bases(source: Path) -> int:
    """About how many bases a source holds, rather too few than too many."""
    num_bytes = source.stat().st_size
    if has_twobit_magic(source):
        return 4 * num_bytes * 9 // 10  # the rest is blocks
    return num_bytes * 9 // 10 if compression(source) == "plain" else _GZIP_RATIO * num_bytes


def has_twobit_magic(source: Path) -> bool:
    """Whether a source is 2bit, by its first bytes; it is FASTA otherwise."""
    return is_twobit(_read_head(source))


def _read_head(source: Path) -> bytes:
    descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK)  # a pipe put there meanwhile must not block
    try:
        return os.read(descriptor, HEAD_BYTES)
    finally:
        os.close(descriptor)


def _unreadable(source: Path, found: str, fix: str) -> DataError:
    expected = "a readable FASTA or 2bit file"
    return DataError("FASTA-28", where=str(source), found=found, expected=expected, fix=fix)
