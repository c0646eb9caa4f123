"""What the system says becomes a sentence with a code; a bug of ours stays a traceback."""

from __future__ import annotations

import errno
import gzip
import os
import pickle
import re
import resource
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from dnalm.durable import atomic_write, errno_of, naming, reserve, size_text, write_text
from dnalm.errors import ConfigError, DataError, DistributedError, DnalmError, escape_controls
from dnalm.system_errors import translate

MiB = 1 << 20


def raised(work: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- what libraries raise differs
        work()
    return caught.value


@pytest.mark.parametrize(
    ("number", "code", "fix"),
    [
        (errno.ENOSPC, "DISK-01", "free space there"),
        (errno.EDQUOT, "DISK-01", "free space there"),
        (errno.EFBIG, "DISK-01", "ulimit -f"),
        (errno.EROFS, "DISK-02", "choose another folder"),
        (errno.EACCES, "DISK-02", "choose another folder"),
        (errno.EPERM, "DISK-02", "choose another folder"),
        (errno.ENOTDIR, "DISK-03", "choose another path"),
        (errno.EISDIR, "DISK-03", "choose another path"),
        (errno.ENAMETOOLONG, "DISK-03", "choose another path"),
        (errno.ENOENT, "DISK-04", "moved or deleted"),
        (errno.ESTALE, "DISK-04", "moved or deleted"),
        (errno.EIO, "DISK-05", "dmesg"),
        (errno.EMFILE, "DISK-06", "ulimit -n"),
    ],
)
def test_an_error_of_the_disk_names_file_reason_and_remedy(
    number: int, code: str, fix: str, tmp_path: Path
) -> None:
    path = tmp_path / "out.tsv"
    known = translate(OSError(number, os.strerror(number), str(path)))
    assert isinstance(known, DataError)
    assert known.exit_code == 3
    assert str(known).startswith(f"{code} {path}: ")
    assert os.strerror(number) in str(known)
    assert fix in known.fix


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        KeyError("x"),
        OSError("no number"),
        OSError(errno.EINVAL, "Invalid argument", "file"),
        ProcessLookupError(errno.ESRCH, "No such process"),
        PermissionError(errno.EPERM, "Operation not permitted"),  # of os.kill, which has no file
        ConnectionResetError(errno.ECONNRESET, "reset"),
        RuntimeError("shapes differ"),
        pa.ArrowInvalid("columns of different lengths"),
    ],
)
def test_what_no_user_can_mend_is_not_translated(error: Exception) -> None:
    assert translate(error) is None


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (MemoryError(), ConfigError, "MEM-01"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ConfigError, "MEM-01"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), ConfigError, "MEM-01"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), ConfigError, "MEM-01"),
        (BrokenProcessPool("terminated"), DistributedError, "DIST-21"),
        (zipfile.BadZipFile("File is not a zip file"), DataError, "DATA-22"),
        (zlib.error("Error -3 while decompressing"), DataError, "DATA-22"),
        (gzip.BadGzipFile("Not a gzipped file"), DataError, "DATA-22"),
        (EOFError("Compressed file ended before the end-of-stream marker"), DataError, "DATA-22"),
    ],
)
def test_memory_workers_and_damaged_files(error: Exception, kind: type[DnalmError], code: str) -> None:
    known = translate(error)
    assert isinstance(known, kind)
    assert known.code == code


def test_our_own_errors_stay_as_they_are() -> None:
    error = DataError("X-01", where="a", found="b", expected="c", fix="d")
    assert translate(error) is error


def test_text_in_another_encoding_names_its_byte() -> None:
    error = raised(lambda: b"caf\xe9".decode("utf-8"))
    known = translate(error)
    assert isinstance(known, DataError)
    assert "byte 0xe9 at offset 3" in str(known)


def test_a_file_that_is_no_parquet_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 but nothing more")
    assert isinstance(translate(raised(lambda: pq.read_table(tmp_path / "x.parquet"))), DataError)


def writers() -> Iterator[tuple[str, Callable[[Path], object]]]:
    """How this program's outputs are written, each with 4 MiB that do not compress."""
    noise = np.random.default_rng(1).integers(0, 256, 4 * MiB, dtype=np.uint8)
    yield "text", lambda path: path.write_text("x" * 4 * MiB)
    yield "durable text", lambda path: write_text(path, "x" * 4 * MiB)
    yield "numpy", lambda path: noise.tofile(path)
    yield "npz", lambda path: np.savez_compressed(path, noise=noise)
    yield "parquet", lambda path: pq.write_table(pa.table({"noise": noise}), path)
    yield "safetensors", lambda path: save_file({"noise": torch.from_numpy(noise)}, path)
    yield "memory map", lambda path: reserve(path, 4 * MiB)


WRITERS = list(writers())


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 1 MiB, where it may be mounted."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("no disk may be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(("name", "write"), WRITERS, ids=[*dict(WRITERS)])
def test_a_full_disk_is_named_by_every_writer_and_leaves_nothing(
    name: str, write: Callable[[Path], object], small_disk: Path
) -> None:
    out = small_disk / "out.npz"
    out.write_text("as it was")

    def replace() -> None:
        with atomic_write(out) as beside:
            write(beside)

    error = raised(replace)
    assert isinstance(error, OSError), name
    known = translate(error)
    assert known is not None
    assert str(known).startswith(f"DISK-01 {out}: the disk is full (No space left on device; "), str(known)
    assert re.search(r"; (more than )?\d+\.\d MB needed; \d+(\.\d [kM]B| bytes) free\); space", str(known))
    assert [path.name for path in small_disk.iterdir()] == ["out.npz"]
    assert out.read_text() == "as it was"


@pytest.mark.parametrize(("name", "write"), WRITERS, ids=[*dict(WRITERS)])
def test_a_limit_on_the_size_of_files_is_distinguished_from_a_full_disk(
    name: str, write: Callable[[Path], object], tmp_path: Path
) -> None:
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MiB, hard))
    try:
        with pytest.raises(OSError) as caught, atomic_write(tmp_path / "out.npz") as beside:  # noqa: PT011
            write(beside)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    known = translate(caught.value)
    assert "DISK-01" in str(known), name
    assert "ulimit -f" in str(known)
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_names_no_reason_gets_one(small_disk: Path) -> None:
    def silent() -> None:
        with naming(small_disk / "x"):
            raise OSError("Error closing BGZFile object")

    (small_disk / "filling").touch()
    assert errno_of(raised(silent)) == errno.ENOSPC
    assert errno_of(OSError("Error closing BGZFile object")) is None
    assert errno_of(Exception("I/O error: No space left on device (os error 28)")) == errno.ENOSPC


@given(st.integers(0, 10**15))
def test_sizes_are_in_a_unit_that_leaves_a_number_of_at_least_1(num_bytes: int) -> None:
    number, unit = size_text(num_bytes).split()
    size = {"bytes": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}[unit]
    assert abs(float(number) * size - num_bytes) <= 0.05 * size
    assert float(number) >= 1 or num_bytes == 0


@pytest.mark.parametrize("kind", [ConfigError, DataError, DistributedError])
def test_errors_travel_between_processes_whole(kind: type[DnalmError]) -> None:
    error = kind("X-01", where="a.tsv:3", found="b", expected="c", fix="d")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)


@given(st.text())
def test_nothing_invisible_is_left_of_a_text(text: str) -> None:
    shown = escape_controls(text)
    assert all(letter.isprintable() or letter in "\n\t" for letter in shown)
    if all(letter.isprintable() for letter in text):
        assert shown == text


def test_a_pipe_that_is_closed_ends_the_program_quietly() -> None:
    """As `dnalm pretrain --cfg | head -1` closes it."""
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "dnalm", "--help"]
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141
