"""Vectors of tokens and bases are those of one window at a time, whatever they are batched with."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dnalm.errors import ConfigError, DataError
from dnalm.evaluation.embedding.reader import (
    EmbeddingRecipe,
    SequenceReader,
    TokenStates,
    Vectors,
    window_starts,
)
from dnalm.genome.alphabet import Codes
from dnalm.models import Encoder, Packed
from dnalm.tokenizers import Tokenizer
from tests.evaluation.embedding.models import PAIRS, loaded, sequences, tiny
from tests.tokenizers.examples import EVERY

LENGTHS = (40, 7, 90, 41, 23, 200)
TOLERANCE = 1e-6


def alone(
    encoder: Encoder, tokenizer: Tokenizer, codes: Codes, *, layer: int, width: int, starts: list[int]
) -> list[list[Vectors]]:
    """Every vector of every token, by loops: the state of each window that holds it."""
    special = tokenizer.special
    first = int(special.start is not None)
    ids = special.unwrap(tokenizer.encode(codes))
    found: list[list[Vectors]] = [[] for _ in ids]
    for start in starts:
        window = special.wrap(ids[start : start + width])
        with torch.no_grad():
            packed = Packed.from_lengths([len(window)])
            states = list(encoder.hidden_states(torch.from_numpy(window), packed))[layer]
        for place in range(len(ids[start : start + width])):
            found[start + place].append(states[first + place].numpy())
    return found


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("layer", [0, 1, -1])
def test_a_tokens_vector_is_its_mean_over_windows_read_one_at_a_time(name: str, layer: int) -> None:
    model, tokenizer = tiny(name)
    reader = SequenceReader(loaded(model, tokenizer), EmbeddingRecipe(layer=layer, batch_tokens=50))
    texts = sequences(*LENGTHS)
    for codes, state in zip(texts, reader.read(texts), strict=True):
        number = len(tokenizer.special.unwrap(tokenizer.encode(codes)))
        starts = window_starts(number, reader.limit, 0.5)
        slow = alone(model.encoder, tokenizer, codes, layer=layer, width=reader.limit, starts=starts)
        assert np.abs(state.vectors - [np.mean(seen, axis=0) for seen in slow]).max() < TOLERANCE


@pytest.mark.parametrize("name", PAIRS)
def test_a_bases_vector_is_the_mean_of_the_tokens_that_cover_it(name: str) -> None:
    model, tokenizer = tiny(name)
    (codes,) = sequences(100)
    (state,) = SequenceReader(loaded(model, tokenizer), EmbeddingRecipe()).read([codes])
    vectors = state.at_bases()
    for base in range(100):
        covering = [v for v, (a, b) in zip(state.vectors, state.spans, strict=True) if a <= base < b]
        assert np.abs(vectors[base] - np.mean(covering, axis=0)).max() < TOLERANCE


@pytest.mark.parametrize("name", PAIRS)
def test_vectors_depend_on_neither_batches_nor_order_nor_neighbours(name: str) -> None:
    model, tokenizer = tiny(name)
    texts = sequences(*LENGTHS)

    def read(chosen: list[Codes], batch_tokens: int) -> list[TokenStates]:
        recipe = EmbeddingRecipe(batch_tokens=batch_tokens)
        return SequenceReader(loaded(model, tokenizer), recipe).read(chosen)

    one_by_one = [read([codes], 1)[0] for codes in texts]
    for found in (read(texts, 10_000), read(texts[::-1], 60)[::-1]):
        for state, single in zip(found, one_by_one, strict=True):
            assert np.abs(state.vectors - single.vectors).max() < TOLERANCE
            assert (state.spans == single.spans).all()


def test_the_last_layer_is_what_the_encoder_gives() -> None:
    model, tokenizer = tiny("six_mer")  # which norms at its end
    (codes,) = sequences(60)
    ids = torch.from_numpy(tokenizer.encode(codes))
    with torch.no_grad():
        expected = model.encoder(ids, Packed.from_lengths([len(ids)])).numpy()
    (state,) = SequenceReader(loaded(model, tokenizer), EmbeddingRecipe()).read([codes])
    assert state.start is not None
    assert np.abs(state.start - expected[0]).max() < TOLERANCE
    assert np.abs(state.vectors - expected[1:]).max() < TOLERANCE


def test_pooling_is_over_the_tokens_that_spell_bases() -> None:
    model, tokenizer = tiny("kmer")
    texts = sequences(20, 80)
    for state in SequenceReader(loaded(model, tokenizer), EmbeddingRecipe()).read(texts):
        assert state.pooled("mean") == pytest.approx(state.vectors.mean(0), abs=TOLERANCE)
        assert state.pooled("max").tolist() == state.vectors.max(0).tolist()
        assert state.pooled("cls") is state.start
        assert len(state.vectors) == len(state.ids) == state.num_bases - 2


@given(st.integers(1, 400), st.integers(1, 50), st.floats(0, 0.99))
def test_windows_cover_every_token_and_overlap_as_asked(tokens: int, limit: int, overlap: float) -> None:
    starts = window_starts(tokens, limit, overlap)
    covered = {place for start in starts for place in range(start, min(start + limit, tokens))}
    assert covered == set(range(tokens))
    assert starts == sorted(set(starts))
    assert max(starts) == max(0, tokens - limit)  # each but a single one is full
    stride = max(1, int(limit * (1 - overlap)))
    assert all(after - before <= stride for before, after in pairwise(starts))


def test_a_sequence_longer_than_the_model_is_refused_if_that_is_asked_for() -> None:
    model, tokenizer = tiny("kmer")
    reader = SequenceReader(loaded(model, tokenizer), EmbeddingRecipe(long="refuse"))
    assert len(reader.read(sequences(24))[0].vectors) == 22  # the longest: 24 positions, two special
    with pytest.raises(DataError) as error:
        reader.read(sequences(25), where=["a.fa chr1"])
    assert str(error.value) == (
        "SEQ-02 a.fa chr1: 23 tokens; at most 22. Fix: set long=windows, which reads all of it in windows "
        "that overlap."
    )


def test_a_sequence_too_short_for_a_token_is_reported_with_its_place() -> None:
    model, tokenizer = tiny("kmer")
    with pytest.raises(DataError) as error:
        SequenceReader(loaded(model, tokenizer), EmbeddingRecipe()).read(sequences(9, 2), where=["x", "y:3"])
    assert "SEQ-01 y:3: 2 bases; at least 3 bases" in str(error.value)


def test_choices_that_the_model_cannot_do_are_refused() -> None:
    model, tokenizer = tiny("kmer")
    with pytest.raises(ConfigError) as error:
        SequenceReader(loaded(model, tokenizer), EmbeddingRecipe(layer=3))
    assert str(error.value) == (
        "CFG-53 layer: layer 3 of a model of 2 blocks; 0 (the embeddings) to 2, or from the end, -1 to -3. "
        "Fix: choose one of them."
    )
    with pytest.raises(ConfigError, match=r"CFG-53 max_tokens: max_tokens=23; at most 22"):
        SequenceReader(loaded(model, tokenizer), EmbeddingRecipe(max_tokens=23))
    with pytest.raises(ConfigError, match=r"CFG-53 pooling: pooling=mean at resolution=base; mean, cls or"):
        EmbeddingRecipe(pooling="mean", resolution="base")
    with pytest.raises(ConfigError, match=r"CFG-53 pooling: pooling=none at resolution=sequence"):
        EmbeddingRecipe(pooling="none")


def test_layers_count_from_both_ends() -> None:
    assert [EmbeddingRecipe(layer=layer).chosen_layer(2) for layer in (0, 2, -1, -3)] == [0, 2, 2, 0]


def test_cls_needs_a_start_token() -> None:
    bare = next((t for t in EVERY.values() if t.special.start is None), None)
    assert bare is not None, "one of the tokenizers has none"
    model, _ = tiny("kmer", vocab_size=bare.vocab_size)
    with pytest.raises(ConfigError, match=r"pooling=cls, and a tokenizer without a start token; mean or max"):
        SequenceReader(loaded(model, bare), EmbeddingRecipe(pooling="cls"))
