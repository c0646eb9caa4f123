"""Overlapping k-mers: the published ids, spans, N and case."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.errors import DataError
from dnalm.genome.alphabet import SOFT_MASK, UNKNOWN, from_text, reverse_complement, to_text
from dnalm.tokenizers import KmerTokenizer
from tests.conftest import random_sequence
from tests.tokenizers.examples import any_codes

codes_strategy = st.lists(st.integers(0, 3), min_size=8, max_size=80).map(
    lambda x: np.array(x, dtype=np.uint8)
)


@pytest.mark.parametrize("k", [3, 4, 5, 6])
def test_ids_equal_the_published_vocabulary(k: int, shared_data: Path) -> None:
    text = (shared_data / f"tokenizers/dnabert/bert-config-{k}/vocab.txt").read_text()
    published = text.split()
    assert KmerTokenizer(k=k).vocabulary() == published
    every_kmer = "".join(published[5:])
    for token, first in zip(published[5:], range(0, len(every_kmer), k), strict=True):
        ids = KmerTokenizer(k=k).encode(from_text(every_kmer[first : first + k]))
        assert ids.tolist() == [2, published.index(token), 3]


def test_a_sequence_by_hand() -> None:
    # A=0 T=1 C=2 G=3: ACG = 0*16 + 2*4 + 3 = 11, CGT = 2*16 + 3*4 + 1 = 45; 5 special ids before.
    assert KmerTokenizer(k=3).encode(from_text("ACGT")).tolist() == [2, 16, 50, 3]


@given(codes=codes_strategy, k=st.integers(1, 8))
def test_decoding_gives_the_sequence_back(codes: np.ndarray, k: int) -> None:
    tokenizer = KmerTokenizer(k=k)
    assert (tokenizer.decode(tokenizer.encode(codes)) == codes).all()


@given(codes=codes_strategy, k=st.integers(1, 8))
def test_each_token_spells_the_bases_of_its_span(codes: np.ndarray, k: int) -> None:
    tokenizer = KmerTokenizer(k=k)
    ids = tokenizer.encode(codes)
    spans = tokenizer.spans(codes, ids)
    assert len(ids) == len(spans)
    assert spans[0].tolist() == [0, 0]
    assert spans[-1, 0] == spans[-1, 1] == len(codes)
    for token, (start, end) in zip(ids[1:-1], spans[1:-1], strict=True):
        assert (tokenizer.token_bases[token] == codes[start:end]).all()


@given(codes=any_codes, k=st.integers(1, 8))
def test_the_other_strand_is_spelled_backwards(codes: np.ndarray, k: int) -> None:
    tokenizer = KmerTokenizer(k=k)
    kmers = tokenizer.token_bases[tokenizer.encode(codes)[1:-1]]
    others = tokenizer.token_bases[tokenizer.encode(reverse_complement(codes))[1:-1]]
    assert (np.array([reverse_complement(kmer) for kmer in kmers[::-1]]) == others).all()


@pytest.mark.parametrize("k", range(1, 9))
def test_the_tokens_are_the_words_at_every_place(k: int) -> None:
    text = random_sequence(300, seed=k)
    words = KmerTokenizer(k=k).vocabulary()
    found = [words[i] for i in KmerTokenizer(k=k).encode(from_text(text))]
    assert found == ["[CLS]", *(text[i : i + k] for i in range(300 - k + 1)), "[SEP]"]


def test_with_k_1_a_token_is_a_character() -> None:
    ids = KmerTokenizer(k=1).encode(from_text("ATCGN"))
    assert ids.tolist() == [2, 5, 6, 7, 8, 1, 3]


@given(codes=codes_strategy, place=st.integers(0, 79), k=st.integers(1, 6))
def test_an_n_makes_unknown_every_kmer_that_holds_it(codes: np.ndarray, place: int, k: int) -> None:
    place %= len(codes)
    codes[place] = UNKNOWN
    tokenizer = KmerTokenizer(k=k)
    ids = tokenizer.encode(codes)
    unknown, spans = ids == tokenizer.special.unknown, tokenizer.spans(codes, ids)
    assert (unknown == ((spans[:, 0] <= place) & (place < spans[:, 1]))).all()


@given(codes=codes_strategy)
def test_soft_masking_changes_nothing(codes: np.ndarray) -> None:
    tokenizer = KmerTokenizer(k=4)
    assert (tokenizer.encode(codes | SOFT_MASK) == tokenizer.encode(codes)).all()


def test_decoding_special_tokens_gives_n_where_no_neighbour_tells() -> None:
    tokenizer = KmerTokenizer(k=3)
    ids = tokenizer.encode(from_text("ACGTACGTA"))
    ids[3:6] = tokenizer.special.mask  # the k-mers at 2, 3, 4: base 4 lies in no other
    assert to_text(tokenizer.decode(ids)) == "ACGTNCGTA"


@pytest.mark.parametrize("k", [1, 3, 6])
def test_counts_and_lengths(k: int) -> None:
    tokenizer = KmerTokenizer(k=k)
    assert tokenizer.vocab_size == 5 + 4**k == len(tokenizer.vocabulary())
    codes = np.zeros(tokenizer.length_in_bases(510), dtype=np.uint8)
    assert len(tokenizer.encode(codes)) == 510 + 2
    assert tokenizer.replacement_ids.tolist() == list(range(5, 5 + 4**k))


def test_fingerprints_tell_tokenizers_apart() -> None:
    assert len({KmerTokenizer(k=k).fingerprint for k in range(1, 9)}) == 8
    assert KmerTokenizer(k=6).fingerprint == KmerTokenizer(k=6).fingerprint


def test_a_sequence_shorter_than_k_is_refused() -> None:
    with pytest.raises(DataError, match="SEQ-01 sequence: 5 bases; at least 6 bases to spell one 6-mer"):
        KmerTokenizer(k=6).encode(from_text("ACGTA"))


@pytest.mark.parametrize("k", [0, 9])
def test_k_has_a_range(k: int) -> None:
    with pytest.raises(ValueError, match=f"k is {k}; a k-mer vocabulary is made for k from 1 to 8"):
        KmerTokenizer(k=k)


def test_saved_files_give_stock_transformers_the_same_ids(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = KmerTokenizer(k=3)
    tokenizer.save(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    stock = AutoTokenizer.from_pretrained(tmp_path)
    text = "ACGTTGCANACGT"
    kmers = " ".join(text[i : i + 3] for i in range(len(text) - 2))
    assert stock(kmers)["input_ids"] == tokenizer.encode(from_text(text)).tolist()


def test_vocabulary_order_is_the_product_of_atcg() -> None:
    assert KmerTokenizer(k=2).vocabulary()[5:] == [a + b for a, b in itertools.product("ATCG", repeat=2)]
