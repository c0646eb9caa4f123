"""Model directories in Hugging Face's layout: config.json and model.safetensors, out and in.

What is written loads in stock `transformers`; what is read is refused unless every tensor fits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dnalm.errors import CheckpointError, ConfigError, NumericsError
from dnalm.models.encoder import Encoder
from dnalm.models.huggingface import bert_config, bert_name, encoder_arguments
from dnalm.models.kernels import KernelName
from dnalm.models.masked_lm import MaskedLM

_TOLERATED = ("bert.pooler.", "cls.seq_relationship.", "bert.embeddings.position_ids")
_TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}


def save_pretrained(
    model: MaskedLM,
    folder: Path,
    *,
    extra_config: Mapping[str, object] | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a model directory, each file whole or not at all; the decoder's tied weights only once.

    Args:
        model: whose arguments go into config.json.
        folder: made if need be; files of these names in it are replaced.
        extra_config: further fields of config.json, such as special token ids.
        weights: the whole model's weights by our names, where the model itself holds shards of them.

    Raises:
        NumericsError: a weight is not finite; nothing is written.
    """
    config = bert_config(model.encoder)
    clashing = sorted(config.keys() & (extra_config or {}).keys())
    assert not clashing, f"extra_config must not change what the model says of itself: {clashing}"
    state = model.state_dict() if weights is None else weights
    tensors = {bert_name(ours): tensor.detach().cpu().contiguous() for ours, tensor in state.items()}
    bad = _not_finite(tensors)
    if bad:
        raise NumericsError(
            "CKPT-08",
            where=str(folder),
            found=f"weights that are not finite: {', '.join(bad)}",
            expected="finite weights only",
            fix="go back to a checkpoint from before the training diverged",
        )
    config["dtype"] = str(tensors["cls.predictions.bias"].dtype).removeprefix("torch.")
    text = json.dumps({**config, **(extra_config or {})}, indent=2, sort_keys=True) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    _write_whole(
        folder / "model.safetensors", lambda path: save_file(tensors, path, metadata={"format": "pt"})
    )
    _write_whole(folder / "config.json", lambda path: path.write_text(text, encoding="utf-8"))


def load_pretrained(folder: Path, *, kernel: KernelName = "sdpa") -> MaskedLM:
    """Build the model that a directory describes and give it the weights found there, as float32.

    A pooler, a next-sentence head and copies of the tied decoder may be there and are left out.

    Args:
        folder: with config.json and model.safetensors of BERT's architecture.
        kernel: how its attention is computed.

    Returns:
        The model on CPU, in training mode as any new module.

    Raises:
        CheckpointError: a file is missing or damaged, the architecture is another, or tensors are
            missing, unexpected or misshapen, all of which are listed.
    """
    arguments = encoder_arguments(_read_config(folder / "config.json"), where=folder / "config.json")
    path = folder / "model.safetensors"
    stored = _read_tensors(path)
    try:
        with torch.device("meta"):
            model = MaskedLM(Encoder(**arguments, kernel=kernel))  # type: ignore[arg-type]
    except ConfigError as error:
        raise CheckpointError(
            "CKPT-10",
            where=str(folder / "config.json"),
            found=error.found,
            expected=error.expected,
            fix="restore the config.json that came with the weights",
        ) from error
    weights = _fit(model, stored, path)
    model.to_empty(device="cpu")
    model.load_state_dict(weights)
    return model


def _fit(model: MaskedLM, stored: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The stored tensors by our names, or an error that lists whatever does not fit."""
    ours = {bert_name(name): name for name in model.state_dict()}
    shapes = {bert_name(name): tensor.shape for name, tensor in model.state_dict().items()}
    stored = _without_copies({_modern(name): tensor for name, tensor in stored.items()}, path)
    problems = [f"missing: {name}" for name in ours if name not in stored]
    problems += [
        f"unexpected: {name}" for name in stored if name not in ours and not name.startswith(_TOLERATED)
    ]
    problems += [
        f"{name} is {tuple(stored[name].shape)} where config.json says {tuple(shape)}"
        for name, shape in shapes.items()
        if name in stored and stored[name].shape != shape
    ]
    if problems:
        raise CheckpointError(
            "CKPT-07",
            where=str(path),
            found="; ".join(problems),
            expected="the tensors of the BERT that config.json describes",
            fix="check that config.json and model.safetensors are of one model, and that it is a masked LM",
        )
    if bad := _not_finite(stored):
        raise CheckpointError(
            "CKPT-08",
            where=str(path),
            found=f"weights that are not finite: {', '.join(bad)}",
            expected="finite weights only",
            fix="take an earlier checkpoint of that model",
        )
    return {name: stored[theirs] for theirs, name in ours.items()}


def _without_copies(stored: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Leave out the decoder's copies of tied tensors; a copy that stands alone is the original."""
    kept = {name: tensor for name, tensor in stored.items() if name not in _TIED}
    for copy, original in _TIED.items():
        if copy in stored and not torch.equal(stored[copy], kept.setdefault(original, stored[copy])):
            raise CheckpointError(
                "CKPT-10",
                where=str(path),
                found=f"{copy} differs from {original}",
                expected="a decoder tied to the token embeddings",
                fix="name a checkpoint whose decoder is tied, such as DNABERT or GROVER",
            )
    return kept


def _modern(name: str) -> str:
    """The name since PyTorch BERT dropped TensorFlow's names of the layer norm's parameters."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    return [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]


def _read_config(path: Path) -> dict[str, object]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _missing(path) from error
    except ValueError as error:
        raise _damaged("CKPT-05", path, found=f"not JSON: {error}", expected="a JSON object") from error
    if not isinstance(config, dict):
        raise _damaged("CKPT-05", path, found=f"a JSON {type(config).__name__}", expected="a JSON object")
    return config


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except SafetensorError as error:
        found = f"not readable as safetensors ({error}), {path.stat().st_size:,} bytes"
        raise _damaged("CKPT-03", path, found=found, expected="a whole safetensors file") from error


def _missing(path: Path) -> CheckpointError:
    return CheckpointError(
        "CKPT-04",
        where=str(path),
        found="no such file",
        expected="a model directory with config.json and model.safetensors",
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


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, push it to disk, and put it in place of `path` at once."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
