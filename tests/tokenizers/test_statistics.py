"""How a tokenizer reads a genome: figures of small genomes worked out by hand, and counting in pieces."""

from pathlib import Path

import numpy as np
import pytest

from dnalm.tokenizers import (
    KmerTokenizer,
    LogoTokenizer,
    SixMerTokenizer,
    Tokenizer,
    TrainingText,
    statistics,
)
from dnalm.tokenizers.statistics import TokenStatistics, count_tokens
from tests.conftest import random_sequence
from tests.tokenizers.examples import EVERY, small_bpe, store_of


def text_of(folder: Path, name: str = "genome", **contigs: str) -> TrainingText:
    store = store_of(folder, name, contigs)
    regions = [(contig.offset, contig.offset + contig.length) for contig in store.contigs]
    return TrainingText(name, store, np.array(regions))


def used(found: TokenStatistics, tokenizer: Tokenizer) -> dict[str, int]:
    """Counts by text, of the tokens that occur."""
    return {
        word: int(count) for word, count in zip(tokenizer.vocabulary(), found.counts, strict=True) if count
    }


def test_characters_by_hand(tmp_path: Path) -> None:
    tokenizer = KmerTokenizer(k=1)
    found = count_tokens(tokenizer, [text_of(tmp_path, chr1="AAAACcGN")])
    assert used(found, tokenizer) == {"A": 4, "C": 2, "G": 1, "[UNK]": 1}
    assert found.num_bases == found.num_tokens == 8
    assert found.num_known == 7
    assert found.tokens_per_kb == 1000
    assert found.mean_length == 1
    assert found.unknown_share == pytest.approx(1 / 8)
    assert found.num_unused == 1  # T
    # Of the seven that spell bases: shares 4/7, 2/7, 1/7
    entropy = 4 / 7 * np.log2(7 / 4) + 2 / 7 * np.log2(7 / 2) + 1 / 7 * np.log2(7)
    assert found.entropy_bits == pytest.approx(entropy)
    assert found.balance == pytest.approx(entropy / np.log2(4))


def test_six_mers_by_hand(tmp_path: Path) -> None:
    tokenizer = SixMerTokenizer()
    found = count_tokens(tokenizer, [text_of(tmp_path, chr1="ACGTACACGTACGN", chr2="ACGTACT")])
    assert used(found, tokenizer) == {"ACGTAC": 3, "G": 1, "T": 1, "N": 1}
    assert (found.num_tokens, found.num_bases) == (6, 21)
    assert found.tokens_per_kb == pytest.approx(1000 * 5 / 20)  # N is no base
    assert found.mean_length == 20 / 5
    assert {length: int(n) for length, n in enumerate(found.lengths) if n} == {1: 2, 6: 3}
    assert found.unknown_share == pytest.approx(1 / 6)  # the token N
    assert found.num_unused == 4100 - 3
    # Of the five that spell bases: shares 3/5, 1/5, 1/5
    assert found.entropy_bits == pytest.approx(3 / 5 * np.log2(5 / 3) + 2 / 5 * np.log2(5))


def test_bpe_by_hand(tmp_path: Path) -> None:
    tokenizer = small_bpe()
    found = count_tokens(tokenizer, [text_of(tmp_path, chr1="AACATTGNN")])
    assert used(found, tokenizer) == {"AACA": 1, "TT": 1, "G": 1, "[UNK]": 2}
    assert found.tokens_per_kb == pytest.approx(1000 * 3 / 7)
    assert found.mean_length == 7 / 3
    assert found.unknown_share == pytest.approx(2 / 5)
    assert found.entropy_bits == pytest.approx(np.log2(3))


def test_logo_by_hand(tmp_path: Path) -> None:
    tokenizer = LogoTokenizer(k=3)
    found = count_tokens(tokenizer, [text_of(tmp_path, chr1="NCGACGANGA")])
    assert used(found, tokenizer) == {"[UNK]": 1, "ACG": 1, "ANG": 1, "A": 1}
    assert found.unknown_share == 1 / 4
    assert found.entropy_bits == 0  # one word: a k-mer of bases alone


def test_overlapping_kmers_tell_a_base_each(tmp_path: Path) -> None:
    found = count_tokens(KmerTokenizer(k=3), [text_of(tmp_path, chr1="ACGTACGT", chr2="ACG", chr3="AC")])
    assert (found.num_tokens, found.num_bases) == (6 + 1, 8 + 3 + 2)
    assert found.mean_length == 3
    assert found.tokens_per_kb == 1000


def test_start_and_end_tokens_are_not_counted(tmp_path: Path) -> None:
    tokenizer = KmerTokenizer(k=3)
    found = count_tokens(tokenizer, [text_of(tmp_path, chr1="ACGTA", chr2="ACG")])
    assert used(found, tokenizer) == {"ACG": 2, "CGT": 1, "GTA": 1}


def test_most_frequent_first_and_equally_frequent_by_id(tmp_path: Path) -> None:
    tokenizer = KmerTokenizer(k=1)
    found = count_tokens(tokenizer, [text_of(tmp_path, chr1="GGGCCTTA")])
    words = tokenizer.vocabulary()
    assert [words[i] for i in found.most_frequent(4)] == ["G", "T", "C", "A"]  # T has id 6, C 7


def test_equally_frequent_tokens_are_balanced(tmp_path: Path) -> None:
    found = count_tokens(KmerTokenizer(k=1), [text_of(tmp_path, chr1="ACGT" * 10)])
    assert found.entropy_bits == pytest.approx(2)
    assert found.balance == pytest.approx(1)


def test_a_single_word_is_not_balanced(tmp_path: Path) -> None:
    found = count_tokens(KmerTokenizer(k=1), [text_of(tmp_path, chr1="AAAAA")])
    assert (found.entropy_bits, found.balance) == (0, 0)


def test_genomes_are_counted_together_whatever_their_weights(tmp_path: Path) -> None:
    one = text_of(tmp_path, "one", chr1="AAC")
    other = TrainingText("other", one.store, one.regions, weight=5)
    tokenizer = KmerTokenizer(k=1)
    assert used(count_tokens(tokenizer, [one, other]), tokenizer) == {"A": 4, "C": 2}


def test_only_regions_are_counted(tmp_path: Path) -> None:
    store = store_of(tmp_path, "genome", {"chr1": "AACCGGTT"})
    tokenizer = KmerTokenizer(k=2)
    text = TrainingText("genome", store, np.array([[0, 2], [4, 8]]))
    assert used(count_tokens(tokenizer, [text]), tokenizer) == {"AA": 1, "GG": 1, "GT": 1, "TT": 1}


def test_contigs_shorter_than_a_token_are_left_out(tmp_path: Path) -> None:
    tokenizer = KmerTokenizer(k=3)
    text = text_of(tmp_path, chr1="ACGT", chr2="AC", chr3="TTT")
    assert used(count_tokens(tokenizer, [text]), tokenizer) == {"ACG": 1, "CGT": 1, "TTT": 1}


EXACT = {name: EVERY[name] for name in EVERY if not name.startswith("bpe")}


@pytest.mark.parametrize("tokenizer", EXACT.values(), ids=EXACT)
@pytest.mark.parametrize("length", [59, 60, 61, 67, 179, 180, 181, 1000])
def test_counting_in_pieces_equals_counting_whole(
    tokenizer: Tokenizer, length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = text_of(tmp_path, chr1=random_sequence(length), chr2=random_sequence(150, 1))
    whole = count_tokens(tokenizer, [text])
    monkeypatch.setattr(statistics, "_CHUNK", 60)
    pieces = count_tokens(tokenizer, [text])
    assert pieces.counts.tolist() == whole.counts.tolist()
    assert pieces.lengths.tolist() == whole.lengths.tolist()
    assert pieces.num_bases == whole.num_bases


@pytest.mark.parametrize("k", [1, 3, 6, 8])
def test_counting_kmers_in_pieces_equals_counting_whole_with_n(
    k: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = text_of(tmp_path, chr1="".join(random_sequence(37, seed) + "N" * seed for seed in range(9)))
    whole = count_tokens(KmerTokenizer(k=k), [text])
    monkeypatch.setattr(statistics, "_CHUNK", 60)
    assert count_tokens(KmerTokenizer(k=k), [text]).counts.tolist() == whole.counts.tolist()


def test_pieces_cost_a_bpe_no_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = text_of(tmp_path, chr1=random_sequence(1000))
    monkeypatch.setattr(statistics, "_CHUNK", 60)
    found = count_tokens(small_bpe(), [text])
    assert int(found.lengths @ np.arange(len(found.lengths))) == 1000


def test_the_piece_is_a_multiple_of_every_k_that_tiles() -> None:
    assert [statistics._CHUNK % k for k in range(1, 7)] == [0] * 6
