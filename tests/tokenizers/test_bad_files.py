"""Files that are no tokenizer, or none for DNA: each message, read in full."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dnalm.errors import DataError
from dnalm.tokenizers import KmerTokenizer, SixMerTokenizer, load_tokenizer
from dnalm.tokenizers.stock import Document
from tests.tokenizers.examples import small_document

AGAIN = "Fix: copy or download the file again."
PUBLISHED = "Fix: copy the published file again."


def refusal(path: Path) -> str:
    """The message, with the folder left out."""
    with pytest.raises(DataError) as refused:
        load_tokenizer(path)
    return str(refused.value).replace(f"{path.parent}/", "")


def refusal_of(folder: Path, change: Callable[[Document], object]) -> str:
    """The message about a good tokenizer.json after a change."""
    document = small_document()
    change(document)
    (folder / "tokenizer.json").write_text(json.dumps(document))
    return refusal(folder / "tokenizer.json")


def refusal_of_vocabulary(folder: Path, tokens: list[str]) -> str:
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    return refusal(folder / "vocab.txt")


# Neither file


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("empty", "neither tokenizer.json nor vocab.txt"),
        ("absent", "no such file or folder"),
        ("absent.json", "no such file or folder"),
    ],
)
def test_a_folder_with_neither_file(name: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / name) == (
        f"TOK-01 {name}: {found}; a folder with the files of a tokenizer. "
        "Fix: name the folder of a published model, or of `dnalm tokenizer train`."
    )


# tokenizer.json


def test_a_file_that_is_not_json(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": ')
    assert refusal(path) == (
        "TOK-01 tokenizer.json: not JSON: Expecting value: line 1 column 11 (char 10); "
        f"a Hugging Face tokenizer.json. {AGAIN}"
    )


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(b"\xff\xfe\x00")
    assert refusal(path).startswith("TOK-01 tokenizer.json: not JSON: 'utf-8' codec can't decode byte 0xff")


@pytest.mark.parametrize("content", [{}, {"model": None}, {"added_tokens": []}])
def test_json_without_a_model(content: object, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    assert refusal(path) == (
        f"TOK-01 tokenizer.json: a JSON file without a `model`; a Hugging Face tokenizer.json. {AGAIN}"
    )


def test_json_that_is_no_object(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("[]")
    assert refusal(path) == f"TOK-01 tokenizer.json: a JSON list; a Hugging Face tokenizer.json. {AGAIN}"


@pytest.mark.parametrize("kind", ["Unigram"])
def test_another_kind_of_model(kind: str, tmp_path: Path) -> None:
    assert refusal_of(tmp_path, lambda document: document["model"].update(type=kind)) == (
        f"TOK-02 tokenizer.json: a model of type '{kind}'; type 'BPE'. "
        "Fix: give a BPE tokenizer, or train one: dnalm tokenizer train."
    )


def without(token: str) -> Callable[[Document], None]:
    """Drop a token and close the gap of ids."""

    def change(document: Document) -> None:
        document["added_tokens"] = [a for a in document["added_tokens"] if a["content"] != token]
        texts = [text for text in document["model"]["vocab"] if text != token]
        document["model"]["vocab"] = {text: number for number, text in enumerate(texts)}
        for added in document["added_tokens"]:
            added["id"] = texts.index(added["content"])
        for text, entry in document["post_processor"]["special_tokens"].items():
            entry["ids"] = [texts.index(text)]

    return change


def test_no_mask_token(tmp_path: Path) -> None:
    assert refusal_of(tmp_path, without("[MASK]")) == (
        "TOK-03 tokenizer.json: no token for mask ([MASK] or <mask>); special tokens for unknown, padding "
        "and mask. Fix: add them to added_tokens and to the vocabulary."
    )


def test_no_padding_token(tmp_path: Path) -> None:
    assert refusal_of(tmp_path, without("[PAD]")).startswith(
        "TOK-03 tokenizer.json: no token for padding ([PAD] or <pad>); "
    )


def test_no_base_c(tmp_path: Path) -> None:
    def change(document: Document) -> None:
        document["model"]["merges"] = [("A", "A"), ("T", "T")]
        without("C")(document)

    assert refusal_of(tmp_path, change) == (
        "TOK-04 tokenizer.json: a vocabulary without C; the four bases among the tokens. "
        "Fix: give a tokenizer of DNA."
    )


def test_ids_with_a_gap(tmp_path: Path) -> None:
    assert refusal_of(tmp_path, lambda document: document["model"]["vocab"].update(GG=19)) == (
        f"TOK-04 tokenizer.json: 19 tokens whose ids are not 0 to 18; ids without gaps. {AGAIN}"
    )


def test_an_id_that_two_tokens_have(tmp_path: Path) -> None:
    assert refusal_of(tmp_path, lambda document: document["model"]["vocab"].update(GG=17)).startswith(
        "TOK-04 tokenizer.json: 19 tokens whose ids are not 0 to 18; "
    )


def test_a_merge_of_a_token_that_is_not_there(tmp_path: Path) -> None:
    assert refusal_of(tmp_path, lambda document: document["model"]["merges"].append(["A", "X"])).startswith(
        "TOK-01 tokenizer.json: a BPE that cannot be read (Exception: Token `X` out of vocabulary"
    )


REWRITES = "; a pipeline that leaves DNA whole and gives every N the unknown token. "
WHOLE = "Fix: remove what splits or rewrites the text, and set unk_token."
IN_TENS = {"type": "Split", "pattern": {"Regex": ".{1,10}"}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "(normalizer {'type': 'Lowercase'}, pre_tokenizer"),
        (
            {"normalizer": {"type": "Replace", "pattern": {"String": "T"}, "content": "U"}},
            "(normalizer {'type'",
        ),
        ({"pre_tokenizer": IN_TENS}, "(pre_tokenizer {'type': 'Split', "),
    ],
    ids=["lower", "rna", "split"],
)
def test_a_pipeline_that_changes_dna(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    message = refusal_of(tmp_path, lambda document: document.update(change))
    assert message.startswith(f"TOK-05 tokenizer.json: DNA is not encoded as by the merges alone {named}")
    assert message.endswith(REWRITES + WHOLE)


def test_no_unknown_token_for_n(tmp_path: Path) -> None:
    def change(document: Document) -> None:
        document["model"]["unk_token"] = None
        document["pre_tokenizer"] = None

    assert refusal_of(tmp_path, change) == (
        "TOK-05 tokenizer.json: DNA is not encoded as by the merges alone (no unk_token)" + REWRITES + WHOLE
    )


def test_merges_that_are_dropped_at_random(tmp_path: Path) -> None:
    assert "dropout 0.5" in refusal_of(tmp_path, lambda document: document["model"].update(dropout=0.5))


def test_two_tokens_before_the_text(tmp_path: Path) -> None:
    def change(document: Document) -> None:
        document["post_processor"]["single"].insert(0, {"SpecialToken": {"id": "[SEP]", "type_id": 0}})

    assert refusal_of(tmp_path, change) == (
        "TOK-05 tokenizer.json: `A` becomes [SEP] [CLS] A [SEP]; at most one special token on each side. "
        + AGAIN
    )


# vocab.txt


def test_a_token_twice(tmp_path: Path) -> None:
    tokens = KmerTokenizer(k=3).vocabulary()
    assert refusal_of_vocabulary(tmp_path, [*tokens[:-1], "AAA"]) == (
        f"TOK-06 vocab.txt: `AAA` stands in lines 6 and 69; every token once. {PUBLISHED}"
    )


def test_a_number_of_tokens_that_no_k_gives(tmp_path: Path) -> None:
    assert refusal_of_vocabulary(tmp_path, KmerTokenizer(k=3).vocabulary()[:-1]) == (
        "TOK-07 vocab.txt: 68 tokens; 9 or 21 or 69 or 261 or 1029 or 4101 or 16389 or 65541 tokens, as a "
        f"published vocabulary has. {PUBLISHED}"
    )


@pytest.mark.parametrize(("version", "sizes"), [(1, "4105 or 4107"), (2, "4107")])
def test_a_number_of_tokens_that_no_version_has(version: int, sizes: str, tmp_path: Path) -> None:
    tokens = SixMerTokenizer(version=version).vocabulary()  # type: ignore[arg-type]
    assert refusal_of_vocabulary(tmp_path, tokens[:-2]) == (
        f"TOK-07 vocab.txt: {len(tokens) - 2} tokens; {sizes} tokens, as a published vocabulary has. "
        f"{PUBLISHED}"
    )


def test_an_empty_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").touch()
    assert refusal(tmp_path / "vocab.txt").startswith("TOK-07 vocab.txt: 0 tokens; 9 or 21 or ")


def test_kmers_in_another_order(tmp_path: Path) -> None:
    tokens = KmerTokenizer(k=3).vocabulary()
    assert refusal_of_vocabulary(tmp_path, tokens[:5] + sorted(tokens[5:])) == (
        "TOK-08 vocab.txt: `AAC` is the token of id 6 (line 7); `AAT` there, as in the published vocabulary "
        f"of 69 tokens. {PUBLISHED}"
    )


def test_letters_of_proteins(tmp_path: Path) -> None:
    special = KmerTokenizer(k=2).vocabulary()[:5]
    assert refusal_of_vocabulary(tmp_path, [*special, *"ACDEFGHIKLMNPQRS"]) == (
        "TOK-08 vocab.txt: `A` is the token of id 5 (line 6); `AA` there, as in the published vocabulary of "
        f"21 tokens. {PUBLISHED}"
    )


def test_six_mers_in_another_order(tmp_path: Path) -> None:
    tokens = SixMerTokenizer(version=2).vocabulary()
    tokens[6:4102] = sorted(tokens[6:4102])
    assert refusal_of_vocabulary(tmp_path, tokens).startswith(
        "TOK-08 vocab.txt: `AAAAAC` is the token of id 7 (line 8); `AAAAAT` there, "
    )


def test_a_vocabulary_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(b"\xff\xfe\x00")
    assert refusal(tmp_path / "vocab.txt").startswith(
        "TOK-01 vocab.txt: cannot be read ('utf-8' codec can't decode byte 0xff"
    )
