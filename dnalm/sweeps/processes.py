"""All processes of a job, wherever they went: its group, and on Linux whatever carries its mark.

A launcher of ranks puts each into a session of its own, where no signal to the job's group arrives;
the mark is a variable of the environment, which every process inherits.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_MARK = "DNALM_SWEEP_JOB"
_THREADS = "DNALM_JOB_THREADS"  # a job's share of the cores, which its ranks share in turn
_RANKS = (
    *("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"),
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "DNALM_START"),
)


def job_environment(run: Path, *, parallel: int) -> Mapping[str, str]:
    """The environment of a job: ours, its mark, and no sign that it is a rank of a larger job.

    Jobs side by side share the cores, unless OMP_NUM_THREADS says otherwise: threads of several jobs that
    wait for each other on one core make all of them several times slower.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _RANKS}
    if parallel > 1 and ("OMP_NUM_THREADS" not in kept or _THREADS in kept):
        kept[_THREADS] = kept["OMP_NUM_THREADS"] = str(max(1, _cores(kept) // parallel))
    return {**kept, _MARK: str(run.resolve()), "PYTHONUNBUFFERED": "1"}


def _cores(environment: Mapping[str, str]) -> int:
    """Of this machine; or of the job that this sweep is itself."""
    return int(environment.get(_THREADS, os.cpu_count() or 1))


def signal_job(run: Path, number: signal.Signals, *, group: int | None = None) -> None:
    """Send a signal to every process of a job.

    Args:
        run: the job's run directory, which its mark names.
        number: the signal.
        group: the process group it was started in, where that is ours and not yet reaped.
    """
    told = _group_members(group)
    if group is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
    for process in _marked(f"{_MARK}={run.resolve()}") - told:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, number)


def _marked(mark: str) -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark.encode() in path.read_bytes().split(b"\0"):
                found.add(int(path.parent.name))
    return found - {os.getpid()}


def _group_members(group: int | None) -> set[int]:
    """Processes that a signal to the group reaches, so that none is told twice."""
    found = set()
    for path in Path("/proc").glob("[0-9]*") if group is not None else ():
        with suppress(OSError):
            if os.getpgid(int(path.name)) == group:
                found.add(int(path.name))
    return found
