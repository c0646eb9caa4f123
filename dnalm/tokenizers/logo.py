"""Non-overlapping k-mers over five letters, as LOGO reads DNA.

The vocabulary holds every n-gram of 1 to k letters whose letters before the last do not begin with N, so
that a k-mer with N inside still has an id and one that begins with N has none. Ids of one length
follow those of the shorter ones; within a length the last letter turns slowest: N10 A11 G12 C13 T14,
AN15 GN16 CN17 TN18 AA19 and so on. Windows begin anywhere, which gives the k phases of the paper's data.
No start or end token is set.

Source: Yang et al. 2022 (Nucleic Acids Research 50:e81); the numbering is that of the released code.
"""

from __future__ import annotations

import hashlib
import itertools
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import normalizers

from dnalm.genome.alphabet import UNKNOWN, A, C, Codes, G, T, bases, from_text
from dnalm.tokenizers.kmer import stack_bases
from dnalm.tokenizers.protocol import Ids, SpecialIds, require_bases
from dnalm.tokenizers.stock import pieces, word_document, write_stock

FIRST_ID = 10  # the ids before it: unknown and padding 0, [CLS] 1, [MASK] 2, [SEP] 3, six unused
_UNUSED_AFTER = 3  # rows that the released pre-training adds after the n-grams
_LETTERS = "NAGCT"
_DIGIT = np.zeros(8, dtype=np.int64)  # by base code
_DIGIT[[UNKNOWN, A, G, C, T]] = range(5)
_SPECIAL_TOKENS = ("[UNK]", "[CLS]", "[MASK]", "[SEP]")


class LogoTokenizer:
    """Non-overlapping k-mers from the left end, with one shorter n-gram for the remainder.

    Args:
        k: bases per token, 1 to 6; the published models are of 3 to 6.
    """

    overlap = 1  # no two tokens share a base

    def __init__(self, *, k: int = 5) -> None:
        if not 1 <= k <= 6:
            raise ValueError(f"k is {k}; LOGO's vocabulary is made for k from 1 to 6")
        self.k = k
        self.special = SpecialIds(unknown=0, padding=0, mask=2, start=None, end=None)

    @property
    def vocab_size(self) -> int:
        """5^k n-grams and 13 ids that spell nothing: 138, 638, 3138 and 15638 for k = 3 to 6."""
        return FIRST_ID + int(5**self.k) + _UNUSED_AFTER

    @cached_property
    def replacement_ids(self) -> Ids:
        """Every k-mer without N, (4^k,)."""
        kmers = np.array(list(itertools.product([A, C, G, T], repeat=self.k)), dtype=np.uint8)
        return np.sort(self._ids(kmers))

    @cached_property
    def token_bases(self) -> Codes:
        """The bases of every id, (V, k), padded with N."""
        none = [from_text("")]
        spelled = [from_text(word) for word in self._ngrams()]
        return stack_bases([*none * FIRST_ID, *spelled, *none * _UNUSED_AFTER])

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the vocabulary and of the way it is applied."""
        text = "n-grams from the left\n" + "\n".join(self.vocabulary())
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def vocabulary(self) -> list[str]:
        """The tokens in the order of their ids; unused ids are `[unused…]`."""
        last = FIRST_ID + 5**self.k
        unused = [
            f"[unused{i}]" for i in (*range(len(_SPECIAL_TOKENS), FIRST_ID), *range(last, self.vocab_size))
        ]
        split = FIRST_ID - len(_SPECIAL_TOKENS)
        return [*_SPECIAL_TOKENS, *unused[:split], *self._ngrams(), *unused[split:]]

    def encode(self, codes: Codes) -> Ids:
        """(L,) codes to ceil(L / k) ids.

        Raises:
            DataError: SEQ-01, no base at all.
        """
        require_bases(codes, 1, unit="token")
        plain = bases(codes)
        whole = len(plain) // self.k * self.k
        ids = self._ids(plain[:whole].reshape(-1, self.k))
        return np.concatenate([ids, self._ids(plain[None, whole:])]) if whole < len(plain) else ids

    def spans(self, codes: Codes, ids: Ids) -> Ids:  # noqa: ARG002 -- every token but the last has k bases
        """(ceil(L / k), 2) half-open base intervals, which tile the sequence."""
        starts = np.arange(0, len(codes), self.k)
        return np.stack([starts, np.minimum(starts + self.k, len(codes))], axis=1)

    def decode(self, ids: Ids) -> Codes:
        """(T,) ids to bases; an unknown token, for it begins with N, becomes k N."""
        spelled = self.token_bases[ids]
        lengths = self._token_lengths[ids]
        return spelled[np.arange(self.k) < lengths[:, None]]

    def length_in_bases(self, num_tokens: int) -> int:
        """Bases under n k-mers."""
        return self.k * num_tokens

    def save(self, folder: Path, *, published: bool = False) -> None:  # noqa: ARG002 -- theirs is Keras code
        """Write the files of a stock `transformers` tokenizer; the publishers have none.

        It reads raw DNA. A letter that is none of DNA is `[UNK]`, as a k-mer that begins with N is.

        Args:
            folder: where.
            published: changes nothing.
        """
        document = word_document(
            self.vocabulary(),
            rules=[normalizers.Strip()],
            words=pieces(f"[ACGTN]{{1,{self.k}}}"),
            unknown="[UNK]",
        )
        names = {"unk_token": "[UNK]", "pad_token": "[UNK]", "mask_token": "[MASK]"}
        write_stock(folder, document, {**names, "logo_k": self.k})

    @cached_property
    def _token_lengths(self) -> Ids:
        lengths = [len(word) for word in self._ngrams()]
        return np.array([self.k] * FIRST_ID + lengths + [self.k] * _UNUSED_AFTER)

    def _ngrams(self) -> list[str]:
        """All n-grams in the order of their ids, (5^k,)."""
        words = shorter = list(_LETTERS)
        for _ in range(1, self.k):
            prefixes = [word for word in shorter if not word.startswith("N")]
            shorter = [prefix + letter for letter in _LETTERS for prefix in prefixes]
            words = words + shorter
        return words

    def _ids(self, ngrams: Codes) -> Ids:
        """(T, n) plain bases, n from 1 to k, to ids, (T,)."""
        digits, length = _DIGIT[ngrams], ngrams.shape[1]
        if length == 1:
            return FIRST_ID + digits[:, 0]
        place = digits[:, 0] - 1  # of the first letter among A G C T
        place = place + digits[:, 1:] @ (4 * 5 ** np.arange(length - 1))
        return np.where(digits[:, 0] == 0, self.special.unknown, FIRST_ID + 5 ** (length - 1) + place)
