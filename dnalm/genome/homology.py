"""Homology between stretches of DNA, within a genome, across genomes and between the rows of tables.

Two stretches are homologous if they have a local alignment, on either strand, of at least `SCORE` points:
1 a match, -1 a mismatch, -3 - k a gap of k bases, which suits DNA of 70 % identity (States et al. 1991).
100 bases at 70 % have 40 points. By chance (Karlin & Altschul 1990) a yeast genome against itself has
two such alignments: 0.3 * (12 * 10^6)^2 * exp(-1.03 * 30).

How they are found: 16 spaced seeds, patterns of 12 places within 17 to 27 that must agree, while others need
not (PatternHunter, Ma et al. 2002; several seeds, Li et al. 2004). Each place of a sequence has one word of
every seed. Patterns are symmetric, so the smaller of a word and its reverse complement serves both strands.
Words are sorted and equal ones compared, bit by bit: the 32 bases around the seed, then 96, then 160 with
gaps; what is left is aligned within a band.

What is found: a seed of span s has 101 - s places in 100 bases, each with a probability of identity^12, so
at 70 % the 16 seeds agree about 17 times. They do so in clumps; with exactly 30 differences among 100 bases,
at random, 99.8 % have a seed at least (a test draws them again). Gaps break a stretch into
shorter ones. Measured (experiments/homology) on planted pairs of 100 bases: at 70 % exactly 99.9 %, with a
gap for 12 substitutions, as in the simulated clade, 99.4 % (95 % interval 99.2 to 99.6 %).

What is not compared, and replaced by noise: N; stretches of low complexity such as microsatellites (DUST,
Morgulis et al. 2006), which agree without common descent; soft-masked bases, where asked for. Words that
more than `_COMPARED` places share are compared with so many of them, in a random order, so that time and
memory grow with the sequences and not with pairs: copies of a repeat are found by way of each other.

L bases, U units (rows, or blocks of a genome), P pairs of places. About 50 bytes are held for each base.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dnalm.genome.alphabet import SOFT_MASK, Codes, bases, is_unknown

SCORE = 30
SEEDS = (
    "11101110001110111",
    "101100111111001101",
    "110111010010111011",
    "1110101100011010111",
    "11101010011001010111",
    "11110000110001100001111",
    "110101011000000110101011",
    "110011101000000101110011",
    "11011000100011000100011011",
    "11110100000011000000101111",
    "11100010010100101001000111",
    "11010011001000010011001011",
    "101100010101000101010001101",
    "110010110010000010011010011",
    "101100110000101000011001101",
    "110010100101000101001010011",
)
WEIGHT = 12
RULES = 2  # raised where other pairs are found, so that what a cache keeps is computed again
_WORD = 32  # bases of a packed word
_EDGE = 256  # bases of noise on both sides of all sequences, so that no comparison leaves them
_COMPARED = 32
_AT_ONCE = 1 << 18  # places or pairs
_AROUND = 8  # points of the 32 bases around a seed, of which it has 12
_UNGAPPED, _GAPPED = 10, 12  # points of 96 bases without a gap, and with one on each side of the seed
_LONGER = 16  # points of 160 bases
_LONGEST_GAP = 4  # of those
_REACH, _BAND = 112, 12  # bases aligned on both sides of a word; diagonals on both sides of the seed's
_ALIGNED = 2048  # alignments at once
_GAP_OPEN, _GAP_EXTEND = 3, 1
_DUST_WINDOW, _DUST_LEVEL = 64, 2.0  # Morgulis et al. 2006
_MOST = 64  # points that an alignment is given, so that they fit into a byte
_PLACE_BITS = 39
_NO_WORD = np.uint32(2**32 - 1)
_NOISE_SEED = 1

Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
Wanted = Callable[[Integers, Integers], Bools]


def low_complexity(codes: Codes) -> Bools:
    """Where the triplets of 64 bases recur too often, (L,): their DUST score is above 2.

    The score is the number of pairs of equal triplets within the window for each triplet. It is counted over
    lags, as pairs of a triplet and one of the 61 before it, which are twice as many; N equals nothing.
    """
    plain = bases(codes)
    triplets = plain[:-2] * np.uint8(25) + plain[1:-1] * np.uint8(5) + plain[2:]
    unknown = is_unknown(codes)
    known = ~(unknown[:-2] | unknown[1:-1] | unknown[2:])
    width = _DUST_WINDOW - 2
    equal = np.zeros(len(triplets), np.uint8)
    for lag in range(1, min(width, len(triplets))):
        equal[lag:] += triplets[lag:] == triplets[:-lag]
    equal *= known
    sums = np.concatenate([[0], np.cumsum(equal, dtype=np.int64)])
    dull = np.zeros(len(codes) + 1, np.int32)
    if len(triplets) >= width:
        found = np.flatnonzero(sums[width:] - sums[:-width] > 2 * _DUST_LEVEL * width)
        np.add.at(dull, found, 1)
        np.add.at(dull, found + _DUST_WINDOW, -1)
    return np.asarray(dull[:-1].cumsum() > 0)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Pairs:
    """Places whose words agree, (P,) each, in padded coordinates.

    Attributes:
        first: where the seed begins.
        second: likewise.
        crossed: whether the second is read from the other strand, from the end of its seed.
        points: of the best alignment known so far.
    """

    first: Integers
    second: Integers
    crossed: Bools
    points: Integers

    def __len__(self) -> int:
        return len(self.first)

    @classmethod
    def joined(cls, parts: Sequence[_Pairs]) -> _Pairs:
        """One after the other."""
        return cls(
            first=np.concatenate([each.first for each in parts]),
            second=np.concatenate([each.second for each in parts]),
            crossed=np.concatenate([each.crossed for each in parts]),
            points=np.concatenate([each.points for each in parts]),
        )

    def chosen(self, which: Bools | Integers) -> _Pairs:
        """Some of them."""
        return _Pairs(
            first=self.first[which],
            second=self.second[which],
            crossed=self.crossed[which],
            points=self.points[which],
        )


class Homology:
    """Sequences end to end, made ready to be compared with each other.

    Args:
        codes: (L,) bases of all sequences.
        sequences: (S + 1,) where each begins, and L; no alignment leaves its sequence.
        units: (U + 1,) where each unit begins, and L, which are what is called homologous; every sequence is
            one or several. The sequences themselves if absent.
        skip_masked: leave soft-masked bases out.

    Attributes:
        num_units: U.
        compared: (L,) bases that are.
    """

    def __init__(
        self, codes: Codes, sequences: Integers, *, units: Integers | None = None, skip_masked: bool = False
    ) -> None:
        hidden = is_unknown(codes) | low_complexity(codes)
        if skip_masked:
            hidden |= (codes & SOFT_MASK) > 0
        self.compared: Bools = ~hidden
        noise = np.random.Generator(np.random.PCG64(_NOISE_SEED))
        padded = noise.integers(0, 4, len(codes) + 2 * _EDGE, dtype=np.uint8)
        padded[_EDGE : _EDGE + len(codes)][~hidden] = bases(codes)[~hidden]
        words = _packed(padded)
        self._codes, self._words = padded, np.concatenate([words, _reverse_complement(words, _WORD)])
        self._sequences = sequences + _EDGE
        units = sequences if units is None else units
        self.num_units = len(units) - 1
        self._unit = np.repeat(np.arange(self.num_units, dtype=np.int32), np.diff(units))  # of each base
        self._free = _free_bases(hidden, sequences)
        self._room = np.empty(len(codes), np.uint64)  # of the entries of one seed

    def pairs(self, wanted: Wanted) -> Iterator[tuple[Integers, Integers]]:
        """Homologous units, (P,) and (P,), as they are found; a pair may come several times.

        Args:
            wanted: of two arrays of units, which pairs are worth comparing; asked again and again, so that
                what follows from pairs found before need not be found.
        """
        for seed in SEEDS:
            agreeing = _batched(self._agreeing(seed, wanted), _AT_ONCE)
            extended = (self._extended(pairs, len(seed)) for pairs in agreeing)
            for pairs in _batched(extended, _ALIGNED):
                best = self._best(pairs.chosen(wanted(*self._units(pairs))))
                if len(best):
                    yield self._units(best.chosen(self._aligned(best, len(seed)) >= SCORE))

    def components(self) -> Integers:
        """(U,) numbers from 0, equal for units that are homologous, be it by way of others."""
        labels = np.arange(self.num_units)

        def apart(one: Integers, other: Integers) -> Bools:
            return np.asarray(labels[one] != labels[other])

        for first, second in self.pairs(apart):
            ones = np.ones(len(first), np.bool_)
            graph = coo_array((ones, (labels[first], labels[second])), shape=(self.num_units,) * 2)
            labels[:] = connected_components(graph, directed=False)[1][labels]
        return np.asarray(np.unique(labels, return_inverse=True)[1], np.int64)

    def links(self) -> tuple[Integers, Integers]:
        """Homologous units, (P,) and (P,), every pair once; of copies of a repeat that are many, not all."""
        known = np.zeros(0, np.int64)

        def keys(one: Integers, other: Integers) -> Integers:
            return np.asarray(np.minimum(one, other) * self.num_units + np.maximum(one, other))

        def unknown(one: Integers, other: Integers) -> Bools:
            asked = keys(one, other)
            places = np.searchsorted(known, asked)
            return np.asarray((one != other) & (np.append(known, -1)[places] != asked))

        for one, other in self.pairs(unknown):
            known = np.union1d(known, keys(one, other))
        return known // self.num_units, known % self.num_units

    def in_earlier_parts(self, parts: Integers) -> Bools:
        """Which units have a homologous one in each part before their own.

        Args:
            parts: (U,) the part of each, from 0; N in all.

        Returns:
            (U, N) bool, False for a unit's own part and those after it.
        """
        found = np.zeros((self.num_units, int(parts.max(initial=0)) + 1), np.bool_)

        def unknown(one: Integers, other: Integers) -> Bools:
            late, early = np.maximum(one, other), np.minimum(one, other)
            swapped = parts[late] < parts[early]
            late, early = np.where(swapped, early, late), np.where(swapped, late, early)
            return np.asarray((parts[late] > parts[early]) & ~found[late, parts[early]])

        for one, other in self.pairs(unknown):
            for late, early in ((one, other), (other, one)):
                later = parts[late] > parts[early]
                found[late[later], parts[early[later]]] = True
        return found

    def _entries(self, seed: str) -> Words:
        """One number of each place, sorted: its word, the place out of order, its strand."""
        size = 0
        for start in range(0, len(self._free), _AT_ONCE):
            places = start + np.flatnonzero(self._free[start : start + _AT_ONCE] >= len(seed))
            forward = _word(self._words[places + _EDGE], seed)
            backward = _reverse_complement(forward, WEIGHT)
            entries = np.minimum(forward, backward) << np.uint64(_PLACE_BITS + 1)
            entries |= (places.astype(np.uint64) * _MIX & _PLACES) << np.uint64(1)
            entries |= (backward < forward).view(np.uint8)
            self._room[size : size + len(entries)] = entries
            size += len(entries)
        entries = self._room[:size]
        entries.sort()
        return entries

    def _agreeing(self, seed: str, wanted: Wanted) -> Iterator[_Pairs]:
        """Pairs of places with the same word, of units that are wanted, that agree well around the seed."""
        entries, span = self._entries(seed), len(seed)
        for start in range(0, len(entries), _AT_ONCE):
            part = entries[start : start + _AT_ONCE + _COMPARED]
            words = np.append((part >> np.uint64(_PLACE_BITS + 1)).astype(np.uint32), _NO_WORD)
            turned = (part & np.uint64(1)).astype(np.bool_)
            places = ((part >> np.uint64(1)) * _UNMIX & _PLACES).view(np.int64) + _EDGE
            around = self._words[self._begin(places, turned, span) + _sign(turned) * ((span - _WORD) // 2)]
            one, lags, points = _close(words, around, min(_AT_ONCE, len(part)))
            other = one + lags
            pairs = _Pairs(
                first=places[one], second=places[other], crossed=turned[one] != turned[other], points=points
            )
            yield pairs.chosen(wanted(*self._units(pairs)))

    def _extended(self, pairs: _Pairs, span: int) -> _Pairs:
        """Pairs that agree in 96 bases, on one diagonal and then with gaps, and in 160 with more gaps."""
        straight, _ = self._flanked(pairs, 1, span, gap=0)
        pairs = pairs.chosen(straight >= _UNGAPPED)
        points, drift = self._flanked(pairs, 1, span, gap=_LONGEST_GAP)
        kept = points >= _GAPPED
        pairs, drift = replace(pairs.chosen(kept), points=points[kept]), drift[:, kept]
        points, _ = self._flanked(pairs, 2, span, gap=_LONGEST_GAP, drift=drift)
        kept = points >= _LONGER
        return replace(pairs.chosen(kept), points=points[kept])

    def _flanked(
        self, pairs: _Pairs, far: int, span: int, *, gap: int, drift: Integers | None = None
    ) -> tuple[Integers, Integers]:
        """The points of pairs with those of 32 bases on each side, and the diagonal of these.

        Args:
            pairs: with the points between.
            far: how many words away from the 32 bases around the seed.
            span: of the seed.
            gap: the longest.
            drift: (2, P) diagonals of the words between, from the seed's.
        """
        drift = np.zeros((2, len(pairs)), np.int64) if drift is None else drift
        total, reached = pairs.points.copy(), drift.copy()
        begin, sign = self._begin(pairs.second, pairs.crossed, span), _sign(pairs.crossed)
        for side in (0, 1):
            offset = (span - _WORD) // 2 + (far if side else -far) * _WORD
            own = self._words[pairs.first + offset]
            there = begin + sign * (offset + drift[side])
            best = np.zeros(len(pairs), np.int8)
            for shift in range(-gap, gap + 1):
                differ = own ^ self._words[there + sign * shift if shift else there]
                points = _best_points(differ, from_left=side == 1)
                points -= np.int8(_GAP_OPEN + _GAP_EXTEND * abs(shift) if shift else 0)
                if gap:
                    np.copyto(reached[side], drift[side] + shift, where=points > best)
                np.maximum(best, points, out=best)
            total += best
        return total, reached

    def _best(self, pairs: _Pairs) -> _Pairs:
        """Of each two units the pair with the most points; the others would say the same."""
        one, other = self._units(pairs)
        both = np.minimum(one, other) * self.num_units + np.maximum(one, other)
        order = np.argsort(-pairs.points, kind="stable")
        return pairs.chosen(order[np.unique(both[order], return_index=True)[1]])

    def _units(self, pairs: _Pairs) -> tuple[Integers, Integers]:
        one, other = self._unit[pairs.first - _EDGE], self._unit[pairs.second - _EDGE]
        return one.astype(np.int64), other.astype(np.int64)

    def _begin(self, places: Integers, turned: Bools, span: int) -> Integers:
        """Where the words lie, (P,), whose first base is a seed's on its strand; `_sign` leads to others."""
        return places + turned * np.int64(span - _WORD + len(self._words) // 2)

    def _aligned(self, pairs: _Pairs, span: int) -> Integers:
        """The points of the best local alignment near the diagonal of each seed, (P,)."""
        steps = np.arange(-_REACH, span + _REACH)[:, None]
        query = self._read(pairs.first + steps, pairs.first, outside=4)
        wide = np.arange(-_REACH - _BAND, span + _REACH + _BAND)[:, None]
        begin = pairs.second + np.where(pairs.crossed, span - 1, 0)
        target = self._read(begin + _sign(pairs.crossed) * wide, pairs.second, outside=5)
        target = np.where(pairs.crossed & (target < 4), 3 - target, target)
        return _align(query, target)

    def _read(self, places: Integers, seeds: Integers, *, outside: int) -> Codes:
        """Bases at places, (N, P), of the sequences that hold the seeds (P,), and a code for those beyond."""
        sequence = np.searchsorted(self._sequences, seeds, side="right") - 1
        first, last = self._sequences[sequence], self._sequences[sequence + 1]
        inside = (places >= first) & (places < last)
        return np.where(inside, self._codes[np.clip(places, 0, len(self._codes) - 1)], np.uint8(outside))


def shared_words(codes: Codes, sequences: Integers, held: Bools, others: Bools, *, length: int = 24) -> float:
    """How many of the words of some bases others have too, on either strand.

    Args:
        codes: (L,) bases.
        sequences: (S + 1,) where each begins, and L.
        held: (L,) the bases that are asked about.
        others: (L,) those they are compared with.
        length: of a word, at most 32.

    Returns:
        The share; 0 where no word is asked about. Words with N count nowhere.
    """
    places = np.flatnonzero(_free_bases(is_unknown(codes), sequences) >= length)
    plain = np.where(is_unknown(codes), 0, bases(codes)).astype(np.uint8)
    words = _packed(np.append(plain, np.zeros(_WORD, np.uint8)))[places] >> np.uint64(2 * (_WORD - length))
    words = np.minimum(words, _reverse_complement(words, length))
    asked, there = (words[of[places] & of[places + length - 1]] for of in (held, others))
    return float(np.isin(asked, there).mean()) if len(asked) else 0.0


def _batched(parts: Iterator[_Pairs], least: int) -> Iterator[_Pairs]:
    """The same pairs, at least so many at once, but for the last."""
    waiting: list[_Pairs] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= least:
            yield _Pairs.joined(waiting)
            waiting, size = [], 0
    if waiting:
        yield _Pairs.joined(waiting)


_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, so that a product modulo a power of two has an inverse
_UNMIX = np.uint64(pow(0x9E3779B97F4A7C15, -1, 2**_PLACE_BITS))
_PLACES = np.uint64(2**_PLACE_BITS - 1)


def _close(words: npt.NDArray[np.uint32], around: Words, count: int) -> tuple[Integers, Integers, Integers]:
    """Pairs of equal words, sorted, whose 32 bases agree well.

    Args:
        words: (N + 1,) and a last one that is none's.
        around: (N,) the bases.
        count: of the first words, which are compared with those after them.

    Returns:
        (P,) the number of the first, how much further the second is, and the points.
    """
    here = np.flatnonzero(words[:count] == words[1 : count + 1])
    lag, found = 1, [np.zeros((3, 0), np.int64)]
    while len(here) and lag <= _COMPARED:
        points = _points(around[here] ^ around[here + lag])
        good = np.flatnonzero(points >= _AROUND)
        found.append(np.stack([here[good], np.full(len(good), lag), points[good]]))
        lag += 1
        here = here[: np.searchsorted(here, len(words) - lag)]
        here = here[words[here] == words[here + lag]]
    first, lags, points = np.concatenate(found, axis=1)
    return first, lags, points


def _align(query: Codes, target: Codes) -> Integers:
    """Smith-Waterman within a band, of many pairs at once.

    Args:
        query: (N, P) bases.
        target: (N + 2 * `_BAND`, P) bases; the diagonal in the middle of the band is the seed's.

    Returns:
        (P,) points of the best, `_MOST` at most.

    Source: Gotoh 1982, with the gaps along the band by a running maximum.
    """
    width, count = 2 * _BAND + 1, query.shape[1]
    score = np.zeros((width + 1, count), np.int8)  # a last row of zeros beyond the band
    down, along = np.full_like(score, -_GAP_OPEN), np.zeros((width, count), np.int8)
    best = np.zeros(count, np.int8)
    ramp = (np.arange(width, dtype=np.int8) * np.int8(_GAP_EXTEND))[:, None]
    here = score[:-1]
    for row in range(len(query)):
        equal = target[row : row + width] == query[row]
        down[:-1] = np.maximum(score[1:] - np.int8(_GAP_OPEN), down[1:]) - np.int8(_GAP_EXTEND)
        here += equal.view(np.int8) * np.int8(2) - np.int8(1)
        np.maximum(here, down[:-1], out=here)
        np.clip(here, 0, _MOST, out=here)
        np.add(here, ramp, out=along)
        for diagonal in range(1, width):
            np.maximum(along[diagonal], along[diagonal - 1], out=along[diagonal])
        np.maximum(here[1:], along[:-1] - ramp[1:] - np.int8(_GAP_OPEN), out=here[1:])
        np.maximum(best, here.max(axis=0), out=best)
    return best.astype(np.int64)


def _packed(codes: Codes) -> Words:
    """(L - 31,) 32 bases from each place, two bits each, the first the highest."""
    size = len(codes) - _WORD + 1
    words = np.empty(size, np.uint64)
    for start in range(0, size, _AT_ONCE):
        part = codes[start : start + _AT_ONCE + _WORD - 1].astype(np.uint64)
        reach = 1
        while reach < _WORD:
            part = part[:-reach] << np.uint64(2 * reach) | part[reach:]
            reach *= 2
        words[start : start + len(part)] = part
    return words


def _word(words: Words, seed: str) -> Words:
    """The bases under a seed, one after the other."""
    found = np.zeros(len(words), np.uint64)
    for run in re.finditer("1+", seed):
        length = run.end() - run.start()
        part = words >> np.uint64(2 * (_WORD - run.end()))
        found = found << np.uint64(2 * length) | part & np.uint64(4**length - 1)
    return found


def _sign(turned: Bools) -> Integers:
    """Which way a strand runs, (P,): 1, or -1 where it is the other."""
    return 1 - 2 * turned.astype(np.int64)


def _best_points(differ: Words, *, from_left: bool) -> npt.NDArray[np.int8]:
    """The most points of the first 8, 16, 24 or 32 bases from one end."""
    either = (differ | differ >> np.uint64(1)) & np.uint64(0x5555555555555555)
    best = np.full(len(either), -_WORD, np.int8)
    for length in (8, 16, 24, 32):
        away = np.uint64(2 * (_WORD - length))
        part = either >> away if from_left else either << away
        np.maximum(best, np.int8(length) - np.int8(2) * np.bitwise_count(part).view(np.int8), out=best)
    return best


def _points(differ: Words) -> npt.NDArray[np.int8]:
    """Matches less mismatches of 32 bases, of the bits in which they differ."""
    either = (differ | differ >> np.uint64(1)) & np.uint64(0x5555555555555555)
    return np.asarray(np.int8(_WORD) - np.int8(2) * np.bitwise_count(either).view(np.int8))


def _reverse_complement(words: Words, length: int) -> Words:
    """Of packed bases, as many in each word."""
    turned = (~words).byteswap()
    for shift, mask in ((4, 0x0F0F0F0F0F0F0F0F), (2, 0x3333333333333333)):
        turned = turned >> np.uint64(shift) & np.uint64(mask) | (turned & np.uint64(mask)) << np.uint64(shift)
    return turned >> np.uint64(2 * (_WORD - length))


def _free_bases(hidden: Bools, sequences: Integers) -> npt.NDArray[np.uint8]:
    """How many bases from each place on are compared and of its sequence, (L,), at most 255."""
    stops = np.union1d(np.flatnonzero(hidden), sequences[1:])
    places = np.arange(len(hidden))
    next_stop = stops[np.searchsorted(stops, places)]
    return np.asarray(np.minimum(next_stop - places, 255), np.uint8)
