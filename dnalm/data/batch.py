"""What one forward pass reads: masked sequences packed end to end, and which samples each step takes.

- `Sample` is one masked sequence, `Batch` a micro-batch of them in packed layout, nothing padded.
- `find_hidden`: a base is hidden when every token that covers it is shown as the mask token. Neighbours in an
  overlapping tokenization then reveal nothing of it, so the loss at such bases compares tokenizers fairly.
- `BatchPlan` and `StepBatches`: a global batch is samples [n B, (n + 1) B) of the run. Ranks take equal
  contiguous slices of it and cut them into micro-batches, so neither the number of ranks nor of workers
  changes what a step reads. By `micro_size` the cuts are contiguous too; by tokens (`PackPlan`) the samples
  of a slice are dealt by their lengths, so that its micro-batches are about equally large.
- `CountedSteps`: where several objectives are summed, each is divided by its own number of targets in the
  global batch before the backward pass of the first micro-batch, since the gradients meet in the encoder.

Shapes: B sequences, N packed tokens, T tokens of one sequence, C annotation channels, M tokens to predict,
X hidden bases, P pairs of a hidden base and a masked token over it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from itertools import count, islice
from typing import ClassVar, Literal, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Sampler

from dnalm.data.loading import Loader
from dnalm.data.masking import Flags
from dnalm.data.targets import UNLABELLED, Target
from dnalm.data.windows import Integers
from dnalm.errors import ConfigError
from dnalm.genome.alphabet import Codes, bases, is_unknown
from dnalm.limits import BatchSize, Tokens, Workers
from dnalm.tokenizers import Ids
from dnalm.tokenizers.protocol import pair_up


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One masked sequence, before packing."""

    index: int
    seen: Ids  # (T,) as the model reads it
    ids: Ids  # (T,) the true ids
    masked: Flags  # (T,)
    targets: Flags  # (T,) tokens to predict
    content: Flags  # (T,) tokens that spell bases; the others are special
    num_bases: int
    num_target_bases: int = 0  # that the tokens to predict spell, each counted once for every one of these
    hidden: HiddenBases | None = None  # in validation only
    tracks: Mapping[str, Target] = field(default_factory=dict)  # (T,) or (T, n) each
    annotations: npt.NDArray[np.int8] | None = None  # (T, C) where annotations are inputs


@dataclass(frozen=True, kw_only=True)
class HiddenBases:
    """Hidden bases, and the pairs of a hidden base and a masked token that covers it."""

    position_X: Integers  # noqa: N815 -- flat store coordinate
    base_X: Codes  # noqa: N815 -- 0-3
    pair_base_P: Integers  # noqa: N815 -- index into X
    pair_token_P: Integers  # noqa: N815 -- index into the masked tokens
    pair_offset_P: Integers  # noqa: N815 -- place of the base within the token


def find_hidden(codes: Codes, spans: Ids, hidden: Flags, *, start: int) -> HiddenBases:
    """Find the hidden bases of one sequence.

    Args:
        codes: (L,) the sequence.
        spans: (T, 2) bases of each token; special tokens have empty spans.
        hidden: (T,) True where the token is masked, and all of those are shown as mask tokens.
        start: flat store coordinate of the first base.

    Returns:
        The hidden bases in ascending order; an N is never one.
    """
    is_hidden = _covered(spans, len(codes)) & ~_covered(spans[~hidden], len(codes)) & ~is_unknown(codes)
    places = np.flatnonzero(is_hidden)
    pairs = pair_up(spans[hidden])
    kept = is_hidden[pairs.base]
    return HiddenBases(
        position_X=places + start,
        base_X=bases(codes)[places],
        pair_base_P=np.searchsorted(places, pairs.base[kept]),
        pair_token_P=pairs.token[kept],
        pair_offset_P=pairs.offset[kept],
    )


def _covered(spans: Ids, num_bases: int) -> Flags:
    """Which bases lie in any of (T, 2) spans, (L,)."""
    starts, ends = (np.bincount(column, minlength=num_bases + 1) for column in spans.T)
    covered: Flags = np.cumsum(starts - ends)[:-1] > 0
    return covered


def join_hidden(parts: list[HiddenBases], tokens_per_part: list[int]) -> HiddenBases:
    """Put sequences end to end: indices of later parts are shifted past the earlier ones."""
    num_bases = np.cumsum([0, *(len(part.position_X) for part in parts)])
    num_tokens = np.cumsum([0, *tokens_per_part])
    return HiddenBases(
        position_X=np.concatenate([part.position_X for part in parts]),
        base_X=np.concatenate([part.base_X for part in parts]),
        pair_base_P=np.concatenate([p.pair_base_P + n for p, n in zip(parts, num_bases, strict=False)]),
        pair_token_P=np.concatenate([p.pair_token_P + n for p, n in zip(parts, num_tokens, strict=False)]),
        pair_offset_P=np.concatenate([part.pair_offset_P for part in parts]),
    )


class Movable:
    """A dataclass whose tensors move together, those in its mappings and dataclasses included.

    Attributes:
        on_host: fields whose tensors stay where they are, since a step does not compute with them.
    """

    on_host: ClassVar[frozenset[str]] = frozenset()

    def to(self, device: torch.device, *, non_blocking: bool | None = None) -> Self:
        """The same with its tensors on `device`, but for those that stay on the host.

        Args:
            device: where to.
            non_blocking: do not wait for the copies; by default where they go to a GPU. From page-locked
                memory they then run beside what the GPU computes; whatever it is given later comes after.
        """
        waits = device.type != "cuda" if non_blocking is None else not non_blocking
        moved = _mapped(self, lambda tensor: tensor.to(device, non_blocking=not waits), all_fields=False)
        return cast("Self", moved)

    def pin_memory(self) -> Self:
        """The same in page-locked memory, from which a GPU copies faster."""
        return cast("Self", _mapped(self, Tensor.pin_memory, all_fields=True))


def _mapped(value: object, change: Callable[[Tensor], Tensor], *, all_fields: bool) -> object:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _mapped(each, change, all_fields=all_fields) for name, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        kept = value.on_host if isinstance(value, Movable) and not all_fields else ()
        names = [each.name for each in fields(value) if each.name not in kept]
        parts = {name: _mapped(getattr(value, name), change, all_fields=all_fields) for name in names}
        return replace(value, **parts)
    return value


@dataclass(frozen=True, kw_only=True)
class HiddenTensors(Movable):
    """`HiddenBases` of a micro-batch as tensors, and the sequence each base lies in."""

    on_host = frozenset({"position_X", "sequence_X"})  # written, with the bits of each base

    position_X: Tensor  # noqa: N815
    base_X: Tensor  # noqa: N815
    sequence_X: Tensor  # noqa: N815 -- sample index of the base's window
    pair_base_P: Tensor  # noqa: N815
    pair_token_P: Tensor  # noqa: N815
    pair_offset_P: Tensor  # noqa: N815


@dataclass(frozen=True, kw_only=True)
class Batch(Movable):
    """What one forward pass takes.

    Attributes:
        ids_N: token ids, masked ones replaced, (N,) int64.
        cu_lengths: where each sequence begins, and N at the end, (B + 1,) int32.
        max_length: tokens of the longest sequence.
        targets_M: places of the tokens to predict among the packed ones, (M,) int64; the masked tokens,
            unless a recipe predicts all.
        labels_M: their true ids, (M,) int64.
        samples: index of each sequence's sample.
        content_N: which tokens spell bases, (N,) bool, on the host; the others are special.
        num_content: how many do.
        num_masked: tokens that are masked.
        num_bases: bases under all windows.
        num_target_bases: bases that the tokens to predict spell, each counted once for every one of these.
        num_pairs: sum of squared lengths, which attention's work grows with.
        hidden: the hidden bases, in validation only.
        tracks: targets from annotation tracks for every token, or for every sequence, then (B,) and (B, n),
            by the names of `target_name`: (N,) int64 classes and (N, n) int8 labels, -1 where unknown, or
            (N,) float32 values, NaN where unknown.
        labelled: of each track, the places of the tokens or sequences that have a target, (M,) int64.
        annotations_NC: where annotations are inputs, the value of each channel at every token, (N, C) int8: 1
            present, 0 absent, -1 unknown.
        step_targets: in training with tracks, the number of targets that the samples of the whole optimizer
            step have on this rank: of each track, and of masked language modelling by the name "".
        filled_tokens: how many of the N, the last ones, are padding; see `Filling`.
        filled_targets: how many of the M, the last ones, are no targets; their label is `IGNORED`.
    """

    on_host = frozenset({"content_N"})

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
    num_pairs: int
    hidden: HiddenTensors | None = None
    tracks: Mapping[str, Tensor] = field(default_factory=dict)
    labelled: Mapping[str, Tensor] = field(default_factory=dict)
    annotations_NC: Tensor | None = None  # noqa: N815
    step_targets: Mapping[str, int] = field(default_factory=dict)
    filled_tokens: int = 0
    filled_targets: int = 0
    num_target_bases: int = 0

    @property
    def num_tokens(self) -> int:
        """Tokens of the samples."""
        return len(self.ids_N) - self.filled_tokens

    @property
    def num_targets(self) -> int:
        """Tokens to predict."""
        return len(self.labels_M) - self.filled_targets


def collate(samples: list[Sample]) -> Batch:
    """Pack samples end to end in their order."""
    lengths = np.array([len(sample.ids) for sample in samples])
    targets = np.concatenate([sample.targets for sample in samples])
    ids = np.concatenate([sample.ids for sample in samples])
    annotations = [sample.annotations for sample in samples if sample.annotations is not None]
    assert len(annotations) in (0, len(samples)), "a run has channels or has none"
    tracks = {
        name: torch.from_numpy(np.concatenate([sample.tracks[name] for sample in samples]))
        for name in samples[0].tracks  # every sample of a run has all of its tracks
    }
    return Batch(
        ids_N=torch.from_numpy(np.concatenate([sample.seen for sample in samples])),
        cu_lengths=torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)),
        max_length=int(lengths.max()),
        targets_M=torch.from_numpy(np.flatnonzero(targets)),
        labels_M=torch.from_numpy(ids[targets]),
        samples=tuple(sample.index for sample in samples),
        content_N=torch.from_numpy(np.concatenate([sample.content for sample in samples])),
        num_content=sum(int(sample.content.sum()) for sample in samples),
        num_masked=sum(int(sample.masked.sum()) for sample in samples),
        num_bases=sum(sample.num_bases for sample in samples),
        num_target_bases=sum(sample.num_target_bases for sample in samples),
        num_pairs=int((lengths**2).sum()),
        hidden=_pack_hidden(samples),
        tracks=tracks,
        labelled={name: labelled_places(targets) for name, targets in tracks.items()},
        annotations_NC=torch.from_numpy(np.concatenate(annotations)) if annotations else None,
    )


def collate_packs(samples: list[Sample], *, passes: int, filling: Filling | None = None) -> list[Batch]:
    """Pack the samples of a rank's optimizer step, divided by `deal`, within a pack in their order.

    Args:
        samples: of the step.
        passes: packs to make.
        filling: fills them up, if they are to be.
    """
    dealt = deal([len(sample.ids) for sample in samples], passes)
    packs = [collate([samples[place] for place in places]) for places in dealt]
    if filling is None:
        return packs
    num_sequences = -(-len(samples) // passes) + filling.sequences
    return [filling.fill(pack, num_sequences) for pack in packs]


IGNORED = -100  # the label that `cross_entropy` leaves out


@dataclass(frozen=True, kw_only=True)
class Filling:
    """Fills packs up to few sizes, so that what a GPU has compiled and laid out for one serves the next.

    At the end of a pack come sequences of padding, so that all packs have equally many sequences and a
    multiple of `step` tokens. They are attended by themselves alone and have no target. A pack whose samples
    are all of the longest kind has none, since kernels have a faster way for it. Targets are filled up to a
    quarter more than are expected of so many tokens, or to a multiple of that.

    Args:
        longest: tokens of the longest sample.
        step: tokens that a pack has a multiple of.
        share: targets of a token, as expected.
        padding: the id of padding.
    """

    longest: int
    step: int
    share: float
    padding: int

    @classmethod
    def of(cls, plan: PackPlan, *, share: float, padding: int) -> Filling:
        """Whose step is the largest power of two that is at most 1/64 of the largest pack."""
        assert isinstance(plan.micro_tokens, int), "it is decided"
        step = 1 << max(0, (plan.micro_tokens // 64).bit_length() - 1)
        return cls(longest=plan.micro_tokens // plan.most, step=step, share=share, padding=padding)

    @property
    def sequences(self) -> int:
        """Of padding, at least, so that none is longer than the longest sample."""
        return max(1, -(-(self.step - 1) // max(1, self.longest - 1)))

    def fill(self, batch: Batch, num_sequences: int) -> Batch:
        """The pack with its padding.

        Args:
            batch: of fewer sequences, by `sequences` at least.
            num_sequences: that it is to have.
        """
        short, tokens = num_sequences - len(batch.samples), len(batch.ids_N)
        is_full = tokens == len(batch.samples) * self.longest
        total = tokens if is_full else -(-(tokens + short) // self.step) * self.step
        ends = [tokens + (total - tokens) * number // short for number in range(1, short + 1)]
        room = math.ceil(min(1.0, 1.25 * self.share) * total)
        missing = -len(batch.labels_M) % room
        return replace(
            batch,
            ids_N=_extended(batch.ids_N, [self.padding] * (total - tokens)),
            cu_lengths=batch.cu_lengths if is_full else _extended(batch.cu_lengths, ends),
            max_length=self.longest,
            targets_M=_extended(batch.targets_M, [total - 1] * missing),
            labels_M=_extended(batch.labels_M, [IGNORED] * missing),
            content_N=_extended(batch.content_N, [False] * (total - tokens)),
            filled_tokens=total - tokens,
            filled_targets=missing,
        )


def _extended(values: Tensor, more: Sequence[int]) -> Tensor:
    return torch.cat([values, torch.tensor(more, dtype=values.dtype)])


def deal(lengths: Sequence[int], num_packs: int) -> list[list[int]]:
    """Divide samples into packs of equally many samples, but for one, and of about equally many tokens.

    The samples are dealt in rounds, from the longest to the shortest: each pack gets one, the pack with the
    fewest tokens the longest. So no two packs differ by more tokens than two samples of one round.

    Args:
        lengths: tokens of each sample, (S,).
        num_packs: P, at most S.

    Returns:
        The places of each pack's samples among the lengths, in ascending order, (P,).
    """
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    packs: list[list[int]] = [[] for _ in range(num_packs)]
    tokens = [0] * num_packs
    for first in range(0, len(order), num_packs):
        fewest = sorted(range(num_packs), key=tokens.__getitem__)
        for place, pack in zip(order[first : first + num_packs], fewest, strict=False):
            packs[pack].append(place)
            tokens[pack] += lengths[place]
    return [sorted(pack) for pack in packs]


def is_known(targets: Tensor) -> Tensor:
    """Where the targets of a track are there, of their shape."""
    return ~targets.isnan() if targets.is_floating_point() else targets != UNLABELLED


def labelled_places(targets: Tensor) -> Tensor:
    """Where a track has a target, of labels any of them, (M,) int64.

    Loaders find them, since to find them on a GPU waits for it.
    """
    known = is_known(targets)
    return (known.any(dim=1) if known.ndim > 1 else known).nonzero().squeeze(1)


def _pack_hidden(samples: list[Sample]) -> HiddenTensors | None:
    parts = [sample.hidden for sample in samples if sample.hidden is not None]
    if len(parts) < len(samples):
        return None
    joined = join_hidden(parts, [int(sample.masked.sum()) for sample in samples])
    windows = np.repeat([sample.index for sample in samples], [len(part.position_X) for part in parts])
    arrays = {each.name: getattr(joined, each.name).astype(np.int64) for each in fields(joined)}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return HiddenTensors(**tensors, sequence_X=torch.from_numpy(windows))


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """How many samples an optimizer step takes, and how many fit one forward pass.

    Args:
        global_size: samples per optimizer step, over all ranks.
        micro_size: samples per forward pass on one rank.
        micro_tokens: in place of `micro_size`, tokens per forward pass at most, special ones included; `auto`
            is as many as fit the memory of a GPU, 65,536 at most, and 4,096 on a CPU. See `PackPlan`.
        num_workers: loader processes per rank; 0 loads in the training process; if absent 4 for a GPU, or a
            core each where there are fewer, and 0 for a CPU.
    """

    global_size: BatchSize
    micro_size: BatchSize | None = None
    micro_tokens: Tokens | Literal["auto"] | None = None
    num_workers: Workers | None = None

    def __post_init__(self) -> None:
        for name, size in (("global_size", self.global_size), ("micro_size", self.micro_size)):
            if size is not None and size < 1:
                raise ValueError(f"{name} is {size}; a batch holds at least one sample")
        if (self.micro_size is None) == (self.micro_tokens is None):
            raise ValueError(
                f"micro_size is {self.micro_size} and micro_tokens {self.micro_tokens}; one of them says how "
                "much a forward pass takes, and the other is null"
            )

    @property
    def most(self) -> int:
        """Samples of a forward pass at most."""
        assert self.micro_size is not None, "a plan by tokens is fitted to the samples first"
        return self.micro_size

    def of_rank(self, world_size: int) -> int:
        """Samples of an optimizer step on each rank.

        Raises:
            ConfigError: CFG-19, the global batch does not divide evenly.
        """
        if self.global_size % world_size:
            raise self._uneven(world_size, f"{world_size} ranks", "trainer.devices")
        return self.global_size // world_size

    def accumulation(self, world_size: int) -> int:
        """Forward passes per optimizer step on each rank.

        Raises:
            ConfigError: CFG-19, the global batch does not divide evenly.
        """
        per_pass = world_size * self.most
        if self.global_size % per_pass:
            ranks = f"{world_size} ranks x batch.micro_size={self.micro_size}"
            raise self._uneven(per_pass, ranks, "batch.micro_size")
        return self.global_size // per_pass

    def _uneven(self, divisor: int, ranks: str, other: str) -> ConfigError:
        below = self.global_size // divisor * divisor
        nearest = [str(size) for size in (below, below + divisor) if size]
        return ConfigError(
            "CFG-19",
            where="batch.global_size",
            found=f"{self.global_size} samples",
            expected=f"a multiple of {ranks}",
            fix=f"set batch.global_size={' or '.join(nearest)}, or another {other}",
        )


@dataclass(frozen=True, kw_only=True)
class PackPlan(BatchPlan):
    """A plan by tokens, once it is known how long samples are.

    A step has as few forward passes on each rank as can hold its samples if all of them are of the longest
    kind. So their number never changes, and none holds more than `micro_tokens` tokens. All hold equally
    many samples, but for one more or less.

    Args:
        micro_size: samples of the longest kind that a forward pass holds.
    """

    def __post_init__(self) -> None:
        """Both sizes are there."""

    @classmethod
    def of(cls, plan: BatchPlan, *, longest: int, most: int | None = None) -> PackPlan:
        """The plan for samples of at most `longest` tokens.

        Args:
            plan: a plan by tokens.
            longest: tokens of the longest sample, special ones included.
            most: samples of a forward pass, where `micro_tokens` is `auto`.

        Raises:
            ConfigError: CFG-18, a forward pass holds less than one sample.
        """
        asked = plan.micro_tokens
        if isinstance(asked, int):
            if asked < longest:
                raise ConfigError(
                    "CFG-18",
                    where="batch.micro_tokens",
                    found=f"{asked:,}, and samples of up to {longest:,} tokens, special ones included",
                    expected="at least the tokens of one sample",
                    fix=f"set batch.micro_tokens={longest} or more, or read shorter samples",
                )
            most = asked // longest
        assert most, "auto has been decided"
        return cls(
            global_size=plan.global_size,
            micro_size=most,
            micro_tokens=most * longest,
            num_workers=plan.num_workers,
        )

    def accumulation(self, world_size: int) -> int:
        """Forward passes per optimizer step on each rank."""
        return -(-self.of_rank(world_size) // self.most)

    def describe(self, world_size: int) -> str:
        """What is said of it."""
        passes = self.accumulation(world_size)
        samples = -(-self.of_rank(world_size) // passes)
        assert isinstance(self.micro_tokens, int), "it is decided"
        tokens = samples * self.micro_tokens // self.most
        return (
            f"{passes} micro-batches a step on each rank, of at most {samples} samples and {tokens:,} tokens"
        )


class StepBatches(Sampler[list[int]]):
    """Sample indices of one rank's micro-batches, without end and without state.

    Args:
        plan: the batch arithmetic.
        rank: this process.
        world_size: number of processes.
        start_step: optimizer step to begin with.
    """

    def __init__(self, plan: BatchPlan, *, rank: int, world_size: int, start_step: int) -> None:
        self.plan, self.rank, self.world_size, self.start_step = plan, rank, world_size, start_step

    def __iter__(self) -> Iterator[list[int]]:
        """Yield `micro_size` indices at a time, `accumulation` times a step."""
        passes = self.plan.accumulation(self.world_size)
        for step in count(self.start_step):
            first = step * self.plan.global_size + self.rank * passes * self.plan.most
            for number in range(passes):
                begin = first + number * self.plan.most
                yield list(range(begin, begin + self.plan.most))


def validation_batches(num_samples: int, *, micro_size: int, rank: int, world_size: int) -> list[list[int]]:
    """Every validation sample exactly once over all ranks, in micro-batches.

    Ranks have equally many batches, since they work together on each; what is missing is filled up with
    indices from `num_samples` on, of which `ValidationSamples` makes samples that count nothing.
    """
    each = -(-num_samples // (world_size * micro_size)) * micro_size if world_size > 1 else num_samples
    mine = list(range(rank, world_size * each, world_size))
    return [mine[i : i + micro_size] for i in range(0, len(mine), micro_size)]


# Keys of masked language modelling in `step_targets`, which no track has: its tokens, and their bases
MASKED_TOKENS, MASKED_BASES = "", "/bases"


@dataclass(frozen=True)
class Packs(Iterable[Batch]):
    """The micro-batches of a loader of whole steps, one by one.

    Args:
        loader: a rank's steps.
    """

    loader: Loader[list[Batch]]

    @property
    def waited_s(self) -> float:
        """As of a `Loader`."""
        return self.loader.waited_s

    def __iter__(self) -> Iterator[Batch]:
        for step in self.loader:
            yield from step


@dataclass(frozen=True)
class CountedSteps(Iterable[Batch]):
    """The micro-batches of a loader with `step_targets` filled in.

    Args:
        loader: a rank's micro-batches, from the first of a step on.
        per_step: how many of them make a step.
    """

    loader: Loader[Batch] | Packs
    per_step: int

    @property
    def waited_s(self) -> float:
        """As of a `Loader`."""
        return self.loader.waited_s

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self.loader)
        while step := list(islice(batches, self.per_step)):
            counts = Counter[str]()
            for batch in step:
                counts.update(count_targets(batch))
            for batch in step:
                yield replace(batch, step_targets=dict(counts))


def count_targets(batch: Batch) -> dict[str, int]:
    """Targets of a micro-batch: known tokens or windows of each track, of labels known pairs with one."""
    tracks = {name: int(is_known(targets).sum()) for name, targets in batch.tracks.items()}
    return {MASKED_TOKENS: batch.num_targets, MASKED_BASES: batch.num_target_bases, **tracks}
