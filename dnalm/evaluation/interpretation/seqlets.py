"""Motifs in a model's own words, known motifs that resemble them, and how well a model knows known sites.

A base's score is log2 of the probability that the model gives it, all tokens over it hidden, over its
frequency in the text: what the model knows of it. The best windows are the seqlets. From the best one on,
each gathers the seqlets that resemble it on either strand within a few bases' shift; enough of them make a
motif, whose counts are those of the bases that stand there. It knows neither gaps nor several lengths.

The method is ours: TF-MoDISco (tangermeme, modisco-lite) clusters attributions of a predicted output, here
scores are likelihoods, and dnalm does not depend on these packages; the planted motifs are found
(`experiments/grammar`). TOMTOM and FIMO are those of memelite (Schreiber's rewriting of the MEME suite's;
Gupta et al. 2007, Grant et al. 2011).

R bases of a text, W of a window, S seqlets.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from dnalm.evaluation.inference import Floats
from dnalm.genome.alphabet import UNKNOWN, Codes

WIDTH, _MARGIN = 11, 4  # bases of a seqlet, and around it, into which alignments may shift
_ALIKE = 0.65  # least cosine to the motif so far
_ROUNDS = 3  # of gathering, each with the profile of the one before
_TINY = 1e-12
_TRIM_BITS = 0.35  # columns at the ends with less information are cut


@dataclass(frozen=True, eq=False, kw_only=True)
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
    return [row / np.log(2) - logs[codes] for codes, row in zip(texts, log_p, strict=True)]


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
        name = f"found{len(motifs) + 1}"
        motifs.append(FoundMotif(name=name, counts_W4=trimmed, num_seqlets=len(members), mean_score=mean))
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
    informative = np.flatnonzero(bits >= _TRIM_BITS)
    return counts_W4[informative[0] : informative[-1] + 1] if len(informative) else counts_W4[:0]


def _cut(codes: Codes, at: int) -> Codes:
    """A window with its margins; N past the ends of the text."""
    padded = np.pad(codes, _MARGIN, constant_values=UNKNOWN)
    return padded[at : at + WIDTH + 2 * _MARGIN]


def _cut_scores(scores: Floats, at: int) -> Floats:
    padded = np.pad(np.nan_to_num(scores), _MARGIN)
    return padded[at : at + WIDTH + 2 * _MARGIN]


def _one_hot(codes: Codes) -> Floats:
    return np.eye(5)[codes][:, :4]


Table = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Match:
    """A found motif and the known one that is nearest.

    Attributes:
        found: name.
        known: name.
        p_value: of TOMTOM, of this pair.
        e_value: that times the number of known motifs.
        overlap: aligned places.
        strand: `+`, or `-` where the known motif's other strand aligns.
    """

    found: str
    known: str
    p_value: float
    e_value: float
    overlap: int
    strand: str


@dataclass(frozen=True, kw_only=True)
class SiteKnowledge:
    """How well a model knows the sites of a known motif.

    Attributes:
        known: name.
        num_sites: hits of FIMO; where one overlaps a better one of the same motif, both count.
        inside_bits: mean score of the bases in hits.
        outside_bits: of those in none of this motif's.
        auroc: chance that a base in a hit scores above one outside.
    """

    known: str
    num_sites: int
    inside_bits: float
    outside_bits: float
    auroc: float


def compare(found: Sequence[FoundMotif], known: Mapping[str, Table]) -> list[Match]:
    """The nearest known motif of each found one, by TOMTOM on both strands.

    Args:
        found: at least one.
        known: (W, 4) probabilities by name. TOMTOM's p-values take their columns as background, so of fewer
            than 25 motifs they are rough.
    """
    from memelite import tomtom  # numba's import takes seconds

    names = list(known)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        p_values, _, _, overlaps, strands = tomtom(
            [motif.frequencies.T for motif in found], [known[name].T for name in names], n_jobs=1
        )
    best = p_values.argmin(axis=1)
    return [
        Match(
            found=motif.name,
            known=names[at],
            p_value=float(p_values[row, at]),
            e_value=min(float(len(names)), float(p_values[row, at]) * len(names)),
            overlap=int(overlaps[row, at]),
            strand="-" if strands[row, at] else "+",
        )
        for row, (motif, at) in enumerate(zip(found, best, strict=True))
    ]


def find_sites(texts: Sequence[Codes], known: Mapping[str, Table], *, threshold: float) -> list[Any]:
    """FIMO's table of hits for each motif, on both strands; a hit may hold N or hang over an end.

    Args:
        texts: (R,) codes 0-4 each.
        known: (W, 4) probabilities by name.
        threshold: highest p-value of a hit.
    """
    from memelite import fimo  # numba's import takes seconds

    hot = np.zeros((len(texts), 4, max(len(codes) for codes in texts)), dtype=np.int8)
    for number, codes in enumerate(texts):
        places = np.flatnonzero(codes < UNKNOWN)
        hot[number, codes[places], places] = 1
    tables = {name: np.ascontiguousarray(table.T) for name, table in known.items()}
    found: list[Any] = fimo(tables, hot, threshold=threshold)
    return found


def scan(
    texts: Sequence[Codes], scores: Sequence[Floats], known: Mapping[str, Table], *, threshold: float
) -> list[SiteKnowledge]:
    """How well the model knows the sites of known motifs, which FIMO finds on both strands.

    Args:
        texts: (R,) codes 0-4 each.
        scores: (R,) of each text, in bits; bases with NaN are left out.
        known: (W, 4) probabilities by name.
        threshold: highest p-value of a hit.
    """
    hits = find_sites(texts, known, threshold=threshold)
    values = np.concatenate(list(scores))
    starts = np.cumsum([0, *(len(codes) for codes in texts)])
    rows = []
    for name, table in zip(known, hits, strict=True):
        inside = np.zeros(len(values), dtype=bool)
        num_sites = 0
        for text, first, last in zip(table["sequence_name"], table["start"], table["end"], strict=True):
            site = texts[text][first:last]
            if len(site) == last - first and (site < UNKNOWN).all():  # else it hangs over an end or holds N
                inside[starts[text] + first : starts[text] + last] = True
                num_sites += 1
        rows.append(_knowledge(name, num_sites, inside, values))
    return rows


def _knowledge(name: str, num_sites: int, inside: npt.NDArray[np.bool_], values: Floats) -> SiteKnowledge:
    known = ~np.isnan(values)
    within, without = values[inside & known], values[~inside & known]
    inside_bits = outside_bits = auroc = math.nan
    if len(within) and len(without):
        wins = stats.mannwhitneyu(within, without, method="asymptotic").statistic
        auroc = float(wins) / len(within) / len(without)
        inside_bits, outside_bits = float(within.mean()), float(without.mean())
    return SiteKnowledge(
        known=name,
        num_sites=num_sites,
        inside_bits=inside_bits,
        outside_bits=outside_bits,
        auroc=auroc,
    )
