"""In-silico saturation mutagenesis: every base of a region to every other base.

L bases of the sequence with flanks, R of the region.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnalm.evaluation.interpretation.reader import Floats, Question, Reader
from dnalm.evaluation.interpretation.regions import Region
from dnalm.genome.alphabet import UNKNOWN, Codes


@dataclass(frozen=True, eq=False)
class Mutagenesis:
    """What substitutions do to a region, in nats; NaN at bases N.

    Attributes:
        log_p_R4: log-probability of every base where all tokens over it are hidden.
        effect_R4: that of the base less that of the one that stands there; 0 for the latter.
        neighbours_R4: what the substitution adds to the log-probabilities of the bases nearby, each hidden in
            its turn, summed; 0 for the base that stands there.
    """

    log_p_R4: Floats  # noqa: N815
    effect_R4: Floats  # noqa: N815
    neighbours_R4: Floats  # noqa: N815


def substitute(codes: Codes, place: int, base: int) -> Codes:
    """A copy with one base changed."""
    changed = codes.copy()
    changed[place] = base
    return changed


def saturate(reader: Reader, region: Region, *, neighbours_bp: int) -> Mutagenesis:
    """Judge every substitution of a region.

    Args:
        reader: the model.
        region: where.
        neighbours_bp: bases on either side of a substitution whose log-probabilities are compared.
    """
    codes, (first, last) = region.codes, region.inner
    log_p_R4 = expectations(reader, region)
    own_R = np.where(codes[first:last] == UNKNOWN, 0, codes[first:last]).astype(np.int64)
    effect_R4 = log_p_R4 - np.take_along_axis(log_p_R4, own_R[:, None], axis=1)
    neighbours_R4 = np.where(np.isnan(log_p_R4), np.nan, 0.0)
    if neighbours_bp:
        neighbours_R4 += _of_neighbours(reader, region, neighbours_bp)
    return Mutagenesis(log_p_R4, effect_R4, neighbours_R4)


def _of_neighbours(reader: Reader, region: Region, reach: int) -> Floats:
    codes, (first, last) = region.codes, region.inner
    near = list(range(max(0, first - reach), min(len(codes), last + reach)))
    near = [place for place in near if codes[place] != UNKNOWN]
    told = reader.log_probabilities([Question(codes, place) for place in near])
    before = {place: row[codes[place]] for place, row in zip(near, told, strict=True)}
    changes = np.zeros((last - first, 4))
    for place in region.known():
        around = [other for other in near if 0 < abs(other - place) <= reach]
        others = [base for base in range(4) if base != codes[place]]
        changed = [substitute(codes, place, base) for base in others]
        told = reader.log_probabilities([Question(text, other) for text in changed for other in around])
        after = told.reshape(3, len(around), 4)[:, np.arange(len(around)), codes[around]]
        known = np.array([before[other] for other in around])
        changes[place - first, others] = np.nansum(after - known, axis=1)
    return changes


def expectations(reader: Reader, region: Region) -> Floats:
    """(R, 4) log-probabilities of each base of a region, each hidden by itself; NaN at N."""
    first, last = region.inner
    told = np.full((last - first, 4), np.nan)
    questions = [Question(region.codes, place) for place in region.known()]
    told[np.array(region.known()) - first] = reader.log_probabilities(questions)
    return told


def of_text(reader: Reader, region: Region) -> Floats:
    """(R,) log-probability of the base that stands at each place of a region; NaN at N."""
    codes = region.codes[slice(*region.inner)]
    known = np.flatnonzero(codes != UNKNOWN)
    told = np.full(len(codes), np.nan)
    told[known] = expectations(reader, region)[known, codes[known]]
    return told
