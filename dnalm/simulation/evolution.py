"""The ancestral genome, and how it becomes the species: substitutions, insertions, deletions along the tree.

Ancestor: contigs lie end to end in one block, `Ancestor.edges` says where each begins. Walking a contig, a
repeat is placed whenever its family falls behind its share; otherwise the next element of the current
neighbourhood (some enhancers, perhaps an insulator, a gene) is.

Evolution: substitutions follow HKY85 (Hasegawa, Kishino & Yano 1985, J. Mol. Evol. 22) with a relative rate
for every kind of site. Selection refuses a change that would stop a protein or take a planted motif below its
threshold. Insertions and deletions fall in unconstrained DNA only, so frames, motifs and their spacing stay
whole. Every genome knows where each ancestral base went, which is how annotations follow it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from dnalm.genome.alphabet import BASE_MASK, SOFT_MASK, UNKNOWN, A, C, Codes, G, T, bases, reverse_complement
from dnalm.simulation.genes import (
    ElementPlan,
    GenePlan,
    build_element,
    build_gene,
    plan_enhancer,
    plan_gene,
    plan_insulator,
)
from dnalm.simulation.sequence import (
    KIND,
    MOTIFS,
    Block,
    Feature,
    Motif,
    Positions,
    RepeatLibrary,
    build_library,
    draw_background,
    is_stop,
    telomere,
)
from dnalm.simulation.settings import SITE_KINDS, Branch, Clade, stream

_TELOMERE_BP = 240
_MARGIN_BP = 600  # between a contig's end and its first element, so that windows around a TSS fit
_SMALLEST_GAP_BP = 20
_DESERT = 0.04  # share of gaps that are 20 times as long


@dataclass(frozen=True)
class Ancestor:
    """The genome at the root of the tree.

    Args:
        block: all contigs end to end, with every planted element in order of position.
        edges: (num_contigs + 1,) first base of every contig, then the end of the last.
        codons: (N, 3) positions of all codons in reading order.
        library: the consensus of repeat families.
    """

    block: Block
    edges: Positions
    codons: Positions
    library: RepeatLibrary


class _Layout:
    """Walks along contigs and writes elements."""

    def __init__(self, clade: Clade, block: Block) -> None:
        self.clade, self.block = clade, block
        self.rng = stream(clade, "layout")
        self.gene_rng, self.element_rng = stream(clade, "genes"), stream(clade, "elements")
        self.repeat_rng = stream(clade, "repeats", 1)
        self.library = build_library(clade)
        self.walked = 0
        self.repeated = dict.fromkeys(clade.repeat_share, 0)
        self.plans = self._neighbourhoods()

    def fill(self, start: int, end: int) -> None:
        """Lay elements from `start` until `end` leaves no room for the next."""
        self.block.paste(telomere(_TELOMERE_BP), start, strand="-")
        self.block.paste(telomere(_TELOMERE_BP), end - _TELOMERE_BP)
        at, last = start + _MARGIN_BP, end - _MARGIN_BP
        is_whole = self.clade.assembly_gap_bp > 0
        while True:
            at += self._gap()
            if is_whole and (start + end) // 2 < at < last - self.clade.assembly_gap_bp:
                at, is_whole = self._break(at), False
                continue
            item = self._lagging_repeat(at - start) or next(self.plans)
            if at + item.size > last:
                break
            self._write(item, at)
            at += item.size
        self.walked += end - start

    def _gap(self) -> int:
        size = self.rng.exponential(self.clade.gap_mean_bp)
        return _SMALLEST_GAP_BP + int(size * (20 if self.rng.random() < _DESERT else 1))

    def _break(self, at: int) -> int:
        """Put a run of N, where an assembly could not be closed."""
        gap = Block.of(np.full(self.clade.assembly_gap_bp, UNKNOWN, dtype=np.uint8), "frozen")
        gap.annotate(Feature("gap", 0, gap.size, ".", "N"))
        self.block.paste(gap, at)
        return at + gap.size

    def _lagging_repeat(self, walked_here: int) -> Block | None:
        """A copy of the family furthest behind its share, or none."""
        walked = self.walked + walked_here
        behind = {
            name: share * walked - self.repeated[name] for name, share in self.clade.repeat_share.items()
        }
        family = max(behind, key=lambda name: behind[name])
        if behind[family] <= 0 or self.rng.random() < 0.3:
            return None
        return self.library.copy(family, self.repeat_rng)

    def _neighbourhoods(self) -> Iterator[ElementPlan | GenePlan]:
        """Endless elements in the order they are met, each gene after its enhancers."""
        genes = enhancers = insulators = 0
        while True:
            for _ in range(self.rng.poisson(self.clade.enhancers_per_gene)):
                enhancers += 1
                yield plan_enhancer(f"ENH{enhancers:05d}", self.element_rng)
            for _ in range(self.rng.poisson(self.clade.insulators_per_gene)):
                insulators += 1
                yield plan_insulator(f"INS{insulators:05d}")
            genes += 1
            yield plan_gene(self.clade, f"DEMO{genes:05d}", self.library, self.gene_rng)

    def _write(self, item: Block | ElementPlan | GenePlan, at: int) -> None:
        under: Codes = self.block.codes[at : at + item.size]
        if isinstance(item, GenePlan):
            block = build_gene(item, under, self.clade, self.gene_rng)
        elif isinstance(item, ElementPlan):
            block = build_element(item, under, self.element_rng)
        else:
            block = item
        for feature in block.features:
            if feature.kind == "repeat":
                family = feature.name[4:] if feature.name.startswith("demo") else "simple"
                self.repeated[family] += feature.end - feature.start
        self.block.paste(block, at, strand="+" if self.rng.random() < 0.5 else "-")


def build_ancestor(clade: Clade) -> Ancestor:
    """Draw the genome from which the species descend."""
    block = Block.of(draw_background(clade))
    edges = np.concatenate([[0], np.cumsum(clade.contig_lengths())]).astype(np.int64)
    block = Block(block.codes[: edges[-1]], block.kinds[: edges[-1]])
    layout = _Layout(clade, block)
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        layout.fill(start, end)
    block.features.sort(key=lambda item: (item.start, -item.end))  # a stable sort: parents stay first
    codons = np.concatenate(block.codons) if block.codons else np.empty((0, 3), dtype=np.int64)
    return Ancestor(block, edges, codons, layout.library)


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
        sites = [(motif, starts, reverse) for motif, _, starts, reverse in _sites(ancestor.block.features)]
        return cls(ancestor.codons[~is_stop(codes)], sites)


def _sites(features: Iterable[Feature]) -> Iterator[tuple[Motif, list[Feature], Positions, Bools]]:
    """The planted sites of each motif, the first base of each, whether each is on the reverse strand."""
    planted = [item for item in features if item.kind == "motif"]
    for motif in MOTIFS.values():
        mine = [item for item in planted if item.name == motif.name]
        starts = np.array([item.start for item in mine], dtype=np.int64)
        yield motif, mine, starts, np.array([item.strand == "-" for item in mine], dtype=bool)


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


@dataclass(frozen=True)
class Species:
    """A genome at a leaf of the tree.

    Args:
        name: as in the tree.
        codes: (L,) all contigs end to end.
        kinds: (L,) numbers of `SITE_KINDS`.
        aligned: (L,) False for bases inserted since the ancestor.
        edges: (num_contigs + 1,) first base of every contig, then L.
        features: annotations, in coordinates of `codes`, sorted by start.
    """

    name: str
    codes: Codes
    kinds: npt.NDArray[np.uint8]
    aligned: npt.NDArray[np.bool_]
    edges: Positions
    features: list[Feature]

    @classmethod
    def of(cls, name: str, lineage: Lineage, ancestor: Ancestor) -> Species:
        """Carry the ancestor's annotations along a lineage."""
        items = ancestor.block.features
        starts = lineage.place[[item.start for item in items]].tolist()
        ends = lineage.place[[item.end for item in items]].tolist()
        moved = [
            item._replace(start=start, end=end)
            for item, start, end in zip(items, starts, ends, strict=True)
            if start < end
        ]
        aligned = np.zeros(lineage.codes.size, dtype=bool)
        aligned[lineage.place[:-1][lineage.alive]] = True
        edges = lineage.place[ancestor.edges].astype(np.int64)
        return cls(name, lineage.codes, lineage.kinds, aligned, edges, moved)

    @property
    def contigs(self) -> list[str]:
        """chr1, chr2 and so on."""
        return [f"chr{number}" for number in range(1, self.edges.size)]

    def locate(self, position: int) -> tuple[str, int]:
        """Name of the contig that holds a position of `codes`, and the position on it."""
        contig = int(np.searchsorted(self.edges, position, side="right")) - 1
        return f"chr{contig + 1}", position - int(self.edges[contig])

    def of_kind(self, *kinds: str) -> list[Feature]:
        """Annotations of some kinds, in order of position."""
        return [item for item in self.features if item.kind in kinds]

    def read(self, start: int, end: int, strand: str = "+") -> Codes:
        """Bases of an interval of `codes`, on a strand."""
        found = self.codes[start:end]
        return reverse_complement(found) if strand == "-" else found

    def cover(self, *kinds: str) -> npt.NDArray[np.bool_]:
        """(L,) True inside annotations of some kinds."""
        depth = np.zeros(self.codes.size + 1, dtype=np.int32)
        found = self.of_kind(*kinds)
        np.add.at(depth, [item.start for item in found], 1)
        np.add.at(depth, [item.end for item in found], -1)
        return np.asarray(depth[:-1].cumsum() > 0)

    @cached_property
    def motif_scores(self) -> dict[Feature, float]:
        """Score of every planted site, in bits."""
        scores: dict[Feature, float] = {}
        for motif, mine, starts, reverse in _sites(self.features):
            sites = starts[:, None] + np.arange(motif.width)
            found = motif.score(read_sites(bases(self.codes), sites, reverse))
            scores.update(zip(mine, found.tolist(), strict=True))
        return scores


def transcription_start(gene: Feature) -> int:
    """The first transcribed base of a gene."""
    return gene.end - 1 if gene.strand == "-" else gene.start
