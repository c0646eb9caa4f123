"""Windows on a genome: which stretch sample i reads, as a pure function of (seed, i).

DNABERT's recipe, in tokens: half of the samples come from cutting the genome end to end without overlap, half
from random places. A cut is full length with probability one half, else of uniform length; random ones are of
uniform length. Windows never cross the end of a contig or of a split, nor a run of N longer than allowed.

Every draw is keyed by what is drawn, so a run's sample i is the same whichever worker or rank draws it and
however often the run was resumed. The cuts are drawn once per seed and visited in a new order each epoch: a
permutation of which any slot is computed directly, a Feistel network with cycle walking. Cutting restarts at
every block of 2^18 bases, so that a cut is found by its block and the lengths before it there; all lengths
are kept, 2 bytes a cut, 16 MB of a human genome. Draws come from Philox, a counter-based generator.

Source: DNABERT (Ji et al. 2021), pre-training; the released process_pretrain_data.py. Black & Rogaway 2002,
"Ciphers with arbitrary finite domains"; Philox: Salmon et al. 2011.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.random.bit_generator import ISeedSequence

from dnalm.limits import ValidationWindows, WindowTokens
from dnalm.tokenizers import Tokenizer

Integers = npt.NDArray[np.int64]
Words = Any  # int or NDArray[np.uint64], whose sum with an int numpy's stubs call signed

_ROUNDS = 6
_WORD = 0xFFFFFFFFFFFFFFFF


class Stream(IntEnum):
    """What a random draw is for; draws of different streams are independent."""

    CUTS = 1
    RANDOM_WINDOW = 3
    STRAND = 4
    MASK = 5
    VALIDATION_MASK = 6
    DROPOUT = 7


class _Key(ISeedSequence):
    """The key of a generator; given as a `key`, Philox first asks the system for entropy, and drops it."""

    def __init__(self, seed: int, stream: Stream) -> None:
        self.words = np.array([seed, stream], dtype=np.uint64)

    def generate_state(self, n_words: int, dtype: object = np.uint32) -> npt.NDArray[np.uint64]:  # noqa: ARG002 -- Philox takes these two words
        return self.words


def generator(seed: int, stream: Stream, index: int, part: int = 0) -> np.random.Generator:
    """The generator of one draw.

    Args:
        seed: the run's seed, >= 0.
        stream: what is drawn.
        index: which one: a sample, a block, a step.
        part: a finer counter, such as the micro-batch of a step.
    """
    key: Any = _Key(seed, stream)  # the stubs know no other sequence than numpy's own
    return np.random.Generator(np.random.Philox(key, counter=[0, 0, part, index]))


def permute(slots: Integers, *, size: int, key: Integers) -> Integers:
    """Where each slot of a seeded permutation of 0 .. size-1 points to.

    Args:
        slots: (S,) values in [0, size).
        size: length of the permutation, >= 1.
        key: (S, 2) numbers >= 0 that choose the permutation of each slot, such as (seed, epoch).

    Returns:
        (S,) int64 in [0, size); a bijection for every fixed key.
    """
    keys = _round_keys(*key.T.astype(np.uint64))
    values: npt.NDArray[np.uint64] = _feistel(slots.astype(np.uint64), keys, size)
    while (outside := values >= size).any():  # walks on at most a few times: the domain is < 4 * size
        values[outside] = _feistel(values[outside], [each[outside] for each in keys], size)
    return values.astype(np.int64)


def permute_one(slot: int, *, size: int, key: tuple[int, int]) -> int:
    """`permute` of one slot: in Python's integers, 20 times as fast as in arrays of length one."""
    keys = _round_keys(*key)
    value: int = _feistel(slot, keys, size)
    while value >= size:
        value = _feistel(value, keys, size)
    return value


def _round_keys(first: Words, second: Words) -> list[Words]:
    """The keys of the rounds of `_feistel`."""
    key = _mix(_mix(first) ^ second)
    return [_mix(key + number) for number in range(1, _ROUNDS + 1)]


def _feistel(values: Words, keys: list[Words], size: int) -> Words:
    """A keyed bijection of 0 .. 4^h - 1, the smallest such domain that holds `size` values."""
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    left, right = values >> half, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << half) | right


def _mix(values: Words) -> Words:
    """The finalizer of SplitMix64 (Steele et al. 2014): every input bit reaches every output bit."""
    values = (values + 0x9E3779B97F4A7C15) & _WORD
    values = ((values ^ (values >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    values = ((values ^ (values >> 27)) * 0x94D049BB133111EB) & _WORD
    return values ^ (values >> 31)


BLOCK = 1 << 18


@dataclass(frozen=True)
class Window:
    """A half-open interval of flat store coordinates, and the strand to read."""

    start: int
    end: int
    reverse: bool = False


@dataclass(frozen=True, kw_only=True)
class WindowRecipe:
    """How long windows are and where they come from.

    Args:
        max_tokens: longest window, in tokens without special ones.
        min_tokens: shortest window, likewise; if absent, every window is of the longest length.
        full_share: probability that a cut is of the longest length.
        random_share: share of samples from random places rather than from the cutting.
        reverse_complement: read every other window, at random, from the other strand.
        max_unknown: longest run of N, in bases, that a window may hold.
        bases_per_token: bases of a window per token; the tokenizer's estimate if absent. A
            window whose tokens turn out shorter is cut to `max_tokens` tokens.
        num_validation: full-length validation windows, at most.
    """

    max_tokens: WindowTokens
    min_tokens: int | None = None
    full_share: float = 0.5
    random_share: float = 0.5
    reverse_complement: bool = False
    max_unknown: int = 0
    bases_per_token: float | None = None
    num_validation: ValidationWindows = 2000

    def __post_init__(self) -> None:
        for name in ("full_share", "random_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; a share lies between 0 and 1")
        if not 1 <= self.shortest <= self.max_tokens:
            raise ValueError(
                f"min_tokens is {self.min_tokens} and max_tokens {self.max_tokens}; "
                "1 <= min_tokens <= max_tokens must hold"
            )
        if self.max_unknown < 0:
            raise ValueError(f"max_unknown is {self.max_unknown}; it must not be negative")
        if self.bases_per_token is not None and self.bases_per_token < 1:
            raise ValueError(f"bases_per_token is {self.bases_per_token}; a token spells at least one base")

    @property
    def shortest(self) -> int:
        """Tokens of the shortest window."""
        return self.max_tokens if self.min_tokens is None else self.min_tokens

    def bases(self, num_tokens: int, tokenizer: Tokenizer) -> int:
        """Bases of a window of about so many tokens."""
        if self.bases_per_token is None:
            return tokenizer.length_in_bases(num_tokens)
        return round(num_tokens * self.bases_per_token)


class Cuts(NamedTuple):
    """The windows of one pass over the genome without overlap.

    Attributes:
        up_to: cuts up to and including each block, (K,).
        lengths: bases of every cut, (C,), of the smallest type that holds them.
    """

    up_to: Integers
    lengths: npt.NDArray[np.unsignedinteger]


class TrainingWindows:
    """Window i of a run's training samples.

    Args:
        regions: (R, 2) half-open flat intervals to read, none shorter than `shortest`.
        recipe: where windows come from.
        shortest: bases of the shortest window.
        longest: bases of the longest window.
        seed: the run's seed.
    """

    def __init__(
        self, regions: Integers, *, recipe: WindowRecipe, shortest: int, longest: int, seed: int
    ) -> None:
        self.regions, self.recipe, self.seed = regions, recipe, seed
        self.shortest, self.longest = shortest, longest
        self._places = np.cumsum(regions[:, 1] - regions[:, 0] - shortest + 1)
        self._blocks = _blocks(regions)
        uniform_mean = (shortest + longest) / 2
        self._mean_length = recipe.full_share * longest + (1 - recipe.full_share) * uniform_mean

    @cached_property
    def _cuts(self) -> Cuts:
        lengths = [self._cut(*block) for block in self._blocks.tolist()]
        return Cuts(np.cumsum([len(of) for of in lengths], dtype=np.int64), np.concatenate(lengths))

    @property
    def num_cuts(self) -> int:
        """Windows of one pass over the genome without overlap."""
        return len(self._cuts.lengths)

    def __getitem__(self, index: int) -> Window:
        """The window of sample `index`, any integer >= 0."""
        start, end = self._random(index) if self._is_random(index) else self._ordered_cut(index)
        coin = self.recipe.reverse_complement and generator(self.seed, Stream.STRAND, index).random() < 0.5
        return Window(start, end, bool(coin))

    def _is_random(self, index: int) -> bool:
        """Spread the random share evenly over the indices: Bresenham's line, no draw needed."""
        return self._num_random(index + 1) > self._num_random(index)

    def _num_random(self, index: int) -> int:
        return int(index * self.recipe.random_share + 1e-9)

    def _ordered_cut(self, index: int) -> tuple[int, int]:
        epoch, slot = divmod(index - self._num_random(index), self.num_cuts)
        cut = permute_one(slot, size=self.num_cuts, key=(self.seed, epoch))
        block = int(self._cuts.up_to.searchsorted(cut, side="right"))
        first = int(self._cuts.up_to[block - 1]) if block else 0
        start = int(self._blocks[block, 0]) + int(self._cuts.lengths[first:cut].sum())
        return start, start + int(self._cuts.lengths[cut])

    def _cut(self, start: int, end: int) -> npt.NDArray[np.unsignedinteger]:
        """Cut a block from left to right, (C,) lengths; the last piece is dropped if it is too short."""
        random = generator(self.seed, Stream.CUTS, start)
        ends = np.zeros(1, dtype=np.int64)
        while ends[-1] < end - start:  # once as a rule: twice as many lengths as are needed on average
            count = 2 * int((end - start) // self._mean_length) + 16
            full = random.random(count) < self.recipe.full_share
            short = random.integers(self.shortest, self.longest, count, endpoint=True)
            ends = np.concatenate([ends, ends[-1] + np.cumsum(np.where(full, self.longest, short))])
        ends = np.minimum(ends[: int(ends.searchsorted(end - start)) + 1], end - start)
        lengths = np.diff(ends).astype(np.min_scalar_type(self.longest))
        return lengths if lengths[-1] >= self.shortest else lengths[:-1]

    def _random(self, index: int) -> tuple[int, int]:
        """A uniform place and length; what runs past the end of its region is cut off."""
        random = generator(self.seed, Stream.RANDOM_WINDOW, index)
        place = int(random.integers(self._places[-1]))
        length = int(random.integers(self.shortest, self.longest, endpoint=True))
        region = int(self._places.searchsorted(place, side="right"))
        start = int(self.regions[region, 0]) + place - int(self._places[region - 1] if region else 0)
        return start, min(start + length, int(self.regions[region, 1]))


def validation_windows(regions: Integers, *, length: int, count: int) -> list[Window]:
    """Full-length windows end to end over the regions, at most `count`, spread evenly.

    Args:
        regions: (R, 2) half-open flat intervals.
        length: bases of a window; regions shorter than this give one shorter window each.
        count: how many to keep.
    """
    starts, ends = [], []
    for start, end in regions:
        full = np.arange(start, end - length + 1, length)
        starts.append(full if len(full) else np.array([start]))
        ends.append(full + length if len(full) else np.array([end]))
    first, last = np.concatenate(starts), np.concatenate(ends)
    kept = np.unique(np.linspace(0, len(first) - 1, min(count, len(first))).round().astype(np.int64))
    return [Window(int(first[i]), int(last[i])) for i in kept]


def _blocks(regions: Integers) -> Integers:
    """Split regions at multiples of BLOCK from their start, (K, 2)."""
    pieces = [
        (start, min(start + BLOCK, end))
        for first, end in regions.tolist()
        for start in range(first, end, BLOCK)
    ]
    return np.array(pieces, dtype=np.int64).reshape(-1, 2)
