"""Learning merges: equal to the `tokenizers` library's trainer, in memory that is known beforehand."""

import json
import tracemalloc
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, trainers

from dnalm.genome.alphabet import Codes, to_text
from dnalm.tokenizers.bpe_training import BREAK, PairCounts, Text, memory_bytes
from tests.tokenizers.examples import repetitive_codes

Merges = list[tuple[str, str]]


def text_of(codes: Codes) -> Text:
    return np.pad(codes.astype(np.uint16) + 1, 1, constant_values=BREAK)


def learn(texts: Iterable[Codes], *, num_words: int) -> Merges:
    """Merge while a pair occurs twice and words are wanted, BREAK and the bases among them."""
    counts = PairCounts(map(text_of, texts), letters="ACGT", num_tokens=num_words)
    merges: Merges = []
    while len(counts.words) < num_words:
        left, right, occurrences = counts.most_frequent()
        if occurrences < 2:
            break
        merges.append((counts.words[left], counts.words[right]))
        counts.merge(left, right)
    return merges


def learn_by_library(texts: Iterable[Codes], *, num_words: int) -> Merges:
    engine = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=num_words - 1, min_frequency=2, initial_alphabet=list("ACGT"), show_progress=False
    )
    engine.train_from_iterator(map(to_text, texts), trainer)
    return [tuple(pair) for pair in json.loads(engine.to_str())["model"]["merges"]]


@settings(max_examples=200)
@given(texts=st.lists(repetitive_codes, min_size=1, max_size=6), num_words=st.integers(6, 80))
def test_merges_equal_those_of_the_library_on_repetitive_pieces(texts: list[Codes], num_words: int) -> None:
    assert learn(texts, num_words=num_words) == learn_by_library(texts, num_words=num_words)


@settings(max_examples=50)
@given(seed=st.integers(0, 10_000), letters=st.integers(1, 4), length=st.integers(1, 400))
def test_merges_equal_those_of_the_library_on_random_pieces(seed: int, letters: int, length: int) -> None:
    random = np.random.default_rng(seed)
    texts = [random.integers(0, letters, length).astype(np.uint8) for _ in range(3)]
    assert learn(texts, num_words=200) == learn_by_library(texts, num_words=200)


@settings(max_examples=50)
@given(texts=st.lists(repetitive_codes, min_size=1, max_size=4))
def test_more_words_continue_the_same_merges(texts: list[Codes]) -> None:
    few, many = learn(texts, num_words=12), learn(texts, num_words=40)
    assert many[: len(few)] == few


@settings(max_examples=50)
@given(texts=st.lists(repetitive_codes, min_size=2, max_size=4))
def test_the_order_of_pieces_does_not_matter(texts: list[Codes]) -> None:
    assert learn(texts, num_words=40) == learn(texts[::-1], num_words=40)


@settings(max_examples=50)
@given(texts=st.lists(repetitive_codes, min_size=1, max_size=4))
def test_no_word_is_learned_twice(texts: list[Codes]) -> None:
    words = [left + right for left, right in learn(texts, num_words=60)]
    assert len(set(words)) == len(words)


def test_the_most_frequent_pair_is_the_first_of_equally_frequent_ones() -> None:
    counts = PairCounts(
        map(text_of, [np.array([2, 3], np.uint8), np.array([0, 3], np.uint8)]), letters="ACGT", num_tokens=9
    )
    assert counts.most_frequent() == (1, 4, 1)  # A T before G T


def test_a_run_is_merged_from_the_left_and_counted_pair_by_pair() -> None:
    counts = PairCounts([text_of(np.zeros(5, np.uint8))], letters="ACGT", num_tokens=9)
    assert counts.most_frequent() == (1, 1, 4)  # A A A A A holds four pairs
    counts.merge(1, 1)
    assert counts.words[-1] == "AA"
    assert counts.most_frequent() == (5, 1, 1)  # AA AA A: each pair once, AA A first


@pytest.mark.parametrize("at_content", [0.5, 0.8])
@pytest.mark.parametrize("length", [1000, 2_000_000])
@pytest.mark.parametrize("num_tokens", [50, 1500])
def test_memory_stays_below_what_is_promised(at_content: float, length: int, num_tokens: int) -> None:
    num_bases, at, gc = 2_000_000, at_content / 2, (1 - at_content) / 2
    codes = np.random.default_rng(0).choice(4, num_bases, p=[at, gc, gc, at]).astype(np.uint8)
    texts = (text_of(codes[start : start + length]) for start in range(0, num_bases, length))
    tracemalloc.start()
    try:
        counts = PairCounts(texts, letters="ACGT", num_tokens=num_tokens)
        for _ in range(25):
            counts.merge(*counts.most_frequent()[:2])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < memory_bytes(num_bases, num_tokens, length)
