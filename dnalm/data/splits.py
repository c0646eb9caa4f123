"""Which parts of a genome train the model and which validate it; the two never overlap.

Similar sequence on both sides flatters a model, so the best split is by whole contigs: one of fitting size,
or contigs at random where they are many and short. Regions from a BED file serve published splits. A fraction
serves genomes of few contigs; bases of a gap between its parts belong to neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from dnalm.data.windows import Integers
from dnalm.errors import ConfigError, DataError
from dnalm.genome.bed import read_bed_table
from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.intervals import cut_at, intersect, merge, subtract
from dnalm.genome.store import Contig, GenomeStore
from dnalm.limits import Seed

_VERBS = {"train": "trains", "validation": "validates"}
_GAP = 1000  # bases between both parts of a contig
_GAP_SHARE = 0.1  # of a contig, which its gap never exceeds unless it was asked for
_MANY = 20  # contigs, of which some can be held out at random


@dataclass(frozen=True)
class Division:
    """Flat half-open intervals of both sides, (R, 2) each, and a sentence that says how they were chosen."""

    train: Integers
    validation: Integers
    description: str

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
        return Division(**inside, description=description)


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
