"""Overlapping k-mers, as DNABERT reads DNA: one token for every base, each spelling k bases.

Ids equal the published vocabularies: `[PAD] [UNK] [CLS] [SEP] [MASK]`, then every k-mer in the order that
DNABERT and the Nucleotide Transformer share, `product("ATCG", repeat=k)`: id = 5 + the k-mer read as a base-4
number with digits A=0, T=1, C=2, G=3. With k = 1 this is the character tokenizer.

Source: DNABERT (Ji et al. 2021), vocab.txt and tokenization of the released code.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dnalm.genome.alphabet import SOFT_MASK, UNKNOWN, A, C, Codes, G, T
from dnalm.tokenizers.protocol import Ids, SpecialIds, require_bases
from dnalm.tokenizers.stock import (
    at_borders,
    overlapping_words,
    word_document,
    write_config,
    write_stock,
    write_vocabulary,
)

_LETTERS = "ATCG"
_BASE = np.array([A, T, C, G], dtype=np.uint8)  # by digit
Digits = npt.NDArray[np.uint16]
NO_DIGIT = 4
_DIGIT = np.full(16, NO_DIGIT, dtype=np.uint16)  # by code, soft-masked ones included
for _digit, _code in enumerate(_BASE):
    _DIGIT[[_code, _code | SOFT_MASK]] = _digit


def digits(codes: Codes) -> Digits:
    """(L,) codes, soft-masked or not, to digits 0-3; an N is `NO_DIGIT`."""
    return _DIGIT.take(codes)  # half the time of an index


def kmer_words(k: int) -> list[str]:
    """All k-mers in their order, (4^k,)."""
    return ["".join(letters) for letters in itertools.product(_LETTERS, repeat=k)]


def kmer_bases(k: int) -> Codes:
    """The bases of all k-mers in their order, (4^k, k)."""
    return _BASE[np.arange(4**k)[:, None] // 4 ** np.arange(k - 1, -1, -1) % 4]


def stack_bases(rows: list[Codes]) -> Codes:
    """Rows of unequal lengths as one array padded with N, (V, longest)."""
    padded = np.full((len(rows), max(map(len, rows))), UNKNOWN, dtype=np.uint8)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return padded


def numbers(digits_L: Digits, k: int) -> Ids:
    """Base-4 number of the k digits from each place on, (L - k + 1,), k <= 8.

    Built by doubling: the numbers of w and v digits give those of w + v. Where a digit is none, the number
    means nothing.
    """
    width, part = 1, digits_L
    for bit in bin(k)[3:]:
        part = (part[:-width] << np.uint16(2 * width)) + part[width:]
        width *= 2
        if bit == "1":
            part = (part[:-1] << np.uint16(2)) + digits_L[width:]
            width += 1
    return part.astype(np.int64)


_ROLES = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_MOST_TOKENS = 512  # `[CLS]` and `[SEP]` included


class KmerTokenizer:
    """Overlapping k-mers with stride 1, wrapped as `[CLS] x [SEP]`.

    L bases give L - k + 1 k-mers. A k-mer that holds an N is `[UNK]`, so one N costs k tokens.

    Args:
        k: bases per token, 1 to 8.
    """

    def __init__(self, *, k: int = 6) -> None:
        if not 1 <= k <= 8:
            raise ValueError(f"k is {k}; a k-mer vocabulary is made for k from 1 to 8")
        self.k = k
        self.special = SpecialIds(padding=0, unknown=1, mask=4, start=2, end=3)

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
        special = np.full((len(SPECIAL_TOKENS), self.k), UNKNOWN, dtype=np.uint8)
        return np.concatenate([special, kmer_bases(self.k)])

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the vocabulary and of the way it is applied."""
        text = "overlapping\n" + "\n".join(self.vocabulary())
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def vocabulary(self) -> list[str]:
        """The tokens in the order of their ids."""
        return [*SPECIAL_TOKENS, *kmer_words(self.k)]

    def encode(self, codes: Codes) -> Ids:
        """(L,) codes to (L - k + 3,) ids: `[CLS]`, the k-mers, `[SEP]`.

        Raises:
            DataError: SEQ-01, fewer than k bases.
        """
        require_bases(codes, self.k, unit=f"{self.k}-mer")
        digits_L = digits(codes)
        ids = numbers(digits_L, self.k)
        ids += len(SPECIAL_TOKENS)
        unknown = digits_L == NO_DIGIT
        if unknown.any():
            for offset in range(self.k):
                ids[unknown[offset : offset + len(ids)]] = self.special.unknown
        return self.special.wrap(ids)

    def spans(self, codes: Codes, ids: Ids) -> Ids:  # noqa: ARG002 -- every token but two has k bases
        """(L - k + 3, 2) half-open base intervals; those of `[CLS]` and `[SEP]` are empty."""
        require_bases(codes, self.k, unit=f"{self.k}-mer")
        starts = np.arange(len(codes) - self.k + 1)
        return self.special.wrap_spans(starts[:, None] + np.array([0, self.k]))

    def decode(self, ids: Ids) -> Codes:
        """(T,) ids to bases: the first k-mer, then the last base of every next one.

        A base that one k-mer hides behind a special token is read from its neighbours; it is N
        where no token that covers it spells bases.
        """
        inner = self.special.unwrap(ids)
        codes = np.full(len(inner) + self.k - 1 if len(inner) else 0, UNKNOWN, dtype=np.uint8)
        for offset in range(self.k):
            spelled = self.token_bases[inner, offset]
            place = codes[offset : offset + len(inner)]
            place[spelled != UNKNOWN] = spelled[spelled != UNKNOWN]
        return codes

    def length_in_bases(self, num_tokens: int) -> int:
        """Bases under n neighbouring k-mers: n + k - 1."""
        return num_tokens + self.k - 1

    def save(self, folder: Path, *, published: bool = False) -> None:
        """Write vocab.txt and the files of a stock `transformers` tokenizer, or the publishers' files.

        The stock tokenizer reads raw DNA, and k-mers with single spaces between them as DNABERT's authors
        write them; a text shorter than k, with other letters, or with white space inside raw DNA is an
        error.

        Args:
            folder: where.
            published: write vocab.txt, special_tokens_map.json and a config for `BertTokenizer` alone, as
                DNABERT's authors do. It reads k-mers with spaces between them, in upper case; raw DNA
                becomes one `[UNK]`.
        """
        write_vocabulary(folder, self.vocabulary())
        names: dict[str, object] = dict(zip(_ROLES, SPECIAL_TOKENS, strict=True))
        if published:
            (folder / "special_tokens_map.json").write_text(json.dumps(names) + "\n")
            # `max_len` is the name that every version of `transformers` knows
            config = {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "max_len": _MOST_TOKENS}
            write_config(folder, config)
            return
        document = word_document(
            self.vocabulary(),
            rules=overlapping_words(self.k),
            words=at_borders(),
            wrap=("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"),
        )
        write_stock(folder, document, {"model_max_length": _MOST_TOKENS, "k": self.k, **names})
