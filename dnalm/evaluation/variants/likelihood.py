"""How likely a model finds bases that are hidden from it, whatever the tokens.

Where tokens tile, the log-probability of a hidden token is that of the bases it spells. Where they overlap, a
hidden base's distribution is the mean of what the hidden tokens that cover it say of it, as in
`training.bits`. A base N has none and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnalm.evaluation.board import Board, Floats
from dnalm.genome.alphabet import UNKNOWN, Codes
from dnalm.tokenizers.protocol import Ids


@dataclass
class Likelihood:
    """A sum of log-probabilities and the number of bases they are of."""

    nats: float = 0.0
    num_bases: int = 0


def difference(ref: Likelihood, alt: Likelihood) -> float:
    """ALT minus REF in nats, each per base, times the mean of their numbers of bases.

    With as many bases in both it is the difference of the sums; else neither allele is judged less likely
    for being longer. Swapping the alleles negates it.
    """
    if not ref.num_bases or not alt.num_bases:
        return float("nan")
    mean = (ref.num_bases + alt.num_bases) / 2
    return mean * (alt.nats / alt.num_bases - ref.nats / ref.num_bases)


@dataclass(frozen=True)
class Text:
    """A tokenized window: its (L,) codes, (T,) ids and (T, 2) spans."""

    codes: Codes
    ids: Ids
    spans: Ids

    def touching(self, start: int, end: int) -> Ids:
        """The tokens that spell a base of [start, end), and none that spells no base."""
        first, last = self.spans[:, 0], self.spans[:, 1]
        return np.flatnonzero((first < end) & (last > start) & (last > first))


def ask(board: Board, text: Text, tokens: Ids, told: Ids, into: Likelihood) -> None:
    """Hide tokens and add what the model says of them.

    Args:
        board: answers later.
        text: the window.
        tokens: (M,) hidden tokens.
        told: (B,) bases whose probability is wanted where tokens overlap, all tokens over them hidden; where
            they tile, all bases of the hidden tokens are meant.
        into: is added to.
    """
    if not len(tokens):
        return
    ids = text.ids.copy()
    ids[tokens] = board.tokenizer.special.mask
    if board.overlaps:
        board.ask_bases(ids, tokens, lambda values: _of_bases(values, text, tokens, told, into))
    else:
        board.ask_tokens(ids, tokens, lambda values: _of_tokens(values, text, tokens, into))


def _of_tokens(values: Floats, text: Text, tokens: Ids, into: Likelihood) -> None:
    spans = text.spans[tokens]
    known = np.array([UNKNOWN not in text.codes[start:end] for start, end in spans])
    into.nats += float(values[np.arange(len(tokens)), text.ids[tokens]][known].sum())
    into.num_bases += int((spans[:, 1] - spans[:, 0])[known].sum())


def _of_bases(values: Floats, text: Text, tokens: Ids, told: Ids, into: Likelihood) -> None:
    spans = text.spans[tokens]
    for base in told:
        if text.codes[base] == UNKNOWN:
            continue
        over = np.flatnonzero((spans[:, 0] <= base) & (spans[:, 1] > base))
        place = base - spans[over, 0]
        into.nats += float(np.log(np.exp(values[over, place, text.codes[base]]).mean()))
        into.num_bases += 1
