"""Annotations as inputs: which channels the tokens of a run have, and what they say.

Every label, and every class, of an input track is a channel. It holds at a token if it holds at any known
base under it, and is unknown if no base is known; special tokens stand for no base, so theirs are unknown.

T tokens of a sequence, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dnalm.data.corpus import CorpusGenome, missing_track
from dnalm.data.targets import UNLABELLED, AbsentTrack, any_of, read_bases
from dnalm.data.windows import Window
from dnalm.errors import ConfigError, DataError
from dnalm.genome.tracks import MISSING, TrackArray, TrackStore
from dnalm.tokenizers import Ids


@dataclass(frozen=True)
class Channels:
    """The channels of a run; none unless annotations are inputs.

    Attributes:
        of_track: names of the labels or classes of each input track.
    """

    of_track: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """`track/label` of each channel, in order."""
        return tuple(f"{track}/{name}" for track, names in self.of_track.items() for name in names)

    def read(
        self,
        tracks: Mapping[str, TrackStore | AbsentTrack],
        window: Window,
        spans: Ids,
        num_bases: int,
    ) -> npt.NDArray[np.int8] | None:
        """What the channels say of a window's tokens.

        Args:
            tracks: of the window's genome, by name; channels of a track that it lacks are unknown.
            window: where the bases lie; tracks are turned round for the reverse strand.
            spans: (T, 2) bases of each token, counted on the window's strand.
            num_bases: bases under the tokens; the rest of the window was cut off at its end.

        Returns:
            (T, C) of 1 where a channel holds, 0 where it does not, -1 where it is unknown; None of a run
            without channels.
        """
        parts = []
        for name, names in self.of_track.items():
            track = tracks.get(name)
            if isinstance(track, TrackStore):
                parts.append(any_of(_labels(track, read_bases(track, window, num_bases)), spans))
            else:
                parts.append(np.full((len(spans), len(names)), UNLABELLED, dtype=np.int8))
        return np.concatenate(parts, axis=1) if parts else None


def find_channels(inputs: Sequence[str], genomes: Sequence[CorpusGenome]) -> Channels:
    """The channels of a run's input tracks.

    Args:
        inputs: names of the tracks, each once.
        genomes: opened with these tracks.

    Raises:
        ConfigError: CFG-31, a track is of numbers.
        DataError: DATA-05, no genome has a track; DATA-10, two genomes have other labels.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name in inputs:
        having = [genome for genome in genomes if name in genome.tracks]
        if not having:
            raise missing_track(name, ())
        first = having[0].tracks[name]
        if first.kind == "values":
            raise ConfigError(
                "CFG-31",
                where="inputs",
                found=f"track {name!r}, which has numbers",
                expected="tracks of labels or classes, each of which has an embedding",
                fix=f"leave {name} out, or learn it as an objective",
            )
        for genome in having[1:]:
            if genome.tracks[name].names != first.names:
                raise _other_labels(name, having[0], genome)
        found[name] = first.names
    return Channels(found)


def _labels(track: TrackStore, on_bases: TrackArray) -> TrackArray:
    """(L, n) of 0, 1, 255 where missing; of classes, one holds."""
    if track.kind == "labels":
        return on_bases
    held: npt.NDArray[np.uint8] = (on_bases[:, None] == np.arange(len(track.names))).astype(np.uint8)
    held[on_bases == MISSING] = MISSING
    return held


def _other_labels(name: str, first: CorpusGenome, other: CorpusGenome) -> DataError:
    return DataError(
        "DATA-10",
        where=f"data.tracks, track {name!r}",
        found=f"{first.name} has {', '.join(first.tracks[name].names)}, and {other.name} "
        f"{', '.join(other.tracks[name].names)}",
        expected="the same labels in the same order of every genome, since each is an input of the model",
        fix="name files alike, and list the classes that become labels, as in data=knowledge",
    )
