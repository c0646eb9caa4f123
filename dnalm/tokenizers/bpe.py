"""Byte-pair encoding: tokens of unequal length that a genome's frequent words have become.

The merges are applied by the `tokenizers` library. Bases are read in upper case; an N is in no merge
and becomes one unknown token each, so that nothing is lost: decoding gives the sequence back.

Source: Sennrich et al. 2016 (BPE); DNABERT-2 (Zhou et al. 2023) and GROVER (Sanabria et al. 2024) for DNA.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dnalm.errors import ConfigError
from dnalm.genome.alphabet import A, Codes, T, bases, from_text, is_unknown, to_text
from dnalm.tokenizers.bpe_file import Bpe, Document, parse_bpe, wrapped
from dnalm.tokenizers.kmer_order import stack_bases
from dnalm.tokenizers.protocol import Ids, SpecialIds
from dnalm.tokenizers.too_short import require_bases

_SAMPLE = 20_000  # bases of random DNA on which the mean length of a token is measured


class BpeTokenizer:
    """A BPE in Hugging Face's format, whole or cut to its first merges.

    Args:
        document: the content of a tokenizer.json.
        where: where it is from, for errors.
        merges: use only the first so many merges, which is again a BPE; all if absent.

    Raises:
        DataError: TOK-02 to TOK-05, the file cannot be used; see `parse_bpe`.
        ConfigError: more merges than the file has.
    """

    overlap = 1  # no two tokens share a base

    def __init__(self, document: Document, *, where: Path, merges: int | None = None) -> None:
        self._bpe = parse_bpe(document, where=where)
        if merges is not None:
            self._bpe = parse_bpe(_cut(self._bpe, merges, where), where=where)
        self._engine = self._bpe.engine()
        words = [token if set(token) <= set("ACGT") else "" for token in self._bpe.tokens]
        self._words = [from_text(word) for word in words]
        self._lengths = np.array([max(1, len(word)) for word in words])

    @property
    def vocab_size(self) -> int:
        """Special tokens, bases and one token a merge."""
        return len(self._bpe.tokens)

    @property
    def num_merges(self) -> int:
        """Merges in use."""
        return len(self._bpe.merges)

    @property
    def special(self) -> SpecialIds:
        """Ids of the special tokens, found in the file by their names and by what is put around a text."""
        return self._bpe.special

    @cached_property
    def replacement_ids(self) -> Ids:
        """Every id that spells bases, (R,)."""
        return np.flatnonzero([len(word) > 0 for word in self._words])

    @cached_property
    def token_bases(self) -> Codes:
        """The bases of every id, (V, longest), padded with N."""
        return stack_bases(self._words)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of tokens, merges, special ids and the policy for N."""
        bpe = self._bpe
        text = json.dumps([bpe.tokens, bpe.merges, bpe.special, bpe.fuses_unknown])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def vocabulary(self) -> list[str]:
        """The tokens in the order of their ids."""
        return list(self._bpe.tokens)

    def merges(self) -> list[tuple[str, str]]:
        """The merges, first one first."""
        return list(self._bpe.merges)

    def encode(self, codes: Codes) -> Ids:
        """(L,) codes to ids.

        Raises:
            DataError: SEQ-01, no base at all.
        """
        require_bases(codes, 1, unit="token")
        (encoding,) = self._engine.encode_batch_fast([to_text(bases(codes))])
        return self.special.wrap(np.array(encoding.ids))

    def spans(self, codes: Codes, ids: Ids) -> Ids:
        """(T, 2) half-open base intervals, which tile the sequence; those of special tokens are empty."""
        first, last = self.special.start is not None, len(ids) - (self.special.end is not None)
        content = ids[first:last]
        lengths = self._lengths[content]
        if self._bpe.fuses_unknown:
            lengths[content == self.special.unknown] = _run_lengths(is_unknown(codes))
        ends = np.cumsum(lengths)
        assert ends[-1] == len(codes), "ids must be those of these codes"
        return self.special.wrap_spans(np.stack([ends - lengths, ends], axis=1))

    def decode(self, ids: Ids) -> Codes:
        """(T,) ids to bases; a token that spells none becomes one N."""
        inner = self.special.unwrap(ids)
        kept = np.arange(self.token_bases.shape[1]) < self._lengths[inner, None]
        return self.token_bases[inner][kept]

    def length_in_bases(self, num_tokens: int) -> int:
        """Bases that make n tokens of random DNA on average.

        Real DNA repeats itself and so gives somewhat fewer tokens.
        """
        return round(num_tokens * self._mean_length)

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json, as the published models have them."""
        text = json.dumps(self._bpe.document, indent=2, ensure_ascii=False)
        (folder / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
        names = {
            "unk_token": self.special.unknown,
            "pad_token": self.special.padding,
            "mask_token": self.special.mask,
            "cls_token": self.special.start,
            "sep_token": self.special.end,
        }
        config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
        config |= {name: self._bpe.tokens[i] for name, i in names.items() if i is not None}
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")

    @cached_property
    def _mean_length(self) -> float:
        codes = np.random.default_rng(0).integers(A, T, _SAMPLE, endpoint=True).astype(np.uint8)
        return _SAMPLE / (len(self.encode(codes)) - self.special.num_wrapping)


def _cut(bpe: Bpe, merges: int, where: Path) -> Document:
    """The file of the first so many merges; what only later merges make is dropped, ids close up."""
    if not 0 <= merges <= len(bpe.merges):
        raise ConfigError(
            "CFG-18",
            where="tokenizer.merges",
            found=f"{merges} merges",
            expected=f"0 to {len(bpe.merges)}, which {where} has",
            fix="ask for fewer, or train a larger vocabulary",
        )
    made = {"".join(pair) for pair in bpe.merges[:merges]}
    dropped = {"".join(pair) for pair in bpe.merges[merges:]} - made - set("ACGT")
    kept = [token for token in bpe.tokens if token not in dropped]
    numbers = {token: number for number, token in enumerate(kept)}
    document: Document = json.loads(json.dumps(bpe.document))
    document["model"]["vocab"] = {
        token: numbers[token] for token in kept if token in bpe.document["model"]["vocab"]
    }
    document["model"]["merges"] = bpe.document["model"]["merges"][:merges]
    for token in document["added_tokens"]:
        token["id"] = numbers[token["content"]]
    start, end = (None if i is None else bpe.tokens[i] for i in (bpe.special.start, bpe.special.end))
    return wrapped(document, start=start, end=end)


def _run_lengths(flags: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Ids:
    """Lengths of the runs of True in (L,) flags, (R,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return edges[1::2] - edges[::2]
