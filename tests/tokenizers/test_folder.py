"""Saved and loaded again, and given to `transformers`: every tokenizer stays what it is."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dnalm.errors import ConfigError
from dnalm.genome.alphabet import Codes, bases, from_text, to_text
from dnalm.tokenizers import (
    BpeTokenizer,
    KmerTokenizer,
    LogoTokenizer,
    SixMerTokenizer,
    Tokenizer,
    load_tokenizer,
)
from tests.conftest import random_sequence
from tests.tokenizers.examples import BPES, SIX_MERS, TILING, stock_tokenizer

KMERS = {f"kmer_{k}": KmerTokenizer(k=k) for k in range(1, 9)}
LOGOS = {f"logo_{k}": LogoTokenizer(k=k) for k in range(1, 7)}
SAVED: dict[str, Tokenizer] = {**TILING, **KMERS, **LOGOS}
every = pytest.mark.parametrize("tokenizer", SAVED.values(), ids=SAVED)


def sequences(*, with_n: bool = True) -> list[Codes]:
    """Of lengths 8 to 300, most of them with an N or a run of N."""
    random = np.random.default_rng(0)
    found = []
    for number in range(60):
        letters = list(random_sequence(8 + 5 * number, seed=number))
        for place in random.integers(0, len(letters), number // 6 if with_n else 0):
            letters[place : place + 2] = "NN"[: len(letters) - place]
        found.append(from_text("".join(letters)))
    return found


@every
def test_a_saved_tokenizer_is_loaded_as_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert type(loaded) is type(tokenizer)
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.special == tokenizer.special
    for codes in sequences():
        assert loaded.encode(codes).tolist() == tokenizer.encode(codes).tolist()


@every
def test_saving_what_was_loaded_writes_the_same_files(tokenizer: Tokenizer, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    tokenizer.save(first)
    load_tokenizer(first).save(second)
    written = {path.name: path.read_bytes() for path in first.iterdir()}
    assert {path.name: path.read_bytes() for path in second.iterdir()} == written


@every
def test_the_file_may_be_named_instead_of_its_folder(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    files = [path for path in tmp_path.iterdir() if path.name in ("tokenizer.json", "vocab.txt")]
    assert files
    for file in files:
        assert load_tokenizer(file).fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("k", [3, 4, 5, 6])
def test_a_published_dnabert_vocabulary_is_the_kmer_tokenizer(
    k: int, shared_data: Path, tmp_path: Path
) -> None:
    published = shared_data / f"tokenizers/dnabert/bert-config-{k}/vocab.txt"
    assert load_tokenizer(published).fingerprint == KmerTokenizer(k=k).fingerprint
    KmerTokenizer(k=k).save(tmp_path)
    assert (tmp_path / "vocab.txt").read_text().split() == published.read_text().split()


@pytest.mark.parametrize("merges", [None, 600])
def test_dnabert2s_tokenizer_is_saved_and_loaded(
    merges: int | None, dnabert2_file: Path, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(dnabert2_file, merges=merges)
    tokenizer.save(tmp_path)
    loaded, stock = load_tokenizer(tmp_path), stock_tokenizer(tmp_path)
    assert loaded.fingerprint == tokenizer.fingerprint
    for codes in sequences():
        ids = tokenizer.encode(codes).tolist()
        assert loaded.encode(codes).tolist() == ids
        assert stock(to_text(bases(codes)))["input_ids"] == ids


def test_the_first_merges_of_a_saved_file_are_those_of_the_whole(dnabert2_file: Path, tmp_path: Path) -> None:
    load_tokenizer(dnabert2_file, merges=600).save(tmp_path)
    again = load_tokenizer(tmp_path, merges=100)
    assert again.fingerprint == load_tokenizer(dnabert2_file, merges=100).fingerprint


@pytest.mark.parametrize("version", [1, 2])
def test_the_files_of_the_six_mers_have_4107_lines_whatever_the_version(version: int, tmp_path: Path) -> None:
    # Version 1 lists <eos> and <bos>, for which its embedding has no rows.
    tokenizer = SixMerTokenizer(version=version)  # type: ignore[arg-type]
    tokenizer.save(tmp_path)
    lines = (tmp_path / "vocab.txt").read_text().splitlines()
    assert len(lines) == 4107
    assert lines[: tokenizer.vocab_size] == tokenizer.vocabulary()
    assert lines[tokenizer.vocab_size :] == (["<eos>", "<bos>"] if version == 1 else [])


def test_a_file_of_version_1_may_leave_out_the_tokens_without_rows(tmp_path: Path) -> None:
    tokenizer = SixMerTokenizer(version=1)
    (tmp_path / "vocab.txt").write_text("\n".join(tokenizer.vocabulary()))
    assert load_tokenizer(tmp_path).fingerprint == tokenizer.fingerprint


def test_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes("\r\n".join(KmerTokenizer(k=3).vocabulary()).encode())
    assert load_tokenizer(tmp_path).fingerprint == KmerTokenizer(k=3).fingerprint


def test_of_two_files_a_bpe_comes_first(tmp_path: Path) -> None:
    KmerTokenizer(k=3).save(tmp_path)
    BPES["bpe"].save(tmp_path)
    assert isinstance(load_tokenizer(tmp_path), BpeTokenizer)


# Given to transformers


@pytest.mark.parametrize("tokenizer", SAVED.values(), ids=SAVED)
def test_a_tokenizer_that_transformers_saved_again_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    (tmp_path / "again").mkdir()
    stock_tokenizer(tmp_path).save_pretrained(tmp_path / "again")
    assert load_tokenizer(tmp_path / "again").fingerprint == tokenizer.fingerprint


def test_a_wordpiece_file_of_kmers_without_a_vocab_txt_is_read(tmp_path: Path) -> None:
    # What transformers 5 writes for a BertTokenizer, as published DNABERTs have.
    from transformers import BertTokenizer

    tokenizer = KmerTokenizer(k=3)
    tokenizer.save(tmp_path)
    (tmp_path / "again").mkdir()
    BertTokenizer(vocab=str(tmp_path / "vocab.txt"), do_lower_case=False).save_pretrained(tmp_path / "again")
    (tmp_path / "again/vocab.txt").unlink(missing_ok=True)
    assert json.loads((tmp_path / "again/tokenizer.json").read_text())["model"]["type"] == "WordPiece"
    assert load_tokenizer(tmp_path / "again").fingerprint == tokenizer.fingerprint


@every
def test_transformers_knows_the_special_tokens(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    stock = stock_tokenizer(tmp_path)
    special = tokenizer.special
    assert (stock.unk_token_id, stock.pad_token_id, stock.mask_token_id) == (
        special.unknown,
        special.padding,
        special.mask,
    )


# A folder without either file, a file of either kind, and merges


@pytest.mark.parametrize("tokenizer", [*KMERS.values(), *SIX_MERS.values()], ids=[*KMERS, *SIX_MERS])
def test_merges_of_a_vocabulary_are_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    with pytest.raises(ConfigError) as refused:
        load_tokenizer(tmp_path, merges=5)
    assert str(refused.value) == (
        f"CFG-18 tokenizer.merges: merges=5 for {tmp_path}/tokenizer.json; a BPE, which alone has merges. "
        "Fix: leave it out."
    )


def test_merges_of_logo_are_refused(tmp_path: Path) -> None:
    LogoTokenizer(k=3).save(tmp_path)
    with pytest.raises(
        ConfigError, match=r"^CFG-18 tokenizer\.merges: merges=5 for .*tokenizer\.json; a BPE"
    ):
        load_tokenizer(tmp_path, merges=5)


def test_a_link_to_the_folder_is_followed(dnabert2_file: Path, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    shutil.copy(dnabert2_file, tmp_path / "files/tokenizer.json")
    (tmp_path / "link").symlink_to(tmp_path / "files")
    assert load_tokenizer(tmp_path / "link").vocab_size == 4096
