"""Which genome sample i of a run reads, as a pure function of i.

A table of slots is filled once: each genome has slots in proportion to its share, evenly spaced from a random
start. Sample i takes slot i modulo the table, so that any stretch of samples holds every genome within one or
two samples of its share, and how many of a genome's samples came before is known without counting.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnalm.data.order import Integers

SLOTS = 1 << 18  # a genome with less than one slot's share gets one


class Mixture:
    """The order of genomes.

    Args:
        shares: (G,) what each genome is to have, relative to the others; above 0.
        seed: of where each genome's slots start.
    """

    def __init__(self, shares: Sequence[float], *, seed: int) -> None:
        assert min(shares) > 0, "a genome without a share is left out"
        self.slots = _slots(np.array(shares, dtype=np.float64))  # (G,)
        start = np.random.Generator(np.random.Philox(key=[seed, 0])).random(len(shares))
        genome = np.repeat(np.arange(len(shares), dtype=np.int32), self.slots)
        rank = np.arange(len(genome)) - np.repeat(np.cumsum(self.slots) - self.slots, self.slots)
        place = (rank + start[genome]) / self.slots[genome]
        order = np.argsort(place, kind="stable")
        self._genome, self._rank = genome[order], rank[order].astype(np.int32)

    def __getitem__(self, index: int) -> tuple[int, int]:
        """The genome of sample `index`, and how many samples of that genome came before."""
        turn, slot = divmod(index, len(self._genome))
        genome = int(self._genome[slot])
        return genome, turn * int(self.slots[genome]) + int(self._rank[slot])


def _slots(shares: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Integers:
    """Slots of each genome by largest remainders, at least one."""
    if len(shares) == 1:
        return np.ones(1, dtype=np.int64)
    wanted = shares / shares.sum() * SLOTS
    slots: Integers = np.maximum(1, np.floor(wanted)).astype(np.int64)
    left = SLOTS - int(slots.sum())
    if left > 0:
        slots[np.argsort(slots - wanted, kind="stable")[:left]] += 1
    return slots
