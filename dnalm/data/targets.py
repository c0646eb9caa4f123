"""What annotation tracks say of tokens: the targets of objectives beside masked language modelling.

A track says something of bases; a token stands for the bases of its span, overlapping k-mers for all k of
theirs. What is missing of a base stays missing, and a token of which nothing is known has no target. Special
tokens stand for no base, so they have none either.

T tokens of a sequence, L bases, n labels. Missing is -1 of classes and labels, NaN of values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from dnalm.data.windows import Window
from dnalm.genome.tracks import MISSING, TrackArray, TrackKind, TrackStore
from dnalm.tokenizers import Ids
from dnalm.tokenizers.spans import pair_up

UNLABELLED = -1
Per = Literal["token", "window"]  # what has a target each
_OF_WINDOWS = " of windows"
Target = npt.NDArray[np.int64] | npt.NDArray[np.int8] | npt.NDArray[np.float32]


@dataclass(frozen=True)
class AbsentTrack:
    """A track that other genomes of the run have and this one has not.

    Attributes:
        kind: of the track.
        num_labels: n, of labels.
    """

    kind: TrackKind
    num_labels: int

    def targets(self, num_tokens: int) -> Target:
        """Nothing is known of any token; shapes and types as of `read_targets`."""
        if self.kind == "values":
            return np.full(num_tokens, np.nan, dtype=np.float32)
        if self.kind == "labels":
            return np.full((num_tokens, self.num_labels), UNLABELLED, dtype=np.int8)
        return np.full(num_tokens, UNLABELLED, dtype=np.int64)


def target_name(track: str, per: Per) -> str:
    """What the targets are called that a track gives to tokens, or one to each window."""
    return track if per == "token" else f"{track}{_OF_WINDOWS}"


def track_of(target: str) -> str:
    """The track that targets of this name are from."""
    return target.removesuffix(_OF_WINDOWS)


def read_targets(
    tracks: Mapping[str, TrackStore | AbsentTrack], window: Window, spans: Ids, num_bases: int
) -> dict[str, Target]:
    """The targets of a window's tokens in every track, or of the window itself.

    A window's target is what a token's would be that spelled all of its bases.

    Args:
        tracks: of the window's genome, by the name of the targets; see `target_name`.
        window: where the bases lie; tracks are turned round for the reverse strand.
        spans: (T, 2) bases of each token, counted on the window's strand.
        num_bases: L, bases under the tokens; the rest of the window was cut off at its end.

    Returns:
        (T,) int64 of classes, (T, n) int8 of labels, (T,) float32 of values; T is 1 of a window's.
    """
    found = {}
    whole = np.array([[0, num_bases]], dtype=spans.dtype)
    for name, track in tracks.items():
        of = whole if name.endswith(_OF_WINDOWS) else spans
        if isinstance(track, AbsentTrack):
            found[name] = track.targets(len(of))
        else:
            found[name] = bring_to_tokens(track, read_bases(track, window, num_bases), of)
    return found


def unknown_like(target: Target) -> Target:
    """Targets of the same shape and type of which nothing is known."""
    return np.full_like(target, np.nan if target.dtype.kind == "f" else UNLABELLED)


def read_bases(track: TrackStore, window: Window, num_bases: int) -> TrackArray:
    """What a track says of a window's first bases, in the direction of the window's strand."""
    on_bases = track.read(window.start, window.end)
    return (on_bases[::-1] if window.reverse else on_bases)[:num_bases]


def bring_to_tokens(track: TrackStore, on_bases: TrackArray, spans: Ids) -> Target:
    """What `TrackStore.read` gives for bases, for tokens.

    Args:
        track: whose kind and number of classes count.
        on_bases: (L,) or (L, n).
        spans: (T, 2) bases of each token.
    """
    if track.kind == "classes":
        return majority(on_bases, spans, num_classes=len(track.names))
    return any_of(on_bases, spans) if track.kind == "labels" else mean_of(on_bases, spans)


def majority(classes: npt.NDArray[np.generic], spans: Ids, *, num_classes: int) -> npt.NDArray[np.int64]:
    """The class of most of a token's known bases; of classes equally common the first.

    Args:
        classes: (L,) uint8, 255 where missing.
        spans: (T, 2) bases of each token.
        num_classes: of the track.

    Returns:
        (T,) the class, -1 where no base is known.
    """
    pairs = pair_up(spans)
    of_pair = classes[pairs.base].astype(np.int64)
    known = of_pair != MISSING
    cells = pairs.token[known] * num_classes + of_pair[known]
    counts = np.bincount(cells, minlength=len(spans) * num_classes).reshape(len(spans), num_classes)
    return np.where(counts.any(axis=1), counts.argmax(axis=1), UNLABELLED)


def any_of(labels: npt.NDArray[np.generic], spans: Ids) -> npt.NDArray[np.int8]:
    """Whether a label holds at any known base of a token.

    Args:
        labels: (L, n) uint8 of 0, 1, and 255 where missing.
        spans: (T, 2) bases of each token.

    Returns:
        (T, n) of 0 and 1, -1 where the label is known of no base.
    """
    held = _sums(labels == 1, spans) > 0
    known = _sums(labels != MISSING, spans) > 0
    return np.where(known, held, UNLABELLED).astype(np.int8)


def mean_of(values: npt.NDArray[np.generic], spans: Ids) -> npt.NDArray[np.float32]:
    """The mean over a token's known bases.

    Args:
        values: (L,) float, NaN where missing.
        spans: (T, 2) bases of each token.

    Returns:
        (T,), NaN where no base is known.
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
