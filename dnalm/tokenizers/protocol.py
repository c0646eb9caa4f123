"""What every tokenizer promises to the data layer, the models and the evaluations.

A tokenizer owns every id. Its `encode` already holds the special tokens its model was trained
with, and `spans` says which bases each token spells; a special token spells none. Masking, bits
per base, embeddings and variant scores are written against this protocol alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from dnalm.genome.alphabet import Codes

Ids = npt.NDArray[np.int64]


class SpecialIds(NamedTuple):
    """The ids of the special tokens."""

    padding: int
    unknown: int
    start: int
    end: int
    mask: int


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

    def encode(self, codes: Codes) -> Ids:
        """(L,) codes to (T,) ids, special tokens included."""

    def spans(self, codes: Codes) -> Ids:
        """The half-open interval of bases each token of `encode(codes)` spells, (T, 2)."""

    def decode(self, ids: Ids) -> Codes:
        """(T,) ids back to (L,) codes; what the ids do not tell is N."""

    def length_in_bases(self, num_tokens: int) -> int:
        """Bases that make `num_tokens` tokens, special ones not counted."""

    def save(self, folder: Path) -> None:
        """Write the files a Hugging Face model directory holds for this tokenizer."""
