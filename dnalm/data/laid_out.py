"""A genome of a corpus with its windows laid out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dnalm.data.channels import Channels
from dnalm.data.corpus import CorpusGenome
from dnalm.data.order import Integers
from dnalm.data.targets import AbsentTrack, track_of
from dnalm.data.windows import TrainingWindows, Window, WindowRecipe, validation_windows
from dnalm.errors import DataError
from dnalm.genome.intervals import cut_at, subtract
from dnalm.genome.store import GenomeStore
from dnalm.genome.tracks import TrackStore
from dnalm.tokenizers import Tokenizer


@dataclass(frozen=True)
class LaidOutGenome:
    """What samples are read from.

    Attributes:
        name: of the genome.
        store: its bases.
        train: (R, 2) regions that training windows lie in; none of a genome that only judges.
        training: training windows, if it has any.
        validation: validation windows; none of a genome that only trains.
        tracks: all tracks of the run by name, those that it has not as absent.
        channels: which of them are inputs.
        targets: names of what is learned of the others; see `target_name`.
    """

    name: str
    store: GenomeStore
    train: Integers
    training: TrainingWindows | None
    validation: list[Window]
    tracks: Mapping[str, TrackStore | AbsentTrack] = field(default_factory=dict)
    channels: Channels = field(default_factory=Channels)
    targets: tuple[str, ...] = ()

    @property
    def learned(self) -> dict[str, TrackStore | AbsentTrack]:
        """The tracks that are learned, by the names of their targets."""
        return {target: self.tracks[track_of(target)] for target in self.targets}


def lay_out(
    genome: CorpusGenome,
    tokenizer: Tokenizer,
    recipe: WindowRecipe,
    *,
    num_validation: int,
    seed: int,
    absent: Mapping[str, AbsentTrack],
    channels: Channels,
    targets: tuple[str, ...],
) -> LaidOutGenome:
    """Lay out the windows of both sides of a genome.

    Args:
        genome: the genome and its division.
        tokenizer: reckons tokens in bases.
        recipe: how long windows are and where they come from.
        num_validation: windows that judge, at most.
        seed: of this genome's windows.
        absent: what stands for each track of the run that the genome has not.
        channels: of the run.
        targets: of the run.

    Raises:
        DataError: DATA-01, a side that has bases has no stretch long enough for a window.
    """
    longest = recipe.bases(recipe.max_tokens, tokenizer)
    shortest = recipe.bases(recipe.shortest, tokenizer)
    sides = []
    for regions, side in ((genome.division.train, "training"), (genome.division.validation, "validation")):
        sides.append(_usable(genome, regions, recipe, shortest, side) if len(regions) else regions)
    train, validation = sides
    windows = TrainingWindows(train, recipe=recipe, shortest=shortest, longest=longest, seed=seed)
    return LaidOutGenome(
        name=genome.name,
        store=genome.store,
        train=train,
        training=windows if len(train) else None,
        validation=validation_windows(validation, length=longest, count=num_validation)
        if len(validation)
        else [],
        tracks={**absent, **genome.tracks},
        channels=channels,
        targets=targets,
    )


def _usable(
    genome: CorpusGenome, regions: Integers, recipe: WindowRecipe, shortest: int, side: str
) -> Integers:
    """What is left of regions without long runs of N and without stretches too short to read."""
    runs = genome.store.unknown_runs
    gaps = runs[runs[:, 1] - runs[:, 0] > recipe.max_unknown]
    pieces = cut_at(subtract(regions, gaps), genome.store.offsets)
    usable = pieces[pieces[:, 1] - pieces[:, 0] >= shortest]
    if not len(usable):
        longest = int(np.diff(pieces).max(initial=0))
        raise DataError(
            "DATA-01",
            where=genome.store.source.name,
            found=f"no {side} window fits: the longest stretch without N has {longest} bases",
            expected=f"at least {shortest} bases for a window of {recipe.shortest} tokens",
            fix="give a longer genome, raise windows.max_unknown, or change data.split",
        )
    return usable
