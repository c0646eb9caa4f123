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
from dnalm.genome.intervals import cut_at, subtract, total_length
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
        held_out: (R, 2) regions that validation windows lie in.
        validation: validation windows; none of a genome that only trains.
        num_too_short: bases of the training side in stretches that are too short for a window.
        tracks: all tracks of the run by name, those that it has not as absent.
        channels: which of them are inputs.
        targets: names of what is learned of the others; see `target_name`.
    """

    name: str
    store: GenomeStore
    train: Integers
    training: TrainingWindows | None
    held_out: Integers
    validation: list[Window]
    num_too_short: int = 0
    tracks: Mapping[str, TrackStore | AbsentTrack] = field(default_factory=dict)
    channels: Channels = field(default_factory=Channels)
    targets: tuple[str, ...] = ()

    @property
    def learned(self) -> dict[str, TrackStore | AbsentTrack]:
        """The tracks that are learned, by the names of their targets."""
        return {target: self.tracks[track_of(target)] for target in self.targets}

    def describe_sides(self) -> str:
        """How many bases windows are read from, and a warning where less than half of the genome trains."""
        train, held_out = total_length(self.train), total_length(self.held_out)
        sentence = f"{train:,} bases train, {held_out:,} validate"
        if len(self.train) and self.num_too_short > train:
            sentence += f"; warning: {self.num_too_short:,} more lie in stretches too short for a window"
        return sentence


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
    train, num_too_short = _usable(genome, genome.division.train, recipe, shortest, "training")
    held_out, _ = _usable(genome, genome.division.validation, recipe, shortest, "validation")
    windows = TrainingWindows(train, recipe=recipe, shortest=shortest, longest=longest, seed=seed)
    return LaidOutGenome(
        name=genome.name,
        store=genome.store,
        train=train,
        training=windows if len(train) else None,
        held_out=held_out,
        validation=validation_windows(held_out, length=longest, count=num_validation)
        if len(held_out)
        else [],
        num_too_short=num_too_short,
        tracks={**absent, **genome.tracks},
        channels=channels,
        targets=targets,
    )


def _usable(
    genome: CorpusGenome, regions: Integers, recipe: WindowRecipe, shortest: int, side: str
) -> tuple[Integers, int]:
    """What is left of regions without long runs of N and stretches too short to read, and these' bases."""
    if not len(regions):
        return regions, 0
    runs = genome.store.unknown_runs
    gaps = runs[runs[:, 1] - runs[:, 0] > recipe.max_unknown]
    pieces = cut_at(subtract(regions, gaps), genome.store.offsets)
    is_usable = pieces[:, 1] - pieces[:, 0] >= shortest
    usable = pieces[is_usable]
    if not len(usable):
        longest = int(np.diff(pieces).max(initial=0))
        raise DataError(
            "DATA-01",
            where=genome.store.source.name,
            found=f"no {side} window fits: the longest stretch without N has {longest} bases",
            expected=f"at least {shortest} bases for a window of {recipe.shortest} tokens",
            fix="give a longer genome, raise windows.max_unknown, or change data.split",
        )
    return usable, int(np.diff(pieces[~is_usable]).sum())
