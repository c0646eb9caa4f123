"""Bits per base, against an enumeration of the vocabulary."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dnalm.data.batch import Sample, collate
from dnalm.data.hidden import find_hidden
from dnalm.tokenizers import KmerTokenizer
from dnalm.training.bits import base_indicator, bits_per_hidden_base


def batch_of(tokenizer: KmerTokenizer, codes: np.ndarray, hidden: np.ndarray) -> object:
    ids = tokenizer.encode(codes)
    spans = tokenizer.spans(codes, ids)
    found = find_hidden(codes, spans, hidden, start=0)
    return collate([Sample(0, ids, ids, hidden, len(ids) - 2, len(codes), found)])


@given(seed=st.integers(0, 1000), k=st.sampled_from([1, 2, 3]))
def test_equals_a_sum_over_the_spelled_tokens(seed: int, k: int) -> None:
    random = np.random.default_rng(seed)
    tokenizer = KmerTokenizer(k=k)
    codes = random.integers(0, 4, 20, dtype=np.uint8)
    spans = tokenizer.spans(codes, tokenizer.encode(codes))
    hidden = (random.random(len(spans)) < 0.6) & (spans[:, 1] > spans[:, 0])
    batch = batch_of(tokenizer, codes, hidden)
    logits = torch.from_numpy(random.normal(size=(int(hidden.sum()), tokenizer.vocab_size))).float()
    bits = bits_per_hidden_base(logits, base_indicator(torch.from_numpy(tokenizer.token_bases)), batch.hidden)

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
    bits = bits_per_hidden_base(torch.zeros(10, 69), indicator, batch.hidden)
    assert len(bits) == 12
    assert bits.tolist() == pytest.approx([2.0] * 12, abs=1e-6)


def test_certainty_gives_no_bits_and_error_stays_finite() -> None:
    tokenizer = KmerTokenizer(k=1)
    codes = np.array([0, 0], dtype=np.uint8)
    hidden = np.array([False, True, True, False])
    batch = batch_of(tokenizer, codes, hidden)
    logits = torch.full((2, 9), -1e4)
    logits[0, 5] = logits[1, 6] = 1e4  # A, and T where A is true
    bits = bits_per_hidden_base(logits, base_indicator(torch.from_numpy(tokenizer.token_bases)), batch.hidden)
    assert bits[0] == 0
    assert torch.isfinite(bits).all()
    assert bits[1] > 100
