"""The place of a process among those of a run, as torchrun and SLURM say it."""

from __future__ import annotations

import pytest

from dnalm.errors import DistributedError
from dnalm.training.distributed import Ranks, ranks_of_environment

SRUN = {"SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NTASKS": "8"}


@pytest.mark.parametrize(
    "on_each",
    [
        {"SLURM_NTASKS_PER_NODE": "4", "SLURM_TASKS_PER_NODE": "9"},
        {"SLURM_TASKS_PER_NODE": "4(x2)"},
        {"SLURM_TASKS_PER_NODE": "9", "SLURM_STEP_TASKS_PER_NODE": "4(x2)"},
        {"SLURM_TASKS_PER_NODE": "4"},
    ],
    ids=str,
)
def test_tasks_of_a_machine_are_known_without_ntasks_per_node(on_each: dict[str, str]) -> None:
    found = ranks_of_environment("slurm", {**SRUN, **on_each})
    assert found == Ranks(rank=5, local_rank=1, world_size=8, local_world_size=4)


@pytest.mark.parametrize(
    ("on_each", "found"),
    [
        ({}, "SLURM_NTASKS_PER_NODE not set"),
        ({"SLURM_TASKS_PER_NODE": "4,3"}, "SLURM_NTASKS_PER_NODE not set, and SLURM_TASKS_PER_NODE 4,3"),
        ({"SLURM_TASKS_PER_NODE": "4(x2),3"}, "SLURM_TASKS_PER_NODE 4\\(x2\\),3"),
    ],
    ids=str,
)
def test_machines_with_unequally_many_tasks_are_refused(on_each: dict[str, str], found: str) -> None:
    with pytest.raises(DistributedError, match=rf"DIST-01 environment: .*{found}.*--ntasks-per-node"):
        ranks_of_environment("slurm", {**SRUN, **on_each})
