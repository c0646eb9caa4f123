"""Weights and configs on disk: read without running anything, written whole or not at all."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from dnalm.durable import sync
from dnalm.errors import CheckpointError
from dnalm.models.safetensors_header import check_safetensors

_INDEX = ".index.json"
# Safe ones first. A file is one of the weights, an index says which files hold them.
WEIGHTS = (
    "model.safetensors",
    f"model.safetensors{_INDEX}",
    "pytorch_model.bin",
    f"pytorch_model.bin{_INDEX}",
)


def read_json(path: Path) -> dict[str, object]:
    """A JSON object.

    Raises:
        CheckpointError: the file is not there, or is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _missing(path) from error
    except ValueError as error:
        raise _damaged("CKPT-05", path, found=f"not JSON: {error}", expected="a JSON object") from error
    if not isinstance(content, dict):
        raise _damaged("CKPT-05", path, found=f"a JSON {type(content).__name__}", expected="a JSON object")
    return content


def has_weights(folder: Path) -> bool:
    """Whether a model directory has its weights; that of a run has them when the run is done."""
    return any((folder / name).exists() for name in WEIGHTS)


def find_weights(folder: Path) -> Path:
    """The file of the weights, or the index of several.

    Raises:
        CheckpointError: there is none.
    """
    found = [folder / name for name in WEIGHTS if (folder / name).exists()]
    if not found:
        raise _missing(folder / WEIGHTS[0])
    return found[0]


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of what `find_weights` found, by their names, on CPU.

    Raises:
        CheckpointError: a file is missing, damaged, or holds more than tensors; nothing in it is run.
    """
    if not path.name.endswith(_INDEX):
        return _read_file(path)
    tensors: dict[str, Tensor] = {}
    for shard in _shards(path):
        tensors |= _read_file(shard)
    return tensors


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, push it to disk, and put it in place of `path` at once."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(beside)
        sync(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    sync(path.parent)


def _shards(index: Path) -> Iterable[Path]:
    names = read_json(index).get("weight_map")
    files = sorted(set(names.values())) if isinstance(names, dict) else []
    kind = Path(index.name.removesuffix(_INDEX)).suffix
    plain = all(isinstance(name, str) and Path(name).name == name and name.endswith(kind) for name in files)
    if not files or not plain:
        raise _damaged(
            "CKPT-05",
            index,
            found="no weight_map" if not files else f"files {', '.join(map(str, files))}",
            expected=f"a weight_map from tensors to {kind} files of this folder",
        )
    return [index.with_name(name) for name in files]


def _read_file(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".bin":
        return _read_pickle(path)
    try:
        check_safetensors(path)
    except FileNotFoundError as error:
        raise _missing(path) from error
    return load_file(path)


def _read_pickle(path: Path) -> dict[str, Tensor]:
    """A PyTorch file, once its checksums hold, through the loader that admits only tensors."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except FileNotFoundError as error:
        raise _missing(path) from error
    except zipfile.BadZipFile as error:
        found = f"no whole zip archive ({error}), {path.stat().st_size:,} bytes"
        raise _damaged("CKPT-03", path, found=found, expected="a file of torch.save since 1.6") from error
    if broken is not None:
        found = f"the checksum of {broken} does not match"
        raise _damaged("CKPT-03", path, found=found, expected="matching checksums")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        raise _not_weights(path, found="a pickle that holds more than tensors, which was not run") from error
    if not isinstance(content, dict) or not all(isinstance(x, Tensor) for x in content.values()):
        raise _not_weights(path, found="something else than tensors by name")
    return content


def _not_weights(path: Path, *, found: str) -> CheckpointError:
    return CheckpointError(
        "CKPT-06",
        where=str(path),
        found=found,
        expected="a state dict: tensors by name and nothing else",
        fix="get the weights as safetensors, from whoever made the file",
    )


def _missing(path: Path) -> CheckpointError:
    return CheckpointError(
        "CKPT-04",
        where=str(path),
        found="no such file",
        expected="a model directory with config.json and model.safetensors or pytorch_model.bin",
        fix="name the folder that holds both",
    )


def _damaged(code: str, path: Path, *, found: str, expected: str) -> CheckpointError:
    return CheckpointError(
        code,
        where=str(path),
        found=found,
        expected=expected,
        fix="copy or download it again; it may be cut short",
    )
