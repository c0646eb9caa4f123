"""Small checkpoints, and processes that are killed while they write one."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import torch
from safetensors.torch import save_file

from dnalm.training.checkpoint import CheckpointFolder, Saved
from tests import faults

BYTES_PER_PIECE = 64


def fill(folder: Path, step: int) -> None:
    """What a rank writes: two files of tensors, one of them below, in three pieces at least, and a config."""
    (folder / "shards").mkdir()
    save_file({"weight": torch.full((20,), float(step))}, folder / "model.safetensors")
    with (folder / "shards/optimizer-0.safetensors").open("wb") as file:
        content = _tensors(step)
        for start in range(0, len(content), BYTES_PER_PIECE):
            write_piece(file, content[start : start + BYTES_PER_PIECE])
    (folder / "config.yaml").write_text(f"steps: {step}\n")


def write_piece(file: IO[bytes], piece: bytes) -> None:
    file.write(piece)
    file.flush()


def _tensors(step: int) -> bytes:
    with tempfile.NamedTemporaryFile() as file:
        save_file({"moment": torch.full((30,), step / 7)}, file.name)
        return Path(file.name).read_bytes()


def save(folder: CheckpointFolder, step: int, **metrics: float) -> Saved:
    fill(folder.begin(step), step)
    return folder.finish(step, {"samples": 8 * step, "metrics": metrics})


def names(path: Path) -> list[str]:
    """Everything in a folder of checkpoints, hidden or not."""
    return sorted(entry.name for entry in path.iterdir())


def steps(folder: CheckpointFolder) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in reversed(folder.paths())]


def in_a_process(
    work: Callable[..., None], *arguments: object, fault: str = "", **environment: str
) -> int | None:
    """Run in a process of its own; returns minus the signal that killed it, or its exit status."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imports torch once, not once a process
    process = context.Process(target=_work, args=(work, arguments, fault, environment))
    process.start()
    process.join()
    return process.exitcode


def _work(
    work: Callable[..., None], arguments: tuple[object, ...], fault: str, environment: dict[str, str]
) -> None:
    os.environ |= environment
    if fault:
        faults.install(fault)
    work(*arguments)


def save_in_a_process(path: Path, step: int) -> None:
    save(CheckpointFolder(path, keep_last=2, keep_best=0), step)
