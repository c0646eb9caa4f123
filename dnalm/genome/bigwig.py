"""The values of a bigWig file, read in a process of its own and checked on arrival.

pybigtools (Huey and Abdennur 2024, Bioinformatics 40:btae350) is used since it is maintained and rejects more
than pyBigWig: of 1,500 damaged files pyBigWig died of SIGSEGV on 45, and pybigtools on none. But it panics
or aborts on many and reads some wrongly. So a child process of limited memory and time opens the file, and
what it sends is accepted only if it is in order and adds up to the summary that the file has of itself.

A value in the file that is NaN counts as missing, as uncovered bases are. Not noticed is damage to files that
were written without compression, where the summary stays the same.

Codes: BW-01 to 09 and 14 of `bigwig_layout`, 10 damaged, 11 another length of a contig, 12 infinite values,
13 overlaps, 15 unknown contig, 16 too slow.

The frame of a bigWig file: what its header promises, judged before a library opens it.

bigWig has no checksum of the whole. What it has: a magic number at both ends, offsets that must lie in the
file, the checksums of zlib in compressed blocks, and a summary of all values, which `bigwig` compares with
what was read. Codes: BW-01 empty or unreadable, 02 not a bigWig, 03 cut in the header, 04 cut before what it
refers to, 05 cut at the end, 06 zoom levels, 07 contig list, 08 index, 09 data, 14 big-endian.

Format: Kent et al. 2010, Bioinformatics 26:2204, supplement.

The process that a bigWig is read in: started, limited, listened to, and ended.
"""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from dnalm.errors import DataError
from dnalm.genome import bigwig_child as child
from dnalm.genome.bed import OtherContigs
from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.store import Contig, GenomeStore

_MAGIC, _BIGBED = 0x888FFC26, 0x8789F2EB
_HEADER = struct.Struct("<IHHQQQHHQQIQ")
_SUMMARY = struct.Struct("<Qdddd")
_MOST_ZOOMS = 32
_TEXTS = (b"track", b"browser", b"fixedStep", b"variableStep", b"#", b"chr")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a file says of all its values."""

    num_bases: int
    minimum: float
    maximum: float
    total: float
    total_squares: float


def check_layout(path: Path) -> Summary | None:
    """Judge a file's header and both ends.

    Returns:
        The summary of its values; None where the file has none (version 1).

    Raises:
        DataError: BW-01 to BW-09, BW-14.
    """
    try:
        with path.open("rb") as file:
            return _check(file, path, path.stat().st_size)
    except OSError as error:
        found = f"the file cannot be read ({error.strerror})"
        raise bigwig_error("BW-01", path, found, "a readable bigWig file", "check the path") from error


def bigwig_error(code: str, path: Path, found: str, expected: str, fix: str) -> DataError:
    """An error about a bigWig file."""
    return DataError(code, where=str(path), found=found, expected=expected, fix=fix)


def _check(file: BinaryIO, path: Path, size: int) -> Summary | None:
    head = file.read(_HEADER.size)
    _check_magic(head, path)
    if len(head) < _HEADER.size:
        found = f"the file has {size} bytes"
        raise bigwig_error("BW-03", path, found, f"a header of {_HEADER.size}", "copy it again, it was cut")
    _, _, num_zooms, contigs, data, index, _, _, _, summary, _, _ = _HEADER.unpack(head)
    places = {"BW-07": ("contig list", contigs), "BW-09": ("data", data), "BW-08": ("index", index)}
    outside = [
        (code, name, offset)
        for code, (name, offset) in places.items()
        if not _HEADER.size <= offset < size - 4
    ]
    file.seek(size - 4)
    if struct.unpack("<I", file.read(4))[0] != _MAGIC:
        if outside:
            found = f"the {outside[0][1]} would begin at offset {outside[0][2]} of {size} bytes"
            raise bigwig_error("BW-04", path, found, "a whole file", "copy it again, it was cut")
        found = "the last 4 bytes are not the magic number"
        raise bigwig_error("BW-05", path, found, "the end of a bigWig", "copy it again, it was cut")
    if num_zooms > _MOST_ZOOMS or _HEADER.size + 24 * num_zooms > size:
        found = f"the header has {num_zooms} zoom levels"
        raise bigwig_error("BW-06", path, found, f"at most {_MOST_ZOOMS}", "make the file again")
    for code, name, offset in outside:
        found = f"the {name} would begin at offset {offset} of {size} bytes"
        raise bigwig_error(code, path, found, "an offset within the file", "copy or make the file again")
    if summary == 0:
        return None
    if not _HEADER.size <= summary <= size - 4 - _SUMMARY.size:
        found = f"the summary would begin at offset {summary} of {size} bytes"
        raise bigwig_error("BW-09", path, found, "an offset within the file", "copy or make the file again")
    file.seek(summary)
    return Summary(*_SUMMARY.unpack(file.read(_SUMMARY.size)))


def _check_magic(head: bytes, path: Path) -> None:
    expected = "a bigWig file"
    if not head:
        raise bigwig_error("BW-01", path, "the file is empty", expected, "give another file")
    if head.startswith(struct.pack("<I", _MAGIC)):
        return
    if head.startswith(struct.pack(">I", _MAGIC)):
        fix = "convert it with bigWigToBedGraph and bedGraphToBigWig"
        raise bigwig_error("BW-14", path, "the file is big-endian", "little-endian, as tools write", fix)
    if head.startswith(struct.pack("<I", _BIGBED)):
        raise bigwig_error("BW-02", path, "this is a bigBed file", expected, "convert it with bigBedToBed")
    if head.startswith(_TEXTS):
        fix = "give bedGraph the suffix .bedgraph; convert wiggle with wigToBigWig"
        raise bigwig_error("BW-02", path, "this is text", expected, fix)
    found = f"the file begins with bytes {head[:4].hex(' ')}"
    raise bigwig_error("BW-02", path, found, "the magic number of bigWig", "give another file")


_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RUST_BACKTRACE": "0"}
_EXIT_SECONDS = 2  # for a process that has sent its last


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """What the reading process may use.

    Args:
        memory_bytes: of its address space.
        cpu_seconds: by default 60 and another for every 100 kB of the file.
        stall_seconds: without sending anything.
    """

    memory_bytes: int = 4 << 30
    cpu_seconds: int | None = None
    stall_seconds: float = 120


def read_frames(path: Path, limits: ChildLimits) -> Iterator[tuple[int, int, bytes]]:
    """What the reader of a file sends, up to its end: kind, contig and payload (see `bigwig_child`).

    The process is ended whenever this is, also by an error or by whoever stops iterating.

    Raises:
        DataError: BW-10, the reader reports damage or dies; BW-16, it takes too long.
    """
    cpu = limits.cpu_seconds or 60 + path.stat().st_size // 100_000
    command = [sys.executable, "-P", child.__file__, str(path)]
    command += [str(limits.memory_bytes), str(cpu)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | _ONE_THREAD,
    )
    assert process.stdout is not None
    try:
        pipe = _Pipe(process, limits.stall_seconds)
        if pipe.read(len(child.MAGIC)) != child.MAGIC:
            raise _died(path, process)
        while True:
            head = pipe.read(child.HEAD.size)
            if len(head) < child.HEAD.size:
                raise _died(path, process)
            kind, number, size, checksum = child.HEAD.unpack(head)
            payload = pipe.read(size) if size <= 1 << 30 else b""
            if len(payload) < size:
                raise _died(path, process)
            if zlib.crc32(payload) != checksum:
                raise damaged(path, "its reader garbled what it read")
            if kind == child.ERROR:
                raise damaged(path, payload.decode(errors="replace").partition("\n")[0])
            if kind == child.END:
                return
            yield kind, number, payload
    except TimeoutError:
        found = f"reading it gave nothing for {limits.stall_seconds:g} s"
        raise bigwig_error("BW-16", path, found, "a sound file", "make it again") from None
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def damaged(path: Path, reason: str) -> DataError:
    """A file that cannot be read or believed."""
    fix = "copy or make the file again"
    return bigwig_error("BW-10", path, f"the file is damaged: {reason}", "a sound bigWig", fix)


def _died(path: Path, process: subprocess.Popen[bytes]) -> DataError:
    try:
        code = process.wait(timeout=_EXIT_SECONDS)
    except subprocess.TimeoutExpired:
        return damaged(path, "its reader garbled what it read")
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        found = "reading it took too much time or memory"
        return bigwig_error("BW-16", path, found, "a sound file", "make it again")
    reason = signal.Signals(-code).name if code < 0 else f"exit status {code}"
    return damaged(path, f"its reader died of {reason}")


class _Pipe:
    """Reads whole pieces from a process, with a limit on how long nothing may come."""

    def __init__(self, process: subprocess.Popen[bytes], stall_seconds: float) -> None:
        assert process.stdout is not None
        self._descriptor, self._stall_seconds = process.stdout.fileno(), stall_seconds
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)

    def read(self, size: int) -> bytes:
        """`size` bytes, or fewer at the end."""
        pieces = []
        while size:
            if not self._poll.poll(1000 * self._stall_seconds):
                raise TimeoutError
            piece = os.read(self._descriptor, min(size, 1 << 20))
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


Records = npt.NDArray[Any]  # (R,) of bigwig_child.RECORD


@dataclass
class _Tally:
    """Adds up what was read, to compare with the file's own summary."""

    num_bases: int = 0
    num_nan: int = 0
    minimum: float = np.inf
    maximum: float = -np.inf
    total: float = 0.0
    total_squares: float = 0.0
    total_size: float = 0.0
    _ends: dict[int, int] = field(default_factory=dict)

    def add(self, block: Records) -> None:
        widths = block["end"].astype(np.float64) - block["start"]
        values = block["value"].astype(np.float64)
        self.num_bases += int(widths.sum())
        known = ~np.isnan(values)
        self.num_nan += int(widths[~known].sum())
        values, widths = values[known], widths[known]
        if values.size:
            self.minimum = min(self.minimum, float(values.min()))
            self.maximum = max(self.maximum, float(values.max()))
            self.total += float((values * widths).sum())
            self.total_size += float((np.abs(values) * widths).sum())
            self.total_squares += float((values**2 * widths).sum())

    def differs_from(self, summary: Summary) -> bool:
        if self.num_bases != summary.num_bases:
            return True
        if self.num_nan or not self.num_bases:
            return False
        pairs = (
            (self.minimum, summary.minimum, abs(self.minimum)),
            (self.maximum, summary.maximum, abs(self.maximum)),
            (self.total, summary.total, self.total_size),
            (self.total_squares, summary.total_squares, self.total_squares),
        )
        return not all(abs(mine - its) <= 1e-5 * scale + 1e-30 for mine, its, scale in pairs)


class BigWigReader:
    """Iterates over the values of a file, contig by contig; afterwards knows what it skipped.

    Args:
        path: the file.
        store: the genome; contigs may be named by aliases, and must have the same lengths.
        other_contigs: whether a contig that the genome lacks is an error or skipped and counted.
        limits: of the reading process.
    """

    def __init__(
        self,
        path: Path,
        store: GenomeStore,
        *,
        other_contigs: OtherContigs = "error",
        limits: ChildLimits | None = None,
    ) -> None:
        self.path, self._store, self._limits = Path(path), store, limits or ChildLimits()
        self._skips_others = other_contigs == "skip"
        self.aliases = ContigAliases(store, [])
        self.num_nan = 0

    def __iter__(self) -> Iterator[tuple[Contig, Records]]:
        """Yield contigs and blocks of their records: start, end (in the contig) and value, in order.

        Raises:
            DataError: BW-01 to BW-16. Values already given may be wrong if an error follows, so whoever
                takes them must discard them then.
        """
        summary = check_layout(self.path)
        tally = _Tally()
        contigs: list[tuple[str, Contig | None]] = []
        ends: dict[int, int] = {}
        for kind, number, payload in read_frames(self.path, self._limits):
            if kind == child.CONTIGS:
                contigs = self._contigs(payload)
                continue
            if not number < len(contigs):
                raise damaged(self.path, "it was read without its contigs")
            name, contig = contigs[number]
            block = np.frombuffer(payload, dtype=child.RECORD)
            self._check_block(name, contig, block, ends.get(number, 0))
            ends[number] = int(block["end"][-1])
            tally.add(block)
            if contig:
                yield contig, block
        self.num_nan = tally.num_nan
        if summary and tally.differs_from(summary):
            raise damaged(
                self.path,
                f"its {tally.num_bases} values with sum {tally.total:.6g} are not the "
                f"{summary.num_bases} with sum {summary.total:.6g} of its own summary",
            )

    def notes(self) -> list[str]:
        """Sentences about what was skipped."""
        notes = []
        if self.aliases.unknown:
            notes.append(f"BW-15 {self.path}: {len(self.aliases.unknown)} other contigs skipped")
        absent = [name for name in self._store if name not in set(self.aliases.table.values())]
        if absent:
            notes.append(f"BW-15 {self.path}: {len(absent)} contigs of the genome have no values there")
        if self.num_nan:
            notes.append(f"BW-12 {self.path}: {self.num_nan} values are NaN and count as missing")
        return notes

    def _contigs(self, payload: bytes) -> list[tuple[str, Contig | None]]:
        rows: list[tuple[str, int]] = json.loads(payload)
        self.aliases = ContigAliases(self._store, (name for name, _ in rows))
        if not self.aliases.table and rows:
            raise self.aliases.error("BW-15", str(self.path), rows[0][0])
        contigs = []
        for name, length in rows:
            contig = self.aliases.find(name)
            if contig is None and not (self._skips_others and self.aliases.is_unknown(name)):
                raise self.aliases.error("BW-15", str(self.path), name)
            if contig and contig.length != length:
                found = f"contig `{name}` has {length} bases"
                expected = f"{contig.length}, as `{contig.name}` of {self._store.source.name}"
                raise bigwig_error("BW-11", self.path, found, expected, "give the file of this assembly")
            contigs.append((name, contig))
        return contigs

    def _check_block(self, name: str, contig: Contig | None, block: Records, before: int) -> None:
        starts, ends = block["start"].astype(np.int64), block["end"].astype(np.int64)
        if not block.size or (starts >= ends).any() or (contig and ends.max() > contig.length):
            raise damaged(self.path, f"`{name}` has an empty interval or one past its end")
        overlaps = np.flatnonzero(starts < np.concatenate([[before], ends[:-1]]))
        if overlaps.size:
            at = int(overlaps[0])
            found = f"the interval {name}:{starts[at]}-{ends[at]} begins before the one before it ends"
            fix = "make one value a base and write the file again"
            raise bigwig_error("BW-13", self.path, found, "sorted intervals without overlap", fix)
        infinite = np.flatnonzero(np.isinf(block["value"]))
        if infinite.size:
            at = int(infinite[0])
            found = f"the value at {name}:{starts[at]}-{ends[at]} is infinite"
            fix = "write the file again without such values"
            raise bigwig_error("BW-12", self.path, found, "finite numbers, or NaN where there is none", fix)
