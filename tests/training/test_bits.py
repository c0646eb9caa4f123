"""Bits per base, against an enumeration of the vocabulary."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dnalm.data.batch import Sample, collate, find_hidden
from dnalm.genome.alphabet import from_text
from dnalm.tokenizers import BpeTokenizer, KmerTokenizer, SixMerTokenizer, Tokenizer
from dnalm.tokenizers.bpe_training import bpe_document
from dnalm.training.pretraining import base_indicator, bits_of_marginals, bits_of_tokens


def batch_of(tokenizer: Tokenizer, codes: np.ndarray, hidden: np.ndarray) -> object:
    ids = tokenizer.encode(codes)
    spans = tokenizer.spans(codes, ids)
    found = find_hidden(codes, spans, hidden, start=0)
    content = spans[:, 1] > spans[:, 0]
    sample = Sample(
        index=0,
        seen=ids,
        ids=ids,
        masked=hidden,
        targets=hidden,
        content=content,
        num_bases=len(codes),
        hidden=found,
    )
    return collate([sample])


@given(seed=st.integers(0, 1000), k=st.sampled_from([1, 2, 3]))
def test_equals_a_sum_over_the_spelled_tokens(seed: int, k: int) -> None:
    random = np.random.default_rng(seed)
    tokenizer = KmerTokenizer(k=k)
    codes = random.integers(0, 4, 20, dtype=np.uint8)
    spans = tokenizer.spans(codes, tokenizer.encode(codes))
    hidden = (random.random(len(spans)) < 0.6) & (spans[:, 1] > spans[:, 0])
    batch = batch_of(tokenizer, codes, hidden)
    logits = torch.from_numpy(random.normal(size=(int(hidden.sum()), tokenizer.vocab_size))).float()
    bits = bits_of_marginals(logits, base_indicator(torch.from_numpy(tokenizer.token_bases)), batch.hidden)

    probability = torch.softmax(logits.double(), -1).numpy()
    masked = np.flatnonzero(hidden)
    for place, found in zip(batch.hidden.position_X.tolist(), bits.tolist(), strict=True):
        told = []
        for row, token in enumerate(masked):
            start, end = spans[token]
            if start <= place < end:
                of_base = [
                    sum(
                        probability[row, v]
                        for v in range(5, tokenizer.vocab_size)
                        if tokenizer.token_bases[v, place - start] == base
                    )
                    for base in range(4)
                ]
                told.append(of_base[codes[place]] / sum(of_base))
        assert found == pytest.approx(-math.log2(np.mean(told)), rel=1e-4)


def test_uniform_logits_give_two_bits() -> None:
    tokenizer = KmerTokenizer(k=3)
    codes = np.zeros(12, dtype=np.uint8)
    hidden = np.zeros(12, dtype=bool)
    hidden[1:11] = True
    batch = batch_of(tokenizer, codes, hidden)
    indicator = base_indicator(torch.from_numpy(tokenizer.token_bases))
    bits = bits_of_marginals(torch.zeros(10, 69), indicator, batch.hidden)
    assert len(bits) == 12
    assert bits.tolist() == pytest.approx([2.0] * 12, abs=1e-6)


def test_certainty_gives_no_bits_and_error_stays_finite() -> None:
    tokenizer = KmerTokenizer(k=1)
    codes = np.array([0, 0], dtype=np.uint8)
    hidden = np.array([False, True, True, False])
    batch = batch_of(tokenizer, codes, hidden)
    logits = torch.full((2, 9), -1e4)
    logits[0, 5] = logits[1, 6] = 1e4  # A, and T where A is true
    bits = bits_of_marginals(logits, base_indicator(torch.from_numpy(tokenizer.token_bases)), batch.hidden)
    assert bits[0] == 0
    assert torch.isfinite(bits).all()
    assert bits[1] > 100


def test_a_token_that_tiles_shares_its_bits_among_its_bases() -> None:
    # C AAAA G: the 4-base token is given probability 1/2, one bit, so each of its bases costs 1/4 bit.
    merges = [("A", "A"), ("AA", "AA")]
    tokenizer = BpeTokenizer(
        bpe_document(merges, ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]), where=Path()
    )
    codes = from_text("CAAAAG")
    ids = tokenizer.encode(codes)
    batch = batch_of(tokenizer, codes, np.arange(len(ids)) == 2)
    logits = torch.zeros(1, tokenizer.vocab_size)
    logits[0, ids[2]] = math.log(tokenizer.vocab_size - 1)  # as much as all others together
    assert bits_of_tokens(logits, batch.labels_M, batch.hidden).tolist() == pytest.approx([0.25] * 4)
    assert batch.hidden.position_X.tolist() == [1, 2, 3, 4]


def test_an_unknown_base_costs_nothing_and_uniform_six_mers_cost_two_bits() -> None:
    tokenizer = SixMerTokenizer(version=2)
    codes = from_text("ACGTACNACGTAC")
    ids = tokenizer.encode(codes)  # <cls> 6-mer N 6-mer
    batch = batch_of(tokenizer, codes, np.arange(len(ids)) > 0)
    bits = bits_of_tokens(torch.zeros(3, 4107), batch.labels_M, batch.hidden)
    assert bits.tolist() == pytest.approx([math.log2(4107) / 6] * 12)
