"""What a model knows is found again: planted words become motifs, and nothing becomes none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.evaluation.interpretation.seqlets import WIDTH, find_seqlets, pile_up, scores_in_bits
from dnalm.genome.alphabet import UNKNOWN, from_text, reverse_complement, to_text
from tests.evaluation.interpretation.small import random_codes

WORDS = ("GACCATAAGGT", "TTGCGAATCCG")


def planted(*, known: bool = True) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """60 texts, each with one of two words on either strand; a model that knows these bases and no others."""
    draw = np.random.default_rng(5)
    texts, scores = [], []
    for number in range(60):
        text, score = random_codes(60, number), draw.normal(-0.2, 0.05, 60)
        word = from_text(WORDS[number % 2])
        at = int(draw.integers(5, 40))
        text[at : at + WIDTH] = word if draw.random() < 0.5 else reverse_complement(word)
        if known:
            score[at : at + WIDTH] = draw.normal(1.0, 0.1, WIDTH)
        texts.append(text)
        scores.append(score)
    return texts, scores


def test_planted_words_come_back_one_motif_each() -> None:
    texts, scores = planted()
    seqlets = find_seqlets(scores, most=1000)
    found = pile_up(texts, scores, seqlets, most=10, least_seqlets=10)
    assert [motif.num_seqlets for motif in found] == [30, 30]
    strands = [{word, to_text(reverse_complement(from_text(word)))} for word in WORDS]
    consensuses = [motif.consensus.upper() for motif in found]
    assert all(any(word in one or one in word for both in strands for word in both) for one in consensuses)
    assert all(motif.counts_W4.sum(axis=1).max() == 30 for motif in found)
    np.testing.assert_allclose(found[0].frequencies.sum(axis=1), 1)


def test_where_nothing_is_known_nothing_is_found() -> None:
    texts, scores = planted(known=False)
    assert find_seqlets(scores, most=1000) == []
    assert pile_up(texts, scores, [], most=10, least_seqlets=2) == []


@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_seqlets_are_the_best_windows_and_share_no_base(seed: int, most: int) -> None:
    draw = np.random.default_rng(seed)
    scores = [draw.normal(size=draw.integers(0, 60)) for _ in range(4)]
    seqlets = find_seqlets(scores, most=most)
    assert len(seqlets) <= most
    assert [score for *_, score in seqlets] == sorted((score for *_, score in seqlets), reverse=True)
    used = [(number, base) for number, at, _ in seqlets for base in range(at, at + WIDTH)]
    assert len(used) == len(set(used))
    for number, at, score in seqlets:
        assert score == pytest.approx(scores[number][at : at + WIDTH].mean())
        assert score > 0


def test_a_score_is_what_is_known_beyond_the_frequency_of_the_base() -> None:
    text = from_text("AAAC")
    (bits,) = scores_in_bits([text], [np.log([0.5, 0.25, 1.0, 0.125])])
    share_a, share_c = 4 / 8, 2 / 8  # with one count added to each of four
    np.testing.assert_allclose(bits, [-1 - np.log2(share_a), -2 + 1, 0 + 1, -3 - np.log2(share_c)])
    text[1] = UNKNOWN
    assert np.isnan(scores_in_bits([text], [np.array([-1, np.nan, -1, -1])])[0][1])
