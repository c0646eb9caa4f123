"""The scores of a variant. Each looks at both alleles in their windows; both strands are averaged outside.

A score first asks the board what it needs, then, when the board has answered, tells its numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from dnalm.evaluation.board import Board, Floats
from dnalm.evaluation.variants.likelihood import Likelihood, Text, ask, difference
from dnalm.evaluation.variants.windows import Pair, Window
from dnalm.tokenizers import Tokenizer
from dnalm.tokenizers.protocol import Ids

Tell = Callable[[], list[float]]
_REACH_BP = 64  # how far from the allele tokens of both texts are followed to a common border
_HIDDEN_PART = 6  # the pseudo-likelihood hides a token in so many at a time, 17 %, as pre-training does


class Score(Protocol):
    """A way to compare two windows. A fine-tuned head's prediction fits here as well."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of its numbers, lower case, unique among the scores."""

    def ask(self, board: Board, pair: Pair) -> Tell:
        """Ask what is needed; the function tells the numbers, ALT against REF, once that is answered."""


def read_text(tokenizer: Tokenizer, window: Window) -> Text:
    """Tokenize a window."""
    ids = tokenizer.encode(window.codes)
    return Text(window.codes, ids, tokenizer.spans(window.codes, ids))


class MaskedRatio:
    """`llr`: log-likelihood ratio of ALT to REF, in nats, all tokens that touch the variant hidden in both.

    Overlapping k-mers: sum over the allele's bases of log p(base), p the mean over the k hidden tokens that
    cover it. A SNV: log p(ALT) - log p(REF), from one hidden text, for both alleles hide the same.
    6-mers and LOGO's k-mers: log p(token of ALT) - log p(token of REF) at the hidden tokens; their other
    bases are alike, so it is the ratio of the bases given these.
    BPE, which cuts the alleles differently: the hidden run is grown on both sides to the nearest border that
    both cuts have within 64 bases, so that both runs spell the same flanks.
    An indel shifts the borders of 6-mers, and none is in common: then the touching tokens alone are hidden.
    Where the runs differ in bases, see `likelihood.difference`.
    """

    names = ("llr",)

    def ask(self, board: Board, pair: Pair) -> Tell:
        """See `Score.ask`."""
        texts = [read_text(board.tokenizer, window) for window in (pair.ref, pair.alt)]
        tokens = [
            text.touching(window.start, window.end)
            for text, window in zip(texts, (pair.ref, pair.alt), strict=True)
        ]
        if not board.overlaps:
            tokens = _grown(texts, tokens)
        sums = [Likelihood(), Likelihood()]
        for text, window, hidden, into in zip(texts, (pair.ref, pair.alt), tokens, sums, strict=True):
            ask(board, text, hidden, np.arange(window.start, window.end), into)
        return lambda: [difference(*sums)]


def _grown(texts: list[Text], tokens: list[Ids]) -> list[Ids]:
    """Two runs of tokens grown to the nearest borders in common, the right ones counted from the end."""
    if not all(len(run) for run in tokens):
        return tokens
    runs = list(zip(texts, tokens, strict=True))
    low = min(int(text.spans[run[0], 0]) for text, run in runs)
    high = min(len(text.codes) - int(text.spans[run[-1], 1]) for text, run in runs)
    lefts = [
        {int(start) for start in text.spans[:, 0] if low - _REACH_BP <= start <= low} for text, _ in runs
    ]
    ends = [
        (len(text.codes) - text.spans[text.spans[:, 1] > text.spans[:, 0], 1]).tolist() for text, _ in runs
    ]
    rights = [{end for end in each if high - _REACH_BP <= end <= high} for each in ends]
    left, right = max(lefts[0] & lefts[1], default=None), max(rights[0] & rights[1], default=None)
    grown = []
    for text, run in runs:
        start = int(text.spans[run[0], 0]) if left is None else left
        end = int(text.spans[run[-1], 1]) if right is None else len(text.codes) - right
        grown.append(text.touching(start, end))
    return grown


class PseudoLikelihood:
    """`pll`: difference of the pseudo-log-likelihoods, in nats, of the bases around the variant.

    Every token that touches the allele or `pll_bp / 2` bases on either side of it is hidden, one in six at a
    time, and the log-probabilities are summed. Where k-mers overlap, bases are hidden instead, each by all k
    tokens over it, 6 k bases apart. For different lengths see `likelihood.difference`.

    Args:
        pll_bp: bases around the allele that are summed over.
    """

    names = ("pll",)

    def __init__(self, *, pll_bp: int) -> None:
        self._half = pll_bp // 2

    def ask(self, board: Board, pair: Pair) -> Tell:
        """See `Score.ask`."""
        sums = [Likelihood(), Likelihood()]
        for window, into in zip((pair.ref, pair.alt), sums, strict=True):
            text = read_text(board.tokenizer, window)
            start = max(0, window.start - self._half)
            end = min(len(window.codes), window.end + self._half)
            if board.overlaps:
                apart = _HIDDEN_PART * board.tokenizer.overlap
                for first in range(start, min(end, start + apart)):
                    bases = np.arange(first, end, apart)
                    hidden = [text.touching(int(base), int(base) + 1) for base in bases]
                    ask(board, text, np.unique(np.concatenate(hidden)), bases, into)
            else:
                tokens = text.touching(start, end)
                for first in range(_HIDDEN_PART):
                    ask(board, text, tokens[first::_HIDDEN_PART], tokens[:0], into)
        return lambda: [difference(*sums)]


_MEASURES = ("cosine", "l1", "l2", "dot")


class Distance:
    """How far hidden states of ALT lie from those of REF: cosine distance, L1, L2, and the dot product.

    `<measure>_variant_<layer>` compares means over the tokens that touch the variant,
    `<measure>_window_<layer>` means over all tokens that spell bases. Layer 0 is the embeddings. All but
    `dot`, which is the similarity itself, are 0 between equal alleles.

    Args:
        layers: of the model, from 0, in order.
    """

    def __init__(self, *, layers: Sequence[int]) -> None:
        self.names = tuple(
            f"{measure}_{part}_{layer}"
            for layer in layers
            for part in ("variant", "window")
            for measure in _MEASURES
        )

    def ask(self, board: Board, pair: Pair) -> Tell:
        """See `Score.ask`."""
        means: list[Floats | None] = [None, None]
        for index, window in enumerate((pair.ref, pair.alt)):
            self._ask(board, window, means, index)

        def tell() -> list[float]:
            ref, alt = means
            assert ref is not None, "the board has not answered"
            assert alt is not None, "the board has not answered"
            return [value for one, two in zip(ref, alt, strict=True) for value in _measure(one, two)]

        return tell

    def _ask(self, board: Board, window: Window, means: list[Floats | None], index: int) -> None:
        text = read_text(board.tokenizer, window)
        parts = [text.touching(window.start, window.end), text.touching(0, len(window.codes))]

        def read(states: Floats) -> None:
            told = np.stack([states[:, part].mean(axis=1) for part in parts], axis=1)
            means[index] = told.reshape(-1, states.shape[-1])

        board.ask_hidden(text.ids, read)


def _measure(ref: Floats, alt: Floats) -> list[float]:
    dot = float(ref @ alt)
    norms = float(np.linalg.norm(ref) * np.linalg.norm(alt))
    cosine = 0.0 if np.array_equal(ref, alt) else 1 - dot / norms if norms else float("nan")
    return [cosine, float(np.abs(alt - ref).sum()), float(np.linalg.norm(alt - ref)), dot]
