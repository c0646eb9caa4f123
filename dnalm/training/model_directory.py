"""What training leaves and every later command takes: a Hugging Face model directory.

`heads.safetensors` beside it holds the heads of further objectives, which no later command needs.

`config.json` and `model.safetensors` in the published layout, the tokenizer's files, and
`dnalm.yaml` with what made it: the resolved config, versions, data checksum, precision, steps.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path

import yaml
from safetensors.torch import save_file
from torch import Tensor

from dnalm import __version__
from dnalm.models import MaskedLM, describe, save_pretrained
from dnalm.tokenizers import Tokenizer

PROVENANCE_FILE, HEADS_FILE = "dnalm.yaml", "heads.safetensors"
_VERSIONED = ("torch", "lightning", "hydra-core", "numpy", "tokenizers")


def write_model_directory(
    folder: Path,
    *,
    model: MaskedLM,
    weights: Mapping[str, Tensor] | None,
    tokenizer: Tokenizer,
    config: dict[str, object],
    data_fingerprint: str,
    precision: str,
    steps: int,
    window_tokens: int | None,
    heads: Mapping[str, Mapping[str, Tensor]] | None = None,
    described: Mapping[str, object] | None = None,
) -> None:
    """Write the directory.

    Args:
        folder: where; made if absent.
        model: the trained network, which may hold but shards of its weights.
        weights: all of them; None while they lie in checkpoints.
        tokenizer: what its ids mean.
        config: the run's resolved config.
        data_fingerprint: of the genome it was trained on.
        precision: it was trained in.
        steps: optimizer steps it was trained for.
        window_tokens: longest sequence it was trained on, special tokens not counted; None for any.
        heads: weights of the heads of further objectives; they are named `<name>.<weight>`.
        described: further entries of `dnalm.yaml`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if weights is None:
        describe(model, folder)
    else:
        save_pretrained(model, folder, weights=weights)
    tokenizer.save(folder)
    versions = {name: importlib.metadata.version(name) for name in _VERSIONED}
    provenance = {
        "dnalm": __version__,
        "python": platform.python_version(),
        "versions": versions,
        "data_fingerprint": data_fingerprint,
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "precision": precision,
        "steps": steps,
        "window_tokens": window_tokens,
        **(described or {}),
        "config": config,
    }
    if heads:
        tensors = {
            f"{name}.{key}": tensor.contiguous().cpu()
            for name, head in heads.items()
            for key, tensor in head.items()
        }
        save_file(tensors, folder / HEADS_FILE)
        provenance["heads"] = {"file": HEADS_FILE, "names": list(heads)}
    (folder / PROVENANCE_FILE).write_text(yaml.safe_dump(provenance, sort_keys=False))


def window_tokens(folder: Path) -> int | None:
    """Longest sequence that a model was trained on, special tokens not counted; None if that is unknown.

    It may take longer ones, but learned positions beyond are as they were drawn.
    """
    path = folder / PROVENANCE_FILE
    found = (yaml.safe_load(path.read_text()) or {}).get("window_tokens") if path.is_file() else None
    return int(found) if found else None
