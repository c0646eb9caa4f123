"""The header of a safetensors file, held to limits before anything trusts it.

A file is eight bytes with the header's length, the header (JSON: type, shape and place of each tensor)
and the tensors. The safetensors library refuses places that overlap, leave holes or overflow; it takes
headers of 100 MB, and a name given twice.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from dnalm.errors import CheckpointError

_MOST_HEADER_BYTES = 10 << 20
_MOST_TENSORS = 1 << 16
_MOST_VALUES = 16 * _MOST_TENSORS  # a type, a shape and two offsets each


def check_safetensors(path: Path) -> None:
    """Read the header, none of the tensors.

    Raises:
        CheckpointError: CKPT-03, the header is too large, not of this format, or not of this file.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= _MOST_HEADER_BYTES:
            raise _refused(
                path, f"a header of {length:,} bytes where 2 to {_MOST_HEADER_BYTES:,} are allowed"
            )
        header = file.read(length)
    if header.count(b"{") > _MOST_TENSORS or header.count(b",") > _MOST_VALUES:
        raise _refused(path, f"a header of more than {_MOST_TENSORS:,} tensors")
    try:
        json.loads(header, object_pairs_hook=_each_name_once)
        with safe_open(path, framework="pt"):
            pass
    except (ValueError, RecursionError, SafetensorError) as error:
        raise _refused(path, str(error)) from error


def _each_name_once(pairs: list[tuple[str, object]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name is given twice in the header")


def _refused(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        "CKPT-03",
        where=str(path),
        found=f"not readable as safetensors ({found}), {path.stat().st_size:,} bytes",
        expected="a whole safetensors file",
        fix="copy or download it again; it may be cut short",
    )
