"""A 2bit writer for tests, straight from the format's description."""

from __future__ import annotations

import re
import struct
from pathlib import Path

_VALUES = {"T": 0, "C": 1, "A": 2, "G": 3, "N": 0}


def twobit_bytes(contigs: dict[str, str], *, order: str = "<", version: int = 0) -> bytes:
    """Spell contigs as a 2bit file.

    Args:
        contigs: name to text of A, C, G, T, N in either case.
        order: byte order, `<` or `>`.
        version: 0, or 1 for 64-bit offsets.
    """
    width = 8 if version else 4
    records = [_record(text, order) for text in contigs.values()]
    offset = 16 + sum(1 + len(name) + width for name in contigs)
    index = b""
    for name, record in zip(contigs, records, strict=True):
        index += (
            struct.pack("B", len(name))
            + name.encode()
            + struct.pack(order + ("Q" if version else "I"), offset)
        )
        offset += len(record)
    return struct.pack(order + "4I", 0x1A412743, version, len(contigs), 0) + index + b"".join(records)


def write_twobit(path: Path, contigs: dict[str, str], *, order: str = "<", version: int = 0) -> Path:
    path.write_bytes(twobit_bytes(contigs, order=order, version=version))
    return path


def _record(text: str, order: str) -> bytes:
    data = struct.pack(order + "I", len(text))
    for pattern in ("[Nn]+", "[a-z]+"):
        blocks = [match.span() for match in re.finditer(pattern, text)]
        starts, sizes = [start for start, _ in blocks], [end - start for start, end in blocks]
        data += struct.pack(f"{order}{1 + 2 * len(blocks)}I", len(blocks), *starts, *sizes)
    data += struct.pack(order + "I", 0)
    values = [_VALUES[letter] for letter in text.upper()] + [0] * (-len(text) % 4)
    return data + bytes(
        values[i] << 6 | values[i + 1] << 4 | values[i + 2] << 2 | values[i + 3]
        for i in range(0, len(values), 4)
    )
