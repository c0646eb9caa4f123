"""What every tokenizer promises to the data layer, the models and the evaluations.

A tokenizer owns every id. Its `encode` already holds the special tokens its model was trained
with, and `spans` says which bases each token spells; a special token spells none. Masking, bits
per base, embeddings and variant scores are written against this protocol alone. Whatever lies between tokens
and bases follows from the spans: in every tokenization here, tokens are in the order of their first and of
their last base, so the tokens that cover a base are neighbours.

Case never matters: soft-masking is a fact about the genome and part of no published vocabulary, so
a soft-masked base is read as the base it is. What an N becomes, each tokenizer states.

T tokens, L bases, V vocabulary entries, P pairs of a token and a base it covers.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from dnalm.errors import DataError
from dnalm.genome.alphabet import Codes

Ids = npt.NDArray[np.int64]


class SpecialIds(NamedTuple):
    """The ids of the special tokens; `start` and `end` are None where a model wraps no such token."""

    padding: int
    unknown: int
    mask: int
    start: int | None
    end: int | None

    @property
    def num_wrapping(self) -> int:
        """Tokens that `encode` puts around those that spell bases: 0, 1 or 2."""
        return (self.start is not None) + (self.end is not None)

    def wrap(self, content: Ids) -> Ids:
        """Put the start token before and the end token after (T,) ids, where there are such."""
        ids = np.empty(len(content) + self.num_wrapping, dtype=np.int64)
        ids[self.content(len(ids))] = content
        if self.start is not None:
            ids[0] = self.start
        if self.end is not None:
            ids[-1] = self.end
        return ids

    def content(self, num_tokens: int) -> slice:
        """Where the tokens between the start and the end token are, of so many that `encode` gave."""
        return slice(int(self.start is not None), num_tokens - int(self.end is not None))

    def wrap_spans(self, content: Ids) -> Ids:
        """Put the empty spans of the start and end tokens around (T, 2) spans that reach the last base."""
        last = int(content[-1, 1])
        start = [] if self.start is None else [[[0, 0]]]
        end = [] if self.end is None else [[[last, last]]]
        return np.concatenate([*start, content, *end]).astype(np.int64)

    def unwrap(self, ids: Ids) -> Ids:
        """Drop start, end and padding tokens from (T,) ids; an id that is also the unknown token stays."""
        dropped = [i for i in (self.start, self.end, self.padding) if i is not None and i != self.unknown]
        return ids[~np.isin(ids, dropped)]


@runtime_checkable
class Tokenizer(Protocol):
    """Bases to token ids and back. T tokens, L bases, V vocabulary entries."""

    @property
    def vocab_size(self) -> int:
        """Number of ids, special ones included; ids are 0 .. vocab_size - 1."""

    @property
    def special(self) -> SpecialIds:
        """Ids of the special tokens."""

    @property
    def overlap(self) -> int:
        """Neighbouring tokens that share a base, and so must be hidden together; 1 if none do."""

    @property
    def replacement_ids(self) -> Ids:
        """Ids that masking may draw as random replacements: real DNA, no special token, (R,)."""

    @property
    def token_bases(self) -> Codes:
        """The bases each id spells, (V, longest token), values 0-3, padded with 4 (N)."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever any text would be encoded differently."""

    def vocabulary(self) -> list[str]:
        """The text of every id, in the order of the ids, (V,)."""

    def encode(self, codes: Codes) -> Ids:
        """(L,) codes to (T,) ids, special tokens included.

        Raises:
            DataError: SEQ-01, fewer bases than one token needs.
        """

    def spans(self, codes: Codes, ids: Ids) -> Ids:
        """The half-open interval of bases each token spells, (T, 2).

        `ids` are those of `encode(codes)`, or the first of them as they are wrapped alone, and `codes` then
        the bases under these; all tokens but the wrapping ones spell bases.
        """

    def decode(self, ids: Ids) -> Codes:
        """(T,) ids back to (L,) codes; a base that the ids do not determine is N."""

    def length_in_bases(self, num_tokens: int) -> int:
        """Bases that make `num_tokens` tokens, special ones not counted.

        Exact where all tokens are equally long, else the expectation on random DNA.
        """

    def save(self, folder: Path, *, published: bool = False) -> None:
        """Write the files a Hugging Face model directory holds for this tokenizer.

        Args:
            folder: where, an existing one.
            published: write the publishers' own files, for their own code, instead of a tokenizer.json that
                stock `transformers` opens and that gives these ids for raw DNA in either case, N and the
                letters of IUPAC included.
        """


Floats = npt.NDArray[np.floating]


class Pairs(NamedTuple):
    """Every (token, base it covers), by token, then by base, (P,) each.

    Attributes:
        token: index of the token.
        base: index of the base in the sequence.
        offset: place of the base in the token.
    """

    token: Ids
    base: Ids
    offset: Ids


def pair_up(spans: Ids) -> Pairs:
    """List the bases of every token by its half-open span, (T, 2); a special token has none."""
    widths = spans[:, 1] - spans[:, 0]
    token = np.repeat(np.arange(len(spans)), widths)
    offset = np.arange(len(token)) - np.repeat(np.cumsum(widths) - widths, widths)
    return Pairs(token, spans[token, 0] + offset, offset)


def covering_tokens(spans: Ids, num_bases: int) -> Ids:
    """The tokens that cover each base, by (T, 2) spans: half-open, (L, 2); empty where none does."""
    content = np.flatnonzero(spans[:, 1] > spans[:, 0])
    first = int(content[0]) if len(content) else 0
    starts, ends = spans[content, 0], spans[content, 1]
    place = np.arange(num_bases)
    return first + np.stack(
        [np.searchsorted(ends, place, side="right"), np.searchsorted(starts, place, side="right")], axis=1
    )


def mean_over_tokens(values: Floats, spans: Ids, num_bases: int) -> Floats:
    """Values of tokens brought to bases: the mean over the tokens that cover a base.

    Args:
        values: (T, ...) one value or vector for each token.
        spans: (T, 2) half-open base intervals.
        num_bases: L.

    Returns:
        (L, ...); NaN where no token covers the base.
    """
    first_L, end_L = covering_tokens(spans, num_bases).T
    sums = np.zeros((num_bases, *values.shape[1:]), dtype=np.result_type(values, np.float32))
    counts = (end_L - first_L).astype(sums.dtype)
    for step in range(int(counts.max(initial=0))):  # the tokens that cover a base are neighbours
        covered = np.flatnonzero(first_L + step < end_L)
        sums[covered] += values[first_L[covered] + step]
    counts[counts == 0] = np.nan
    sums /= counts.reshape(-1, *[1] * (sums.ndim - 1))
    return sums


def require_bases(codes: Codes, least: int, *, unit: str) -> None:
    """Refuse a sequence that is too short to spell a token.

    Args:
        codes: (L,) the sequence.
        least: bases that one token needs.
        unit: what a token is, such as `6-mer`.

    Raises:
        DataError: SEQ-01.
    """
    if len(codes) < least:
        raise DataError(
            "SEQ-01",
            where="sequence",
            found=f"{len(codes)} bases",
            expected=f"at least {least} {'base' if least == 1 else 'bases'} to spell one {unit}",
            fix="drop such sequences" + (" or choose a smaller k" if least > 1 else ""),
        )
