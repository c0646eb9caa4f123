"""Refusing that a model is told what it is to learn: no annotation is both an input and a target.

Tracks are the same annotation if they have one name, were made from one file, whatever its name, or say the
same of every base. The same knowledge in files that differ is not found: a promoter of a GFF and a promoter
state of a BED are for the user to tell apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dnalm.errors import ConfigError
from dnalm.genome.tracks import TrackStore
from dnalm.training.objectives.task import TrackObjective


def check_inputs(inputs: Sequence[str], objectives: Mapping[str, TrackObjective]) -> None:
    """Refuse inputs by their names, before any track is opened.

    Args:
        inputs: names of the input tracks.
        objectives: those on tracks, by name.

    Raises:
        ConfigError: CFG-30, a track is an input and learned, or an input twice.
    """
    for name, objective in objectives.items():
        if objective.track in inputs:
            raise _leak(objective.track, name, f"track {objective.track!r}, which that objective learns")
    for track in inputs:
        if list(inputs).count(track) > 1:
            raise ConfigError(
                "CFG-30",
                where="inputs",
                found=f"track {track!r} twice",
                expected="each input once",
                fix="leave the second one out",
            )


def check_sources(
    inputs: Sequence[str],
    objectives: Mapping[str, TrackObjective],
    genomes: Iterable[Mapping[str, TrackStore]],
) -> None:
    """Refuse inputs that have other names than what is learned, and are the same annotation.

    Args:
        inputs: names of the input tracks.
        objectives: those on tracks, by name.
        genomes: the tracks of each genome, by name.

    Raises:
        ConfigError: CFG-30, an input and a target were made from the same file, or hold the same.
    """
    for tracks in genomes:
        for told in (name for name in inputs if name in tracks):
            for name, objective in objectives.items():
                if objective.track in tracks:
                    _compare(told, tracks[told], name, objective.track, tracks[objective.track])


def _compare(told: str, told_track: TrackStore, objective: str, learned: str, track: TrackStore) -> None:
    """Compare an input with what an objective learns."""
    theirs = {source.sha256 for source in track.manifest.sources}
    shared = [source.name for source in told_track.manifest.sources if source.sha256 in theirs]
    if shared:
        found = f"track {told!r}, made from {shared[0]} as track {learned!r} is, which that objective learns"
        raise _leak(told, objective, found)
    if track.fingerprint == told_track.fingerprint:
        found = f"track {told!r}, which says of every base what track {learned!r} does"
        raise _leak(told, objective, f"{found}, which that objective learns")


def _leak(track: str, objective: str, found: str) -> ConfigError:
    return ConfigError(
        "CFG-30",
        where=f"inputs, objectives.{objective}",
        found=found,
        expected="inputs that tell nothing of a target, for the model would read the answer off its input "
        "(leakage)",
        fix=f"leave {track} out of inputs, or leave objectives.{objective} out",
    )
