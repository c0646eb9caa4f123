"""A reader's answers are those of a slow reading of their definition, whatever else is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dnalm.errors import CheckpointError, DataError
from dnalm.evaluation.inference import LoadedModel
from dnalm.evaluation.interpretation.reader import HiddenBase, Reader, training_window
from dnalm.models import MaskedLM, Packed, load_pretrained, save_pretrained
from dnalm.tokenizers import KmerTokenizer
from tests.evaluation.interpretation.small import make_model, make_reader, random_codes
from tests.tokenizers.examples import EVERY

NAMES = ["kmer_1", "kmer_3", "six_mer_v1", "six_mer_v2", "bpe", "logo_3"]


def by_hand(reader: Reader, text: np.ndarray, place: int) -> np.ndarray:
    """One text at a time, token by token, id by id."""
    tokenizer = reader.tokenizer
    ids = tokenizer.encode(text)
    spans = tokenizer.spans(text, ids)
    over = [t for t, (start, end) in enumerate(spans.tolist()) if start <= place < end]
    ids[over] = tokenizer.special.mask
    with torch.no_grad():
        logits = reader.model.network(
            torch.from_numpy(ids), Packed.from_lengths([len(ids)]), torch.tensor(over)
        )
    mean = np.zeros(4)
    for row, token in zip(logits.softmax(-1).double().numpy(), over, strict=True):
        sums = np.zeros(4)
        for probability, spelled in zip(row, tokenizer.token_bases, strict=True):
            at = place - int(spans[token, 0])
            if at < len(spelled) and spelled[at] < 4:
                sums[spelled[at]] += probability
        mean += sums / sums.sum() / len(over)
    return np.log(mean)


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_of_the_definition(name: str) -> None:
    reader = make_reader(EVERY[name])
    text = random_codes(30)
    log_p = reader.log_probabilities([HiddenBase(text, place) for place in range(30)])
    slow = np.array([by_hand(reader, text, place) for place in range(30)])
    np.testing.assert_allclose(log_p, slow, atol=1e-5)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_neither_order_nor_batches_change_an_answer(name: str) -> None:
    texts = [random_codes(20 + 3 * number, number) for number in range(8)]
    questions = [HiddenBase(text, place) for text in texts for place in (0, 7, len(text) - 1)]
    together = make_reader(EVERY[name]).log_probabilities(questions)
    alone = make_reader(EVERY[name], batch_tokens=1).log_probabilities(questions[::-1])[::-1]
    np.testing.assert_allclose(together, alone, atol=1e-6)


@given(length=st.integers(1, 200), window=st.integers(1, 80), data=st.data())
def test_a_window_holds_its_base_and_is_as_wide_as_can_be(
    length: int, window: int, data: st.DataObject
) -> None:
    reader = make_reader(KmerTokenizer(k=1), window_bp=window)
    place = data.draw(st.integers(0, length - 1))
    first, last = reader.window(np.zeros(length, dtype=np.uint8), place)
    assert 0 <= first <= place < last <= length
    assert last - first == min(window, length)


def test_bases_outside_the_window_are_not_seen() -> None:
    reader = make_reader(KmerTokenizer(k=3), window_bp=21)
    text = random_codes(100)
    other = random_codes(100, 1)
    other[40:61] = text[40:61]
    one, two = reader.log_probabilities([HiddenBase(text, 50), HiddenBase(other, 50)])
    np.testing.assert_array_equal(one, two)
    other[40] = 3 - other[40]
    assert np.abs(reader.log_probabilities([HiddenBase(other, 50)])[0] - one).max() > 1e-6


def test_a_window_is_that_of_the_training_where_it_is_known(tmp_path: Path) -> None:
    tokenizer = KmerTokenizer(k=6)
    model = make_model(tokenizer)

    def window_of(network: MaskedLM) -> int:
        return training_window(LoadedModel(network=network, tokenizer=tokenizer))

    assert window_of(model) == 64 - 2 + 5  # positions, less [CLS] and [SEP]
    save_pretrained(model, tmp_path)
    (tmp_path / "dnalm.yaml").write_text("window_tokens: 30\n")
    assert window_of(load_pretrained(tmp_path)) == 35
    endless = make_model(tokenizer, positions="alibi")
    assert window_of(endless) == 512


def test_a_model_that_sees_one_side_is_refused() -> None:
    tokenizer = KmerTokenizer(k=3)
    with pytest.raises(CheckpointError, match="MODEL-15 model: a model whose tokens see only earlier ones"):
        Reader(LoadedModel(network=make_model(tokenizer, causal=True), tokenizer=tokenizer), window_bp=10)


def test_a_tokenizer_of_another_model_is_refused() -> None:
    with pytest.raises(CheckpointError, match="a tokenizer of 69 ids and a model of 9 token embeddings"):
        LoadedModel(network=make_model(KmerTokenizer(k=1)), tokenizer=KmerTokenizer(k=3))


def test_what_is_read_whole_fits_in_a_window() -> None:
    reader = make_reader(KmerTokenizer(k=3), window_bp=40)
    reader.check_length(random_codes(40), where="x")
    with pytest.raises(
        DataError, match=r"INT-01 chr1:0-41: 41 bases; at most 40, .* Fix: give shorter regions"
    ):
        reader.check_length(random_codes(41), where="chr1:0-41")
