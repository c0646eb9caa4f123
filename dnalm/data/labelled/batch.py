"""A micro-batch of labelled sequences in packed layout: pieces end to end, nothing padded.

S sequences, P pieces of them, N packed tokens, D model width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dnalm.data.labelled.pieces import Pieces


@dataclass(frozen=True)
class LabelledSample:
    """One sequence on one strand.

    Attributes:
        index: of the sample.
        row: in its part of the table; -1 of one that only fills a batch.
        pieces: its tokens.
        label: a class, a value, or the labels of a multi-label task.
        num_bases: its length.
        pooled: its vector, where that is known already.
        bases: where bases are labelled, the place of each among those of its part; -1 as of `row`.
    """

    index: int
    row: int
    pieces: Pieces
    label: npt.NDArray[np.int64] | npt.NDArray[np.float32]
    num_bases: int
    pooled: npt.NDArray[np.float32] | None = None
    bases: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True)
class LabelledBatch:
    """What one forward pass takes.

    Attributes:
        ids_N: token ids, (N,) int64.
        cu_lengths: where each piece begins, and N at the end, (P + 1,) int32.
        max_length: tokens of the longest piece.
        used_N: which tokens are pooled, (N,) bool.
        owner_P: the sequence of each piece, (P,) int64.
        labels_S: (S,) int64 classes or float32 values, or (S, K) int64 labels.
        rows: of each sequence in its part of the table; -1 of one that only fills the batch.
        samples: index of each sequence's sample.
        num_content: tokens that spell bases.
        num_masked: none.
        num_bases: bases of all sequences.
        pooled_SD: vectors of the sequences, where they are known already.
        covers_Q2: where bases are labelled, pairs of a packed token and a base of the batch that it spells,
            (Q, 2) int64; the S labels and rows are then of bases.
    """

    ids_N: Tensor  # noqa: N815
    cu_lengths: Tensor
    max_length: int
    used_N: Tensor  # noqa: N815
    owner_P: Tensor  # noqa: N815
    labels_S: Tensor  # noqa: N815
    rows: tuple[int, ...]
    samples: tuple[int, ...]
    num_content: int
    num_bases: int
    num_masked: int = 0
    pooled_SD: Tensor | None = None  # noqa: N815
    covers_Q2: Tensor | None = None  # noqa: N815

    def to(self, device: torch.device, *, non_blocking: bool = False) -> LabelledBatch:
        """The same batch with its tensors on `device`."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> LabelledBatch:
        """The same batch in page-locked memory, from which a GPU copies faster."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> LabelledBatch:
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(v) for name, v in named.items() if isinstance(v, Tensor)})  # type: ignore[arg-type]


def collate_labelled(samples: list[LabelledSample], *, first_tokens: bool) -> LabelledBatch:
    """Pack samples end to end, longest last, so that equal lengths are neighbours.

    Args:
        samples: of one micro-batch.
        first_tokens: pool the first token of each piece rather than those that spell bases.
    """
    samples = sorted(samples, key=lambda sample: (len(sample.pieces.ids), sample.index))
    lengths = np.concatenate([sample.pieces.lengths for sample in samples])
    cu_lengths = np.concatenate([[0], np.cumsum(lengths)])
    spells = np.concatenate([sample.pieces.spells for sample in samples])
    used = spells
    if first_tokens:
        used = np.zeros_like(spells)
        used[cu_lengths[:-1]] = True
    owners = np.repeat(np.arange(len(samples)), [len(sample.pieces.lengths) for sample in samples])
    covers, labels = _of_bases(samples)
    rows = [sample.row for sample in samples] if labels is None else _places(samples)
    pooled = [sample.pooled for sample in samples if sample.pooled is not None]
    return LabelledBatch(
        ids_N=torch.from_numpy(np.concatenate([sample.pieces.ids for sample in samples])),
        cu_lengths=torch.from_numpy(cu_lengths.astype(np.int32)),
        max_length=int(lengths.max(initial=0)),
        used_N=torch.from_numpy(used),
        owner_P=torch.from_numpy(owners),
        labels_S=torch.from_numpy(
            np.stack([sample.label for sample in samples]) if labels is None else labels
        ),
        rows=tuple(rows),
        samples=tuple(sample.index for sample in samples),
        num_content=int(spells.sum()),
        num_bases=sum(sample.num_bases for sample in samples),
        pooled_SD=torch.from_numpy(np.stack(pooled)) if pooled else None,
        covers_Q2=None if covers is None else torch.from_numpy(covers),
    )


def _of_bases(
    samples: list[LabelledSample],
) -> tuple[npt.NDArray[np.int64] | None, npt.NDArray[np.int64] | npt.NDArray[np.float32] | None]:
    """Pairs of token and base, (Q, 2), and labels of all bases; nothing where sequences are labelled."""
    if samples[0].bases is None:
        return None, None
    pairs, token, base = [], 0, 0
    for sample in samples:
        assert sample.pieces.covers is not None, "asked for where bases are labelled"
        pairs.append(sample.pieces.covers + np.array([token, base]))
        token, base = token + len(sample.pieces.ids), base + sample.num_bases
    return np.concatenate(pairs), np.concatenate([sample.label for sample in samples])


def _places(samples: list[LabelledSample]) -> list[int]:
    return [place for sample in samples if sample.bases is not None for place in sample.bases.tolist()]
