"""Which parts of a genome train the model and which validate it; the two never overlap.

Similar sequence on both sides flatters a model, so the best split is by whole contigs: one of fitting size,
or contigs at random where they are many and short. Regions from a BED file serve published splits. A fraction
serves genomes of few contigs; bases of a gap between its parts belong to neither. Homology divides blocks
of all genomes together, so that no validation sequence has a relative among what trains.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import platformdirs

from dnalm.data.windows import Integers
from dnalm.errors import ConfigError, DataError
from dnalm.genome.atomic_folder import locked
from dnalm.genome.bed import read_bed_table
from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.homology import RULES, SCORE, Homology, shared_words
from dnalm.genome.intervals import cut_at, intersect, merge, subtract
from dnalm.genome.store import Contig, GenomeStore
from dnalm.limits import Seed, WindowBases
from dnalm.tables import replace_text

Bools = npt.NDArray[np.bool_]

_VERBS = {"train": "trains", "validation": "validates"}
_GAP = 1000  # bases between both parts of a contig
_GAP_SHARE = 0.1  # of a contig, which its gap never exceeds unless it was asked for
_MANY = 20  # contigs, of which some can be held out at random
_STRETCHES, _TRIES = 4, 100  # at least, of groups that are broken; that are not taken, before one gives up
_LEAST = 0.5  # of the share that is to be held out, which groups of homologous blocks must leave room for


@dataclass(frozen=True)
class Division:
    """Flat half-open intervals of both sides, (R, 2) each, and a sentence that says how they were chosen."""

    train: Integers
    validation: Integers
    description: str
    similarity: SimilarityLeft | None = None  # of a division by homology

    def within(self, bed: Path, store: GenomeStore) -> Division:
        """What of both sides lies in the regions of a BED file, such as those that regulate genes.

        Args:
            bed: the file; regions that touch are one.
            store: the genome that is divided.

        Raises:
            DataError: the file is malformed or names what the genome lacks; DATA-11, a side is left
                without bases.
        """
        regions = merge(read_bed_table(bed, store, other_contigs=None).intervals)
        sides = {"train": self.train, "validation": self.validation}
        inside = {name: intersect(side, regions) for name, side in sides.items()}
        for name, side in sides.items():
            if len(side) and not len(inside[name]):
                raise DataError(
                    "DATA-11",
                    where=str(bed),
                    found=f"none of its {len(regions):,} regions lies where the genome {_VERBS[name]}",
                    expected="regions on both sides of the split",
                    fix="give regions on more contigs, or change data.split",
                )
        description = f"{self.description}; windows lie in {len(regions):,} regions of {bed.name}"
        return Division(**inside, description=description, similarity=self.similarity)


@runtime_checkable
class Split(Protocol):
    """A rule that divides a genome."""

    def divide(self, store: GenomeStore) -> Division:
        """Divide the genome into training and validation regions."""


class SplitByContig:
    """Hold out whole contigs.

    Args:
        validation: names of the contigs held out, as the genome or another file of it has them: `chr16` is
            `chrXVI`. If absent, the last contig that holds between
            1 % and 20 % of the genome's bases is. A genome without one is split by fraction; but where more
            than half of its bases lie in contigs so short that their end is shorter than the gap, as in
            transcriptomes and drafts of assemblies, contigs are held out at random.
    """

    def __init__(self, *, validation: list[str] | None = None) -> None:
        self.validation = validation

    def divide(self, store: GenomeStore) -> Division:
        """Divide by contig name.

        Raises:
            DataError: STORE-07, a name that the genome lacks, or that may be several contigs.
            ConfigError: CFG-05, two names are one contig; CFG-18, no contig is left to train on.
        """
        if self.validation is not None:
            by_name = self._named(store, self.validation)
        else:
            fitting = [c for c in store.contigs if 0.01 <= c.length / store.num_bases <= 0.2]
            by_name = {contig.name: contig for contig in fitting[-1:]}
        held_out = set(by_name.values())
        if not held_out:
            return self._by_lengths(store).divide(store)
        rest = [contig for contig in store.contigs if contig not in held_out]
        named = [
            contig.name if given == contig.name else f"{contig.name} (named {given})"
            for given, contig in by_name.items()
        ]
        if not rest:
            raise ConfigError(
                "CFG-18",
                where="data.split.validation",
                found="every contig is held out",
                expected="at least one contig to train on",
                fix="name fewer contigs, or use data/split=fraction",
            )
        return _divided(
            store,
            train=_intervals(rest),
            validation=_intervals(list(by_name.values())),
            description=f"validation on {', '.join(named)}",
        )

    def _named(self, store: GenomeStore, given: list[str]) -> dict[str, Contig]:
        """The contigs of the names, in their order; 16 of yeast is chrXVI, and no name like it."""
        aliases = ContigAliases(store, given)
        named: dict[str, Contig] = {}
        for name in given:
            contig = store.contig(name) if aliases.is_unknown(name) else aliases.find(name)
            if contig is None and (alone := ContigAliases(store, [name]).find(name)):
                raise ConfigError(
                    "CFG-05",
                    where="data.split.validation",
                    found=f"{name}: another name of {alone.name}, which is held out already",
                    expected="each contig once",
                    fix=f"leave {name} out",
                )
            if contig is None:
                raise aliases.error("STORE-07", "data.split.validation", name, can_skip=False)
            named[name] = contig
        return named

    def _by_lengths(self, store: GenomeStore) -> Split:
        """How to divide a genome that has no contig of fitting size."""
        ends = SplitByFraction()
        lengths = np.diff(store.intervals, axis=1)
        is_short = lengths * ends.fraction < _GAP
        if len(lengths) >= _MANY and 2 * lengths[is_short].sum() > store.num_bases:
            return SplitByRandomContigs()
        return ends


class SplitByRegion:
    """Hold out the regions of a BED file.

    Args:
        bed: the file; its intervals become validation.
        gap: bases next to a validation region that belong to neither side.
    """

    def __init__(self, *, bed: Path, gap: int = 0) -> None:
        self.bed, self.gap = bed, _checked_gap(gap)

    def divide(self, store: GenomeStore) -> Division:
        """Divide by region.

        Raises:
            DataError: the file is malformed or names what the genome lacks.
        """
        validation = merge(read_bed_table(self.bed, store, other_contigs=None).intervals)
        return _divided(
            store,
            train=_without(store, validation, self.gap),
            validation=validation,
            description=f"validation on {len(validation)} regions of {self.bed.name}",
        )


class SplitByFraction:
    """Hold out the end of every contig.

    Args:
        fraction: share of each contig held out, in (0, 1).
        gap: bases between both parts that belong to neither; if absent 1000, but at most a tenth of each
            contig.
    """

    def __init__(self, *, fraction: float = 0.05, gap: int | None = None) -> None:
        self.fraction, self.gap = _checked_fraction(fraction), None if gap is None else _checked_gap(gap)

    def divide(self, store: GenomeStore) -> Division:
        """Divide every contig at the same share of its length."""
        lengths, ends = np.diff(store.intervals, axis=1)[:, 0], store.intervals[:, 1]
        held = np.rint(lengths * self.fraction).astype(np.int64)
        gaps = np.minimum(_GAP, (lengths * _GAP_SHARE).astype(np.int64)) if self.gap is None else self.gap
        validation = np.stack([ends - held, ends], axis=1)[held > 0]
        apart = f"{np.max(gaps)} bases apart"
        return _divided(
            store,
            train=_without(store, validation, gaps),
            validation=validation,
            description=f"validation on the last {self.fraction:.1%} of every contig, {apart}",
        )


class SplitByRandomContigs:
    """Hold out contigs at random, for sequences that are many and short, such as a dataset's rows.

    Args:
        fraction: share of the contigs held out, in (0, 1); at least one is. A contig that is longer than this
            share of the genome, and longer than the others, is not, for it would be most of what trains.
        seed: of the choice.
    """

    def __init__(self, *, fraction: float = 0.05, seed: Seed = 1) -> None:
        self.fraction, self.seed = _checked_fraction(fraction), seed

    def divide(self, store: GenomeStore) -> Division:
        """Divide at random.

        Raises:
            DataError: the genome has a single contig.
        """
        if len(store.contigs) < 2:
            raise DataError(
                "DATA-06",
                where=store.source.name,
                found="a single contig",
                expected="contigs for both sides",
                fix="use data/split=fraction",
            )
        random = np.random.Generator(np.random.Philox(key=[self.seed, 0]))
        order = random.permutation(len(store.contigs))
        count = max(1, min(len(order) - 1, round(len(order) * self.fraction)))
        lengths = np.diff(store.intervals, axis=1)[order, 0]
        is_long = lengths > max(1.5 * lengths.mean(), self.fraction * lengths.sum())
        is_held = np.zeros(len(order), dtype=np.bool_)
        is_held[order[~is_long][:count]] = True
        return _divided(
            store,
            train=store.intervals[~is_held],
            validation=store.intervals[is_held],
            description=f"validation on {is_held.sum():,} of {len(order):,} contigs, drawn at random",
        )


@dataclass(frozen=True, kw_only=True)
class SimilarityLeft:
    """A division by homology, and what both sides still share. Shares lie in 0 to 1, and are of all genomes.

    Attributes:
        blocks: that the genomes are cut into.
        held_blocks: of these, for validation.
        groups: of homologous blocks.
        largest_group: its share of the bases; what of it is held out is a connected stretch.
        validation: share of the bases held out.
        left_out: share of the bases on neither side, homologous to both; 0 where groups are whole.
        not_compared: share of the bases that are N, of low complexity, or soft-masked.
        shared_words: share of the words of 24 bases of validation that training has, on either strand; those
            of bases that were not compared count too.
    """

    blocks: int
    held_blocks: int
    groups: int
    largest_group: float
    validation: float
    left_out: float
    not_compared: float
    shared_words: float

    def sentence(self) -> str:
        """What a run says of it."""
        broken = (
            f"that group is broken, and the {self.left_out:.1%} of bases that are homologous to both sides "
            "are left out"
        )
        return (
            f"validation on {self.held_blocks:,} of {self.blocks:,} blocks, {self.validation:.1%} of bases, "
            f"not homologous to those that train; the largest group of homologous blocks has "
            f"{self.largest_group:.1%} of the bases; {broken + '; ' if self.left_out else ''}"
            f"{self.not_compared:.1%} were not compared; of words of 24 "
            f"bases {self.shared_words:.1%} are in training too"
        )


class SplitByHomology:
    """Hold out blocks without homology to the others, on either strand, of all genomes together.

    Homologous blocks, be it by way of others, are a group (a connected component) and lie on one side; the
    largest group trains. Where groups are too large for that, as between strains, whose chromosomes are one,
    stretches of a group are held out: a block with those homologous to it, in all species, along the
    chromosome. Blocks that are homologous to both sides, which are those at the ends and those with copies
    of a repeat, are left out of both.

    Args:
        fraction: share of the bases held out, in (0, 1).
        block_bp: bases of a block, about; a window of validation lies within one, or within neighbours.
        compare_masked: compare soft-masked bases too. By default they are not, for interspersed repeats would
            make all of a large genome one group.
        seed: of the choice among groups.
    """

    def __init__(
        self,
        *,
        fraction: float = 0.05,
        block_bp: WindowBases = 5_000,
        compare_masked: bool = False,
        seed: Seed = 1,
    ) -> None:
        if block_bp < SCORE:
            raise ValueError(f"block_bp is {block_bp}; homology takes {SCORE} bases at least")
        self.fraction, self.block_bp = _checked_fraction(fraction), block_bp
        self.compare_masked, self.seed = compare_masked, seed

    def divide(self, store: GenomeStore) -> Division:
        """Divide one genome; see `divide_together`."""
        return self.divide_together([store])[0]

    def divide_together(self, stores: Sequence[GenomeStore], cache: Path | None = None) -> list[Division]:
        """Divide genomes; it is computed once, and kept in the cache.

        Args:
            stores: the genomes.
            cache: folder of divisions; the user's cache if absent.

        Raises:
            DataError: DATA-12, the groups are too large for the share, and cannot be broken.
        """
        identity = [[store.fingerprint for store in stores], RULES]
        identity += [self.fraction, self.block_bp, self.compare_masked, self.seed]
        name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
        folder = (cache or platformdirs.user_cache_path("dnalm")) / "homology"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.json"
        with locked(path):
            if not path.is_file():
                replace_text(path, json.dumps(self._computed(stores)) + "\n")
        found = json.loads(path.read_text())
        starts = np.cumsum([0, *(store.num_bases for store in stores)]).tolist()[:-1]
        held, neither = (np.array(found[name], np.int64).reshape(-1, 2) for name in ("held", "neither"))
        left = SimilarityLeft(**found["left"])
        divisions = []
        for start, store in zip(starts, stores, strict=True):
            validation, unused = (
                merge(of[(of[:, 0] >= start) & (of[:, 0] < start + store.num_bases)] - start)
                for of in (held, neither)
            )
            divided = _divided(
                store,
                train=_without(store, np.concatenate([validation, unused]), 0),
                validation=cut_at(validation, store.offsets),
                description=left.sentence(),
            )
            divisions.append(replace(divided, similarity=left))
        return divisions

    def _computed(self, stores: Sequence[GenomeStore]) -> dict[str, object]:
        """The intervals that are held out, of all genomes end to end, and what is said of them."""
        codes = np.concatenate([store.codes for store in stores])
        starts = np.cumsum([0, *(store.num_bases for store in stores)])
        contigs = np.concatenate(
            [store.offsets + start for store, start in zip(stores, starts[:-1], strict=True)]
        )
        contigs = np.append(contigs, len(codes))
        blocks = _blocks(contigs, self.block_bp)
        homology = Homology(codes, contigs, units=blocks, skip_masked=not self.compare_masked)
        groups, sizes = homology.components(), np.diff(blocks)
        held = choose_groups(groups, sizes, share=self.fraction, seed=self.seed)
        unused = np.zeros_like(held)
        needed = _LEAST * self.fraction * len(codes)
        if sizes[held].sum() < needed:
            links = homology.links()
            held, unused = break_groups(held, links, sizes, share=self.fraction, seed=self.seed)
        bases_of = np.bincount(groups, weights=sizes)
        largest = float(bases_of.max() / len(codes))
        if sizes[held].sum() < needed:
            raise DataError(
                "DATA-12",
                where=", ".join(store.source.name for store in stores),
                found=f"one group of homologous blocks has {largest:.1%} of the bases, and cannot be broken: "
                f"{sizes[held].sum() / len(codes):.1%} fit into validation",
                expected=f"{self.fraction:.1%} of the bases held out",
                fix="lower data.split.block_bp, hold out less (data.split.fraction), soft-mask repeats, or "
                "use data/split=contigs",
            )
        is_held, is_unused = np.repeat(held, sizes), np.repeat(unused, sizes)
        left = SimilarityLeft(
            blocks=len(sizes),
            held_blocks=int(held.sum()),
            groups=len(bases_of),
            largest_group=largest,
            validation=float(is_held.mean()),
            left_out=float(is_unused.mean()),
            not_compared=float(1 - homology.compared.mean()),
            shared_words=shared_words(codes, contigs, is_held, ~is_held & ~is_unused),
        )
        edges = np.stack([blocks[:-1], blocks[1:]], axis=1)
        return {"held": edges[held].tolist(), "neither": edges[unused].tolist(), "left": asdict(left)}


def choose_groups(
    groups: npt.NDArray[np.integer], sizes: Integers, *, share: float, seed: int
) -> npt.NDArray[np.bool_]:
    """Units of whole groups that are held out: at random, as long as they fit; never the largest group.

    Args:
        groups: (U,) the group of each unit, from 0.
        sizes: (U,) bases of each.
        share: of all bases, at most.
        seed: of the order in which groups are tried.

    Returns:
        (U,) bool.
    """
    totals = np.bincount(groups, weights=sizes)
    room = share * totals.sum()
    order = np.random.Generator(np.random.Philox(key=[seed, 0])).permutation(len(totals))
    held = np.zeros(len(totals), np.bool_)
    for group in order[order != totals.argmax()].tolist():
        if totals[group] <= room:
            held[group] = True
            room -= totals[group]
    return np.asarray(held[groups])


def break_groups(
    held: Bools, links: tuple[Integers, Integers], sizes: Integers, *, share: float, seed: int
) -> tuple[Bools, Bools]:
    """Hold out stretches of groups that do not fit whole, and leave out what is homologous to both sides.

    A stretch grows from a block at random by the homologous block that adds least of what is to be left out,
    to a quarter of the share, and is cut where that is least for its own bases; one that would have more left
    out than held is not taken.

    Args:
        held: (U,) units that are held out already, in whole groups.
        links: (P,) and (P,) homologous units.
        sizes: (U,) bases of each.
        share: of all bases that is held out, at most.
        seed: of the order in which units are tried.

    Returns:
        (U,) held out, and (U,) left out.
    """
    near: list[set[int]] = [set() for _ in sizes]
    for one, other in zip(*(side.tolist() for side in links), strict=True):
        near[one].add(other)
        near[other].add(one)
    chosen, unused, failed = set(np.flatnonzero(held).tolist()), set[int](), 0
    most = share * float(sizes.sum()) / _STRETCHES
    room = share * float(sizes.sum()) - float(sizes[held].sum())
    for unit in np.random.Generator(np.random.Philox(key=[seed, 1])).permutation(len(sizes)).tolist():
        if failed == _TRIES:
            break
        if unit in chosen or unit in unused or sizes[unit] > room:
            continue
        stretch, border = _grown(unit, near, chosen, unused, sizes, most=min(most, room))
        taken = int(sizes[list(stretch)].sum())
        if int(sizes[list(border)].sum()) > taken:
            failed += 1
            continue
        chosen |= stretch
        unused = (unused | border) - chosen
        room -= taken
    is_held, is_unused = np.zeros_like(held), np.zeros_like(held)
    is_held[list(chosen)], is_unused[list(unused)] = True, True
    return is_held, is_unused


def _grown(
    unit: int, near: Sequence[set[int]], chosen: set[int], unused: set[int], sizes: Integers, *, most: float
) -> tuple[set[int], set[int]]:
    """The units of a stretch that begins with one, and those that are to be left out for it."""
    stretch, border = {unit}, near[unit] - chosen
    taken, best, where = int(sizes[unit]), np.inf, [unit]
    order = [unit]
    while True:
        cost = int(sizes[list(border - unused)].sum()) / taken
        if cost < best:
            best, where = cost, order.copy()
        fitting = [each for each in border if taken + sizes[each] <= most]
        if not fitting:
            break
        known = border | stretch | chosen | unused
        added = min(fitting, key=lambda each: (sum(sizes[new] for new in near[each] - known), each))
        stretch.add(added)
        order.append(added)
        border = (border | near[added]) - stretch - chosen
        taken += int(sizes[added])
    kept = set(where)
    return kept, set[int]().union(*(near[each] for each in kept)) - kept - chosen


def divide_genomes(split: Split, stores: Sequence[GenomeStore], cache: Path | None) -> list[Division]:
    """Each genome by itself, or all together where homology divides them."""
    if isinstance(split, SplitByHomology):
        return split.divide_together(stores, cache)
    return [split.divide(store) for store in stores]


def _blocks(contigs: Integers, block_bp: int) -> Integers:
    """Where each block begins, and the end: contigs in equal parts of about so many bases."""
    edges = [
        np.linspace(start, end, max(1, round((end - start) / block_bp)), endpoint=False).astype(np.int64)
        for start, end in zip(contigs[:-1].tolist(), contigs[1:].tolist(), strict=True)
    ]
    return np.append(np.concatenate(edges), contigs[-1])


def _divided(store: GenomeStore, *, train: Integers, validation: Integers, description: str) -> Division:
    """A division, with a warning where less than half of the genome trains."""
    share = int(np.diff(train).sum()) / store.num_bases
    if 2 * share < 1:
        description += f"; warning: only {share:.0%} of the bases train"
    return Division(train, validation, description)


def _intervals(contigs: list[Contig]) -> Integers:
    return np.array([(c.offset, c.offset + c.length) for c in contigs], dtype=np.int64)


def _without(store: GenomeStore, validation: Integers, gap: int | Integers) -> Integers:
    """What training may use, (R, 2), no region over the end of a contig.

    Args:
        store: the genome.
        validation: (V, 2), sorted and disjoint.
        gap: bases on both sides of them that do not train, of all contigs or of each, (C,). It ends with its
            contig, for neighbours in the flat store are no neighbours in the genome.
    """
    held = cut_at(merge(validation), store.offsets)
    contig = np.searchsorted(store.offsets, held[:, 0], side="right") - 1
    gaps = np.broadcast_to(gap, len(store.contigs))[contig]
    first, last = store.intervals[contig].T
    widened = np.stack([np.maximum(held[:, 0] - gaps, first), np.minimum(held[:, 1] + gaps, last)], axis=1)
    return cut_at(subtract(store.intervals, widened), store.offsets)


def _checked_gap(gap: int) -> int:
    if gap < 0:
        raise ValueError(f"gap is {gap}; a number of bases must not be negative")
    return gap


def _checked_fraction(fraction: float) -> float:
    if not 0 < fraction < 1:
        raise ValueError(f"fraction is {fraction}; the share held out lies in (0, 1)")
    return fraction
