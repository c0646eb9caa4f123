"""S5: a hostile header is refused before it costs memory, in a sentence of one kind."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dnalm.errors import CheckpointError
from dnalm.models.weights import check_safetensors

ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def written(path: Path, header: bytes, payload: bytes = b"1234", length: int | None = None) -> Path:
    path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header + payload)
    return path


def of(**tensors: object) -> bytes:
    return json.dumps(tensors).encode()


HOSTILE = {
    "no header": (b"", None),
    "length 2^63": (of(a=ONE), 1 << 63),
    "length beyond the cap": (of(a=ONE), (10 << 20) + 1),
    "length beyond the file": (of(a=ONE), 5000),
    "length cuts the header": (of(a=ONE), 20),
    "a name twice": (of(a=ONE)[:-1] + b"," + of(a=ONE)[1:], None),
    "a field twice": (of(a=ONE).replace(b'"dtype": "F32"', b'"dtype": "F32", "dtype": "F32"'), None),
    "overlapping places": (of(a=ONE, b=ONE), None),
    "place beyond the file": (of(a={**ONE, "data_offsets": [0, 400], "shape": [100]}), None),
    "hole": (of(a={**ONE, "data_offsets": [1, 5]}), None),
    "bytes of nobody": (of(a={**ONE, "dtype": "U8", "data_offsets": [0, 1]}), None),
    "negative place": (of(a={**ONE, "data_offsets": [-4, 0]}), None),
    "shape that overflows": (of(a={**ONE, "shape": [1 << 62, 4]}), None),
    "shape of another size": (of(a={**ONE, "shape": [2]}), None),
    "zero-size tensor inside another": (of(a=ONE, z={**ONE, "shape": [0], "data_offsets": [2, 2]}), None),
    "unknown type": (of(a={**ONE, "dtype": "Q7"}), None),
    "wrong type": (of(a={**ONE, "dtype": "F64"}), None),
    "a list": (b"[1, 2]", None),
    "not JSON": (b"cos\nsystem\n(S'id'\ntR.", None),
    "deep": (b"[" * 100_000, None),
    "not UTF-8": (b'{"\xff": 1}', None),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_header_is_refused(case: str, tmp_path: Path) -> None:
    header, length = HOSTILE[case]
    path = written(tmp_path / "model.safetensors", header, length=length)
    with pytest.raises(CheckpointError, match=r"^CKPT-03 .*: not readable as safetensors \(.*\), [\d,]+ "):
        check_safetensors(path)


@pytest.mark.parametrize(
    "header",
    [b" " * (100 << 20), b"{" + b'"":{},' * (1 << 20), b"[" + b'"ab",' * (3 << 19)],
    ids=["100 MB", "10^6 tensors", "10^6 values"],
)
def test_a_large_header_costs_no_memory(header: bytes, tmp_path: Path) -> None:
    path = written(tmp_path / "model.safetensors", header)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=r"a header of (more than 65,536 tensors|104,857,600 bytes)"):
        check_safetensors(path)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 <= 50 << 20


def test_what_the_library_writes_is_taken(tmp_path: Path) -> None:
    save_file({"a": torch.ones(3), "empty": torch.ones(0)}, tmp_path / "a.safetensors", {"by": "us"})
    check_safetensors(tmp_path / "a.safetensors")
