"""The program that reads a bigWig with pybigtools, run by `bigwig` as a process that may die.

    python bigwig_child.py FILE MEMORY_BYTES CPU_SECONDS

It imports nothing of dnalm, so that it starts in 0.1 s and is the same however dnalm was started. To stdout
it writes MAGIC and frames: HEAD (kind, contig, bytes of the payload, its CRC32), then the payload.

    kind 0  JSON [[name, length], ...], the contigs; comes first
    kind 1  an array of RECORD, intervals of a contig in its order
    kind 2  empty, the end
    kind 3  UTF-8 text, an error; the last frame
"""

from __future__ import annotations

import json
import resource
import struct
import sys
import zlib
from itertools import islice
from typing import BinaryIO

MAGIC = b"dnalm bigWig 1\n"
HEAD = struct.Struct("<IIII")
CONTIGS, RECORDS, END, ERROR = range(4)
RECORD = [("start", "<u4"), ("end", "<u4"), ("value", "<f4")]
BLOCK = 1 << 16  # records of a frame


def _send(out: BinaryIO, kind: int, contig: int, payload: bytes) -> None:
    out.write(HEAD.pack(kind, contig, len(payload), zlib.crc32(payload)))
    out.write(payload)


def _read(path: str, out: BinaryIO) -> None:
    import numpy as np
    import pybigtools

    reader = pybigtools.open(path)
    contigs = list(reader.chroms().items())
    _send(out, CONTIGS, 0, json.dumps(contigs).encode())
    for number, (name, _) in enumerate(contigs):
        records = reader.records(name)
        while (block := np.fromiter(islice(records, BLOCK), dtype=RECORD)).size:
            _send(out, RECORDS, number, block.tobytes())
    _send(out, END, 0, b"")


def main() -> None:
    """Limit this process, then read."""
    path, memory_bytes, cpu_seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    out = sys.stdout.buffer
    out.write(MAGIC)
    try:
        _read(path, out)
    except BaseException as error:  # a panic of Rust is a BaseException
        _send(out, ERROR, 0, f"{type(error).__name__}: {error}".encode()[:500])
    out.flush()


if __name__ == "__main__":
    main()
