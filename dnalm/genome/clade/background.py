"""DNA that means nothing: isochores of different GC, with the short-range habits of real genomes.

Every base depends on the two before it. CpG is rare, TpG and CpA are common in exchange, and runs of A and
of T prolong themselves; the weights are the same on both strands.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dnalm.genome.alphabet import A, C, Codes, G, T
from dnalm.genome.clade.settings import Clade, stream

Floats = npt.NDArray[np.float64]

_LANE_BP = 500  # neighbouring lanes are drawn side by side, which is what makes this fast
_TWO_BASE = {(T, G): 1.25, (C, A): 1.25, (A, A): 1.35, (T, T): 1.35, (A, C): 0.85, (G, T): 0.85, (T, A): 0.7}
_RUN = 1.9  # weight of a third A after AA, of a third T after TT


def draw_background(clade: Clade) -> Codes:
    """The ancestor before anything is planted: (genome_bp,) values 0-3, contigs end to end."""
    rng = stream(clade, "background")
    lengths = clade.contig_lengths()
    steps = np.stack([_steps(gc, clade.cpg_ratio) for gc in clade.isochore_gc])
    lanes = [_isochores_of_lanes(clade, -(-length // _LANE_BP), rng) for length in lengths]
    codes = _walk(steps, np.concatenate(lanes), rng)
    pieces, first = [], 0
    for length, contig_lanes in zip(lengths, lanes, strict=True):
        pieces.append(codes[first : first + contig_lanes.size].reshape(-1)[:length])
        first += contig_lanes.size
    return np.concatenate(pieces)


def _isochores_of_lanes(clade: Clade, num_lanes: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """(num_lanes,) number of the isochore family; neighbouring isochores differ."""
    families: list[int] = []
    family, count = int(rng.integers(len(clade.isochore_gc))), len(clade.isochore_gc)
    while len(families) < num_lanes:
        length = clade.isochore_bp * rng.uniform(0.5, 1.5)
        families += [family] * max(1, round(length / _LANE_BP))
        if count > 1:
            family = int(family + rng.integers(1, count)) % count
    return np.array(families[:num_lanes])


def _walk(steps: Floats, families: npt.NDArray[np.int64], rng: np.random.Generator) -> Codes:
    """Draw all lanes at once, base by base: (lanes, _LANE_BP) values 0-3."""
    cumulative = steps.cumsum(axis=-1)[..., :3].reshape(-1, 3)  # (families * 16, 3)
    codes = np.empty((_LANE_BP, families.size), dtype=np.uint8)
    before, last = rng.integers(0, 4, (2, families.size))
    for place in range(_LANE_BP):
        limits = cumulative[families * 16 + before * 4 + last]
        before, last = last, (rng.random((families.size, 1)) > limits).sum(axis=1)
        codes[place] = last
    return np.ascontiguousarray(codes.T)


def _steps(gc: float, cpg_ratio: float) -> Floats:
    """(4, 4, 4) probability of a base after two others, which makes GC and CpG as frequent as asked."""
    cpg_weight = cpg_ratio
    for _ in range(6):
        low, high = 0.01, 0.99
        for _ in range(16):
            gc_weight = (low + high) / 2
            table = _weighted(gc_weight, cpg_weight)
            pairs = _stationary_pairs(table)
            found = float(pairs[:, [C, G]].sum())
            low, high = (gc_weight, high) if found < gc else (low, gc_weight)
        ratio = float(pairs[C, G] / (pairs[:, C].sum() * pairs[:, G].sum()))
        cpg_weight *= cpg_ratio / ratio
    return table


def _weighted(gc_weight: float, cpg_weight: float) -> Floats:
    table = np.tile(np.array([1 - gc_weight, gc_weight, gc_weight, 1 - gc_weight]), (4, 4, 1))
    for (first, second), weight in {**_TWO_BASE, (C, G): cpg_weight}.items():
        table[:, first, second] *= weight
    for base in (A, T):
        table[base, base, base] *= _RUN
    return np.asarray(table / table.sum(axis=-1, keepdims=True))


def _stationary_pairs(table: Floats) -> Floats:
    """(4, 4) share of every pair of neighbours in the long run."""
    pairs = np.full((4, 4), 1 / 16)
    for _ in range(16):
        pairs = np.einsum("xy,xyz->yz", pairs, table)
    return pairs
