"""The job scripts: what they start, and that a preempted job goes into the queue again."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "docker"


def program(folder: Path, name: str, *lines: str) -> None:
    path = folder / name
    path.write_text("\n".join(["#!/bin/sh", f'echo {name} "$@" >> {folder}/called', *lines, ""]))
    path.chmod(0o755)


def run(folder: Path, script: str, *words: str, **environment: str) -> tuple[int, list[str]]:
    """Exit code, and the stand-ins of cluster programs that were called."""
    path = f"{folder}:{os.environ['PATH']}"
    done = subprocess.run(
        [str(SCRIPTS / script), *words], env={**os.environ, "PATH": path, **environment}, check=False
    )
    return done.returncode, (folder / "called").read_text().splitlines()


@pytest.mark.parametrize(("code", "requeued"), [(143, True), (0, False), (4, False)])
def test_a_preempted_job_and_no_other_goes_into_the_queue_again(
    code: int, requeued: bool, tmp_path: Path
) -> None:
    program(tmp_path, "srun", f"exit {code}")
    program(tmp_path, "scontrol")
    found, called = run(tmp_path, "slurm.sh", "experiment=nt_v2_50m", "run.name=a", SLURM_JOB_ID="17")
    assert found == code
    started = "srun --kill-on-bad-exit=1 dnalm pretrain trainer=slurm experiment=nt_v2_50m run.name=a"
    assert called == [started, "scontrol requeue 17"] if requeued else [started]


def test_torchrun_gets_the_machines_of_the_config(tmp_path: Path) -> None:
    program(tmp_path, "torchrun", f"echo grace $TORCH_ELASTIC_SHUTDOWN_TIMEOUT >> {tmp_path}/called")
    words = {"FIRST": "10.0.0.1", "NODES": "2", "GPUS": "8"}
    code, called = run(tmp_path, "torchrun.sh", "experiment=dnabert2", **words)
    assert code == 0
    assert called == [
        "torchrun --nnodes=2 --nproc-per-node=8 --rdzv-backend=c10d --rdzv-endpoint=10.0.0.1:29500 "
        "--rdzv-id=dnalm -m dnalm pretrain trainer.num_nodes=2 trainer.devices=8 experiment=dnabert2",
        "grace 300",
    ]


def test_what_is_not_given_is_asked_for(tmp_path: Path) -> None:
    program(tmp_path, "torchrun")
    (tmp_path / "called").touch()
    code, called = run(tmp_path, "torchrun.sh", NODES="2", GPUS="8")
    assert code != 0
    assert called == []
