"""Which of the run's processes this one is.

A run of several processes is started by `launch`, by torchrun or by srun. The first two tell each process its
place in the environment variables of torch; srun has its own, which are heeded if the trainer says so, since
SLURM sets them in batch scripts too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dnalm.errors import DistributedError

LAUNCHED = "DNALM_START"  # set by `launch`: the checkpoint to start from, or nothing
JOB_THREADS = "DNALM_JOB_THREADS"  # set by a sweep: a job's share of the cores
Cluster = Literal["local", "slurm"]

_NAMES: dict[Cluster, tuple[str, str, str, str]] = {
    "local": ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    "slurm": ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"),
}


@dataclass(frozen=True)
class Ranks:
    """The place of a process.

    Attributes:
        rank: among all processes.
        local_rank: on its machine.
        world_size: number of processes.
        local_world_size: of them on this machine.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    local_world_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0


def ranks_of_environment(cluster: Cluster, environment: Mapping[str, str] = os.environ) -> Ranks | None:
    """The place that the environment tells; None if nothing has started several processes.

    Raises:
        DistributedError: DIST-01, the variables are there but not numbers, or not all of them.
    """
    names = _NAMES[cluster]
    if names[0] not in environment:
        return None
    found = {name: environment.get(name, "not set") for name in names}
    if not all(value.isdecimal() for value in found.values()):
        raise DistributedError(
            "DIST-01",
            where="environment",
            found=", ".join(f"{name} {value}" for name, value in found.items()),
            expected="a number in each",
            fix="start with torchrun, or with srun --ntasks-per-node=<devices> and trainer=slurm",
        )
    return Ranks(*(int(value) for value in found.values()))


def threads_of_a_rank(num_ranks: int, environment: Mapping[str, str] = os.environ) -> int:
    """Threads of each process that is started on this machine: its share of the cores, or as the user says.

    Args:
        num_ranks: processes on this machine.
        environment: may hold a sweep's share of the cores, or OMP_NUM_THREADS.
    """
    if JOB_THREADS not in environment and environment.get("OMP_NUM_THREADS", "").isdecimal():
        return int(environment["OMP_NUM_THREADS"])
    return max(1, int(environment.get(JOB_THREADS, os.cpu_count() or 1)) // num_ranks)


def launched_by_us(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether `launch` started this process, having checked the config and made the run directory."""
    return LAUNCHED in environment
