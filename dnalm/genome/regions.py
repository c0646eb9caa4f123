"""Regions of a genome as settings name them: a contig, or `chr22:30000000-40000000` on one.

Bases count from 0 and the end is not included, as in BED and in the names that dnalm gives to windows. A name
that is a contig's is that contig, whatever it looks like; contigs may be named by aliases.

Codes of errors: REGION-01 not of this form, or without bases; REGION-02 not within its contig; STORE-07 an
unknown contig, or one that may be several.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dnalm.errors import ConfigError, DataError
from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.intervals import Intervals
from dnalm.genome.store import Contig, GenomeStore

_COORDINATES = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")


@dataclass(frozen=True, kw_only=True)
class Region:
    """A stretch of a contig.

    Attributes:
        text: as it was named.
        contig: the contig.
        start, end: on the contig, 0-based and half-open.
    """

    text: str
    contig: Contig
    start: int
    end: int

    @property
    def interval(self) -> tuple[int, int]:
        """In the flat store."""
        return self.contig.offset + self.start, self.contig.offset + self.end

    def overlaps(self, other: Region) -> bool:
        """Whether both share a base."""
        return self.contig == other.contig and self.start < other.end and other.start < self.end


def read_regions(
    texts: Sequence[str], *, key: str, store: GenomeStore, aliases: Mapping[str, str]
) -> list[Region]:
    """The regions of some names, in their order.

    Args:
        texts: contigs and regions.
        key: of the setting, for messages.
        store: the genome.
        aliases: the genome's name of names that are known already, such as those of another file.

    Raises:
        ConfigError: REGION-01.
        DataError: REGION-02, STORE-07.
    """
    split = [_split(text, store, aliases) for text in texts]
    together = ContigAliases(store, [name for name, _ in split])  # the whole set shows what an X is
    regions = []
    for text, (name, coordinates) in zip(texts, split, strict=True):
        alone = ContigAliases(store, [name])
        known = aliases.get(name)
        contig = store.contig(known) if known else together.find(name) or alone.find(name)
        if contig is None:
            raise alone.error("STORE-07", key, name, can_skip=False)
        start, end = _read_coordinates(coordinates, contig, key, text)
        regions.append(Region(text=text, contig=contig, start=start, end=end))
    return regions


def _split(text: str, store: GenomeStore, aliases: Mapping[str, str]) -> tuple[str, str]:
    """The contig's name, and what follows it; nothing does where the whole text is a name."""
    before, colon, after = text.rpartition(":")

    def is_contig(name: str) -> bool:
        return name in aliases or not ContigAliases(store, [name]).is_unknown(name)

    if colon and not is_contig(text) and (is_contig(before) or _COORDINATES.fullmatch(after)):
        return before, after or "-"
    return text, ""


def _read_coordinates(coordinates: str, contig: Contig, key: str, text: str) -> tuple[int, int]:
    """Start and end on the contig; of no coordinates, the whole of it.

    Raises:
        ConfigError: REGION-01.
        DataError: REGION-02.
    """
    if not coordinates:
        return 0, contig.length
    found = _COORDINATES.fullmatch(coordinates)
    start, end = (int(found[1]), int(found[2])) if found else (0, 0)
    if start >= end:
        raise ConfigError(
            "REGION-01",
            where=key,
            found=f"{text}, which is no region",
            expected="a contig, or contig:start-end, where start < end; counted from 0, without the end",
            fix=f"write {key}=[{contig.name}] or such as {key}=[{contig.name}:0-{contig.length // 2}]",
        )
    if end > contig.length:
        raise DataError(
            "REGION-02",
            where=key,
            found=f"{text}; {contig.name} has {contig.length:,} bases",
            expected="a region within its contig",
            fix=f"end it at {contig.length}, or give the reference that it is of",
        )
    return start, end


def region_names(store: GenomeStore, intervals: Intervals) -> list[str]:
    """What intervals are called that lie within a contig each, (R, 2) flat: the contig where it is whole."""
    names = []
    for start, end in intervals.tolist():
        contig = next(each for each in store.contigs if each.offset <= start < each.offset + each.length)
        is_whole = end - start == contig.length
        place = f"{contig.name}:{start - contig.offset}-{end - contig.offset}"
        names.append(contig.name if is_whole else place)
    return names
