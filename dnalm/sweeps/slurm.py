"""Jobs on a SLURM cluster, through submitit; on its node each runs as a local job does.

So the log, the lock, the limits and the verdict are the same everywhere. The sweep's folder must be one
that every node sees.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveFloat

from dnalm.errors import ConfigError
from dnalm.limits import Minutes, Processes, Workers
from dnalm.sweeps.results import Ended, Job, Places, Status, Stopped
from dnalm.sweeps.runner import LocalRun, Started

if TYPE_CHECKING:
    import submitit

_HANDLE = "slurm:"
_STATUSES: dict[str, Status] = {"TIMEOUT": "timeout", "OUT_OF_MEMORY": "oom", "CANCELLED": "interrupted"}


class SlurmLauncher:
    """Submits jobs; `sweep.parallel` is how many are in the queue at once.

    Args:
        minutes: wall clock of a job.
        partition: where it runs; the cluster's default if absent.
        account: what it is billed to.
        gpus: for each job.
        cpus: for each job.
        memory_gb: for each job; the cluster's default if absent.
        options: further options of sbatch, by their long names, such as `{constraint: a100}`.
        cluster: `local` submits to this machine, to try a sweep out.
    """

    poll_s = 1.0

    def __init__(
        self,
        *,
        minutes: Minutes,
        partition: str | None = None,
        account: str | None = None,
        gpus: Workers = 0,
        cpus: Processes = 1,
        memory_gb: PositiveFloat | None = None,
        options: dict[str, str | int] | None = None,
        cluster: Literal["slurm", "local"] = "slurm",
    ) -> None:
        self.minutes, self.cluster = minutes, cluster
        chosen = {
            "mem_gb": memory_gb,
            "slurm_partition": partition,
            "slurm_account": account,
            "gpus_per_node": gpus or None,
            "slurm_additional_parameters": options,
        }
        self.parameters: dict[str, Any] = {"timeout_min": minutes, "cpus_per_task": cpus}
        self.parameters |= {name: value for name, value in chosen.items() if value is not None}

    def start(self, job: Job, places: Places, *, handle: str | None, started: Started) -> SlurmRun:
        """Submit a job, or find the one that an earlier sweep submitted."""
        executor = self._executor(places.run.parent / ".submitit")
        if handle and handle.startswith(_HANDLE) and self.cluster == "slurm":
            import submitit

            return SlurmRun(submitit.SlurmJob(executor.folder, handle.removeprefix(_HANDLE)), places)
        executor.update_parameters(name=job.id, **self.parameters)
        # The job must be told to end while the cluster still lets it, and be told apart from a lost node.
        longest = max(self.minutes * 60 - places.grace_s - 30, 1)
        places = replace(places, timeout_s=min(places.timeout_s or longest, longest))
        places.forget_summary()
        submitted = executor.submit(run_here, job, places)
        started(f"{_HANDLE}{submitted.job_id}")
        return SlurmRun(submitted, places)

    def _executor(self, folder: Path) -> submitit.AutoExecutor:
        import submitit

        try:
            return submitit.AutoExecutor(folder=folder.resolve(), cluster=self.cluster)
        except RuntimeError as error:
            raise ConfigError(
                "SWEEP-05",
                where="launcher",
                found=f"no SLURM here: {error}",
                expected="srun and sbatch",
                fix="start the sweep on the cluster's login node, or use launcher=local",
            ) from error


class SlurmRun:
    """A job on the cluster."""

    def __init__(self, submitted: submitit.Job[Ended], places: Places) -> None:
        self._submitted, self._places = submitted, places
        self._began = time.monotonic()
        self._stopped: Stopped | None = None

    def stop(self, why: Stopped) -> None:
        """Cancel the job: SLURM sends SIGTERM, and SIGKILL after its own time of grace."""
        if not self._stopped:
            self._stopped = why
            self._submitted.cancel(check=False)

    def poll(self) -> Ended | None:
        """How the job ended; None while it waits or runs."""
        if not self._submitted.done():
            return None
        seconds = time.monotonic() - self._began
        if self._stopped and not self._submitted.paths.result_pickle.exists():
            return Ended(self._stopped, None, seconds, f"stopped: {self._stopped}")
        error = self._submitted.exception()
        if error is None:
            return self._submitted.result()
        state = self._submitted.state
        said = f"{state}: {str(error).strip().splitlines()[-1]}"
        return Ended(_STATUSES.get(state.split()[0], "failed"), None, seconds, said[:300])


def run_here(job: Job, places: Places) -> Ended:
    """Run a job to its end; what happens on the node."""
    run = LocalRun(job, replace(places, parallel=1), started=lambda _: None)  # its cores are its own
    while True:
        try:
            if (ended := run.poll()) is not None:
                return ended
            time.sleep(0.05)
        except KeyboardInterrupt:
            run.stop("interrupted")
