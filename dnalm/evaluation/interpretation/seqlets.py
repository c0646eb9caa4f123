"""Motifs in a model's own words: short stretches that it knows better than chance, piled up where alike.

A base's score is log2 of the probability that the model gives it, all tokens over it hidden, over its
frequency in the text: what the model knows of it. The best windows are the seqlets. From the best one on,
each gathers the seqlets that resemble it on either strand within a few bases' shift; enough of them make a
motif, whose counts are those of the bases that stand there. A plain method of our own: it knows neither
gaps nor several lengths.

R bases of a text, W of a window, S seqlets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dnalm.evaluation.interpretation.reader import Floats
from dnalm.genome.alphabet import UNKNOWN, Codes

WIDTH, _MARGIN = 11, 4  # bases of a seqlet, and around it, into which alignments may shift
_ALIKE = 0.65  # least cosine to the motif so far
_ROUNDS = 3  # of gathering, each with the profile of the one before
_TINY = 1e-12
_TRIM_BITS = 0.35  # columns at the ends that tell less are cut


@dataclass(frozen=True, eq=False)
class FoundMotif:
    """A pile of seqlets.

    Attributes:
        name: by rank.
        counts_W4: how often each base stands at each place of the trimmed pile.
        num_seqlets: in the pile.
        mean_score: bits a base over the window, mean of the pile.
    """

    name: str
    counts_W4: npt.NDArray[np.int64]  # noqa: N815
    num_seqlets: int
    mean_score: float

    @property
    def frequencies(self) -> Floats:
        """(W, 4), summing to 1, with a quarter of a count added to each."""
        smoothed = self.counts_W4 + 0.25
        shares: Floats = smoothed / smoothed.sum(axis=1, keepdims=True)
        return shares

    @property
    def consensus(self) -> str:
        """The commonest base at each place, in lower case where it has less than half."""
        best = self.frequencies.argmax(axis=1)
        tops = self.frequencies.max(axis=1)
        return "".join("ACGT"[b] if top >= 0.5 else "acgt"[b] for b, top in zip(best, tops, strict=True))


def scores_in_bits(texts: Sequence[Codes], log_p: Sequence[Floats]) -> list[Floats]:
    """(R,) score of every base of some texts, in bits; NaN at N.

    Args:
        texts: (R,) codes 0-4 each.
        log_p: (R,) natural logarithm of the probability of each base.
    """
    counts = np.bincount(np.concatenate(list(texts)), minlength=5)[:4] + 1
    logs = np.append(np.log2(counts / counts.sum()), np.nan)
    return [told / np.log(2) - logs[codes] for codes, told in zip(texts, log_p, strict=True)]


def find_seqlets(scores: Sequence[Floats], *, most: int) -> list[tuple[int, int, float]]:
    """The best windows that do not overlap, best first: number of the text, first base, mean score.

    Args:
        scores: (R,) of each text; a window with a NaN is none.
        most: seqlets; windows of a score of 0 or less are none either.
    """
    found: list[tuple[float, int, int]] = []
    for number, row in enumerate(scores):
        if len(row) < WIDTH:
            continue
        means = np.lib.stride_tricks.sliding_window_view(row, WIDTH).mean(axis=1)
        found += [(float(means[at]), number, int(at)) for at in np.flatnonzero(means > 0)]
    found.sort(key=lambda item: (-item[0], item[1], item[2]))
    taken = [np.zeros(len(row) + WIDTH, dtype=bool) for row in scores]
    seqlets: list[tuple[int, int, float]] = []
    for score, number, at in found:
        if len(seqlets) >= most:
            break
        if not taken[number][at : at + WIDTH].any():
            taken[number][at : at + WIDTH] = True
            seqlets.append((number, at, score))
    return seqlets


def pile_up(
    texts: Sequence[Codes],
    scores: Sequence[Floats],
    seqlets: Sequence[tuple[int, int, float]],
    *,
    most: int,
    least_seqlets: int,
) -> list[FoundMotif]:
    """Motifs of the seqlets, in the order of their best seqlet.

    Args:
        texts: (R,) codes each.
        scores: (R,) of each text.
        seqlets: from `find_seqlets`.
        most: motifs.
        least_seqlets: in a pile that is a motif.
    """
    if not seqlets:
        return []
    hot_SW4 = np.stack([_one_hot(_cut(texts[number], at)) for number, at, _ in seqlets])
    weight_SW = np.stack([_cut_scores(scores[number], at) for number, at, _ in seqlets])
    pile = _Pile(hot_SW4, hot_SW4 * weight_SW[..., None].clip(min=0))
    free = np.ones(len(seqlets), dtype=bool)
    motifs: list[FoundMotif] = []
    for seed in range(len(seqlets)):
        if len(motifs) >= most:
            break
        if not free[seed]:
            continue
        members, counts = pile.gather(free, seed)
        free[seed] = False
        if len(members) < least_seqlets or not len(trimmed := _trim(counts)):
            continue
        free[members] = False
        mean = float(np.mean([seqlets[member][2] for member in members]))
        motifs.append(FoundMotif(f"found{len(motifs) + 1}", trimmed, len(members), mean))
    return motifs


class _Pile:
    """Seqlets with their margins, in every alignment.

    Args:
        hot_SW4: their bases, one-hot.
        worth_SW4: the same, each base by what the model knows of it.
    """

    def __init__(self, hot_SW4: Floats, worth_SW4: Floats) -> None:
        self._hot_SW4, self._worth_SW4 = hot_SW4, worth_SW4
        views = [_shifted(worth_SW4, shift, strand) for shift, strand in _ALIGNMENTS]
        self._views_ASX = np.stack([view.reshape(len(view), -1) for view in views])
        own_S = np.linalg.norm(_shifted(worth_SW4, 0, 1).reshape(len(worth_SW4), -1), axis=1)
        # By the larger norm, so that no alignment wins by what it leaves out.
        self._norms_AS = np.maximum(np.maximum(np.linalg.norm(self._views_ASX, axis=2), own_S), _TINY)

    def gather(
        self, free: npt.NDArray[np.bool_], seed: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Free seqlets like a seed, (M,), and the counts of their aligned bases, (WIDTH + 2 margins, 4)."""
        profile_X = _shifted(self._worth_SW4, 0, 1)[seed].ravel()
        members = which_S = np.empty(0, dtype=np.int64)
        for _ in range(_ROUNDS):
            alike_AS = self._views_ASX @ profile_X / self._norms_AS / max(np.linalg.norm(profile_X), _TINY)
            which_S = alike_AS.argmax(axis=0)
            members = np.flatnonzero(free & (alike_AS.max(axis=0) >= _ALIKE))
            if not len(members):
                break
            profile_X = self._views_ASX[which_S[members], members].mean(axis=0)
        counts = np.zeros((WIDTH + 2 * _MARGIN, 4))
        for member in members:
            counts += _placed(self._hot_SW4[member], *_ALIGNMENTS[which_S[member]])
        return members, counts.astype(np.int64)


_ALIGNMENTS = [(shift, strand) for strand in (1, -1) for shift in range(-_MARGIN, _MARGIN + 1)]


def _shifted(values_SW4: Floats, shift: int, strand: int) -> Floats:
    """(S, WIDTH, 4) of the wide windows, on a strand, begun `shift` bases later."""
    turned = values_SW4 if strand == 1 else values_SW4[:, ::-1, ::-1]
    return turned[:, _MARGIN + shift : _MARGIN + shift + WIDTH]


def _placed(hot_W4: Floats, shift: int, strand: int) -> Floats:
    """A wide window moved so that its chosen part lies in the middle; bases outside are not counted."""
    turned = hot_W4 if strand == 1 else hot_W4[::-1, ::-1]
    placed = np.zeros_like(turned)
    first, last = max(0, shift), min(len(turned), len(turned) + shift)
    placed[first - shift : last - shift] = turned[first:last]
    return placed


def _trim(counts_W4: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Without uninformative columns at the ends."""
    shares = (counts_W4 + 0.25) / (counts_W4 + 0.25).sum(axis=1, keepdims=True)
    bits = 2 + (shares * np.log2(shares)).sum(axis=1)
    telling = np.flatnonzero(bits >= _TRIM_BITS)
    return counts_W4[telling[0] : telling[-1] + 1] if len(telling) else counts_W4[:0]


def _cut(codes: Codes, at: int) -> Codes:
    """A window with its margins; N past the ends of the text."""
    padded = np.pad(codes, _MARGIN, constant_values=UNKNOWN)
    return padded[at : at + WIDTH + 2 * _MARGIN]


def _cut_scores(scores: Floats, at: int) -> Floats:
    padded = np.pad(np.nan_to_num(scores), _MARGIN)
    return padded[at : at + WIDTH + 2 * _MARGIN]


def _one_hot(codes: Codes) -> Floats:
    return np.eye(5)[codes][:, :4]
