"""What a masked language model of DNA must beat, base by base: two count models of the same text.

Order 0 knows how frequent each base is. The context model knows how frequent each base is between the four
bases on its left and the four on its right, which it always sees, even where the masked model sees nothing.
Both are counted on the training regions and evaluated on the model's own hidden bases.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from dnalm.console import progress_bar
from dnalm.data.windows import Integers
from dnalm.evaluation.statistics import MIN_CLUSTERS, PairedDifference, paired_difference
from dnalm.genome.alphabet import Codes, bases
from dnalm.genome.store import GenomeStore

SIDE = 4  # bases of context on each side
_CHUNK = 1 << 22
_NUM_CONTEXTS = 4 ** (2 * SIDE)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CountModels:
    """Counts of the training regions.

    Attributes:
        base_counts: (4,) bases.
        context_counts: (4^8, 4) middle bases by context.
    """

    base_counts: Integers
    context_counts: Integers

    def order0_bits(self, base_X: Codes) -> Floats:
        """Bits at each base under the training frequencies, add-one smoothed, (X,)."""
        share = (self.base_counts + 1) / (self.base_counts.sum() + 4)
        bits: Floats = -np.log2(share)[base_X]
        return bits

    def two_sided_bits(
        self, store: GenomeStore, position_X: Integers, hidden_X2: Integers | None = None
    ) -> Floats:
        """Bits at each position under the context model, add-one smoothed, (X,).

        A position whose context holds an N or crosses the end of its contig is judged by order 0.

        Args:
            store: the genome.
            position_X: flat coordinates.
            hidden_X2: how many of the bases next to it, on its left and right, are hidden too; the counts are
                summed over these. None are if absent.
        """
        true_base = bases(store.codes[position_X])
        bits = self.order0_bits(true_base)
        if hidden_X2 is None:
            hidden_X2 = np.zeros((len(position_X), 2), dtype=np.int64)
        patterns, of_pattern = np.unique(np.minimum(hidden_X2, SIDE), axis=0, return_inverse=True)
        for number, (left, right) in enumerate(patterns.tolist()):
            mine = np.flatnonzero(of_pattern.reshape(-1) == number)
            seen = (*range(-SIDE, -left), *range(right + 1, SIDE + 1))
            context, known = _contexts_at(store, position_X[mine], seen)
            mine, table = mine[known], self._counts_without(left, right)
            counts = table[context[known]] + 1
            bits[mine] = -np.log2(counts[np.arange(len(counts)), true_base[mine]] / counts.sum(axis=1))
        return bits

    def _counts_without(self, left: int, right: int) -> Integers:
        """The context counts, the nearest bases of both sides summed over, (contexts, 4)."""
        by_base = self.context_counts.reshape(*[4] * (2 * SIDE + 1))
        summed: Integers = by_base.sum(axis=(*range(SIDE - left, SIDE), *range(SIDE, SIDE + right)))
        return summed.reshape(-1, 4)


def count(genomes: Sequence[tuple[GenomeStore, Integers]], *, most_bp: int = 2_000_000_000) -> CountModels:
    """Count bases and contexts of all genomes together, in bounded memory and time.

    Args:
        genomes: each with (R, 2) half-open flat intervals; contexts do not reach across their ends.
        most_bp: bases to count at most; of larger corpora, evenly spaced pieces are counted.
    """
    base_counts = np.zeros(4, dtype=np.int64)
    context_counts = np.zeros(_NUM_CONTEXTS * 4, dtype=np.int64)
    total = sum(int((regions[:, 1] - regions[:, 0]).sum()) for _, regions in genomes)
    every = max(1, -(-total // most_bp))
    with progress_bar("Counting the baselines", total=total, in_bytes=True) as advance:
        pieces = ((store, *piece) for store, regions in genomes for piece in _pieces(regions))
        for number, (store, first, last, start, end) in enumerate(pieces):
            advance(last - first)
            if number % every:
                continue
            chunk = bases(store.codes[first:last])
            base_counts += np.bincount(chunk, minlength=8)[:4]
            reach = bases(store.codes[max(start, first - SIDE) : min(end, last + SIDE)])
            context, middle = _contexts(reach)
            context_counts += np.bincount(context * 4 + middle, minlength=len(context_counts))
    return CountModels(base_counts, context_counts.reshape(_NUM_CONTEXTS, 4))


def _pieces(regions: Integers) -> Iterator[tuple[int, int, int, int]]:
    """Pieces of the regions, each with the region it is of."""
    for start, end in regions.tolist():
        for first in range(start, end, _CHUNK):
            yield first, min(first + _CHUNK, end), start, end


def _contexts(codes: Codes) -> tuple[Integers, Codes]:
    """The context of every base that has one, and the base, over codes without N in reach."""
    if len(codes) <= 2 * SIDE:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(codes, 2 * SIDE + 1)
    number = np.zeros(len(windows), dtype=np.int64)
    known = np.ones(len(windows), dtype=np.bool_)
    for place in range(2 * SIDE + 1):
        known &= windows[:, place] < 4
        if place != SIDE:
            number = number * 4 + windows[:, place]
    return number[known], windows[known, SIDE]


def _contexts_at(
    store: GenomeStore, position_X: Integers, seen: Sequence[int]
) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """The context of each position at these offsets, in ascending order, and whether all of it is known."""
    starts = np.array([contig.offset for contig in store.contigs])
    ends = starts + [contig.length for contig in store.contigs]
    contig = np.searchsorted(starts, position_X, side="right") - 1
    number = np.zeros(len(position_X), dtype=np.int64)
    known = np.ones(len(position_X), dtype=np.bool_)
    for offset in seen:
        place = position_X + offset
        neighbour = bases(store.codes[np.clip(place, 0, store.num_bases - 1)])
        known &= (place >= starts[contig]) & (place < ends[contig]) & (neighbour < 4)
        number = number * 4 + np.where(neighbour < 4, neighbour, 0)
    return number, known


Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Bits per base on the same hidden bases.

    Attributes:
        hidden_bases: how many were judged.
        model: the masked model's bits per base.
        order0: those of the training frequencies.
        two_sided: those of the context model.
        over_order0: model minus order 0; negative is better.
        over_two_sided: model minus context model.
        species: the same for each genome by name, where there are several.
    """

    hidden_bases: int
    model: float
    order0: float
    two_sided: float
    over_order0: PairedDifference
    over_two_sided: PairedDifference
    species: dict[str, Judgement] = field(default_factory=dict)

    def sentences(self) -> str:
        """The comparison in words, a line more for each species."""
        return "\n".join(
            [
                f"bits per base at {self.hidden_bases:,} hidden validation bases: {self.model:.4f}",
                _sentence("order-0 entropy", self.order0, self.over_order0),
                _sentence("two-sided context model", self.two_sided, self.over_two_sided),
                *(_species_line(name, of) for name, of in self.species.items()),
            ]
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class JudgedBases:
    """Hidden bases, (X,) each, and what they cost the model and both count models.

    Attributes:
        genome: index of the genome that each lies in.
        positions: its flat coordinate there.
        windows: the window it lies in, over all genomes.
        bits: of the model.
        order0: of the training frequencies.
        two_sided: of the context model.
    """

    genome: Integers
    positions: Integers
    windows: Integers
    bits: npt.NDArray[np.float32]
    order0: Floats
    two_sided: Floats

    def judgement(self, mine: Flags | None = None) -> Judgement:
        """The comparison over these bases; over all if None."""
        kept = slice(None) if mine is None else mine
        return _compare(self.bits[kept], self.order0[kept], self.two_sided[kept], self.windows[kept])


def judge_bases(
    stores: Sequence[GenomeStore],
    counts: CountModels,
    *,
    genome: Integers,
    positions: Integers,
    windows: Integers,
    bits: npt.NDArray[np.float32],
) -> JudgedBases:
    """Look up what hidden bases cost the count models; arguments as the attributes of `JudgedBases`.

    Args:
        stores: of each genome.
        counts: counted on the training regions.
        genome: (X,).
        positions: (X,).
        windows: (X,).
        bits: (X,).
    """
    order0, two_sided = np.zeros(len(bits)), np.zeros(len(bits))
    for number, store in enumerate(stores):
        mine = genome == number
        order0[mine] = counts.order0_bits(bases(store.codes[positions[mine]]))
        two_sided[mine] = counts.two_sided_bits(store, positions[mine])
    return JudgedBases(
        genome=genome,
        positions=positions,
        windows=windows,
        bits=bits,
        order0=order0,
        two_sided=two_sided,
    )


def judge(judged: JudgedBases, names: Sequence[str]) -> Judgement:
    """Compare a model with both count models, over all bases and over those of each genome.

    Args:
        judged: the bases.
        names: of the genomes.
    """
    overall = judged.judgement()
    members = {name: judged.genome == number for number, name in enumerate(names)}
    present = {name: mine for name, mine in members.items() if mine.any()}
    if len(present) > 1:
        species = {name: judged.judgement(mine) for name, mine in present.items()}
        overall = replace(overall, species=species)
    return overall


def _compare(
    bits: npt.NDArray[np.float32], order0: Floats, two_sided: Floats, windows: Integers
) -> Judgement:
    return Judgement(
        hidden_bases=len(bits),
        model=float(bits.mean(dtype=np.float64)),
        order0=float(order0.mean()),
        two_sided=float(two_sided.mean()),
        over_order0=paired_difference(bits, order0, cluster=windows),
        over_two_sided=paired_difference(bits, two_sided, cluster=windows),
    )


def _species_line(name: str, of: Judgement) -> str:
    difference = of.over_order0
    sure = (
        f"{difference.in_standard_errors:+.1f} standard errors"
        if difference.has_enough_clusters
        else f"no verdict from {_windows(difference)}, {MIN_CLUSTERS} are needed"
    )
    return (
        f"  {name}: {of.model:.4f} at {of.hidden_bases:,} bases; order 0 {of.order0:.4f} "
        f"({sure}), two-sided {of.two_sided:.4f}"
    )


def _sentence(name: str, value: float, difference: PairedDifference) -> str:
    if not difference.has_enough_clusters:
        return (
            f"  {name} {value:.4f}: no verdict, for the hidden bases lie in {_windows(difference)} "
            f"and a standard error needs {MIN_CLUSTERS}; hold out more bases by data.split, or raise "
            "windows.num_validation"
        )
    better = "better" if difference.mean < 0 else "worse"
    return (
        f"  {name} {value:.4f}: the model is {abs(difference.mean):.4f} {better} "
        f"({abs(difference.in_standard_errors):.1f} standard errors of the paired difference)"
    )


def _windows(difference: PairedDifference) -> str:
    return "1 window" if difference.num_clusters == 1 else f"{difference.num_clusters} windows"
