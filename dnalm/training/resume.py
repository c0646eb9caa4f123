"""Where a run begins: anew, or after the newest checkpoint that can be trusted.

`resume=auto` goes on with what lies in the run directory, `never` refuses to, and a path begins a run with
the checkpoint there. It is never guessed: if checkpoints are there and none is good, the run ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dnalm.errors import ConfigError
from dnalm.training.checkpoints import Checkpoint, CheckpointFolder, choose, open_checkpoint
from dnalm.training.contract import Contract, check_contract
from dnalm.training.run_directory import RunDirectory


@dataclass(frozen=True)
class Start:
    """Where a run begins.

    Attributes:
        step: optimizer steps that are done.
        checkpoint: the folder to restore; None to begin anew.
        state: what the checkpoint says beside its tensors.
        sentence: what is told of it.
    """

    step: int = 0
    checkpoint: Path | None = None
    state: Mapping[str, Any] = field(default_factory=dict)
    sentence: str = "starts anew: step 0"


def find_start(
    run: RunDirectory,
    folder: CheckpointFolder,
    resume: str,
    *,
    steps: int,
    contract: Contract,
    allowed: Collection[str],
) -> Start:
    """Choose the checkpoint to start from.

    Args:
        run: the run directory.
        folder: its checkpoints.
        resume: `auto`, `never`, or the path of a checkpoint.
        steps: of the whole run.
        contract: what the run would see.
        allowed: fields of it that may have changed.

    Raises:
        ConfigError: CKPT-10, the contract differs; CFG-26, the checkpoint is beyond the last step.
        CheckpointError: no checkpoint that is there can be trusted.
    """
    rejected: list[str] = []
    if resume == "never":
        return Start()
    if resume == "auto":
        found, rejections = choose(folder)
        rejected = [str(rejection) for rejection in rejections]
    else:
        found = open_checkpoint(Path(resume))
    if found is None:
        return Start()
    check_contract(found.state["contract"], contract, allowed, where=str(found.path))
    if found.step > steps:
        raise ConfigError(
            "CFG-26",
            where="steps",
            found=f"{steps}, and {found.path} is of step {found.step}",
            expected="at least the steps that are done",
            fix=f"raise steps, or start a new run under another {run.key}",
        )
    return Start(found.step, found.path, found.state, _sentence(run, found, rejected))


def read_start(path: str) -> Start:
    """The start that another process has chosen and verified, by its path."""
    if not path:
        return Start()
    found = open_checkpoint(Path(path), verify=False)
    return Start(found.step, found.path, found.state)


def _sentence(run: RunDirectory, found: Checkpoint, rejected: list[str]) -> str:
    path = found.path.relative_to(run.path) if found.path.is_relative_to(run.path) else found.path
    said = f"goes on after step {found.step:,} ({found.state['samples']:,} samples), from {path}"
    return "\n".join([said, *(f"  rejected {rejection}" for rejection in rejected)])
