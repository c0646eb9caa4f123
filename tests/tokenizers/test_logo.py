"""LOGO's n-grams: numbers of the released code, N, phases."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.genome.alphabet import UNKNOWN, from_text
from dnalm.tokenizers import LogoTokenizer

any_k = pytest.mark.parametrize("k", range(1, 7))


def released_dictionary(k: int) -> dict[str, int]:
    """The loops of the released code: for each length the last letter outside, its prefixes inside."""
    numbers = itertools.count(10)
    found: dict[str, int] = {}
    shorter = [""]
    for _ in range(k):
        longer = [prefix + letter for letter in "NAGCT" for prefix in shorter if not prefix.startswith("N")]
        found |= {word: next(numbers) for word in longer}
        shorter = longer
    return found


@pytest.mark.parametrize(("k", "size"), [(3, 138), (4, 638), (5, 3138), (6, 15638)])
def test_sizes_of_the_published_models(k: int, size: int) -> None:
    assert LogoTokenizer(k=k).vocab_size == size


def test_the_first_ids() -> None:
    expected = ["N", "A", "G", "C", "T", "AN", "GN", "CN", "TN", "AA"]
    assert LogoTokenizer(k=3).vocabulary()[10:20] == expected


@any_k
def test_the_vocabulary_is_that_of_the_released_code(k: int) -> None:
    spelled = {
        word: number
        for number, word in enumerate(LogoTokenizer(k=k).vocabulary())
        if not word.startswith("[")
    }
    assert spelled == released_dictionary(k)
    assert len(spelled) == 5**k


@any_k
def test_the_text_of_each_ngram_encodes_to_its_own_id(k: int) -> None:
    tokenizer = LogoTokenizer(k=k)
    encoded = {word: tokenizer.encode(from_text(word)).tolist() for word in released_dictionary(k)}
    assert encoded == {word: [number] for word, number in released_dictionary(k).items()}


@pytest.mark.parametrize("k", range(2, 7))
def test_a_kmer_that_begins_with_n_is_unknown(k: int) -> None:
    tokenizer = LogoTokenizer(k=k)
    begins = ["N" + "".join(rest) for rest in itertools.product("NAGCT", repeat=min(k - 1, 3))]
    assert {tuple(tokenizer.encode(from_text(word)).tolist()) for word in begins} == {(0,)}


def test_a_lone_n_has_an_id() -> None:
    assert LogoTokenizer(k=3).encode(from_text("ACGN")).tolist()[1:] == [10]


@given(text=st.text("ACGT", min_size=1, max_size=60), k=st.integers(1, 6))
def test_a_sequence_is_cut_from_its_left_end_with_a_shorter_remainder(text: str, k: int) -> None:
    words = LogoTokenizer(k=k).vocabulary()
    found = [words[i] for i in LogoTokenizer(k=k).encode(from_text(text))]
    assert found == [text[i : i + k] for i in range(0, len(text), k)]


def test_special_ids_and_no_wrapping() -> None:
    tokenizer = LogoTokenizer(k=3)
    assert tokenizer.special == (0, 0, 2, None, None)  # padding, unknown, mask, start, end
    assert tokenizer.vocabulary()[:5] == ["[UNK]", "[CLS]", "[MASK]", "[SEP]", "[unused4]"]


@any_k
def test_replacements_are_all_kmers_of_four_letters(k: int) -> None:
    tokenizer = LogoTokenizer(k=k)
    kmers = {"".join(letters) for letters in itertools.product("ACGT", repeat=k)}
    words = tokenizer.vocabulary()
    assert {words[i] for i in tokenizer.replacement_ids} == kmers
    assert (np.diff(tokenizer.replacement_ids) > 0).all()


def test_an_unknown_token_decodes_to_as_many_n_as_it_covers() -> None:
    tokenizer = LogoTokenizer(k=3)
    codes = from_text("NCGACGA")
    assert tokenizer.decode(tokenizer.encode(codes)).tolist() == [UNKNOWN] * 3 + from_text("ACGA").tolist()


@pytest.mark.parametrize("k", [0, 7])
def test_k_has_a_range(k: int) -> None:
    with pytest.raises(ValueError, match=f"^k is {k}; LOGO's vocabulary is made for k from 1 to 6$"):
        LogoTokenizer(k=k)
