"""The processes of a run: which one this is, what the first decides for all, and sums in a fixed order.

A run of several processes is started by `launch`, by torchrun or by srun. The first two set torch's
environment variables; srun has its own, which are read if the trainer says so, since SLURM sets them in
batch scripts too.

Floating-point sums depend on their order, so that ordinary data parallelism gives other last bits with other
numbers of ranks (tests/training/test_exact_sums.py). In `ExactSums` the micro-batches of a step are the
leaves of a binary tree: each rank sums the subtree of its own, in the order they come, and the subtrees of
the ranks are summed likewise. For one, two or four processes the tree is the same, so are the bits; it costs
log2 of the number of micro-batches in gradients held, and a gradient of each rank in traffic.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from torch import Tensor, nn

from dnalm.errors import ConfigError, DistributedError, DnalmError

LAUNCHED = "DNALM_START"  # set by `launch`: the checkpoint to start from, or nothing
JOB_THREADS = "DNALM_JOB_THREADS"  # set by a sweep: a job's share of the cores
NCCL_DUMP = "nccl_"  # and the rank: a file in `ranks/`
Cluster = Literal["local", "slurm"]

_NAMES: dict[Cluster, tuple[str, str, str, str]] = {
    "local": ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    "slurm": ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"),
}
_TASKS = re.compile(r"(\d+)(?:\(x\d+\))?")  # SLURM_TASKS_PER_NODE of machines that have equally many: 4(x2)


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

    @property
    def sharing(self) -> int:
        """Ranks that hold one copy of what is sharded: a machine's, or all where each machine has one."""
        return self.world_size if self.local_world_size == 1 else self.local_world_size


def ranks_of_environment(cluster: Cluster, environment: Mapping[str, str] = os.environ) -> Ranks | None:
    """The place that the environment names; None if nothing has started several processes.

    Raises:
        DistributedError: DIST-01, the variables are there but not numbers, or not all of them.
    """
    names = _NAMES[cluster]
    if names[0] not in environment:
        return None
    found = {name: environment.get(name, "not set") for name in names}
    if cluster == "slurm" and found[names[3]] == "not set":  # as without --ntasks-per-node
        on_each = environment.get("SLURM_STEP_TASKS_PER_NODE", environment.get("SLURM_TASKS_PER_NODE", ""))
        if known := _TASKS.fullmatch(on_each):
            found[names[3]] = known[1]
        elif on_each:
            found[names[3]] = f"not set, and SLURM_TASKS_PER_NODE {on_each}"
    if not all(value.isdecimal() for value in found.values()):
        raise DistributedError(
            "DIST-01",
            where="environment",
            found=", ".join(f"{name} {value}" for name, value in found.items()),
            expected="a number in each, and equally many processes on all machines",
            fix="start with torchrun, or with srun --ntasks-per-node=<devices> and trainer=slurm",
        )
    return Ranks(*(int(value) for value in found.values()))


class StartedRanks(ClusterEnvironment):
    """Tells Lightning what `join` has connected.

    Its own classes for SLURM refuse a job without --ntasks-per-node and one that shows each task but one GPU.

    Args:
        ranks: this process, of several.
    """

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self._ranks = ranks

    @property
    def creates_processes_externally(self) -> bool:
        """Lightning starts none."""
        return True

    @property
    def main_address(self) -> str:
        """The machine of rank 0."""
        return os.environ["MASTER_ADDR"]

    @property
    def main_port(self) -> int:
        """Where rank 0 listens."""
        return int(os.environ["MASTER_PORT"])

    @staticmethod
    def detect() -> bool:
        """Never found by itself."""
        return False

    def world_size(self) -> int:
        """Number of processes."""
        return self._ranks.world_size

    def set_world_size(self, size: int) -> None:
        """Fixed."""

    def global_rank(self) -> int:
        """Of this process among all."""
        return self._ranks.rank

    def set_global_rank(self, rank: int) -> None:
        """Fixed."""

    def local_rank(self) -> int:
        """Of this process on its machine."""
        return self._ranks.local_rank

    def node_rank(self) -> int:
        """Of this machine; ranks are numbered machine by machine."""
        return (self._ranks.rank - self._ranks.local_rank) // self._ranks.local_world_size


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


def set_gpu_environment(folder: Path) -> None:
    """Set what CUDA's allocator and NCCL read when they are first used; what a user has set stays.

    Packs differ in length, and so do the blocks of memory for them: segments that grow leave no gaps that
    nothing fits. What NCCL was at when a process waited too long is written before the process is aborted;
    torch's `torchfrtrace` reads it.

    Args:
        folder: `ranks/` of the run directory.
    """
    settings = {
        "TORCH_NCCL_DUMP_ON_TIMEOUT": "1",
        "TORCH_FR_BUFFER_SIZE": "2000",  # collectives, the last ones
        "TORCH_FR_DUMP_TEMP_FILE": str(folder / NCCL_DUMP),
    }
    if "PYTORCH_ALLOC_CONF" not in os.environ:  # which the older name would outrank
        settings["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"
    for name, value in settings.items():
        os.environ.setdefault(name, value)


_FIRST_PORT, _PORTS = 15_000, 10_000  # where the jobs of one machine find each its own
_PATIENCE = timedelta(hours=12)  # the first process may have to build the stores of many genomes


def join(ranks: Ranks, cluster: Cluster, *, device: str, timeout_s: float) -> None:
    """Connect the processes; Lightning then finds them connected.

    Args:
        ranks: this process, of several.
        cluster: who has started it.
        device: `cpu` or `cuda`.
        timeout_s: longest wait for the others in training.
    """
    if cluster == "slurm":
        nodes, job = os.environ.get("SLURM_NODELIST", "127.0.0.1"), os.environ.get("SLURM_JOB_ID", "0")
        os.environ.setdefault("MASTER_ADDR", SLURMEnvironment.resolve_root_node_address(nodes))
        os.environ.setdefault("MASTER_PORT", str(_FIRST_PORT + int(job) % _PORTS))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo",
        rank=ranks.rank,
        world_size=ranks.world_size,
        timeout=timedelta(seconds=timeout_s),
    )


def leave_process_group() -> None:
    """Barrier, then destroy the group; a rank that exits early would crash its peers."""
    dist.barrier(group=patient_group())
    dist.destroy_process_group()


def decided_by_first(decide: Callable[[], str], ranks: Ranks) -> str:
    """What rank 0 finds, on every rank; where it fails, every rank fails with the same error.

    Args:
        decide: called on rank 0 alone.
        ranks: this process.
    """
    return done_by_first(decide, first=ranks.first, group=patient_group())


@cache
def patient_group() -> dist.ProcessGroup | None:
    """All processes, waiting for each other as long as preparing and saving may take; None of one alone.

    Made by all of them at once, so asked for first where all are.
    """
    if not dist.is_initialized():
        return None
    group: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=_PATIENCE)
    return group


def done_by_first(do: Callable[[], str], *, first: bool, group: dist.ProcessGroup | None) -> str:
    """What one process does for all, on all; its failure is that of all.

    Args:
        do: called on the first process alone.
        first: whether this is it.
        group: of the processes; None if this one is alone.
    """
    if group is None:
        return do()
    result: list[Any] = [None, None]  # what was found, and the error
    if first:
        try:
            result[0] = do()
        except DnalmError as error:
            result[1] = error.as_parts()
        except Exception as error:  # a bug; the others must not wait for ever
            found = f"{type(error).__name__}: {error}"
            expected, fix = "no error of this kind", "see the traceback of rank 0"
            bug = DistributedError("DIST-05", where="rank 0", found=found, expected=expected, fix=fix)
            result[1] = bug.as_parts()
            dist.broadcast_object_list(result, src=0, group=group)
            raise
    dist.broadcast_object_list(result, src=0, group=group)
    if result[1] is not None:
        raise DnalmError.of_parts(result[1])
    return str(result[0])


class ExactSums:
    """The gradients of the step under way, on this rank."""

    def __init__(self) -> None:
        self._subtrees: list[tuple[int, list[Tensor]]] = []  # (leaves, sums), fewer leaves each

    def accumulate(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add the gradients of a micro-batch, and set those of the parameters to None."""
        leaf = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        for parameter in parameters:
            parameter.grad = None
        self._subtrees.append((1, leaf))
        while len(self._subtrees) > 1 and self._subtrees[-1][0] == self._subtrees[-2][0]:
            (leaves, later), (_, earlier) = self._subtrees.pop(), self._subtrees.pop()
            self._subtrees.append((2 * leaves, list(torch._foreach_add(earlier, later))))

    def reduce_into(self, parameters: Sequence[nn.Parameter], world_size: int) -> None:
        """Set each parameter's gradient to the sum over all micro-batches of all ranks."""
        ((_, sums),) = self._subtrees
        self._subtrees = []
        for parameter, mine in zip(parameters, sums, strict=True):
            parts = [mine]
            if world_size > 1:
                parts = [torch.empty_like(mine) for _ in range(world_size)]
                dist.all_gather(parts, mine.contiguous())
            parameter.grad = tree_sum(parts)


def tree_sum(parts: Sequence[Tensor]) -> Tensor:
    """The sum of a power of two of tensors: of neighbours first, then of those sums."""
    sums = list(parts)
    while len(sums) > 1:
        sums = [sums[i] + sums[i + 1] for i in range(0, len(sums), 2)]
    return sums[0]


def check_exact(world_size: int, passes: int | None) -> None:
    """Refuse what makes no such tree.

    Args:
        world_size: ranks.
        passes: micro-batches of a step on each; None where they are divided by tokens.

    Raises:
        ConfigError: CFG-18, ranks or micro-batches a step are not powers of two, or other ranks would have
            other micro-batches.
    """
    if passes is None:
        raise ConfigError(
            "CFG-18",
            where="trainer.strategy, batch.micro_tokens",
            found="exact, and micro-batches by tokens, which are others for another number of ranks",
            expected="micro-batches that are the same for any number of ranks",
            fix="set batch.micro_tokens=null batch.micro_size=<samples>, or use strategy=ddp",
        )
    for name, number in (("ranks", world_size), ("micro-batches of a step on each rank", passes)):
        if number & (number - 1):
            raise ConfigError(
                "CFG-18",
                where="trainer.strategy",
                found=f"exact, with {number} {name}",
                expected="powers of two",
                fix="change batch.global_size, batch.micro_size or trainer.devices, or use strategy=ddp",
            )
