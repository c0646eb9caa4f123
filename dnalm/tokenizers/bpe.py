"""Byte-pair encoding: tokens of unequal length that a genome's frequent words have become.

The merges are applied by the `tokenizers` library. Bases are read in upper case; an N is in no merge
and becomes one unknown token each, so that nothing is lost: decoding gives the sequence back. A Hugging Face
`tokenizer.json` may hold any pipeline around its merges; whether dnalm can use it is decided by comparing the
whole pipeline with the merges alone on DNA, rather than by a list of names.

Source: Sennrich et al. 2016 (BPE); DNABERT-2 (Zhou et al. 2023) and GROVER (Sanabria et al. 2024) for DNA.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as Engine
from tokenizers import models, processors

from dnalm.errors import ConfigError, DataError
from dnalm.genome.alphabet import A, Codes, T, bases, from_text, is_unknown, to_text
from dnalm.small_files import SmallFileError, read_small
from dnalm.tokenizers.kmer import stack_bases
from dnalm.tokenizers.protocol import Ids, SpecialIds, require_bases
from dnalm.tokenizers.stock import (
    Document,
    with_letters,
    without_letters,
    write_config,
    write_document,
    write_stock,
)

_SPELLINGS = {"unknown": ("[UNK]", "<unk>"), "padding": ("[PAD]", "<pad>"), "mask": ("[MASK]", "<mask>")}
_MOST_BYTES = 32 << 20  # of tokenizer.json; all 8-mers take 1.5 MB
_PROBE = 5000  # bases of the text on which pipelines are compared
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

    def save(self, folder: Path, *, published: bool = False) -> None:
        """Write the files of a stock `transformers` tokenizer, or the publishers' files.

        Both read raw DNA in upper case, and a letter that is none of DNA is the unknown token.

        Args:
            folder: where.
            published: write tokenizer.json as it was read or learned, without the rules for lower case and
                IUPAC's letters.
        """
        ids = {
            "unk_token": self.special.unknown,
            "pad_token": self.special.padding,
            "mask_token": self.special.mask,
            "cls_token": self.special.start,
            "sep_token": self.special.end,
        }
        names = {name: self._bpe.tokens[i] for name, i in ids.items() if i is not None}
        if published:
            write_document(folder, self._bpe.document)
            write_config(folder, {"tokenizer_class": "PreTrainedTokenizerFast", **names})
        else:
            write_stock(folder, with_letters(self._bpe.document), names)

    @cached_property
    def _mean_length(self) -> float:
        codes = np.random.default_rng(0).integers(A, T, _SAMPLE, endpoint=True).astype(np.uint8)
        return _SAMPLE / (len(self.encode(codes)) - self.special.num_wrapping)


def _run_lengths(flags: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Ids:
    """Lengths of the runs of True in (L,) flags, (R,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return edges[1::2] - edges[::2]


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


def wrapped(document: Document, *, start: str | None, end: str | None) -> Document:
    """The file with a template that puts these special tokens around a text."""
    engine = Engine.from_str(json.dumps({**document, "post_processor": None}))
    names = [name for name in (start, end) if name is not None]
    if names:
        single = " ".join(part for part in (start, "$A", end) if part is not None)
        second = "$B:1" if end is None else f"$B:1 {end}:1"
        engine.post_processor = processors.TemplateProcessing(
            single=single,
            pair=f"{single} {second}",
            special_tokens=[(name, engine.token_to_id(name)) for name in names],
        )
    written: Document = json.loads(engine.to_str())
    return written


def read_document(path: Path) -> Document:
    """The JSON of a tokenizer file.

    Raises:
        DataError: TOK-01, it cannot be read as a JSON object of at most 32 MiB.
        CheckpointError: CKPT-03, its checksum is another than its model directory's.
    """
    try:
        document = read_small(path, "json", _MOST_BYTES)
    except OSError as error:
        raise file_error("TOK-01", path, f"cannot be read ({error.strerror})", "a tokenizer.json") from error
    except SmallFileError as error:
        found = f"{error.found}; {error.expected}" if "JSON" not in error.found else error.found
        raise file_error("TOK-01", path, found, "a Hugging Face tokenizer.json") from error
    if not isinstance(document.get("model"), dict):
        raise file_error("TOK-01", path, "a JSON file without a `model`", "a Hugging Face tokenizer.json")
    return document


def tokens_of(document: Document, where: Path) -> tuple[str, ...]:
    """The texts of all ids, added tokens included, (V,).

    Raises:
        DataError: TOK-01, the vocabulary is no table of numbers; TOK-04, their ids have gaps.
    """
    added = document.get("added_tokens") or ()
    try:
        vocabulary: Mapping[str, int] = {
            **document["model"].get("vocab", {}),
            **{token["content"]: token["id"] for token in added},
        }
        tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    except (TypeError, KeyError, AttributeError) as error:
        expected = "tokens and their ids, as the tokenizers library writes them"
        raise file_error("TOK-01", where, "a vocabulary of another form", expected) from error
    if [vocabulary[token] for token in tokens] != list(range(len(tokens))):
        found = f"{len(tokens)} tokens whose ids are not 0 to {len(tokens) - 1}"
        raise file_error("TOK-04", where, found, "ids without gaps")
    return tuple(tokens)


@dataclass(frozen=True, kw_only=True)
class Bpe:
    """A byte-pair encoding, checked.

    Attributes:
        document: the content of tokenizer.json.
        tokens: text by id, (V,).
        merges: pairs of texts, first merge first.
        special: ids of the special tokens.
        fuses_unknown: a run of N is one token rather than one each.
    """

    document: Document
    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]
    special: SpecialIds
    fuses_unknown: bool

    def engine(self) -> Engine:
        """The merges alone: no splitting, no special tokens, and no cache, which windows of DNA never hit."""
        bpe = models.BPE(
            {token: number for number, token in enumerate(self.tokens)},
            list(self.merges),
            unk_token=self.tokens[self.special.unknown],
            fuse_unk=self.fuses_unknown,
            cache_capacity=0,
        )
        return Engine(bpe)


def parse_bpe(document: Document, *, where: Path) -> Bpe:
    """Check a tokenizer file.

    Args:
        document: its content.
        where: its path, for errors.

    Raises:
        DataError: TOK-02 (another kind of model), TOK-03 (special tokens missing), TOK-04 (vocabulary without
            the four bases or with gaps), TOK-05 (what the pipeline does to DNA is not what its merges do).
    """
    model = document["model"]
    if model.get("type") != "BPE":
        found = f"a model of type {model.get('type')!r}"
        fix = "give a BPE tokenizer, or train one: dnalm tokenizer train"
        raise file_error("TOK-02", where, found, "type 'BPE'", fix)
    affixes = [name for name in ("continuing_subword_prefix", "end_of_word_suffix") if model.get(name)]
    if affixes:
        found = ", ".join(f"{name} {model[name]!r}" for name in affixes)
        raise file_error("TOK-05", where, found, "merges of bare letters", "give a tokenizer without affixes")
    # How long a text may be, the run decides; its case and IUPAC's letters, dnalm's alphabet
    document = without_letters({**document, "padding": None, "truncation": None})
    try:
        tokens = tokens_of(document, where)
        if missing := [base for base in "ACGT" if base not in tokens]:
            found, fix = f"a vocabulary without {', '.join(missing)}", "give a tokenizer of DNA"
            raise file_error("TOK-04", where, found, "the four bases among the tokens", fix)
        merges = [_pair(merge) for merge in model["merges"]]
        pipeline = Engine.from_str(json.dumps(document))
    except DataError:
        raise
    except Exception as error:  # the library raises plain Exceptions
        found = f"a BPE that cannot be read ({type(error).__name__}: {error})"
        raise file_error("TOK-01", where, found, "what the tokenizers library writes") from error
    with_n = next((pair for pair in merges if "N" in "".join(pair)), None)
    if with_n:
        found = f"a merge with N, `{' '.join(with_n)}`"
        raise file_error(
            "TOK-05", where, found, "merges of A, C, G and T", "give a tokenizer without such words"
        )
    bpe = Bpe(
        document=document,
        tokens=tokens,
        merges=tuple(merges),
        special=_special_ids(tokens, pipeline, where),
        fuses_unknown=bool(model.get("fuse_unk")) and "N" not in tokens,
    )
    _check_on_dna(bpe, pipeline, where)
    return bpe


def _pair(merge: str | list[str]) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _special_ids(tokens: tuple[str, ...], pipeline: Engine, where: Path) -> SpecialIds:
    named = {
        role: [tokens.index(name) for name in names if name in tokens] for role, names in _SPELLINGS.items()
    }
    missing = [f"{role} ({' or '.join(_SPELLINGS[role])})" for role, numbers in named.items() if not numbers]
    if missing:
        found, fix = f"no token for {', '.join(missing)}", "add them to added_tokens and to the vocabulary"
        raise file_error("TOK-03", where, found, "special tokens for unknown, padding and mask", fix)
    wrapped, bare = pipeline.encode("A").ids, pipeline.encode("A", add_special_tokens=False).ids
    place = wrapped.index(bare[0]) if bare and bare[0] in wrapped else -1
    before, after = wrapped[:place], wrapped[place + len(bare) :]
    if place < 0 or len(before) > 1 or len(after) > 1:
        found = f"`A` becomes {' '.join(tokens[i] for i in wrapped)}"
        raise file_error("TOK-05", where, found, "at most one special token on each side")
    return SpecialIds(
        padding=named["padding"][0],
        unknown=named["unknown"][0],
        mask=named["mask"][0],
        start=before[0] if before else None,
        end=after[0] if after else None,
    )


def _check_on_dna(bpe: Bpe, pipeline: Engine, where: Path) -> None:
    """Compare the pipeline with the merges alone on random DNA with N."""
    random = np.random.default_rng(0)
    letters = random.choice(list("ACGT"), _PROBE)
    for place in random.integers(0, _PROBE - 10, _PROBE // 200):
        letters[place : place + int(random.integers(1, 10))] = "N"
    text = "".join(letters)
    if pipeline.encode(text, add_special_tokens=False).ids != bpe.engine().encode(text).ids:
        parts = {name: bpe.document.get(name) for name in ("normalizer", "pre_tokenizer")}
        model = {name: bpe.document["model"].get(name) for name in ("unk_token", "dropout", "byte_fallback")}
        named = ", ".join(f"{name} {value}" for name, value in {**parts, **model}.items() if value)
        found = f"DNA is not encoded as by the merges alone ({named or 'no unk_token'})"
        expected = "a pipeline that leaves DNA whole and gives every N the unknown token"
        fix = "remove what splits or rewrites the text, and set unk_token"
        raise file_error("TOK-05", where, found, expected, fix)


def file_error(
    code: str, path: Path, found: str, expected: str, fix: str = "copy or download the file again"
) -> DataError:
    """An error of a tokenizer's file."""
    return DataError(code, where=str(path), found=found, expected=expected, fix=fix)
