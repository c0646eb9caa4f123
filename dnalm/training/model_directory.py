"""What training leaves and every later command takes: a Hugging Face model directory.

`config.json` and `model.safetensors` in the published layout, the tokenizer's files, and `dnalm.yaml` with
what made it: the resolved config, versions, data checksum, precision, steps, and the sha256 of every file, by
which whoever reads the directory sees a damaged one (`small_files`).

`heads.safetensors` beside it holds the heads of further objectives, which no later command needs, or the head
of a fine-tuned model.

The model that a checkpoint holds, whole, whatever number of processes wrote it.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from dnalm import __version__
from dnalm.durable import file_sha256
from dnalm.errors import CheckpointError
from dnalm.models import MaskedLM, TaskHead, build_described, describe, has_weights, save_pretrained
from dnalm.models.kernels import KernelName
from dnalm.models.weights import write_whole
from dnalm.small_files import PROVENANCE_FILE, TOKENIZER_FILES, provenance_text
from dnalm.tokenizers import Tokenizer
from dnalm.training.checkpoint import CheckpointFolder, choose
from dnalm.training.checkpoint_files import Checkpoint, open_checkpoint
from dnalm.training.checkpointing import read_weights
from dnalm.training.run_directory import RunDirectory

HEADS_FILE = "heads.safetensors"
_SUMMED = ("config.json", "model.safetensors", HEADS_FILE, *TOKENIZER_FILES)
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
    task_head: TaskHead | None = None,
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
        task_head: of a fine-tuned model, for `transformers`.
    """
    provenance: dict[str, object] = {
        "dnalm": __version__,
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _VERSIONED},
        "data_fingerprint": data_fingerprint,
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "precision": precision,
        "steps": steps,
        "window_tokens": window_tokens,
        **(described or {}),
        "config": config,
    }
    if heads:
        provenance["heads"] = {"file": HEADS_FILE, "names": list(heads)}
    folder.mkdir(parents=True, exist_ok=True)
    _write_provenance(folder, provenance)  # without checksums, so that none is of a file yet to be replaced
    if weights is None:
        describe(model, folder)
        tokenizer.save(folder)
        return
    save_pretrained(model, folder, weights=weights, task_head=task_head)
    tokenizer.save(folder)
    if heads:
        tensors = {
            f"{name}.{key}": tensor.contiguous().cpu()
            for name, head in heads.items()
            for key, tensor in head.items()
        }
        write_whole(folder / HEADS_FILE, lambda path: save_file(tensors, path))
    seal(folder, provenance)


def seal(folder: Path, provenance: Mapping[str, object]) -> None:
    """Write `dnalm.yaml` with the checksums of the model's files as they are now."""
    files = {name: file_sha256(folder / name) for name in _SUMMED if (folder / name).is_file()}
    _write_provenance(folder, {**provenance, "files": files})


def _write_provenance(folder: Path, provenance: Mapping[str, object]) -> None:
    text = provenance_text(provenance)
    write_whole(folder / PROVENANCE_FILE, lambda path: path.write_text(text, encoding="utf-8"))


def find_checkpoint(source: str) -> Checkpoint | None:
    """The checkpoint that a path names: itself, or the newest good one of a run that has not come to its end.

    Raises:
        CheckpointError: it is damaged, or none of the run's can be trusted.
    """
    path = Path(source)
    if (path / "MANIFEST.json").is_file():
        return open_checkpoint(path)
    run = RunDirectory(name=path.name, dir=path)
    if not run.begun or has_weights(run.model):
        return None
    newest, _ = choose(CheckpointFolder(run.checkpoints))
    return newest


def model_folder(checkpoint: Checkpoint) -> Path:
    """What tells the checkpoint's architecture and tokenizer: `model/` of the run it lies in.

    Raises:
        CheckpointError: CKPT-04, the checkpoint lies in no run.
    """
    folder = checkpoint.path.resolve().parent.parent / "model"
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            "CKPT-04",
            where=str(checkpoint.path),
            found=f"no {folder / 'config.json'}",
            expected="a checkpoint in the run directory that it was written in",
            fix="put it back into checkpoints/ of its run, which tells the model and the tokenizer",
        )
    return folder


def load_checkpoint_model(checkpoint: Checkpoint, *, kernel: KernelName = "sdpa") -> MaskedLM:
    """The model with the checkpoint's weights, on CPU.

    Raises:
        CheckpointError: CKPT-07, the tensors are not those of the model.
    """
    model = build_described(model_folder(checkpoint), kernel=kernel)
    read_weights(checkpoint.path, model)
    return model
