"""Weights and configs of model directories: read without running anything, written whole or not at all.

Small files go through `small_files`, which limits size, depth and repeated keys. A safetensors file is eight
bytes with the header's length, the header (JSON: type, shape and place of each tensor) and the tensors. The
safetensors library refuses places that overlap, leave holes or overflow, but accepts headers of 100 MB and a
name given twice, so the header is checked here first. Pickles are loaded by the loader that admits only
tensors, once the checksums of their archive hold.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from dnalm.durable import atomic_write
from dnalm.errors import CheckpointError, shown
from dnalm.small_files import (
    MOST_BYTES,
    SmallFileError,
    check_sum,
    parse_small,
    read_small,
    require_file,
)

_INDEX = ".index.json"
# Safe ones first. A file is one of the weights, an index says which files hold them.
WEIGHTS = (
    "model.safetensors",
    f"model.safetensors{_INDEX}",
    "pytorch_model.bin",
    f"pytorch_model.bin{_INDEX}",
)


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


def read_json(path: Path, most_bytes: int = MOST_BYTES) -> dict[str, object]:
    """A JSON object of a model directory; see `read_small`.

    Raises:
        CheckpointError: the file is not there, is no JSON object within the limits, or was changed.
    """
    try:
        return read_small(path, "json", most_bytes)
    except OSError as error:
        raise _missing(path, error) from error
    except SmallFileError as error:
        raise _damaged("CKPT-05", path, found=error.found, expected=error.expected) from error


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, push it to disk, and put it in place of `path` at once."""
    with atomic_write(path) as beside:
        write(beside)


# Reading

_MOST_INDEX_BYTES = 10 << 20  # as of a header, whose tensors it lists


def _shards(index: Path) -> Iterable[Path]:
    names = read_json(index, _MOST_INDEX_BYTES).get("weight_map")
    places = list(names.values()) if isinstance(names, dict) else []
    kind = Path(index.name.removesuffix(_INDEX)).suffix
    others = [place for place in places if not _is_plain(place, kind)]
    if not places or others:
        raise _damaged(
            "CKPT-05",
            index,
            found=f"a file {shown(others[0])}" if others else "no weight_map",
            expected=f"a weight_map from tensors to {kind} files of this folder",
        )
    return [index.with_name(name) for name in sorted(set(places))]


def _is_plain(name: object, kind: str) -> bool:
    return isinstance(name, str) and Path(name).name == name and name.endswith(kind) and name.isprintable()


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        require_file(path)
    except OSError as error:
        raise _missing(path, error) from error
    except SmallFileError as error:
        raise _damaged("CKPT-04", path, found=error.found, expected=error.expected) from error
    check_sum(path)
    if path.suffix == ".bin":
        return _read_pickle(path)
    check_safetensors(path)
    return load_file(path)


_MOST_HEADER_BYTES = 10 << 20
_MOST_TENSORS = 1 << 16
_MOST_VALUES = 16 * _MOST_TENSORS  # a type, a shape and two offsets each


def check_safetensors(path: Path) -> None:
    """Check the header and read none of the tensors.

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
        parse_small(header, "json")
        with safe_open(path, framework="pt"):
            pass
    except (ValueError, SafetensorError) as error:
        raise _refused(path, str(error)) from error


_OLD_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")  # torch.serialization.MAGIC_NUMBER


def _read_pickle(path: Path) -> dict[str, Tensor]:
    """A PyTorch file, once its checksums hold, through the loader that admits only tensors."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except zipfile.BadZipFile as error:
        if old := _old_format(path):
            raise _not_converted(path, old) from error
        found = f"no whole zip archive ({error}), {path.stat().st_size:,} bytes"
        raise _damaged("CKPT-03", path, found=found, expected="a file of torch.save since 1.6") from error
    if broken is not None:
        found = f"the checksum of {broken} does not match"
        raise _damaged("CKPT-03", path, found=found, expected="matching checksums")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        raise _not_weights(path, found="a pickle that holds more than tensors, which was not run") from error
    if not isinstance(content, dict) or not all(_is_plain_tensor(*pair) for pair in content.items()):
        raise _not_weights(path, found="something else than tensors by name")
    return content


def _is_plain_tensor(name: object, value: object) -> bool:
    """Whether an entry is a named tensor whose values are there, one beside the other."""
    if not isinstance(name, str) or not isinstance(value, Tensor):
        return False
    return value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized


def _old_format(path: Path) -> str | None:
    """What PyTorch wrote before its files were zip archives."""
    with path.open("rb") as file:
        start = file.read(512)
    if _OLD_MAGIC in start[:64]:
        return "a file of torch.save before version 1.6, which has no checksums"
    return "a tar archive of torch.save before version 0.1.11" if start[257:262] == b"ustar" else None


# Errors


def _refused(path: Path, found: str) -> CheckpointError:
    found = f"not readable as safetensors ({found}), {path.stat().st_size:,} bytes"
    return _damaged("CKPT-03", path, found=found, expected="a whole safetensors file")


def _not_converted(path: Path, found: str) -> CheckpointError:
    name = path.name
    code = (
        f"import torch; torch.save(torch.load('{name}', weights_only=True, map_location='cpu'), '{name}.new')"
    )
    return CheckpointError(
        "CKPT-06",
        where=str(path),
        found=found,
        expected="a zip archive, as torch.save writes since version 1.6, or safetensors",
        fix=f'convert it once, in its folder: python -c "{code}" && mv {name}.new {name}',
    )


def _not_weights(path: Path, *, found: str) -> CheckpointError:
    return CheckpointError(
        "CKPT-06",
        where=str(path),
        found=found,
        expected="a state dict: tensors by name and nothing else",
        fix="get the weights as safetensors, from whoever made the file",
    )


def _missing(path: Path, error: OSError | None = None) -> CheckpointError:
    is_absent = isinstance(error, FileNotFoundError | NotADirectoryError | None)
    if is_absent and (path.parent / "adapter_config.json").is_file():
        return CheckpointError(
            "CKPT-04",
            where=str(path.parent),
            found="an adapter of PEFT, without the model that it changes",
            expected="a model directory with config.json and model.safetensors or pytorch_model.bin",
            fix="merge it into its model and name that folder: "
            "model.merge_and_unload().save_pretrained('merged')",
        )
    return CheckpointError(
        "CKPT-04",
        where=str(path),
        found="no such file" if is_absent else f"cannot be read ({error})",
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


# Checking values


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors with a NaN or an infinity in them.

    Each is read once and nothing of its size is made, and a device is waited for once, not once a tensor.
    Of a tensor that is sharded, this process's shard is looked at.
    """
    names: defaultdict[torch.device, list[str]] = defaultdict(list)
    values: defaultdict[torch.device, list[Tensor]] = defaultdict(list)
    for name, tensor in tensors.items():
        local = _real_values(tensor)
        if local.numel() and local.is_floating_point():
            names[local.device].append(name)
            values[local.device].append(local)
    found: set[str] = set()
    for device, here in values.items():
        # Both are NaN if any value is. The norm is one kernel on a GPU, and five times slower on a CPU.
        if device.type == "cuda":
            extremes = list(torch._foreach_norm(here, ord=math.inf))
        else:
            extremes = [extreme for each in here for extreme in torch.aminmax(each)]
        good = torch.stack(extremes).isfinite().view(len(here), -1).all(1).tolist()
        found |= {name for name, is_good in zip(names[device], good, strict=True) if not is_good}
    return [name for name in tensors if name in found]


def _real_values(tensor: Tensor) -> Tensor:
    to_local = getattr(tensor, "to_local", None)
    local: Tensor = to_local() if to_local else tensor
    local = local.detach()
    if local.is_complex():
        return torch.view_as_real(local)
    return local.float() if local.dtype.itemsize == 1 and local.is_floating_point() else local
