"""What the first process of a run decides and the others are told, before Lightning begins."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any

import torch.distributed as dist
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from dnalm.errors import DistributedError, DnalmError
from dnalm.training.ranks import Cluster, Ranks

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
        slurm = SLURMEnvironment(auto_requeue=False)
        os.environ.setdefault("MASTER_ADDR", slurm.main_address)
        os.environ.setdefault("MASTER_PORT", str(slurm.main_port))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo",
        rank=ranks.rank,
        world_size=ranks.world_size,
        timeout=timedelta(seconds=timeout_s),
    )


def part() -> None:
    """Leave the others once all have come here; who goes while others still talk to it takes them along."""
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
    told: list[Any] = [None, None]
    if first:
        try:
            told[0] = do()
        except DnalmError as error:
            told[1] = error.as_parts()
        except Exception as error:
            told[1] = _mistake(error).as_parts()
            dist.broadcast_object_list(told, src=0, group=group)
            raise
    dist.broadcast_object_list(told, src=0, group=group)
    if told[1] is not None:
        raise DnalmError.of_parts(told[1])
    return str(told[0])


def _mistake(error: Exception) -> DistributedError:
    """What the others are told of an error of the first that is our own mistake, so that they do not wait."""
    return DistributedError(
        "DIST-05",
        where="rank 0",
        found=f"{type(error).__name__}: {error}",
        expected="no error of this kind",
        fix="see the traceback of rank 0",
    )
