"""Batches from worker processes: their death is noticed within seconds, their slowness is waited for."""

from __future__ import annotations

import multiprocessing
import os
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import BaseContext
from typing import Any, Generic, NoReturn, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from dnalm.errors import DnalmError
from dnalm.lifetime import leave_signals_to_parent
from dnalm.system_errors import translate

_POLL_S = 5  # between checks that the workers are alive
_TIMEOUT_S = 300  # a batch that takes longer is an error
_REPORT_AFTER_S = 1  # an error outside of any batch
_TIMED_OUT = "DataLoader timed out"  # torch's words
_CPU = torch.device("cpu")
_WORKERS_OF_A_GPU = 4  # where the config names no number

Fetched = TypeVar("Fetched")


class Loader(Generic[Fetched], Iterable[Fetched]):
    """A DataLoader that looks at its workers more often than it gives up.

    torch looks only when its time for a batch is up, and workers that are not its own children (those of a
    fork server) send it no signal; it may be asked for the same batch again.

    Args:
        samples: by index.
        order: the indices of each batch.
        collate: samples to a batch.
        num_workers: processes; 0 fetches in this one; None is 4 for a GPU, or a core each where this process
            has fewer, and 0 for a CPU.
        device: what computes on the batches; those of a GPU are in page-locked memory.
        keep_workers: whether they live on when an iteration ends.

    Attributes:
        waited_s: seconds that whoever iterates has waited for batches.
    """

    def __init__(
        self,
        samples: Dataset[Any],
        order: Iterable[list[int]],
        *,
        collate: Callable[[list[Any]], Fetched],
        num_workers: int | None,
        device: torch.device = _CPU,
        keep_workers: bool = False,
    ) -> None:
        self._order, self.waited_s, is_gpu = order, 0.0, device.type == "cuda"
        num_workers = num_loaders(num_workers, device.type)
        self._loader: DataLoader[Any] = DataLoader(
            _Guarded(samples) if num_workers else samples,
            batch_sampler=order,
            collate_fn=partial(_guarded_collate, collate) if num_workers else collate,
            num_workers=num_workers,
            prefetch_factor=batches_ahead(device.type) if num_workers else None,
            pin_memory=is_gpu,
            multiprocessing_context=_fork_server(samples) if num_workers else None,
            worker_init_fn=partial(_end_with, os.getpid()) if num_workers else None,
            persistent_workers=keep_workers and num_workers > 0,
            timeout=_POLL_S if num_workers else 0,
        )

    def __len__(self) -> int:
        if not isinstance(self._order, Sized):
            raise TypeError("batches without end have no number")
        return len(self._order)

    def __iter__(self) -> Iterator[Fetched]:
        batches, asked = iter(self._loader), time.monotonic()
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if _TIMED_OUT in str(error) and time.monotonic() - asked < _TIMEOUT_S:
                    continue
                raise
            if isinstance(batch, WorkerFailure):
                batch.raise_again()
            self.waited_s += time.monotonic() - asked
            yield batch
            asked = time.monotonic()


def num_loaders(asked: int | None, device: str) -> int:
    """Loader processes for a device: as asked, or as `Loader` says where None are."""
    if asked is not None:
        return asked
    return min(_WORKERS_OF_A_GPU, num_cores()) if device == "cuda" else 0


def batches_ahead(device: str) -> int:
    """Batches that each loader process makes before they are fetched."""
    return 4 if device == "cuda" else 2


def num_cores() -> int:
    """Cores that this process may use; a batch system may have bound it to some of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class WorkerFailure:
    """What went wrong in a worker, in place of a batch; torch would keep only the text of it.

    Attributes:
        error: an error that a user can act on; none of a bug.
        traceback: of what was raised.
    """

    error: DnalmError | None
    traceback: str

    @classmethod
    def of(cls, error: Exception) -> WorkerFailure:
        """Of an error just caught."""
        return cls(translate(error), "".join(traceback.format_exception(error)))

    def raise_again(self) -> NoReturn:
        """Raise it in the process that asked for the batch.

        Raises:
            DnalmError: as the worker has it.
            RuntimeError: a bug; its text is the worker's traceback.
        """
        if self.error is not None:
            raise self.error
        raise RuntimeError(f"{self.traceback.splitlines()[-1]}\n\nin a loader worker:\n{self.traceback}")


class _Guarded(Dataset[Any]):
    """Samples, or what went wrong with them."""

    def __init__(self, samples: Dataset[Any]) -> None:
        self._samples = samples

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401
        try:
            return self._samples[index]
        except Exception as error:  # it is raised in the process that asked
            return WorkerFailure.of(error)


def _guarded_collate(collate: Callable[[list[Any]], Any], samples: list[Any]) -> Any:  # noqa: ANN401
    for sample in samples:
        if isinstance(sample, WorkerFailure):
            return sample
    try:
        return collate(samples)
    except Exception as error:  # as above
        return WorkerFailure.of(error)


def _fork_server(samples: Dataset[Any]) -> BaseContext:
    """Starts workers from a process that has imported what they use, once and not once a worker.

    That process has neither threads nor a GPU's context, which a fork would break.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([type(samples).__module__])
    return context


def _end_with(process: int, worker: int) -> None:  # noqa: ARG001 -- torch gives its number
    """Let this worker end as soon as a process does, however that went.

    torch's workers find out by themselves unless they are sending what nobody fetches any more: then they
    would wait for ever, and hold whatever they share with the process that is gone, its output among it.
    """
    leave_signals_to_parent()
    threading.Thread(target=_exit_after, args=(process,), name="end with trainer", daemon=True).start()
    sys.excepthook = partial(_report_later, sys.excepthook)


def _report_later(report: Callable[..., object], *error: object) -> None:
    """Leave a worker the time to end with its trainer, whose death breaks what it was just sending."""
    time.sleep(_REPORT_AFTER_S)
    report(*error)


def _exit_after(process: int) -> None:
    try:
        if hasattr(os, "pidfd_open"):  # Linux
            select.select([os.pidfd_open(process)], [], [])
        else:
            while True:
                os.kill(process, 0)
                time.sleep(1)
    except ProcessLookupError:
        pass
    os._exit(1)
