"""A sequence as the token ids that an encoder takes: one piece, or several where it is too long for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dnalm.errors import DataError
from dnalm.genome.alphabet import Codes
from dnalm.limits import Tokens
from dnalm.tokenizers import Ids, Tokenizer


@dataclass(frozen=True, kw_only=True)
class SequenceRecipe:
    """How sequences are read.

    Args:
        max_tokens: tokens of a piece at most, special ones not counted; what the encoder takes if absent.
        long: of a sequence that is longer: `pieces` cuts it into pieces of about equal length, encodes each
            and pools over all; `truncate` reads its beginning; `refuse` is an error.
        reverse_complement: whether training reads half of the sequences on the other strand, drawn anew each
            time.
        average_strands: whether the outputs on both strands are averaged in validation and test.
    """

    max_tokens: Tokens | None = None
    long: Literal["pieces", "truncate", "refuse"] = "pieces"
    reverse_complement: bool = False
    average_strands: bool = False


class Pieces(NamedTuple):
    """The tokens of one sequence.

    Attributes:
        ids: of all pieces end to end, (T,).
        spells: which of them spell bases, (T,).
        lengths: tokens of each piece, (P,).
        covers: where bases are labelled, the pairs of a token in `ids` and a base that it spells, (Q, 2).
    """

    ids: Ids
    spells: npt.NDArray[np.bool_]
    lengths: Ids
    covers: Ids | None = None


def cut(
    codes: Codes,
    tokenizer: Tokenizer,
    recipe: SequenceRecipe,
    *,
    limit: int | None,
    where: str,
    per_base: bool = False,
) -> Pieces:
    """Tokenize a sequence and cut it where it is too long.

    Args:
        codes: its bases.
        tokenizer: bases to ids.
        recipe: what is done with a long one.
        limit: tokens of a piece at most, special ones not counted.
        where: file and line, for the error.
        per_base: whether it must be known which bases a token spells.

    Raises:
        DataError: SEQ-01, it is too short for a token; SEQ-02, it is too long and `long` is `refuse`.
    """
    try:
        ids = tokenizer.encode(codes)
    except DataError as error:
        parts = error.as_parts()
        raise DataError(
            error.code, where=where, found=parts["found"], expected=parts["expected"], fix="leave the row out"
        ) from error
    special = tokenizer.special
    first, last = int(special.start is not None), len(ids) - int(special.end is not None)
    content = ids[first:last]
    if limit is None or len(content) <= limit:
        parted = [content]
    elif recipe.long == "truncate":
        parted = [content[:limit]]
    elif recipe.long == "refuse":
        raise DataError(
            "SEQ-02",
            where=where,
            found=f"{len(content):,} tokens",
            expected=f"at most {limit:,}",
            fix="set sequences.long=pieces, which reads all of it, or truncate",
        )
    else:
        parted = np.array_split(content, -(-len(content) // limit))
    wrapped = [special.wrap(part) for part in parted]
    spells = [special.wrap(np.zeros_like(part)) * 0 for part in parted]
    for flags, part in zip(spells, parted, strict=True):
        flags[first : first + len(part)] = 1
    spelling = np.concatenate(spells).astype(np.bool_)
    spans = tokenizer.spans(codes, ids)[first:last] if per_base else None
    return Pieces(
        np.concatenate(wrapped),
        spelling,
        np.array([len(piece) for piece in wrapped], dtype=np.int64),
        None if spans is None else _covers(np.flatnonzero(spelling), spans, len(codes)),
    )


def _covers(tokens: Ids, spans: Ids, num_bases: int) -> Ids:
    """Pairs of a token and a base, (Q, 2)."""
    lengths = spans[:, 1] - spans[:, 0]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    covers = np.stack([np.repeat(tokens, lengths), np.repeat(spans[:, 0], lengths) + within], axis=1)
    assert len(np.unique(covers[:, 1])) == num_bases, "every base is spelt by a token"
    return covers
