"""A micro-batch in packed layout: sequences end to end, nothing padded.

B sequences, N packed tokens, C annotation channels, M tokens to predict, X hidden bases, P pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dnalm.data.hidden import HiddenBases, join_hidden
from dnalm.data.masking import Flags
from dnalm.data.targets import UNLABELLED, Target
from dnalm.tokenizers import Ids


@dataclass(frozen=True)
class Sample:
    """One masked sequence, before packing."""

    index: int
    seen: Ids  # (T,) as the model sees it
    ids: Ids  # (T,) as it is
    masked: Flags  # (T,)
    targets: Flags  # (T,) tokens to predict
    content: Flags  # (T,) tokens that spell bases
    num_bases: int
    hidden: HiddenBases | None = None  # in validation only
    tracks: Mapping[str, Target] = field(default_factory=dict)  # (T,) or (T, n) each
    annotations: npt.NDArray[np.int8] | None = None  # (T, C) where annotations are inputs

    @property
    def num_content(self) -> int:
        """Tokens that spell bases."""
        return int(self.content.sum())


@dataclass(frozen=True)
class HiddenTensors:
    """`HiddenBases` of a micro-batch as tensors, and the sequence each base lies in."""

    position_X: Tensor  # noqa: N815
    base_X: Tensor  # noqa: N815
    sequence_X: Tensor  # noqa: N815 -- sample index of the base's window
    pair_base_P: Tensor  # noqa: N815
    pair_token_P: Tensor  # noqa: N815
    pair_offset_P: Tensor  # noqa: N815


@dataclass(frozen=True)
class Batch:
    """What one forward pass takes.

    Attributes:
        ids_N: token ids, masked ones replaced, (N,) int64.
        cu_lengths: where each sequence begins, and N at the end, (B + 1,) int32.
        max_length: tokens of the longest sequence.
        targets_M: places of the tokens to predict among the packed ones, (M,) int64; the masked tokens,
            unless a recipe predicts all.
        labels_M: their true ids, (M,) int64.
        samples: index of each sequence's sample.
        content_N: which tokens spell bases, (N,) bool; the others are special.
        num_content: how many do.
        num_masked: tokens that are masked.
        num_bases: bases under all windows.
        hidden: the hidden bases, in validation only.
        tracks: what annotation tracks say of every token, or of every sequence, then (B,) and (B, n), by the
            names of `target_name`: (N,) int64 classes and (N, n) int8 labels, -1 where unknown, or (N,)
            float32 values, NaN where unknown.
        annotations_NC: where annotations are inputs, what each channel says of every token, (N, C) int8: 1 it
            holds, 0 it does not, -1 unknown.
        step_targets: in training with tracks, the number of targets that the samples of the whole optimizer
            step have on this rank: of each track, and of masked language modelling by the name "".
    """

    ids_N: Tensor  # noqa: N815
    cu_lengths: Tensor
    max_length: int
    targets_M: Tensor  # noqa: N815
    labels_M: Tensor  # noqa: N815
    samples: tuple[int, ...]
    content_N: Tensor  # noqa: N815
    num_content: int
    num_masked: int
    num_bases: int
    hidden: HiddenTensors | None = None
    tracks: Mapping[str, Tensor] = field(default_factory=dict)
    annotations_NC: Tensor | None = None  # noqa: N815
    step_targets: Mapping[str, int] = field(default_factory=dict)

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Batch:
        """The same batch with its tensors on `device`."""
        return _map_tensors(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, from which a GPU copies faster."""
        return _map_tensors(self, Tensor.pin_memory)


def collate(samples: list[Sample]) -> Batch:
    """Pack samples end to end in their order."""
    lengths = np.array([len(sample.ids) for sample in samples])
    targets = np.concatenate([sample.targets for sample in samples])
    ids = np.concatenate([sample.ids for sample in samples])
    return Batch(
        ids_N=torch.from_numpy(np.concatenate([sample.seen for sample in samples])),
        cu_lengths=torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)),
        max_length=int(lengths.max()),
        targets_M=torch.from_numpy(np.flatnonzero(targets)),
        labels_M=torch.from_numpy(ids[targets]),
        samples=tuple(sample.index for sample in samples),
        content_N=torch.from_numpy(np.concatenate([sample.content for sample in samples])),
        num_content=sum(sample.num_content for sample in samples),
        num_masked=sum(int(sample.masked.sum()) for sample in samples),
        num_bases=sum(sample.num_bases for sample in samples),
        hidden=_join(samples),
        tracks=_join_tracks(samples),
        annotations_NC=_join_annotations(samples),
    )


def is_known(targets: Tensor) -> Tensor:
    """Where the targets of a track are there, of their shape."""
    return ~targets.isnan() if targets.is_floating_point() else targets != UNLABELLED


def _join_tracks(samples: list[Sample]) -> dict[str, Tensor]:
    """Targets end to end; every sample of a run has all of its tracks."""
    return {
        name: torch.from_numpy(np.concatenate([sample.tracks[name] for sample in samples]))
        for name in samples[0].tracks
    }


def _join_annotations(samples: list[Sample]) -> Tensor | None:
    parts = [sample.annotations for sample in samples if sample.annotations is not None]
    assert len(parts) in (0, len(samples)), "a run has channels or has none"
    return torch.from_numpy(np.concatenate(parts)) if parts else None


def _join(samples: list[Sample]) -> HiddenTensors | None:
    parts = [sample.hidden for sample in samples if sample.hidden is not None]
    if len(parts) < len(samples):
        return None
    joined = join_hidden(parts, [int(sample.masked.sum()) for sample in samples])
    windows = np.repeat([sample.index for sample in samples], [len(part.position_X) for part in parts])
    return HiddenTensors(
        position_X=torch.from_numpy(joined.position_X),
        base_X=torch.from_numpy(joined.base_X.astype(np.int64)),
        sequence_X=torch.from_numpy(windows),
        pair_base_P=torch.from_numpy(joined.pair_base_P),
        pair_token_P=torch.from_numpy(joined.pair_token_P),
        pair_offset_P=torch.from_numpy(joined.pair_offset_P),
    )


def _map_tensors(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    def changed(value: Batch | HiddenTensors) -> dict[str, Tensor]:
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return {name: change(tensor) for name, tensor in named.items() if isinstance(tensor, Tensor)}

    hidden = replace(batch.hidden, **changed(batch.hidden)) if batch.hidden else None
    tracks = {name: change(targets) for name, targets in batch.tracks.items()}
    return replace(batch, **changed(batch), hidden=hidden, tracks=tracks)  # type: ignore[arg-type]
