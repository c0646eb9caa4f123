"""From the ancestor to the species: substitutions, insertions and deletions along the tree.

Substitutions follow HKY85 with a relative rate for every kind of site. Selection refuses a change that
would stop a protein or take a planted motif below its threshold. Insertions and deletions fall in
unconstrained DNA only, so frames, motifs and their spacing stay whole. Every genome knows where each
ancestral base went, which is how annotations follow it.

Source: Hasegawa, Kishino & Yano 1985, J. Mol. Evol. 22.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dnalm.genome.alphabet import BASE_MASK, SOFT_MASK, UNKNOWN, A, C, Codes, G, T, bases
from dnalm.genome.clade.ancestor import Ancestor
from dnalm.genome.clade.blocks import KIND, Positions
from dnalm.genome.clade.codons import is_stop
from dnalm.genome.clade.motifs import MOTIFS, Motif
from dnalm.genome.clade.settings import SITE_KINDS, Clade, stream
from dnalm.genome.clade.tree import Branch

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_LONGEST_INDEL_BP = 30


@dataclass(frozen=True)
class Lineage:
    """A genome somewhere on the tree.

    Args:
        codes: (L,) bases with their soft-mask.
        kinds: (L,) numbers of `SITE_KINDS`; inserted bases are neutral.
        place: (A + 1,) where each ancestral base is now, and where the genome ends. A deleted base has the
            place of the next that is left.
        alive: (A,) False where the ancestral base is deleted.
    """

    codes: Codes
    kinds: npt.NDArray[np.uint8]
    place: npt.NDArray[np.int32]
    alive: Bools


@dataclass(frozen=True)
class Selection:
    """What must stay as it is, in ancestral coordinates.

    Args:
        codons: (N, 3) positions in reading order of all codons but the stops.
        sites: for every motif, the first base of its sites and whether each is on the reverse strand.
    """

    codons: Positions
    sites: list[tuple[Motif, Positions, Bools]]

    @classmethod
    def of(cls, ancestor: Ancestor) -> Selection:
        """Collect the codons and sites of an ancestor."""
        codes = _read_codons(bases(ancestor.block.codes), ancestor.codons)
        sites = []
        for motif in MOTIFS.values():
            mine = [
                item for item in ancestor.block.features if item.kind == "motif" and item.name == motif.name
            ]
            starts = np.array([item.start for item in mine], dtype=np.int64)
            sites.append((motif, starts, np.array([item.strand == "-" for item in mine], dtype=bool)))
        return cls(ancestor.codons[~is_stop(codes)], sites)


def hky_probabilities(time: float, kappa: float, frequencies: tuple[float, ...]) -> Floats:
    """Probability of each base after evolving for a time.

    Args:
        time: expected substitutions per site, at equilibrium.
        kappa: rate of transitions over that of transversions.
        frequencies: of A, C, G, T at equilibrium.

    Returns:
        (4, 4), from row to column; rows sum to 1.
    """
    pi = np.asarray(frequencies, dtype=np.float64)
    pi = pi / pi.sum()
    rates = np.tile(pi, (4, 1))
    for first, second in ((A, G), (G, A), (C, T), (T, C)):
        rates[first, second] *= kappa
    np.fill_diagonal(rates, 0.0)
    np.fill_diagonal(rates, -rates.sum(axis=1))
    rates /= -(pi * rates.diagonal()).sum()
    root = np.sqrt(pi)  # the process is reversible, so this scaling makes the rates symmetric
    values, vectors = np.linalg.eigh(root[:, None] * rates / root)
    result = (vectors * np.exp(values * time)) @ vectors.T * root / root[:, None]
    return np.asarray(np.maximum(result, 0.0))


def substitute(
    codes: Codes,
    kinds: npt.NDArray[np.uint8],
    *,
    clade: Clade,
    length: float,
    rng: np.random.Generator,
) -> Codes:
    """Let every site change for the length of a branch; unknown bases and soft-masks stay.

    Args:
        codes: (L,) bases with their soft-mask.
        kinds: (L,) numbers of `SITE_KINDS`.
        clade: for HKY85 and the relative rates.
        length: substitutions per neutral site.
        rng: draws the changes.

    Returns:
        (L,) codes; the argument is left as it is.
    """
    times = [length * clade.relative_rates[kind] for kind in SITE_KINDS]
    tables = np.stack([hky_probabilities(time, clade.kappa, clade.base_frequencies) for time in times])
    stay = tables.diagonal(axis1=1, axis2=2)
    change = np.zeros((len(SITE_KINDS), 8), dtype=np.float32)
    change[:, :4] = 1 - stay
    tables[:, range(4), range(4)] = 0.0
    limits = (tables / np.maximum(tables.sum(axis=2, keepdims=True), 1e-300)).cumsum(axis=2)[..., :3]
    old = bases(codes)
    hit = np.flatnonzero(rng.random(codes.size, dtype=np.float32) < change.reshape(-1)[kinds * 8 + old])
    new = (rng.random((hit.size, 1)) > limits[kinds[hit], old[hit]]).sum(axis=1).astype(np.uint8)
    result = codes.copy()
    result[hit] = (codes[hit] & ~BASE_MASK) | new
    return result


def refuse_harm(before: Codes, after: Codes, place: npt.NDArray[np.int32], selection: Selection) -> None:
    """Undo, in `after`, the changes that made a stop codon or broke a motif.

    Args:
        before: (L,) codes at the start of the branch.
        after: (L,) codes at its end; changed in place.
        place: (A + 1,) where ancestral bases are.
        selection: what is watched.
    """
    codons = place[selection.codons].astype(np.int64)
    stopped = codons[is_stop(_read_codons(bases(after), codons))]
    after[stopped] = before[stopped]
    for motif, starts, reverse in selection.sites:
        sites = place[starts][:, None] + np.arange(motif.width)
        broken = sites[motif.score(read_sites(bases(after), sites, reverse)) < motif.threshold]
        after[broken] = before[broken]


def read_sites(codes: Codes, sites: Positions, reverse: Bools) -> Codes:
    """Bases of (N, width) ascending positions, read on each site's own strand."""
    found = codes[sites]
    other = np.where(found < UNKNOWN, 3 - found, found)[:, ::-1]
    return np.where(reverse[:, None], other, found).astype(np.uint8)


def _read_codons(codes: Codes, codons: Positions) -> Codes:
    """Bases of (N, 3) positions in reading order; descending ones are on the reverse strand."""
    found = codes[codons]
    reverse = codons[:, :1] > codons[:, 2:]
    return np.where(reverse, 3 - found, found).astype(np.uint8)


def insert_and_delete(
    lineage: Lineage, *, clade: Clade, length: float, rng: np.random.Generator, edges: Positions
) -> Lineage:
    """Add insertions and deletions of a branch, in unconstrained DNA.

    Args:
        lineage: the genome before.
        clade: for rates and sizes.
        length: substitutions per neutral site.
        rng: draws them.
        edges: ancestral contig edges, which stay.

    Returns:
        The genome after, with `place` and `alive` carried along.
    """
    size = lineage.codes.size
    free = lineage.kinds == KIND["neutral"]
    contig_ends = lineage.place[edges]
    free[contig_ends[:-1]] = False
    free[contig_ends[1:] - 1] = False
    count = int(rng.poisson(clade.indels_per_substitution * length * free.sum()))
    at = np.sort(rng.integers(1, size - _LONGEST_INDEL_BP, count))
    sizes = np.minimum(rng.geometric(1 / clade.indel_mean_bp, count), _LONGEST_INDEL_BP)
    is_insertion = rng.random(count) < 0.5
    held = np.concatenate([[0], np.cumsum(~free)])
    reach = np.where(is_insertion, at + 1, at + sizes)
    usable = held[reach] == held[at - 1]
    usable[1:] &= at[1:] > np.maximum.accumulate(reach)[:-1]
    at, sizes, is_insertion = at[usable], sizes[usable], is_insertion[usable]
    added = np.zeros(size, dtype=np.int32)
    added[at[is_insertion]] = sizes[is_insertion]
    lost = np.zeros(size + 1, dtype=np.int32)
    np.add.at(lost, at[~is_insertion], 1)
    np.add.at(lost, at[~is_insertion] + sizes[~is_insertion], -1)
    kept = lost[:-1].cumsum() == 0
    return _rebuild(lineage, kept, added, clade, rng)


def _rebuild(
    lineage: Lineage, kept: Bools, added: npt.NDArray[np.int32], clade: Clade, rng: np.random.Generator
) -> Lineage:
    """Apply deletions (`kept` False) and insertions (`added` bases before a base)."""
    sources = np.repeat(np.arange(kept.size, dtype=np.int32), added + kept)
    step = np.zeros(kept.size + 1, dtype=np.int32)
    step[1:] = np.cumsum(added + kept)
    step[:-1] += added  # a base lies after what is inserted before it
    is_new = np.ones(sources.size, dtype=bool)
    is_new[step[:-1][kept]] = False
    codes, kinds = lineage.codes[sources], lineage.kinds[sources]
    drawn = rng.choice(4, int(is_new.sum()), p=clade.base_frequencies).astype(np.uint8)
    codes[is_new] = (codes[is_new] & SOFT_MASK) | drawn
    kinds[is_new] = KIND["neutral"]
    alive = lineage.alive.copy()
    alive[alive] = kept[lineage.place[:-1][alive]]
    return Lineage(codes, kinds, step[lineage.place], alive)


def evolve(ancestor: Ancestor, clade: Clade, done: Callable[[int], None] | None = None) -> dict[str, Lineage]:
    """Grow the tree.

    Args:
        ancestor: the genome at the root.
        clade: tree and rates.
        done: called with 1 after every branch.

    Returns:
        The genome of every species, by name, in the order of the tree.
    """
    size = ancestor.block.size
    place = np.arange(size + 1, dtype=np.int32)
    root = Lineage(ancestor.block.codes, ancestor.block.kinds, place, np.ones(size, dtype=bool))
    selection, species, number = Selection.of(ancestor), {}, 0
    todo: list[tuple[Branch, Lineage]] = [(clade.root, root)]
    while todo:
        branch, lineage = todo.pop()
        rng = stream(clade, "evolution", number)
        number += 1
        codes = substitute(lineage.codes, lineage.kinds, clade=clade, length=branch.length, rng=rng)
        refuse_harm(lineage.codes, codes, lineage.place, selection)
        lineage = replace(lineage, codes=codes)
        lineage = insert_and_delete(lineage, clade=clade, length=branch.length, rng=rng, edges=ancestor.edges)
        todo.extend((child, lineage) for child in reversed(branch.children))
        if not branch.children:
            species[branch.name] = lineage
        if done is not None:
            done(1)
    return species
