"""Windows on a genome: which stretch sample i reads, as a pure function of (seed, i).

DNABERT's recipe, in tokens: half of the samples come from cutting the genome end to end without overlap, half
from random places. A cut is full length with probability one half, else of uniform length; random ones are of
uniform length. Windows never cross the end of a contig or of a split, nor a run of N longer than allowed.

Nothing random is stored, so a run's sample i is the same whichever worker or rank draws it and however often
the run was resumed. The cuts are drawn once per seed and visited in a new order each epoch: a permutation of
which any slot is computed directly, a Feistel network with cycle walking. To reach any cut directly, cutting
restarts at every block of 2^18 bases and only the number of cuts before each block is kept, 32 bytes a
megabase. Other draws come from Philox, a counter-based generator keyed by what is drawn.

Source: DNABERT (Ji et al. 2021), pre-training; the released process_pretrain_data.py. Black & Rogaway 2002,
"Ciphers with arbitrary finite domains"; Philox: Salmon et al. 2011.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from dnalm.limits import ValidationWindows, WindowTokens
from dnalm.tokenizers import Tokenizer

Integers = npt.NDArray[np.int64]

_ROUNDS = 6
_WORD = np.uint64(0xFFFFFFFFFFFFFFFF)


class Stream(IntEnum):
    """What a random draw is for; draws of different streams are independent."""

    CUTS = 1
    RANDOM_WINDOW = 3
    STRAND = 4
    MASK = 5
    VALIDATION_MASK = 6
    DROPOUT = 7


def generator(seed: int, stream: Stream, index: int, part: int = 0) -> np.random.Generator:
    """The generator of one draw.

    Args:
        seed: the run's seed, >= 0.
        stream: what is drawn.
        index: which one: a sample, a block, a step.
        part: a finer counter, such as the micro-batch of a step.
    """
    return np.random.Generator(np.random.Philox(key=[seed, int(stream)], counter=[0, 0, part, index]))


def permute(slots: Integers, *, size: int, key: Integers) -> Integers:
    """Where each slot of a seeded permutation of 0 .. size-1 points to.

    Args:
        slots: (S,) values in [0, size).
        size: length of the permutation, >= 1.
        key: (S, 2) numbers that choose the permutation of each slot, such as (seed, epoch).

    Returns:
        (S,) int64 in [0, size); a bijection for every fixed key.
    """
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    round_keys = _mix(_mix(key[:, 0].astype(np.uint64)) ^ key[:, 1].astype(np.uint64))
    values = _feistel(slots.astype(np.uint64), round_keys, half)
    while (outside := values >= size).any():  # walks on at most a few times: the domain is < 4 * size
        values[outside] = _feistel(values[outside], round_keys[outside], half)
    return values.astype(np.int64)


def _feistel(
    values: npt.NDArray[np.uint64], keys: npt.NDArray[np.uint64], half: np.uint64
) -> npt.NDArray[np.uint64]:
    """A keyed bijection of 0 .. 4^half - 1."""
    mask = np.uint64((1 << int(half)) - 1)
    left, right = values >> half, values & mask
    for number in range(_ROUNDS):
        shuffled = _mix(right ^ _mix(keys + np.uint64(number + 1))) & mask
        left, right = right, left ^ shuffled
    return (left << half) | right


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele et al. 2014): every input bit reaches every output bit."""
    values = (values + np.uint64(0x9E3779B97F4A7C15)) & _WORD
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


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
    def _cuts_before(self) -> Integers:
        """Cuts up to and including each block, (K,)."""
        return np.cumsum([len(self._cut(block)[0]) for block in range(len(self._blocks))], dtype=np.int64)

    @property
    def num_cuts(self) -> int:
        """Windows of one pass over the genome without overlap."""
        return int(self._cuts_before[-1])

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
        key = np.array([[self.seed, epoch]])
        cut = int(permute(np.array([slot]), size=self.num_cuts, key=key)[0])
        block = int(np.searchsorted(self._cuts_before, cut, side="right"))
        starts, ends = self._cut(block)
        place = cut - int(self._cuts_before[block - 1] if block else 0)
        return int(starts[place]), int(ends[place])

    def _cut(self, block: int) -> tuple[Integers, Integers]:
        """Cut a block from left to right; the last piece is dropped if it is too short."""
        start, end = self._blocks[block]
        random = generator(self.seed, Stream.CUTS, int(start))
        ends = np.array([start])
        while ends[-1] < end:  # once as a rule: twice as many lengths as are needed on average
            count = 2 * int((end - start) // self._mean_length) + 16
            full = random.random(count) < self.recipe.full_share
            short = random.integers(self.shortest, self.longest, count, endpoint=True)
            ends = np.concatenate([ends, ends[-1] + np.cumsum(np.where(full, self.longest, short))])
        ends = np.minimum(ends[1 : int(np.searchsorted(ends, end)) + 1], end)
        starts = np.concatenate([[start], ends[:-1]])
        long_enough = ends - starts >= self.shortest
        return starts[long_enough], ends[long_enough]

    def _random(self, index: int) -> tuple[int, int]:
        """A uniform place and length; what runs past the end of its region is cut off."""
        random = generator(self.seed, Stream.RANDOM_WINDOW, index)
        place = int(random.integers(self._places[-1]))
        length = int(random.integers(self.shortest, self.longest, endpoint=True))
        region = int(np.searchsorted(self._places, place, side="right"))
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
