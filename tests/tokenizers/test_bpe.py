"""BPE by hand: merges, N, case, the first merges of a vocabulary."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.errors import ConfigError
from dnalm.genome.alphabet import Codes, from_text, to_text
from dnalm.tokenizers import BpeTokenizer
from dnalm.tokenizers.bpe_training import bpe_document
from dnalm.tokenizers.stock import Document
from tests.tokenizers.examples import (
    DNABERT2_SPECIALS,
    MERGES,
    bytes_pair_by_hand,
    fusing_bpe,
    repetitive_codes,
    small_bpe,
    small_document,
)

HERE = Path("small.json")


def words(tokenizer: BpeTokenizer, codes: Codes) -> list[str]:
    vocabulary = tokenizer.vocabulary()
    return [vocabulary[i] for i in tokenizer.encode(codes)]


def edited(change: Callable[[Document], object]) -> Document:
    document: Document = json.loads(json.dumps(small_document()))
    change(document)
    return document


def test_a_sequence_by_hand() -> None:
    # A A -> AA, C A -> CA, AA CA -> AACA; T T -> TT; G is left
    assert words(small_bpe(), from_text("AACATTG")) == ["[CLS]", "AACA", "TT", "G", "[SEP]"]


@given(codes=repetitive_codes, merges=st.integers(0, len(MERGES)))
def test_tokens_are_those_of_the_definition(codes: Codes, merges: int) -> None:
    expected = bytes_pair_by_hand(to_text(codes), MERGES[:merges])
    assert words(small_bpe(merges), codes) == ["[CLS]", *expected, "[SEP]"]


@given(codes=repetitive_codes, others=repetitive_codes)
def test_n_is_crossed_by_no_merge(codes: Codes, others: Codes) -> None:
    left, right = words(small_bpe(), codes)[1:-1], words(small_bpe(), others)[1:-1]
    joined = from_text(f"{to_text(codes)}N{to_text(others)}")
    assert words(small_bpe(), joined)[1:-1] == [*left, "[UNK]", *right]


def test_each_n_is_one_unknown_token() -> None:
    assert small_bpe().encode(from_text("NNNA")).tolist() == [1, 0, 0, 0, 5, 2]


def test_a_file_that_fuses_unknowns_makes_one_token_of_a_run_of_n() -> None:
    codes = from_text("AANNNCANTT")
    ids = fusing_bpe().encode(codes)
    assert [fusing_bpe().vocabulary()[i] for i in ids[1:-1]] == ["AA", "[UNK]", "CA", "[UNK]", "TT"]
    assert fusing_bpe().spans(codes, ids)[1:-1].tolist() == [[0, 2], [2, 5], [5, 7], [7, 8], [8, 10]]


def test_whether_unknowns_are_fused_is_part_of_the_fingerprint() -> None:
    assert fusing_bpe().fingerprint != small_bpe().fingerprint


def test_equal_words_made_by_other_merges_are_another_tokenizer() -> None:
    one = BpeTokenizer(bpe_document([("A", "A"), ("A", "C"), ("AA", "C")], DNABERT2_SPECIALS), where=HERE)
    other = BpeTokenizer(bpe_document([("A", "A"), ("A", "C"), ("A", "AC")], DNABERT2_SPECIALS), where=HERE)
    assert one.vocabulary() == other.vocabulary()
    assert (words(one, from_text("AAC")), words(other, from_text("AAC"))) == (
        ["[CLS]", "AAC", "[SEP]"],
        ["[CLS]", "AA", "C", "[SEP]"],
    )
    assert one.fingerprint != other.fingerprint


def test_the_longest_token_is_the_width_of_the_bases() -> None:
    assert small_bpe().token_bases.shape == (19, len("AACATGC"))


@pytest.mark.parametrize(
    ("merges", "tokens"),
    [
        (0, []),
        (1, ["AA"]),
        (7, ["AA", "TT", "CA", "AACA", "TTTT", "GC", "AAC"]),
        (8, ["AA", "TT", "CA", "AACA", "TTTT", "GC", "AAC"]),  # the eighth makes AACA once more
        (11, ["AA", "TT", "CA", "AACA", "TTTT", "GC", "AAC", "TGC", "AACATGC", "GG"]),
    ],
)
def test_the_first_merges_are_a_tokenizer_of_their_own(merges: int, tokens: list[str]) -> None:
    tokenizer = small_bpe(merges)
    assert tokenizer.num_merges == merges
    assert tokenizer.vocabulary() == [*DNABERT2_SPECIALS, *"ACGT", *tokens]
    assert tokenizer.vocab_size == 9 + len(tokens)


@pytest.mark.parametrize("merges", range(len(MERGES)))
def test_a_cut_vocabulary_is_the_one_that_was_written_with_so_many_merges(merges: int) -> None:
    written = BpeTokenizer(bpe_document(MERGES[:merges], DNABERT2_SPECIALS), where=HERE)
    assert small_bpe(merges).fingerprint == written.fingerprint


def test_all_merges_change_nothing() -> None:
    assert small_bpe(len(MERGES)).fingerprint == small_bpe().fingerprint


def test_cutting_moves_special_tokens_that_stand_last() -> None:
    def put_last(document: Document) -> None:
        vocabulary = document["model"]["vocab"]
        texts = [text for text in vocabulary if text not in DNABERT2_SPECIALS] + list(DNABERT2_SPECIALS)
        document["model"]["vocab"] = {text: number for number, text in enumerate(texts)}
        for token in document["added_tokens"]:
            token["id"] = texts.index(token["content"])
        for text, entry in document["post_processor"]["special_tokens"].items():
            entry["ids"] = [texts.index(text)]

    cut = BpeTokenizer(edited(put_last), where=HERE, merges=1)
    assert cut.vocabulary() == [*"ACGT", "AA", *DNABERT2_SPECIALS]
    assert cut.encode(from_text("AAC")).tolist() == [6, 4, 1, 7]  # [CLS] AA C [SEP]


@pytest.mark.parametrize("merges", [-1, len(MERGES) + 1])
def test_more_merges_than_there_are_is_refused(merges: int) -> None:
    with pytest.raises(ConfigError) as refused:
        small_bpe(merges)
    assert str(refused.value) == (
        f"CFG-18 tokenizer.merges: {merges} merges; 0 to 11, which small.json has. "
        "Fix: ask for fewer, or train a larger vocabulary."
    )


def test_a_file_without_start_and_end_tokens_wraps_nothing() -> None:
    bare = BpeTokenizer(edited(lambda document: document.update(post_processor=None)), where=HERE)
    assert (bare.special.start, bare.special.end) == (None, None)
    assert bare.encode(from_text("AAG")).tolist() == [9, 7]
    assert bare.spans(from_text("AAG"), bare.encode(from_text("AAG"))).tolist() == [[0, 2], [2, 3]]


def test_merges_may_be_written_as_texts_or_as_pairs() -> None:
    texts = [" ".join(pair) for pair in MERGES]
    written = edited(lambda document: document["model"].update(merges=texts))
    assert BpeTokenizer(written, where=HERE).fingerprint == small_bpe().fingerprint


def test_special_tokens_may_be_spelled_in_angles() -> None:
    text = json.dumps(small_document())
    for name in ("unk", "pad", "mask"):
        text = text.replace(f"[{name.upper()}]", f"<{name}>")
    assert BpeTokenizer(json.loads(text), where=HERE).special == small_bpe().special


def test_an_empty_token_as_grovers_file_holds_is_never_used() -> None:
    # Published by GROVER: the first merges join a base and nothing, and the last id is the empty text.
    def add_empty(document: Document) -> None:
        document["model"]["vocab"][""] = len(document["model"]["vocab"])
        document["model"]["merges"] = [f"{base} " for base in "ACGT"] + document["model"]["merges"]

    def with_texts(document: Document) -> None:
        document["model"]["merges"] = [" ".join(pair) for pair in MERGES]
        add_empty(document)

    tokenizer = BpeTokenizer(edited(with_texts), where=HERE)
    codes = from_text("AACATTGNGC")
    assert tokenizer.vocab_size == small_bpe().vocab_size + 1
    assert tokenizer.encode(codes).tolist() == small_bpe().encode(codes).tolist()
    assert tokenizer.vocab_size - 1 not in tokenizer.replacement_ids
