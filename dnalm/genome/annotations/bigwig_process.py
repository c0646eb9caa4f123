"""The process that a bigWig is read in: started, limited, listened to, and ended."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dnalm.errors import DataError
from dnalm.genome.annotations import bigwig_child as child
from dnalm.genome.annotations.bigwig_layout import bigwig_error

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
