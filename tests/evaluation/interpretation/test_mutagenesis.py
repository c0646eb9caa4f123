"""Substitutions, and what depends on them, against one question at a time."""

from __future__ import annotations

import numpy as np
import pytest

from dnalm.evaluation.inference import Precision
from dnalm.evaluation.interpretation.reader import HiddenBase, dependency_map, of_text, saturate, substitute
from dnalm.genome.alphabet import UNKNOWN
from tests.evaluation.interpretation.small import make_reader, random_codes, region_of
from tests.tokenizers.examples import EVERY

PRECISIONS: list[Precision] = ["float32", "bfloat16"]
NAMES = ["kmer_1", "kmer_3", "six_mer_v1", "bpe"]


@pytest.mark.parametrize("name", NAMES)
def test_effects_are_ratios_of_the_hidden_bases_probabilities(name: str) -> None:
    reader, codes = make_reader(EVERY[name]), random_codes(26)
    found = saturate(reader, region_of(codes, 8, 14), neighbours_bp=0)
    for row, place in enumerate(range(8, 14)):
        (log_p,) = reader.log_probabilities([HiddenBase(codes, place)])
        np.testing.assert_allclose(found.effect_R4[row], log_p - log_p[codes[place]], atol=1e-5)
        assert found.effect_R4[row, codes[place]] == 0
    assert (found.neighbours_R4 == 0).all()
    own = codes[8:14]
    np.testing.assert_array_equal(of_text(reader, region_of(codes, 8, 14)), found.log_p_R4[np.arange(6), own])


@pytest.mark.parametrize("name", NAMES)
def test_effects_on_neighbours_are_summed_over_those_within_reach(name: str) -> None:
    reader, codes = make_reader(EVERY[name]), random_codes(20, 2)
    found = saturate(reader, region_of(codes, 1, 5), neighbours_bp=3)
    place, alt = 2, (codes[2] + 1) % 4
    changed, total = substitute(codes, place, int(alt)), 0.0
    for other in (0, 1, 3, 4, 5):  # within 3, in the text, not itself; 0 and 5 lie in the flanks
        before, after = reader.log_probabilities([HiddenBase(codes, other), HiddenBase(changed, other)])
        total += float(after[codes[other]] - before[codes[other]])
    assert found.neighbours_R4[place - 1, alt] == pytest.approx(total, abs=1e-5)
    assert (found.neighbours_R4[np.arange(4), codes[1:5]] == 0).all()


def test_an_unknown_base_has_no_effect_and_is_no_neighbour() -> None:
    reader, codes = make_reader(EVERY["kmer_1"]), random_codes(12)
    codes[5] = UNKNOWN
    found = saturate(reader, region_of(codes), neighbours_bp=2)
    assert np.isnan(found.effect_R4[5]).all()
    assert not np.isnan(np.delete(found.effect_R4, 5, axis=0)).any()
    assert not np.isnan(np.delete(found.neighbours_R4, 5, axis=0)).any()


@pytest.mark.parametrize("name", NAMES)
def test_a_dependency_is_the_largest_change_of_log_odds(name: str) -> None:
    reader, codes = make_reader(EVERY[name]), random_codes(16, 3)
    found = dependency_map(reader, region_of(codes, 2, 10))
    assert found.shape == (8, 8)
    assert (np.diag(found) == 0).all()

    def odds(text: np.ndarray) -> np.ndarray:
        p = np.exp(reader.log_probabilities([HiddenBase(text, 9)])[0])
        return np.log2(p / (1 - p))

    changes = [np.abs(odds(substitute(codes, 4, alt)) - odds(codes)).max() for alt in range(4)]
    assert found[4 - 2, 9 - 2] == pytest.approx(max(changes), abs=1e-4)


def test_nothing_depends_on_what_lies_outside_the_window() -> None:
    reader, codes = make_reader(EVERY["kmer_1"], window_bp=7), random_codes(24)
    codes[20] = UNKNOWN
    found = dependency_map(reader, region_of(codes))
    apart = np.abs(np.subtract.outer(np.arange(24), np.arange(24)))
    assert (found[3:19, 3:19][apart[3:19, 3:19] > 3] == 0).all()
    assert (found[3:19, 3:19][(apart[3:19, 3:19] > 0) & (apart[3:19, 3:19] <= 3)] > 0).all()
    assert np.isnan(found[20]).all()
    assert np.isnan(found[:, 20]).all()


def test_effects_of_half_the_width_are_off_by_its_rounding() -> None:
    """States are off by 0.01 (tests/evaluation/test_inference.py), and so is a log-probability.

    An effect is the difference of two, one on four neighbours of eight: five times their random walk.
    """
    codes = random_codes(26)
    region = region_of(codes, 8, 14)
    readers = [make_reader(EVERY["kmer_3"], precision=precision) for precision in PRECISIONS]
    wide, narrow = (saturate(reader, region, neighbours_bp=2) for reader in readers)
    assert 0 < np.abs(narrow.effect_R4 - wide.effect_R4).max() < 0.05 * np.sqrt(2)
    assert 0 < np.abs(narrow.neighbours_R4 - wide.neighbours_R4).max() < 0.05 * np.sqrt(8)
    assert wide.effect_R4.std() > 0.1
    assert np.corrcoef(narrow.effect_R4.ravel(), wide.effect_R4.ravel())[0, 1] > 0.99
    maps = [dependency_map(reader, region) for reader in readers]
    assert 0 < np.abs(maps[1] - maps[0]).max() < 0.05 * np.sqrt(2) / np.log(2) * 4 / 3  # odds, near p = 1/4
