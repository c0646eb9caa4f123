"""The files by which stock `transformers` reads raw DNA text and gives dnalm's ids.

A `tokenizer.json` is a pipeline: normalizers rewrite the text, a pre-tokenizer cuts it into words, a model
numbers the words. Here normalizers do what is DNA's own: lower case is read as upper case, the letters of
IUPAC for several bases as N, as in `dnalm.genome.alphabet`; and overlapping k-mers, which no pre-tokenizer
can cut, are spelled out one beside the other. No code of ours is needed to open such a file.

A text that dnalm refuses is an error of the `tokenizers` library wherever its model can be one: words are
looked up in a vocabulary whose unknown token is not in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Regex, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Engine
from tokenizers.normalizers import Normalizer
from tokenizers.pre_tokenizers import PreTokenizer

from dnalm.genome.alphabet import AMBIGUOUS

Document = dict[str, Any]
NO_UNKNOWN = "(none)"  # the unknown token of a model that refuses unknown words
_LETTER = "[ACGTN]"
_ILLEGAL = "?"  # a letter of no DNA, which makes its word an unknown one
_BORDER = "_"  # between two k-mers
# Types of sequences are BERT's; no model of DNA has two, and ESM takes none
_INPUTS = ["input_ids", "attention_mask"]


def letters() -> list[Normalizer]:
    """Rules that read a b c as A B C and every letter of IUPAC for several bases as N."""
    ambiguous = f"[n{AMBIGUOUS}{AMBIGUOUS.lower()}]"
    upper = [normalizers.Replace(base.lower(), base) for base in "ACGT"]
    return [*upper, normalizers.Replace(Regex(ambiguous), "N")]


def overlapping_words(k: int) -> list[Normalizer]:
    """Rules that spell out the k-mers of a text of upper-case letters, `_` between them.

    Words of k letters with white space between them are k-mers already and stay. White space beside a longer
    word, where k-mers would be lost, is an illegal letter, and so is a `_` of the text. Then every gap inside
    a word longer than k gets a border, and k - 1 times each border gets the letter that ends the next k-mer,
    taken from behind it: A_C_G_T, AC_CG_GT_T, ACG_CGT_GT_T for k = 3. What is left at the end is shorter than
    k and goes. A k-mer with an N becomes `[UNK]`.
    """
    lost = rf"{_BORDER}|(?<={_LETTER}{{{k + 1}}})\s+(?=\S)|(?<=\S)\s+(?={_LETTER}{{{k + 1}}})"
    gaps = "|".join(rf"(?<={_LETTER}{{{j}}})(?={_LETTER}{{{k + 1 - j}}})" for j in range(1, k + 1))
    # The words of one letter leave no rest
    rest = rf"{_BORDER}{_LETTER}{{1,{k - 1}}}(?!{_LETTER})" if k > 1 else r"(?!)"
    appended = [
        normalizers.Replace(Regex(rf"{_BORDER}(?={_LETTER}{{{taken}}}{letter})"), letter + _BORDER)
        for taken in range(k - 1)
        for letter in "ACGTN"
    ]
    unknown = rf"(?<![^\s{_BORDER}])(?=[ACGT]*N){_LETTER}{{{k}}}(?![^\s{_BORDER}])"
    return [
        normalizers.Replace(Regex(lost), _ILLEGAL),
        normalizers.Replace(Regex(gaps), _BORDER),
        *appended,
        normalizers.Replace(Regex(rest), ""),
        normalizers.Replace(Regex(unknown), "[UNK]"),
    ]


def at_borders() -> PreTokenizer:
    """Cut between words and between the k-mers that `overlapping_words` spelled out."""
    return pre_tokenizers.Split(Regex(rf"[{_BORDER}\s]"), "removed")


def pieces(pattern: str) -> PreTokenizer:
    """Cut into what the pattern finds from the left, and into single characters where it finds nothing."""
    return pre_tokenizers.Split(Regex(rf"{pattern}|[^ACGTN]"), "isolated")


def word_document(
    vocabulary: Sequence[str],
    *,
    rules: Iterable[Normalizer],
    words: PreTokenizer,
    unknown: str = NO_UNKNOWN,
    wrap: tuple[str, str] | None = None,
) -> Document:
    """The tokenizer.json of words that are looked up.

    Args:
        vocabulary: tokens in the order of their ids.
        rules: that rewrite the text after its letters are read.
        words: what cuts it.
        unknown: token of a word that the vocabulary lacks; by default such a word is an error.
        wrap: templates of one and of two texts, such as `[CLS] $A [SEP]`.
    """
    engine = Engine(models.WordLevel({token: i for i, token in enumerate(vocabulary)}, unk_token=unknown))
    engine.normalizer = normalizers.Sequence([*letters(), *rules])
    engine.pre_tokenizer = words
    if wrap:
        names = dict.fromkeys(part.split(":")[0] for part in wrap[1].split() if not part.startswith("$"))
        engine.post_processor = processors.TemplateProcessing(
            single=wrap[0], pair=wrap[1], special_tokens=[(name, engine.token_to_id(name)) for name in names]
        )
    document: Document = json.loads(engine.to_str())
    return document


def with_letters(document: Document) -> Document:
    """A tokenizer.json whose text is read by `letters` first."""
    own = document.get("normalizer")
    rules = [*_letter_rules(), *([own] if own else [])]
    return {**document, "normalizer": {"type": "Sequence", "normalizers": rules}}


def without_letters(document: Document) -> Document:
    """The tokenizer.json that `with_letters` was given; another one as it is."""
    own, rules = document.get("normalizer"), _letter_rules()
    listed = own.get("normalizers") if isinstance(own, dict) else None
    if not isinstance(listed, list) or listed[: len(rules)] != rules:
        return document
    rest = listed[len(rules) :]
    left = {"type": "Sequence", "normalizers": rest} if len(rest) > 1 else next(iter(rest), None)
    return {**document, "normalizer": left}


def _letter_rules() -> list[Document]:
    engine = Engine(models.WordLevel({}, unk_token=NO_UNKNOWN))
    engine.normalizer = normalizers.Sequence(letters())
    rules: list[Document] = json.loads(engine.to_str())["normalizer"]["normalizers"]
    return rules


def write_stock(folder: Path, document: Document, config: Mapping[str, object]) -> None:
    """Write tokenizer.json and the tokenizer_config.json by which `AutoTokenizer` opens it.

    Args:
        folder: where.
        document: the content of tokenizer.json.
        config: names of the special tokens, and what else belongs into tokenizer_config.json.
    """
    write_document(folder, document)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": _INPUTS, **config}
    write_config(folder, config)


def write_document(folder: Path, document: Document) -> None:
    """Write tokenizer.json."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    (folder / "tokenizer.json").write_text(text + "\n", encoding="utf-8")


def write_vocabulary(folder: Path, tokens: Iterable[str]) -> None:
    """Write vocab.txt: one token a line, its id the line's number from 0."""
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")


def write_config(folder: Path, config: Mapping[str, object]) -> None:
    """Write tokenizer_config.json."""
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
