"""Dependency maps: how far a substitution at one base changes what the model expects at another.

R bases of the region.
"""

from __future__ import annotations

import numpy as np

from dnalm.evaluation.interpretation.mutagenesis import substitute
from dnalm.evaluation.interpretation.reader import Floats, Question, Reader
from dnalm.evaluation.interpretation.regions import Region


def dependency_map(reader: Reader, region: Region) -> Floats:
    """(R, R), row i and column j: the largest change of any base's log2-odds at j by any substitution at i.

    The base at j is hidden, so this is what the others tell of it. The diagonal is 0, and so is what lies
    outside the window around j; rows and columns of N are NaN.

    Args:
        reader: the model.
        region: where; its flanks are seen and stay as they are.

    Source: nucleotide dependencies (Tomaz da Silva et al. 2024, bioRxiv 2024.07.27.605418).
    """
    codes, (first, last) = region.codes, region.inner
    known = region.known()
    told = reader.log_probabilities([Question(codes, place) for place in known])
    before = dict(zip(known, _log2_odds(told), strict=True))
    windows = {place: reader.window(codes, place) for place in known}
    changes = np.full((last - first, last - first), np.nan)
    for place in known:
        seen = [other for other in known if other != place and windows[other][0] <= place < windows[other][1]]
        changed = [substitute(codes, place, alt) for alt in range(4) if alt != codes[place]]
        told = reader.log_probabilities([Question(text, other) for text in changed for other in seen])
        after = _log2_odds(told).reshape(3, len(seen), 4)
        changes[place - first, np.array(known) - first] = 0
        for number, other in enumerate(seen):
            changes[place - first, other - first] = np.abs(after[:, number] - before[other]).max()
    return changes


def _log2_odds(log_p_Q4: Floats) -> Floats:
    odds: Floats = (log_p_Q4 - np.log(np.maximum(-np.expm1(log_p_Q4), 1e-12))) / np.log(2)
    return odds
