"""The model that a checkpoint holds, whole, whatever number of processes wrote it."""

from __future__ import annotations

from pathlib import Path

from dnalm.errors import CheckpointError
from dnalm.models import MaskedLM, build_described, has_weights
from dnalm.models.kernels import KernelName
from dnalm.training.checkpoints import Checkpoint, CheckpointFolder, choose, open_checkpoint
from dnalm.training.run_directory import RunDirectory
from dnalm.training.training_state import read_weights


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
