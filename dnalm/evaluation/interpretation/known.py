"""Known motifs beside what a model knows: which found motif resembles which, and how well sites are known.

TOMTOM and FIMO are those of memelite (Schreiber's rewriting of the MEME suite's; Gupta et al. 2007, Grant
et al. 2011).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from dnalm.evaluation.interpretation.reader import Floats
from dnalm.evaluation.interpretation.seqlets import FoundMotif
from dnalm.genome.alphabet import UNKNOWN, Codes

Table = npt.NDArray[np.float64]


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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
            motif.name,
            names[at],
            float(p_values[row, at]),
            min(float(len(names)), float(p_values[row, at]) * len(names)),
            int(overlaps[row, at]),
            "-" if strands[row, at] else "+",
        )
        for row, (motif, at) in enumerate(zip(found, best, strict=True))
    ]


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
    from memelite import fimo

    length = max(len(codes) for codes in texts)
    hot = np.zeros((len(texts), 4, length), dtype=np.int8)
    for number, codes in enumerate(texts):
        places = np.flatnonzero(codes < UNKNOWN)
        hot[number, codes[places], places] = 1
    tables = {name: np.ascontiguousarray(table.T) for name, table in known.items()}
    hits = fimo(tables, hot, threshold=threshold)
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
    if not len(within) or not len(without):
        return SiteKnowledge(name, num_sites, math.nan, math.nan, math.nan)
    wins = stats.mannwhitneyu(within, without, method="asymptotic").statistic
    auroc = float(wins) / len(within) / len(without)
    return SiteKnowledge(name, num_sites, float(within.mean()), float(without.mean()), auroc)
