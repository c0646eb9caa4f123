"""Reading a Hugging Face `tokenizer.json` that holds a BPE, and judging whether dnalm can use it.

A file may hold any pipeline around its merges. What matters is what becomes of DNA, so the whole pipeline is
tried on DNA against the merges alone, rather than held against a list of names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as Engine
from tokenizers import models, processors

from dnalm.errors import DataError
from dnalm.small_files import SmallFileError, read_small
from dnalm.tokenizers.protocol import SpecialIds

Document = dict[str, Any]
_SPELLINGS = {"unknown": ("[UNK]", "<unk>"), "padding": ("[PAD]", "<pad>"), "mask": ("[MASK]", "<mask>")}
_MOST_BYTES = 32 << 20  # of tokenizer.json; all 8-mers take 1.5 MB
_PROBE = 5000  # bases of the text on which pipelines are compared


@dataclass(frozen=True)
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
        vocabulary = {token: number for number, token in enumerate(self.tokens)}
        unknown = self.tokens[self.special.unknown]
        return Engine(
            models.BPE(
                vocabulary,
                list(self.merges),
                unk_token=unknown,
                fuse_unk=self.fuses_unknown,
                cache_capacity=0,
            )
        )


def read_document(path: Path) -> Document:
    """The JSON of a tokenizer file.

    Raises:
        DataError: TOK-01, it cannot be read as a JSON object of at most 32 MiB.
        CheckpointError: CKPT-03, its checksum is another than its model directory's.
    """
    try:
        document = read_small(path, "json", _MOST_BYTES)
    except OSError as error:
        raise _error("TOK-01", path, f"cannot be read ({error.strerror})", "a tokenizer.json") from error
    except SmallFileError as error:
        found = f"{error.found}; {error.expected}" if "JSON" not in error.found else error.found
        raise _error("TOK-01", path, found, "a Hugging Face tokenizer.json") from error
    if not isinstance(document.get("model"), dict):
        raise _error("TOK-01", path, "a JSON file without a `model`", "a Hugging Face tokenizer.json")
    return document


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
        raise _error(
            "TOK-02", where, found, "type 'BPE'", "give a BPE tokenizer, or train one: dnalm tokenizer train"
        )
    affixes = [name for name in ("continuing_subword_prefix", "end_of_word_suffix") if model.get(name)]
    if affixes:
        found = ", ".join(f"{name} {model[name]!r}" for name in affixes)
        raise _error("TOK-05", where, found, "merges of bare letters", "give a tokenizer without affixes")
    document = {**document, "padding": None, "truncation": None}  # how long a text may be, the run decides
    try:
        tokens = tokens_of(document, where)
        _require_bases(tokens, where)
        merges = [_pair(merge) for merge in model["merges"]]
        pipeline = Engine.from_str(json.dumps(document))
    except DataError:
        raise
    except Exception as error:  # the library raises plain Exceptions
        found = f"a BPE that cannot be read ({type(error).__name__}: {error})"
        raise _error("TOK-01", where, found, "what the tokenizers library writes") from error
    with_n = next((pair for pair in merges if "N" in "".join(pair)), None)
    if with_n:
        found = f"a merge with N, `{' '.join(with_n)}`"
        raise _error("TOK-05", where, found, "merges of A, C, G and T", "give a tokenizer without such words")
    special = _special_ids(tokens, pipeline, where)
    bpe = Bpe(document, tokens, tuple(merges), special, bool(model.get("fuse_unk")))
    _check_on_dna(bpe, pipeline, where)
    return bpe


def _pair(merge: str | list[str]) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


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
        raise _error("TOK-01", where, "a vocabulary of another form", expected) from error
    if [vocabulary[token] for token in tokens] != list(range(len(tokens))):
        raise _error(
            "TOK-04",
            where,
            f"{len(tokens)} tokens whose ids are not 0 to {len(tokens) - 1}",
            "ids without gaps",
        )
    return tuple(tokens)


def _require_bases(tokens: tuple[str, ...], where: Path) -> None:
    missing = [base for base in "ACGT" if base not in tokens]
    if missing:
        found = f"a vocabulary without {', '.join(missing)}"
        raise _error("TOK-04", where, found, "the four bases among the tokens", "give a tokenizer of DNA")


def _special_ids(tokens: tuple[str, ...], pipeline: Engine, where: Path) -> SpecialIds:
    found = {
        role: next((tokens.index(name) for name in names if name in tokens), None)
        for role, names in _SPELLINGS.items()
    }
    missing = [
        f"{role} ({' or '.join(_SPELLINGS[role])})" for role, number in found.items() if number is None
    ]
    if missing:
        raise _error(
            "TOK-03",
            where,
            f"no token for {', '.join(missing)}",
            "special tokens for unknown, padding and mask",
            "add them to added_tokens and to the vocabulary",
        )
    wrapped, bare = pipeline.encode("A").ids, pipeline.encode("A", add_special_tokens=False).ids
    place = wrapped.index(bare[0]) if bare and bare[0] in wrapped else -1
    before, after = wrapped[:place], wrapped[place + len(bare) :]
    if place < 0 or len(before) > 1 or len(after) > 1:
        found_text = f"`A` becomes {' '.join(tokens[i] for i in wrapped)}"
        raise _error("TOK-05", where, found_text, "at most one special token on each side")
    return SpecialIds(
        padding=found["padding"] or 0,
        unknown=found["unknown"] or 0,
        mask=found["mask"] or 0,
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
        raise _error(
            "TOK-05",
            where,
            f"DNA is not encoded as by the merges alone ({named or 'no unk_token'})",
            "a pipeline that leaves DNA whole and gives every N the unknown token",
            "remove what splits or rewrites the text, and set unk_token",
        )


def _error(
    code: str, path: Path, found: str, expected: str, fix: str = "copy or download the file again"
) -> DataError:
    return DataError(code, where=str(path), found=found, expected=expected, fix=fix)
