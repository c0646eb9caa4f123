"""DNABERT-2's published tokenizer on real DNA against `transformers`, and cut to its first merges."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dnalm.genome.alphabet import UNKNOWN, bases, is_unknown, to_text
from dnalm.tokenizers import BpeTokenizer, load_tokenizer
from tests.tokenizers.conftest import Windows
from tests.tokenizers.examples import bytes_pair_by_hand, stock_tokenizer


@pytest.fixture(scope="module")
def published(dnabert2_file: Path) -> BpeTokenizer:
    tokenizer = load_tokenizer(dnabert2_file)
    assert isinstance(tokenizer, BpeTokenizer)
    return tokenizer


def test_ids_equal_those_of_transformers_on_ten_thousand_windows(
    published: BpeTokenizer, dnabert2_file: Path, real_windows: Windows, tmp_path: Path
) -> None:
    shutil.copy(dnabert2_file, tmp_path / "tokenizer.json")
    config = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    texts = [to_text(bases(codes)) for codes in real_windows.codes]
    expected = stock_tokenizer(tmp_path)(texts)["input_ids"]
    assert len(expected) == 10_000
    for codes, ids in zip(real_windows.codes, expected, strict=True):
        assert published.encode(codes).tolist() == ids


def test_the_windows_hold_n_and_soft_masked_bases(real_windows: Windows) -> None:
    assert real_windows.num_with_n >= 1000
    assert real_windows.num_soft_masked >= 500


def test_real_windows_are_decoded_with_every_n(published: BpeTokenizer, real_windows: Windows) -> None:
    for codes in real_windows.codes[::5]:
        assert (published.decode(published.encode(codes)) == bases(codes)).all()


def test_each_n_of_real_windows_is_one_unknown_token(published: BpeTokenizer, real_windows: Windows) -> None:
    for codes in real_windows.codes[-200:]:
        ids = published.encode(codes)
        spans = published.spans(codes, ids)
        unknown = spans[ids == published.special.unknown]
        assert unknown[:, 0].tolist() == np.flatnonzero(is_unknown(codes)).tolist()


def test_special_ids_and_sizes(published: BpeTokenizer) -> None:
    assert published.special == (3, 0, 4, 1, 2)  # padding, unknown, mask, start, end
    assert (published.vocab_size, published.num_merges) == (4096, 4087)
    assert published.vocabulary()[:9] == ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", *"ACGT"]


def test_replacements_are_all_tokens_but_the_special_ones(published: BpeTokenizer) -> None:
    assert published.replacement_ids.tolist() == list(range(5, 4096))


def test_every_token_spells_its_text(published: BpeTokenizer) -> None:
    spelled = ["".join("ACGT"[base] for base in row if base != UNKNOWN) for row in published.token_bases]
    assert spelled == ["" if text.startswith("[") else text for text in published.vocabulary()]


@pytest.mark.parametrize("merges", [0, 1, 600])
def test_the_first_merges_encode_as_the_definition_says(
    merges: int, published: BpeTokenizer, dnabert2_file: Path, real_windows: Windows
) -> None:
    cut = load_tokenizer(dnabert2_file, merges=merges)
    words = cut.vocabulary()
    for codes in real_windows.codes[:20]:
        expected = bytes_pair_by_hand(to_text(bases(codes)), published.merges()[:merges])
        assert [words[i] for i in cut.encode(codes)[1:-1]] == expected


def test_the_first_merges_keep_their_ids(published: BpeTokenizer, dnabert2_file: Path) -> None:
    cut = load_tokenizer(dnabert2_file, merges=600)
    made = ["".join(pair) for pair in published.merges()[:600]]
    assert cut.vocabulary() == published.vocabulary()[: 9 + 600]
    assert set(cut.vocabulary()[9:]) == set(made)
