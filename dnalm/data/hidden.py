"""Which bases a masked sequence truly hides, and which masked tokens can tell them.

A base is hidden when every token that covers it is shown as the mask token. Its neighbours in an
overlapping tokenization are then of no help, so the loss at such bases compares tokenizers fairly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnalm.data.masking import Flags
from dnalm.data.order import Integers
from dnalm.genome.alphabet import UNKNOWN, Codes, bases
from dnalm.tokenizers import Ids
from dnalm.tokenizers.spans import pair_up


@dataclass(frozen=True)
class HiddenBases:
    """Hidden bases, and a list of (hidden base, masked token that covers it) pairs.

    X hidden bases, P pairs, M masked tokens.
    """

    position_X: Integers  # noqa: N815 -- flat store coordinate
    base_X: Codes  # noqa: N815 -- 0-3
    pair_base_P: Integers  # noqa: N815 -- index into X
    pair_token_P: Integers  # noqa: N815 -- index into M
    pair_offset_P: Integers  # noqa: N815 -- place of the base within the token


def find_hidden(codes: Codes, spans: Ids, hidden: Flags, *, start: int) -> HiddenBases:
    """Find the hidden bases of one sequence.

    Args:
        codes: (L,) the sequence.
        spans: (T, 2) bases of each token; special tokens have empty spans.
        hidden: (T,) True where the token is masked, and all of those are shown as mask tokens.
        start: flat store coordinate of the first base.

    Returns:
        The hidden bases in ascending order; an N is never one.
    """
    cover = np.zeros(len(codes) + 1, dtype=np.int64)
    covered_by_visible = cover.copy()
    np.add.at(cover, spans[:, 0], 1)
    np.add.at(cover, spans[:, 1], -1)
    visible = spans[~hidden]
    np.add.at(covered_by_visible, visible[:, 0], 1)
    np.add.at(covered_by_visible, visible[:, 1], -1)
    told = np.cumsum(covered_by_visible)[:-1] > 0
    is_hidden = (np.cumsum(cover)[:-1] > 0) & ~told & (bases(codes) != UNKNOWN)
    places = np.flatnonzero(is_hidden)

    pairs = pair_up(spans[hidden])
    kept = is_hidden[pairs.base]
    return HiddenBases(
        position_X=places + start,
        base_X=bases(codes)[places],
        pair_base_P=np.searchsorted(places, pairs.base[kept]),
        pair_token_P=pairs.token[kept],
        pair_offset_P=pairs.offset[kept],
    )


def join_hidden(parts: list[HiddenBases], tokens_per_part: list[int]) -> HiddenBases:
    """Put sequences end to end: indices of later parts are shifted past the earlier ones."""
    num_bases = np.cumsum([0, *(len(part.position_X) for part in parts)])
    num_tokens = np.cumsum([0, *tokens_per_part])
    return HiddenBases(
        position_X=np.concatenate([part.position_X for part in parts]),
        base_X=np.concatenate([part.base_X for part in parts]),
        pair_base_P=np.concatenate([p.pair_base_P + n for p, n in zip(parts, num_bases, strict=False)]),
        pair_token_P=np.concatenate([p.pair_token_P + n for p, n in zip(parts, num_tokens, strict=False)]),
        pair_offset_P=np.concatenate([part.pair_offset_P for part in parts]),
    )
