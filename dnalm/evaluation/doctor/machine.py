"""Checks of the machine: versions, device, precision, memory, disk, shared memory, and where the run goes."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Any

import torch
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from dnalm import __version__
from dnalm.data.loading import batches_ahead, num_cores, num_loaders
from dnalm.durable import size_text
from dnalm.evaluation.doctor.examination import Finding, failed, passed, there, warned
from dnalm.evaluation.doctor.subject import Subject
from dnalm.models.gpus import matrix_rate
from dnalm.models.memory import Machine
from dnalm.training.run_directory import RunDirectory

_SHOWN = ("torch", "lightning", "numpy", "transformers")  # of the versions
_TIGHT = 0.7  # share of a memory or disk beyond which it is said
_SHARED_MEMORY = Path("/dev/shm")
_ADAM = 3  # a weight and two averages of it in a checkpoint


def versions() -> Iterator[Finding]:
    """Installed packages against what dnalm asks for."""
    try:
        asked = [Requirement(text) for text in requires("dnalm") or ()]
        python = SpecifierSet(metadata("dnalm")["Requires-Python"] or "")
    except PackageNotFoundError:
        yield warned(
            "dnalm is not installed, so nothing says which versions it asks for", fix="pip install ."
        )
        return
    if not python.contains(platform.python_version(), prereleases=True):
        yield failed(f"Python {platform.python_version()}, and dnalm needs {python}", fix="use such a Python")
    for each in (each for each in asked if each.marker is None or each.marker.evaluate()):
        found = _version(each.name)
        if found is None or not each.specifier.contains(found, prereleases=True):
            yield failed(
                f"{each.name} {found or 'is not installed'}, and dnalm {__version__} needs {each.specifier}",
                fix=f"pip install '{each}'",
            )
    shown = ", ".join(f"{name} {_version(name)}" for name in _SHOWN)
    yield passed(f"dnalm {__version__}, Python {platform.python_version()}, {shown}")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def place(subject: Subject[Any]) -> Iterator[Finding]:
    """Whether the run's folder is free, or holds a run to continue, and can be written."""
    run: RunDirectory = subject.part("run")
    resume = subject.config.get("resume", "auto")
    run.claim(subject.config, resumable=resume != "never")
    above = subject.run_folder
    if not os.access(above, os.W_OK | os.X_OK):
        yield failed(f"{above} cannot be written", fix=f"chmod u+rwx {above}, or choose another run.dir")
    elif run.begun and not run.replace:
        yield passed(f"{run.path} holds a run of this command, which would be continued")
    else:
        yield passed(f"the run goes to {run.path}")


def device(subject: Subject[Any]) -> Iterator[Finding]:
    """Whether there is the device, and whether others use it."""
    trainer = subject.trainer
    trainer.check(subject.batch)
    found = trainer.place
    if trainer.device == "cpu":
        if torch.cuda.is_available():
            yield warned(f"{found}, and there are GPUs", fix="trainer=gpu, or trainer=ddp for several")
        else:
            yield passed(found)
        return
    for number in range(trainer.world_size if trainer.world_size <= torch.cuda.device_count() else 1):
        free, total = torch.cuda.mem_get_info(number)
        if free < _TIGHT * total:
            yield warned(
                f"GPU {number} has {size_text(free)} of {size_text(total)} free: others compute on it",
                fix="end them (nvidia-smi names them), or choose another by CUDA_VISIBLE_DEVICES",
            )
    yield passed(f"{found}: {torch.cuda.get_device_name()}")


def precision(subject: Subject[Any]) -> Iterator[Finding]:
    """Whether the device computes in the precision, and no slower than in 32 bits."""
    trainer = subject.trainer
    where, arithmetic = torch.device(trainer.device), trainer.arithmetic
    plain = "trainer.precision=32-true"
    if arithmetic == "32-true":
        yield passed("32-true" + ("; bf16-mixed is several times as fast" if where.type == "cuda" else ""))
        return
    if where.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name()
        yield failed(f"{arithmetic}, and {name} does not compute in bfloat16", fix=plain)
        return
    rates = [matrix_rate(where, dtype) for dtype in (torch.bfloat16, torch.float32)]
    if rates[0] < rates[1]:
        times = rates[1] / rates[0]
        yield warned(f"{arithmetic}: products take {times:.1f} times as long as in float32 here", fix=plain)
    else:
        yield passed(f"{arithmetic}: products are {rates[0] / rates[1]:.1f} times as fast as in float32")


def weigh(needed: int, available: int | None, what: str, *, fix: str) -> Finding:
    """A need held against what there is.

    Args:
        needed: bytes.
        available: bytes; None where it is not known.
        what: what needs it, and of what, such as `a step needs {} of {} of memory`.
        fix: what to do where it is much or too much.
    """
    if available is None:
        return passed(what.format(size_text(needed), "an unknown amount"))
    text = what.format(size_text(needed), size_text(available))
    if needed > available:
        return failed(text, fix=fix)
    return warned(f"{text}, which is tight", fix=fix) if needed > _TIGHT * available else passed(text)


def free_memory() -> int | None:
    """Bytes of main memory that this process may take, within its container; None where it is not known."""
    try:
        rows = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        known = [int(row[1]) * 1024 for row in rows if row[0] == "MemAvailable:"]
    except OSError:
        return None
    try:
        limit, used = (
            Path(f"/sys/fs/cgroup/memory.{name}").read_text().strip() for name in ("max", "current")
        )
        known += [] if limit == "max" else [int(limit) - int(used)]
    except OSError:  # no container's
        pass
    return min(known, default=None)


def disk(subject: Subject[Any]) -> Iterator[Finding]:
    """Whether the run's checkpoints and its model fit the disk they go to."""
    trainer, size = subject.trainer, there(subject.size, "the model's size is not known")
    weight = Machine(arithmetic=trainer.arithmetic).weight
    checkpoint = weight * (size.parameters + (_ADAM - 1) * size.trained)
    steps = subject.trial.num_steps if subject.trial else int(subject.config.get("steps") or 0)
    kept = (
        trainer.keep_checkpoints
        + trainer.keep_best
        + (steps // trainer.keep_every if trainer.keep_every else 0)
    )
    made = max(1, steps // trainer.checkpoint_every)
    kept = min(kept, made) + 1  # the new one is there before an old one goes
    folder = subject.run_folder
    found = weigh(
        kept * checkpoint + weight * size.parameters,
        shutil.disk_usage(folder).free,
        f"{kept} checkpoints of {size_text(checkpoint)} and the model need {{}}; {folder} has {{}} free",
        fix="free space there, set run.dir on another disk, or trainer.keep_checkpoints=1",
    )
    yield subject.hindered_by(found, "the disk is too small")


def workers(subject: Subject[Any]) -> Iterator[Finding]:
    """Whether there are cores for loader workers, and shared memory for the batches they send."""
    trainer = subject.trainer
    here, each = trainer.on_each_node, num_loaders(subject.batch.num_workers, trainer.device)
    if not each:
        yield passed("batches are made in the training process; no shared memory is needed")
        return
    if each * here > num_cores():
        yield warned(
            f"{each * here} loader workers on {num_cores()} cores",
            fix=f"batch.num_workers={max(1, num_cores() // here)}",
        )
    if not _SHARED_MEMORY.is_dir():
        yield passed(f"{each * here} loader workers")
        return
    sample = there(subject.sample_bytes, "no sample was drawn")
    samples = subject.batch.of_rank(trainer.world_size)  # of a plan by tokens a worker sends a whole step
    if subject.batch.micro_size is not None:
        samples = subject.batch.micro_size
    yield weigh(
        each * here * batches_ahead(trainer.device) * samples * sample,
        shutil.disk_usage(_SHARED_MEMORY).free,
        f"{each * here} loader workers send batches of {{}} through {_SHARED_MEMORY}, which has {{}} free",
        fix="start the container with --shm-size=8g (or --ipc=host), or set batch.num_workers=0",
    )
