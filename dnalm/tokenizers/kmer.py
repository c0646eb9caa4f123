"""Overlapping k-mers, as DNABERT reads DNA: one token for every base, each spelling k bases.

Ids equal the published vocabularies: `[PAD] [UNK] [CLS] [SEP] [MASK]`, then every k-mer in the
order of `itertools.product("ATCG", repeat=k)`, so that id = 5 + the k-mer read as a base-4
number with digits A=0, T=1, C=2, G=3.

Source: DNABERT (Ji et al. 2021), vocab.txt and tokenization of the released code.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from functools import cached_property
from pathlib import Path

import numpy as np

from dnalm.errors import DataError
from dnalm.genome.alphabet import UNKNOWN, A, C, Codes, G, T, bases
from dnalm.tokenizers.protocol import Ids, SpecialIds

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LETTERS = "ATCG"
_DIGIT = np.zeros(8, dtype=np.int64)  # by base code
_DIGIT[[A, T, C, G]] = range(4)
_BASE = np.array([A, T, C, G], dtype=np.uint8)  # by digit


class KmerTokenizer:
    """Overlapping k-mers with stride 1, wrapped as `[CLS] x [SEP]`.

    L bases give L - k + 1 k-mers. The case of a base is ignored, since soft-masking is not part
    of the published vocabulary. A k-mer that holds an N is `[UNK]`.

    Args:
        k: bases per token, 1 to 8.
    """

    def __init__(self, *, k: int = 6) -> None:
        if not 1 <= k <= 8:
            raise ValueError(f"k is {k}; a k-mer vocabulary is made for k from 1 to 8")
        self.k = k
        self.special = SpecialIds(padding=0, unknown=1, start=2, end=3, mask=4)

    @property
    def vocab_size(self) -> int:
        """5 special tokens and 4^k k-mers."""
        return len(SPECIAL_TOKENS) + int(4**self.k)

    @property
    def overlap(self) -> int:
        """A base lies in k neighbouring tokens."""
        return self.k

    @cached_property
    def replacement_ids(self) -> Ids:
        """Every k-mer, (4^k,)."""
        return np.arange(len(SPECIAL_TOKENS), self.vocab_size)

    @cached_property
    def token_bases(self) -> Codes:
        """The k bases of every id, (V, k); special tokens spell N."""
        digits = np.arange(4**self.k)[:, None] // 4 ** np.arange(self.k - 1, -1, -1) % 4
        special = np.full((len(SPECIAL_TOKENS), self.k), UNKNOWN, dtype=np.uint8)
        return np.concatenate([special, _BASE[digits]])

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the vocabulary and of the way it is applied."""
        text = "overlapping\n" + "\n".join(self.vocabulary())
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def vocabulary(self) -> list[str]:
        """The tokens in the order of their ids."""
        kmers = map("".join, itertools.product(_LETTERS, repeat=self.k))
        return [*SPECIAL_TOKENS, *kmers]

    def encode(self, codes: Codes) -> Ids:
        """(L,) codes to (L - k + 3,) ids: `[CLS]`, the k-mers, `[SEP]`.

        Raises:
            DataError: fewer than k bases.
        """
        num_kmers = self._num_kmers(codes)
        plain = bases(codes)
        digits, unknown = _DIGIT[plain], plain == UNKNOWN
        number = np.zeros(num_kmers, dtype=np.int64)
        broken = np.zeros(num_kmers, dtype=np.bool_)
        for offset in range(self.k):
            number = number * 4 + digits[offset : offset + num_kmers]
            broken |= unknown[offset : offset + num_kmers]
        number += len(SPECIAL_TOKENS)
        number[broken] = self.special.unknown
        return np.concatenate([[self.special.start], number, [self.special.end]])

    def spans(self, codes: Codes) -> Ids:
        """(L - k + 3, 2) half-open base intervals; those of `[CLS]` and `[SEP]` are empty."""
        starts = np.arange(self._num_kmers(codes))
        kmers = np.stack([starts, starts + self.k], axis=1)
        return np.concatenate([[[0, 0]], kmers, [[len(codes), len(codes)]]])

    def decode(self, ids: Ids) -> Codes:
        """(T,) ids to bases: the first k-mer, then the last base of every next one.

        A base that one k-mer hides behind a special token is read from its neighbours; it is N
        where none of the tokens that cover it tells it.
        """
        inner = ids[(ids != self.special.start) & (ids != self.special.end) & (ids != self.special.padding)]
        codes = np.full(len(inner) + self.k - 1 if len(inner) else 0, UNKNOWN, dtype=np.uint8)
        for offset in range(self.k):
            told = self.token_bases[inner, offset]
            place = codes[offset : offset + len(inner)]
            place[told != UNKNOWN] = told[told != UNKNOWN]
        return codes

    def length_in_bases(self, num_tokens: int) -> int:
        """Bases under n neighbouring k-mers: n + k - 1."""
        return num_tokens + self.k - 1

    def save(self, folder: Path) -> None:
        """Write vocab.txt and tokenizer_config.json, the files of the published models."""
        (folder / "vocab.txt").write_text("\n".join(self.vocabulary()) + "\n")
        config = {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": False,
            "do_basic_tokenize": False,
            "model_max_length": 512,
            "k": self.k,
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")

    def _num_kmers(self, codes: Codes) -> int:
        if len(codes) < self.k:
            raise DataError(
                "SEQ-01",
                where="sequence",
                found=f"{len(codes)} bases",
                expected=f"at least {self.k} bases to spell one {self.k}-mer",
                fix="drop sequences shorter than k or choose a smaller k",
            )
        return len(codes) - self.k + 1
