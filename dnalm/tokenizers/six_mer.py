"""Non-overlapping 6-mers with single bases for what is left, as the Nucleotide Transformer reads DNA.

The text is cut at every N, each of which is a token of its own; each piece is cut from its left end
into 6-mers, and the up to five bases that remain are tokens of one base each. `<cls>` stands before.

Source: Dalla-Torre et al. 2024 (Nature Methods), Methods, "Data tokenization"; the orders of ids are
those of the published v1 and v2 models.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from tokenizers import normalizers

from dnalm.genome.alphabet import Codes
from dnalm.tokenizers.kmer import NO_DIGIT, digits, kmer_bases, kmer_words, numbers, stack_bases
from dnalm.tokenizers.protocol import Ids, SpecialIds, require_bases
from dnalm.tokenizers.stock import pieces, word_document, write_config, write_stock, write_vocabulary

Flags = npt.NDArray[np.bool_]
WIDTH = 6
_NUM_KMERS = 4**WIDTH
_SPECIAL_TOKENS = {
    1: ("<unk>", "<pad>", "<mask>", "<cls>"),
    2: ("<unk>", "<pad>", "<mask>", "<cls>", "<eos>", "<bos>"),
}
_MAX_TOKENS = {1: 1000, 2: 2048}  # `<cls>` included
_WITHOUT_ROW = ("<eos>", "<bos>")  # of the v1 vocabulary; the v1 embedding has no rows for them


class SixMerTokenizer:
    """Non-overlapping 6-mers, single bases for remainders and N, wrapped as `<cls> x`.

    Args:
        version: 1 or 2 of the Nucleotide Transformer; they differ in their ids only.
    """

    overlap = 1  # no two tokens share a base

    def __init__(self, *, version: Literal[1, 2] = 2) -> None:
        if version not in _SPECIAL_TOKENS:
            raise ValueError(f"version is {version}; the Nucleotide Transformer has versions 1 and 2")
        self.version = version
        self.special = SpecialIds(unknown=0, padding=1, mask=2, start=3, end=None)
        self._first = len(_SPECIAL_TOKENS[version])

    @property
    def vocab_size(self) -> int:
        """Special tokens, 4096 6-mers, A, T, C, G and N: 4105 in version 1, 4107 in version 2."""
        return self._first + int(_NUM_KMERS) + 5

    @cached_property
    def replacement_ids(self) -> Ids:
        """Every 6-mer and single base, (4100,)."""
        return np.arange(self._first, self.vocab_size - 1)

    @cached_property
    def token_bases(self) -> Codes:
        """The bases of every id, (V, 6); special tokens and N spell N."""
        none = [np.zeros(0, dtype=np.uint8)]
        return stack_bases([*none * self._first, *kmer_bases(WIDTH), *kmer_bases(1), *none])

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the vocabulary and of the way it is applied."""
        text = "6-mers from the left of every piece\n" + "\n".join(self.vocabulary())
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def vocabulary(self) -> list[str]:
        """The tokens in the order of their ids."""
        return [*_SPECIAL_TOKENS[self.version], *kmer_words(WIDTH), *kmer_words(1), "N"]

    def encode(self, codes: Codes) -> Ids:
        """(L,) codes to `<cls>`, 6-mers, single bases and N.

        Raises:
            DataError: SEQ-01, no base at all.
        """
        require_bases(codes, 1, unit="token")
        digits_L = digits(codes)
        starts, is_kmer = _token_starts(digits_L == NO_DIGIT)
        ids = digits_L[starts].astype(np.int64) + (self._first + _NUM_KMERS)  # A, T, C, G, N
        if is_kmer.any():
            ids[is_kmer] = numbers(digits_L, WIDTH)[starts[is_kmer]] + self._first
        return self.special.wrap(ids)

    def spans(self, codes: Codes, ids: Ids) -> Ids:
        """(T, 2) half-open base intervals, which tile the sequence; that of `<cls>` is empty."""
        kmer = (ids[1:] >= self._first) & (ids[1:] < self._first + _NUM_KMERS)
        ends = np.cumsum(np.where(kmer, WIDTH, 1))
        assert ends[-1] == len(codes), "ids must be those of these codes"
        return self.special.wrap_spans(np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1))

    def decode(self, ids: Ids) -> Codes:
        """(T,) ids to bases; `<unk>` and `<mask>` become one N, since their length is unknown."""
        inner = self.special.unwrap(ids)
        kmer = (inner >= self._first) & (inner < self._first + _NUM_KMERS)
        spelled = self.token_bases[inner]
        kept = np.arange(WIDTH) < np.where(kmer, WIDTH, 1)[:, None]
        return spelled[kept]

    def length_in_bases(self, num_tokens: int) -> int:
        """Bases under n 6-mers; a sequence with N has more tokens."""
        return WIDTH * num_tokens

    def save(self, folder: Path, *, published: bool = False) -> None:
        """Write vocab.txt and the files of a stock `transformers` tokenizer, or the publishers' files.

        The vocab.txt of version 1 lists two more tokens than the model has rows, as the published one; the
        stock tokenizer lacks them. It reads raw DNA; other letters, and white space inside it, are an error.

        Args:
            folder: where.
            published: write vocab.txt and a config for `EsmTokenizer` alone, which reads upper case.
        """
        write_vocabulary(folder, [*self.vocabulary(), *(_WITHOUT_ROW if self.version == 1 else ())])
        config: dict[str, object] = {
            "model_max_length": _MAX_TOKENS[self.version],
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "mask_token": "<mask>",
            "cls_token": "<cls>",
        }
        if published:
            none = {"eos_token": None, "bos_token": None}
            write_config(folder, {"tokenizer_class": "EsmTokenizer", **config, **none})
            return
        document = word_document(
            self.vocabulary(),
            rules=[normalizers.Strip()],
            words=pieces(f"[ACGT]{{{WIDTH}}}|[ACGT]|N"),
            wrap=("<cls> $A", "<cls> $A $B:1"),
        )
        write_stock(folder, document, config)


def _token_starts(unknown_L: Flags) -> tuple[Ids, Flags]:
    """Where each token begins, (T,), and which tokens are 6-mers, (T,) bool."""
    cuts = np.flatnonzero(unknown_L)
    if not len(cuts):
        return _piece(len(unknown_L))
    borders = np.concatenate([[-1], cuts, [len(unknown_L)]])
    lengths = borders[1:] - borders[:-1] - 1  # of the pieces between N, (P,)
    tokens = lengths // WIDTH + lengths % WIDTH + 1  # a piece and the N that ends it
    piece = np.repeat(np.arange(len(lengths)), tokens)
    place = np.arange(len(piece)) - np.repeat(np.cumsum(tokens) - tokens, tokens)
    num_kmers = (lengths // WIDTH)[piece]
    is_kmer = place < num_kmers
    starts = borders[:-1][piece] + 1 + place + np.minimum(place, num_kmers) * (WIDTH - 1)
    return starts[:-1], is_kmer[:-1]  # no N ends the last piece


def _piece(length: int) -> tuple[Ids, Flags]:
    """The same for a sequence without N, which most are."""
    num_kmers, rest = divmod(length, WIDTH)
    starts = np.concatenate([WIDTH * np.arange(num_kmers), np.arange(length - rest, length)])
    return starts, np.arange(len(starts)) < num_kmers
