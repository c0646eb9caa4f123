"""Order and randomness as pure functions of (seed, stream, index): nothing random is ever stored.

A run's sample i is the same whichever worker or rank draws it and however often the run was
resumed. Permutations are Feistel networks with cycle walking (Black & Rogaway 2002, "Ciphers with
arbitrary finite domains"): any slot is computed directly, so none is held in memory. Other draws
come from Philox (Salmon et al. 2011), a counter-based generator keyed by what is being drawn.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

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
