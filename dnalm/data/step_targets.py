"""How many targets a whole optimizer step has, told with each of its micro-batches.

Where several objectives are summed, each is divided by its own number of targets in the global batch. Their
gradients meet in the shared encoder, so that the division has to come before the backward pass of the first
micro-batch. Micro-batches hold integers only, so a step's are simply fetched before the first is handed out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from dnalm.data.batch import Batch, is_known

MASKED_TOKENS = ""  # the name of masked language modelling among the tracks


@dataclass(frozen=True)
class CountedSteps(Iterable[Batch]):
    """The micro-batches of a loader with `step_targets` filled in.

    Args:
        loader: a rank's micro-batches, from the first of a step on.
        per_step: how many of them make a step.
    """

    loader: Iterable[Batch]
    per_step: int

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self.loader)
        while step := list(islice(batches, self.per_step)):
            counts: dict[str, int] = {}
            for batch in step:
                for name, count in count_targets(batch).items():
                    counts[name] = counts.get(name, 0) + count
            for batch in step:
                yield replace(batch, step_targets=counts)


def count_targets(batch: Batch) -> dict[str, int]:
    """Targets of a micro-batch: known tokens or windows of each track, of labels known pairs with one."""
    tracks = {name: int(is_known(targets).sum()) for name, targets in batch.tracks.items()}
    return {MASKED_TOKENS: len(batch.labels_M), **tracks}
