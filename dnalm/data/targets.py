"""Annotation tracks at tokens: targets of the objectives beside masked language modelling, and inputs.

A track has values for bases; a token stands for the bases of its span, overlapping k-mers for all k of
theirs. Bases without a value are left out, and a token over such bases alone has no target. Special tokens
stand for no base, so they have none either. As inputs, every label and every class of a track is a channel
(`Channels`): present at a token if it is present at any known base under it, unknown if no base is known.

Shapes: T tokens of a sequence, L bases, n labels, C channels. Missing is -1 of classes, labels and channels,
NaN of values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from dnalm.data.corpus import CorpusGenome, require_tracks
from dnalm.data.windows import Window
from dnalm.errors import ConfigError, DataError
from dnalm.genome.tracks import MISSING, TrackArray, TrackKind, TrackStore
from dnalm.tokenizers import Ids
from dnalm.tokenizers.protocol import pair_up

UNLABELLED = -1
Per = Literal["token", "window"]  # each of which has a target
_OF_WINDOWS = " of windows"
Target = npt.NDArray[np.int64] | npt.NDArray[np.int8] | npt.NDArray[np.float32]


@dataclass(frozen=True)
class AbsentTrack:
    """A track that other genomes of the run have and this one lacks.

    Attributes:
        kind: of the track.
        num_labels: n, of labels.
    """

    kind: TrackKind
    num_labels: int

    def targets(self, num_tokens: int) -> Target:
        """All missing; shapes and types as of `read_targets`."""
        if self.kind == "values":
            return np.full(num_tokens, np.nan, dtype=np.float32)
        if self.kind == "labels":
            return np.full((num_tokens, self.num_labels), UNLABELLED, dtype=np.int8)
        return np.full(num_tokens, UNLABELLED, dtype=np.int64)


def target_name(track: str, per: Per) -> str:
    """The key of a track's targets, of which each token or each window has one."""
    return track if per == "token" else f"{track}{_OF_WINDOWS}"


def track_of(target: str) -> str:
    """The track of the targets of this name."""
    return target.removesuffix(_OF_WINDOWS)


def read_targets(
    tracks: Mapping[str, TrackStore | AbsentTrack], window: Window, spans: Ids, num_bases: int
) -> dict[str, Target]:
    """The targets of a window's tokens in every track, or of the window itself.

    A window's target is what a token's would be that spelled all of its bases.

    Args:
        tracks: of the window's genome, by the name of the targets; see `target_name`.
        window: where the bases lie; tracks are reversed for the reverse strand.
        spans: (T, 2) bases of each token, counted on the window's strand.
        num_bases: L, bases under the tokens; the rest of the window was cut off at its end.

    Returns:
        (T,) int64 of classes, (T, n) int8 of labels, (T,) float32 of values; T is 1 of a window's.
    """
    found: dict[str, Target] = {}
    whole = np.array([[0, num_bases]], dtype=spans.dtype)
    for name, track in tracks.items():
        of = whole if name.endswith(_OF_WINDOWS) else spans
        if isinstance(track, AbsentTrack):
            found[name] = track.targets(len(of))
            continue
        on_bases = read_bases(track, window, num_bases)
        if track.kind == "classes":
            found[name] = majority(on_bases, of, num_classes=len(track.names))
        else:
            found[name] = any_of(on_bases, of) if track.kind == "labels" else mean_of(on_bases, of)
    return found


def unknown_like(target: Target) -> Target:
    """Targets of the same shape and type, all missing."""
    return np.full_like(target, np.nan if target.dtype.kind == "f" else UNLABELLED)


def read_bases(track: TrackStore, window: Window, num_bases: int) -> TrackArray:
    """A track's values at a window's first bases, in the direction of the window's strand."""
    on_bases = track.read(window.start, window.end)
    return (on_bases[::-1] if window.reverse else on_bases)[:num_bases]


def majority(classes: npt.NDArray[np.generic], spans: Ids, *, num_classes: int) -> npt.NDArray[np.int64]:
    """The class of most known bases of a token, (T,), -1 where none is known; of equals the first.

    `classes` are (L,) uint8, 255 where missing; `spans` (T, 2) bases of each token.
    """
    pairs = pair_up(spans)
    of_pair = classes[pairs.base].astype(np.int64)
    known = of_pair != MISSING
    cells = pairs.token[known] * num_classes + of_pair[known]
    counts = np.bincount(cells, minlength=len(spans) * num_classes).reshape(len(spans), num_classes)
    return np.where(counts.any(axis=1), counts.argmax(axis=1), UNLABELLED)


def any_of(labels: npt.NDArray[np.generic], spans: Ids) -> npt.NDArray[np.int8]:
    """Whether a label is present at any known base of a token, (T, n), -1 where it is known at none.

    `labels` are (L, n) uint8 of 0, 1, and 255 where missing; `spans` (T, 2) bases of each token.
    """
    present = _sums(labels == 1, spans) > 0
    known = _sums(labels != MISSING, spans) > 0
    return np.where(known, present, UNLABELLED).astype(np.int8)


def mean_of(values: npt.NDArray[np.generic], spans: Ids) -> npt.NDArray[np.float32]:
    """The mean over a token's known bases, (T,), NaN where none is known.

    `values` are (L,) float, NaN where missing; `spans` (T, 2) bases of each token.
    """
    pairs = pair_up(spans)
    of_pair = values[pairs.base].astype(np.float64)
    known = ~np.isnan(of_pair)
    sums = np.bincount(pairs.token[known], weights=of_pair[known], minlength=len(spans))
    counts = np.bincount(pairs.token[known], minlength=len(spans)).astype(np.float64)
    counts[counts == 0] = np.nan
    return (sums / counts).astype(np.float32)


def _sums(flags: npt.NDArray[np.bool_], spans: Ids) -> npt.NDArray[np.int32]:
    """How many bases of each token have a flag, (T, n) of (L, n)."""
    before = np.zeros((len(flags) + 1, flags.shape[1]), dtype=np.int32)
    np.cumsum(flags, axis=0, out=before[1:])
    return before[spans[:, 1]] - before[spans[:, 0]]


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
        """The channels at a window's tokens; arguments as of `read_targets`, `tracks` by their own names.

        Returns:
            (T, C) of 1 where a channel is present, 0 where it is absent, -1 where it or its track is unknown;
            None for a run without channels.
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
    require_tracks(inputs, {name: None for genome in genomes for name in genome.tracks})
    found: dict[str, tuple[str, ...]] = {}
    for name in inputs:
        having = [genome for genome in genomes if name in genome.tracks]
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
                here, there = ", ".join(first.names), ", ".join(genome.tracks[name].names)
                raise DataError(
                    "DATA-10",
                    where=f"data.tracks, track {name!r}",
                    found=f"{having[0].name} has {here}, and {genome.name} {there}",
                    expected="the same labels in the same order of every genome, since each is an input of "
                    "the model",
                    fix="name files alike, and list the classes that become labels, as in data=knowledge",
                )
        found[name] = first.names
    return Channels(found)


def _labels(track: TrackStore, on_bases: TrackArray) -> TrackArray:
    """(L, n) of 0, 1, 255 where missing; of classes, one is present."""
    if track.kind == "labels":
        return on_bases
    present: npt.NDArray[np.uint8] = (on_bases[:, None] == np.arange(len(track.names))).astype(np.uint8)
    present[on_bases == MISSING] = MISSING
    return present
