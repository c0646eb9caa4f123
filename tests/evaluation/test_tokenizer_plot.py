"""The picture of a tokenizer."""

from pathlib import Path

import numpy as np
import pytest

from dnalm.evaluation.plots import WIDTH, plot_tokens
from dnalm.tokenizers import KmerTokenizer, SixMerTokenizer, Tokenizer, TrainingText
from dnalm.tokenizers.statistics import TokenStatistics, count_tokens
from tests.conftest import random_sequence
from tests.tokenizers.examples import small_bpe, store_of


def statistics_of(folder: Path, tokenizer: Tokenizer, sequence: str) -> TokenStatistics:
    store = store_of(folder, "genome", {"chr1": sequence})
    return count_tokens(tokenizer, [TrainingText("genome", store, np.array([[0, len(sequence)]]))])


@pytest.mark.parametrize(
    ("tokenizer", "sequence"),
    [
        (KmerTokenizer(k=1), "AAACC"),
        (KmerTokenizer(k=2), random_sequence(5000)),
        (SixMerTokenizer(), "ACGTACACGTACGNN"),
        (small_bpe(), "AACATGCNGG"),
    ],
    ids=["two", "all", "six_mers", "bpe"],
)
def test_a_picture_is_drawn(tokenizer: Tokenizer, sequence: str, tmp_path: Path) -> None:
    target = tmp_path / "tokens.png"
    plot_tokens(statistics_of(tmp_path, tokenizer, sequence), tokenizer, "tokens of genome", target)
    content = target.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(content[16:20]) == WIDTH * 200  # pixels across: two columns at 200 dpi


def test_the_same_counts_draw_the_same_picture(tmp_path: Path) -> None:
    tokenizer = KmerTokenizer(k=1)
    for name in ("a.png", "b.png"):
        plot_tokens(statistics_of(tmp_path, tokenizer, "AAACC"), tokenizer, "tokens", tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
