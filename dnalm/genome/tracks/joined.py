"""One track over several genomes: the same labels in all of them, and statistics as of one long genome."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dnalm.errors import DataError
from dnalm.genome.tracks.manifest import TrackKind, TrackStatistics
from dnalm.genome.tracks.store import TrackStore

_NAMED = 5  # labels that a message names


@dataclass(frozen=True)
class JoinedTrack:
    """A track of a run.

    Attributes:
        kind: `classes`, `labels` or `values`.
        names: of the classes or labels, in the order of their numbers; empty of values.
        statistics: over all genomes; the bases of those without the track are missing.
        genomes: the track of every genome that has it, by the genome's name.
        num_genomes: those without the track counted too.
    """

    kind: TrackKind
    names: tuple[str, ...]
    statistics: TrackStatistics
    genomes: Mapping[str, TrackStore]
    num_genomes: int


def join_track(name: str, genomes: Mapping[str, TrackStore], *, lengths: Mapping[str, int]) -> JoinedTrack:
    """Join what several genomes have of one track.

    Args:
        name: of the track, for messages.
        genomes: the track of each genome that has it, at least one.
        lengths: bases of every genome.

    Raises:
        DataError: TRACK-13, two genomes have other labels.
    """
    first, *others = genomes
    for other in others:
        assert genomes[other].kind == genomes[first].kind, "a corpus takes recipes of one kind"
        if genomes[other].names != genomes[first].names:
            raise _differ(name, (first, genomes[first]), (other, genomes[other]))
    without = [TrackStatistics(lengths[genome], 0, {}, {}) for genome in lengths if genome not in genomes]
    return JoinedTrack(
        kind=genomes[first].kind,
        names=genomes[first].names,
        statistics=join_statistics([*(track.statistics for track in genomes.values()), *without]),
        genomes=genomes,
        num_genomes=len(lengths),
    )


def join_statistics(parts: Sequence[TrackStatistics]) -> TrackStatistics:
    """The statistics of several genomes as if they were one; genomes count by their bases.

    Means and standard deviations are joined exactly, by the covered bases behind them.
    """
    valued = [part for part in parts if part.mean is not None]
    count = sum(part.num_covered for part in valued)
    mean = sd = None
    if count:
        mean = math.fsum(part.num_covered * (part.mean or 0.0) for part in valued) / count
        squares = [
            part.num_covered * ((part.sd or 0.0) ** 2 + ((part.mean or 0.0) - mean) ** 2) for part in valued
        ]
        sd = math.sqrt(math.fsum(squares) / count)
    return TrackStatistics(
        num_bases=sum(part.num_bases for part in parts),
        num_covered=sum(part.num_covered for part in parts),
        positive_bases=_add([part.positive_bases for part in parts]),
        covered_bases=_add([part.covered_bases for part in parts]),
        mean=mean,
        sd=sd,
        minimum=min((part.minimum for part in valued if part.minimum is not None), default=None),
        maximum=max((part.maximum for part in valued if part.maximum is not None), default=None),
    )


def _add(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    labels = dict.fromkeys(label for part in counts for label in part)
    return {label: sum(part.get(label, 0) for part in counts) for label in labels}


def _differ(name: str, first: tuple[str, TrackStore], other: tuple[str, TrackStore]) -> DataError:
    only = [
        [label for label in mine.names if label not in theirs.names]
        for mine, theirs in ((first[1], other[1]), (other[1], first[1]))
    ]
    if any(only):
        told = [f"{', '.join(labels[:_NAMED]) or 'nothing'} that the other lacks" for labels in only]
    else:
        told = [f"the order {', '.join(track.names[:_NAMED])}" for track in (first[1], other[1])]
    return DataError(
        "TRACK-13",
        where=f"data.tracks.{name}",
        found=f"{first[0]} has {told[0]}, and {other[0]} has {told[1]}",
        expected="the same labels in the same order in every genome, since one head learns them all",
        fix="give the recipes of both genomes the same files by name, and list classes where they are read "
        "from a file",
    )
