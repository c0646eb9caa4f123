"""Attention between tokens becomes attention between bases, and a few numbers, without loss or gain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.errors import ConfigError
from dnalm.evaluation.inference import Precision
from dnalm.evaluation.interpretation.reader import summarize, to_bases
from dnalm.tokenizers import KmerTokenizer
from tests.evaluation.interpretation.small import make_reader, random_codes
from tests.tokenizers.examples import EVERY

PRECISIONS: list[Precision] = ["float32", "bfloat16"]
TILES = np.array([[0, 0], [0, 2], [2, 5], [5, 5]])  # [CLS], two bases, three bases, [SEP]


@given(st.integers(0, 2**32 - 1), st.sampled_from(["kmer_1", "kmer_3", "six_mer_v1", "bpe", "logo_3"]))
def test_a_base_spends_what_its_tokens_spend_on_bases(seed: int, name: str) -> None:
    draw = np.random.default_rng(seed)
    codes = draw.integers(0, 4, 25).astype(np.uint8)
    ids = EVERY[name].encode(codes)
    spans = EVERY[name].spans(codes, ids)
    weights = draw.dirichlet(np.ones(len(ids)), len(ids))
    content = spans[:, 1] > spans[:, 0]
    spent = weights[:, content].sum(axis=1)
    for base, received in enumerate(to_bases(weights, spans, 25).sum(axis=1)):
        over = (spans[:, 0] <= base) & (base < spans[:, 1])
        assert received == pytest.approx(spent[over].mean() if over.any() else 0)


def test_a_tokens_attention_is_shared_by_its_bases() -> None:
    weights = np.zeros((4, 4))
    weights[1] = [0.1, 0.2, 0.6, 0.1]
    weights[2] = [0.0, 0.0, 1.0, 0.0]
    of_bases = to_bases(weights, TILES, 5)
    np.testing.assert_allclose(of_bases[:2], [[0.1, 0.1, 0.2, 0.2, 0.2]] * 2)
    np.testing.assert_allclose(of_bases[2:], [[0, 0, 1 / 3, 1 / 3, 1 / 3]] * 3)


def test_a_head_that_looks_at_itself_looks_nowhere_else() -> None:
    found = summarize(np.eye(4), TILES, 5)
    assert (found.special_share, found.distance_bp, found.entropy_bits) == (0, 0, 0)
    # Two bases with distances 0 and 1, three with 0, 1, 2: means 1/2, 1/2, 1, 2/3, 1
    assert found.base_distance_bp == pytest.approx((1 / 2 + 1 / 2 + 1 + 2 / 3 + 1) / 5)
    assert found.base_entropy_bits == pytest.approx((2 * 1 + 3 * np.log2(3)) / 5)


def test_a_head_that_looks_everywhere_alike() -> None:
    codes = random_codes(6)
    tokenizer = KmerTokenizer(k=1)
    spans = tokenizer.spans(codes, tokenizer.encode(codes))
    found = summarize(np.full((8, 8), 1 / 8), spans, 6)
    assert found.special_share == pytest.approx(2 / 8)
    assert found.entropy_bits == pytest.approx(3)
    assert found.base_entropy_bits == pytest.approx(np.log2(6))
    # Mean |i - j| over all pairs of n places is (n^2 - 1) / 3n
    assert found.distance_bp == found.base_distance_bp == pytest.approx(35 / 18)


def test_rows_of_a_models_maps_sum_to_one() -> None:
    reader = make_reader(KmerTokenizer(k=3))
    layers = reader.attention(random_codes(20))
    assert [layer.shape for layer in layers] == [(2, 20, 20)] * 2  # 18 k-mers, [CLS] and [SEP]
    np.testing.assert_allclose(np.stack(layers).sum(axis=-1), 1, atol=1e-6)


def test_maps_of_half_the_width_are_off_by_its_rounding() -> None:
    """Each weight is rounded by at most 2^-9 of itself, and so is their sum of 1; scores by more."""
    wide, narrow = (
        np.stack(make_reader(KmerTokenizer(k=3), precision=precision).attention(random_codes(20)))
        for precision in PRECISIONS
    )
    assert narrow.dtype == wide.dtype == np.float32
    assert 0 < np.abs(narrow - wide).max() < 0.05
    np.testing.assert_allclose(narrow.sum(axis=-1), 1, atol=2**-8)


def test_convolutions_come_before_the_maps_and_have_none() -> None:
    reader = make_reader(KmerTokenizer(k=1), conv_dilations=[1, 2], num_layers=1)
    assert [map_HTT.shape for map_HTT in reader.attention(random_codes(6))] == [(2, 8, 8)]


def test_a_model_of_convolutions_alone_has_no_attention_to_look_at() -> None:
    reader = make_reader(KmerTokenizer(k=1), conv_dilations=[1, 2], num_layers=0)
    with pytest.raises(ConfigError) as caught:
        reader.attention(random_codes(6))
    assert str(caught.value) == (
        "INT-05 what=attention: a model of convolutions alone; a model with blocks of attention. Fix: set "
        "what=mutagenesis or what=dependency, which ask any model."
    )
