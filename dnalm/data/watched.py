"""A loader whose worker processes may die: killed for memory, stuck, or by an error in a sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch.utils.data import DataLoader

from dnalm.data.batch import Batch
from dnalm.errors import DataError

_OF_WORKERS = ("DataLoader worker", "DataLoader timed out")  # what torch's messages hold


@dataclass(frozen=True)
class WatchedLoader(Iterable[Batch]):
    """The batches of a loader.

    Args:
        loader: makes them, in processes or in this one.
        rank: of this process.
        first: sample that it begins with.
    """

    loader: DataLoader[Batch]
    rank: int
    first: int = 0

    def __iter__(self) -> Iterator[Batch]:
        """Yield them.

        Raises:
            DataError: DATA-20, a worker process is gone.
        """
        batches, coming = iter(self.loader), self.first
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if any(words in str(error) for words in _OF_WORKERS):
                    raise self._gone(error, coming) from error
                raise
            coming = batch.samples[-1] + 1
            yield batch

    def __len__(self) -> int:
        """How many there are; TypeError of a loader without end."""
        return len(self.loader)

    def _gone(self, error: RuntimeError, coming: int) -> DataError:
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines[0].startswith("Caught") else lines[0]
        return DataError(
            "DATA-20",
            where=f"loader worker of rank {self.rank}",
            found=f"{reason.strip().rstrip('.')}; it had samples from {coming} on to read",
            expected="workers that live as long as the run",
            fix="give the job more memory or fewer batch.num_workers; dmesg tells who killed them. "
            "Started again, the run goes on from its last checkpoint",
        )
