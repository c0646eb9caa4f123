"""The two texts that are compared: the genome around a variant with REF in place, and with ALT.

Both have the same flanks, so they differ in the allele alone, and in length by the indel's. An insertion
or a deletion is taken with one base of each flank, so that neither allele is empty and the other strand
sees the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnalm.genome.alphabet import Codes, bases, from_text, reverse_complement
from dnalm.genome.store import GenomeStore
from dnalm.genome.variants import Allele


@dataclass(frozen=True, eq=False)
class Window:
    """A text with an allele in it.

    Attributes:
        codes: (L,) values 0-4, not soft-masked.
        start: first base of the allele.
        end: base after its last.
    """

    codes: Codes
    start: int
    end: int

    def reverse_complement(self) -> Window:
        """The same on the other strand."""
        size = len(self.codes)
        return Window(reverse_complement(self.codes), size - self.end, size - self.start)


@dataclass(frozen=True, eq=False)
class Pair:
    """REF and ALT in the same flanks."""

    ref: Window
    alt: Window

    def reverse_complement(self) -> Pair:
        """Both on the other strand."""
        return Pair(self.ref.reverse_complement(), self.alt.reverse_complement())


def make_pair(store: GenomeStore, allele: Allele, *, window_bp: int) -> Pair:
    """The windows of a variant, in their middle; cut at the ends of the contig.

    Args:
        store: the genome.
        allele: what differs.
        window_bp: bases of the longer window.
    """
    length = store.contig(allele.contig).length
    start, end = allele.start, allele.start + len(allele.ref)
    if not allele.ref or not allele.alt:
        start, end = max(0, start - 1), min(length, end + 1)
    around = max(0, window_bp - (end - start) - max(0, len(allele.alt) - len(allele.ref)))
    first = max(0, start - around // 2)
    last = min(length, end + around - around // 2)
    text = bases(store.fetch(allele.contig, first, last))
    place = allele.start - first
    after = place + len(allele.ref)
    changed = np.concatenate([text[:place], from_text(allele.alt), text[after:]])
    growth = len(allele.alt) - len(allele.ref)
    return Pair(
        Window(text, start - first, end - first), Window(changed, start - first, end - first + growth)
    )
