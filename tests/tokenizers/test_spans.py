"""Between tokens and bases, against loops over every token and every base."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnalm.genome.alphabet import Codes
from dnalm.tokenizers import KmerTokenizer, Tokenizer
from dnalm.tokenizers.protocol import covering_tokens, mean_over_tokens, pair_up
from tests.tokenizers.examples import EVERY, any_codes, plain_codes

every = pytest.mark.parametrize("tokenizer", EVERY.values(), ids=EVERY)
fewer = settings(max_examples=25)


def spans_of(tokenizer: Tokenizer, codes: Codes) -> np.ndarray:
    return tokenizer.spans(codes, tokenizer.encode(codes))


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


@every
@fewer
@given(codes=any_codes)
def test_every_token_is_paired_with_each_base_it_covers(tokenizer: Tokenizer, codes: Codes) -> None:
    spans = spans_of(tokenizer, codes)
    expected = [
        (token, base, base - start) for token, (start, end) in enumerate(spans) for base in range(start, end)
    ]
    assert list(zip(*pair_up(spans), strict=True)) == expected


@every
@fewer
@given(codes=any_codes)
def test_covering_tokens_are_all_that_hold_the_base(tokenizer: Tokenizer, codes: Codes) -> None:
    spans = spans_of(tokenizer, codes)
    for base, (first, last) in enumerate(covering_tokens(spans, len(codes))):
        holds = (spans[:, 0] <= base) & (base < spans[:, 1])
        assert list(range(first, last)) == np.flatnonzero(holds).tolist()


@every
@fewer
@given(codes=any_codes)
def test_a_base_is_given_the_mean_of_the_tokens_over_it(tokenizer: Tokenizer, codes: Codes) -> None:
    spans = spans_of(tokenizer, codes)
    values = numbers(len(spans))
    found = mean_over_tokens(values, spans, len(codes))
    for base in range(len(codes)):
        holds = (spans[:, 0] <= base) & (base < spans[:, 1])
        assert found[base] == pytest.approx(values[holds].mean())


@every
@fewer
@given(codes=plain_codes)
def test_a_constant_stays_what_it_is(tokenizer: Tokenizer, codes: Codes) -> None:
    spans = spans_of(tokenizer, codes)
    assert mean_over_tokens(np.full(len(spans), 2.5), spans, len(codes)) == pytest.approx(2.5)


def test_vectors_are_averaged_place_by_place() -> None:
    spans = np.array([[0, 0], [0, 2], [1, 3], [3, 3]])
    values = np.array([[9.0, 9], [1, 2], [3, 6], [9, 9]])
    assert mean_over_tokens(values, spans, 3).tolist() == [[1, 2], [2, 4], [3, 6]]


def test_bases_that_no_token_covers_are_nan() -> None:
    spans = np.array([[0, 0], [1, 3], [5, 6], [6, 6]])
    found = mean_over_tokens(np.array([9.0, 1, 2, 9]), spans, 8)
    assert np.isnan(found).tolist() == [True, False, False, True, True, False, True, True]
    assert found[[1, 2, 5]].tolist() == [1, 1, 2]


def test_bases_that_no_token_covers_have_no_covering_tokens() -> None:
    covering = covering_tokens(np.array([[0, 0], [1, 3], [5, 6], [6, 6]]), 8)
    assert (covering[:, 1] - covering[:, 0]).tolist() == [0, 1, 1, 0, 0, 1, 0, 0]
    assert covering[[1, 2, 5]].tolist() == [[1, 2], [1, 2], [2, 3]]


def test_special_tokens_alone_cover_nothing() -> None:
    spans = np.array([[0, 0], [0, 0]])
    assert len(pair_up(spans).token) == 0
    covering = covering_tokens(spans, 2)
    assert (covering[:, 0] == covering[:, 1]).all()
    assert np.isnan(mean_over_tokens(np.array([1.0, 2]), spans, 2)).all()


@given(num_bases=st.integers(1, 50), k=st.integers(1, 8))
def test_an_inner_base_lies_in_k_kmers(num_bases: int, k: int) -> None:
    num_bases += 2 * (k - 1)
    codes = np.zeros(num_bases, dtype=np.uint8)
    covering = covering_tokens(spans_of(KmerTokenizer(k=k), codes), num_bases)
    inner = covering[k - 1 : num_bases - k + 1]
    assert (inner[:, 1] - inner[:, 0] == k).all()
