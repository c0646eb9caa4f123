"""HKY85 and indels do what their parameters say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.genome.alphabet import SOFT_MASK, UNKNOWN, bases
from dnalm.simulation.evolution import Lineage, hky_probabilities, insert_and_delete, substitute
from dnalm.simulation.sequence import KIND
from dnalm.simulation.settings import Clade

FREQUENCIES = (0.3, 0.2, 0.15, 0.35)


@given(time=st.floats(0, 3), kappa=st.floats(0.5, 20))
def test_hky_rows_sum_to_one_keep_the_equilibrium_and_are_reversible(time: float, kappa: float) -> None:
    table = hky_probabilities(time, kappa, FREQUENCIES)
    pi = np.array(FREQUENCIES)
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(pi @ table, pi, atol=1e-9)
    np.testing.assert_allclose(pi[:, None] * table, (pi[:, None] * table).T, atol=1e-9)


def test_hky_of_equal_rates_is_jukes_and_cantor() -> None:
    table = hky_probabilities(0.3, 1.0, (0.25,) * 4)
    same = 0.25 + 0.75 * np.exp(-4 * 0.3 / 3)
    np.testing.assert_allclose(table.diagonal(), same, atol=1e-12)
    np.testing.assert_allclose(table[0, 1:], (1 - same) / 3, atol=1e-12)


def test_hky_composes_over_time() -> None:
    one, two = (hky_probabilities(time, 4.0, FREQUENCIES) for time in (0.1, 0.2))
    np.testing.assert_allclose(one @ one, two, atol=1e-12)


@pytest.mark.parametrize("kappa", [1.0, 4.0, 10.0])
def test_transitions_and_transversions_come_as_kappa_says(kappa: float) -> None:
    size, length = 1_000_000, 0.1
    clade = Clade(kappa=kappa, base_frequencies=FREQUENCIES)
    rng = np.random.default_rng(3)
    before = rng.choice(4, size, p=FREQUENCIES).astype(np.uint8)
    kinds = np.full(size, KIND["neutral"], dtype=np.uint8)
    after = substitute(before, kinds, clade=clade, length=length, rng=rng)
    table = hky_probabilities(length, kappa, FREQUENCIES)
    joint = np.array(FREQUENCIES)[:, None] * table
    is_transition = np.zeros((4, 4), dtype=bool)
    is_transition[[0, 2, 1, 3], [2, 0, 3, 1]] = True
    is_transversion = ~is_transition & ~np.eye(4, dtype=bool)
    for chosen in (is_transition, is_transversion):
        expected = joint[chosen].sum()
        found = chosen[before, after].mean()
        assert abs(found - expected) < 4.5 * np.sqrt(expected / size)  # a binomial's spread
    # With neither multiple hits nor frequencies in the way, kappa is the ratio of the rates themselves.
    instant = hky_probabilities(1e-6, kappa, FREQUENCIES)
    assert instant[0, 2] / FREQUENCIES[2] / (instant[0, 1] / FREQUENCIES[1]) == pytest.approx(kappa, rel=1e-3)


def test_frozen_and_unknown_bases_stay_and_soft_masks_move_with_their_base() -> None:
    rng = np.random.default_rng(0)
    codes = (rng.integers(0, 4, 10_000) | rng.choice([0, SOFT_MASK], 10_000)).astype(np.uint8)
    codes[100:200] = UNKNOWN
    kinds = np.full(codes.size, KIND["neutral"], dtype=np.uint8)
    kinds[5_000:] = KIND["frozen"]
    after = substitute(codes, kinds, clade=Clade(), length=1.0, rng=rng)
    assert (after[5_000:] == codes[5_000:]).all()
    assert (after[100:200] == UNKNOWN).all()
    assert ((after & SOFT_MASK) == (codes & SOFT_MASK)).all()
    assert (after[:5_000] != codes[:5_000]).mean() > 0.3


def lineage_of(size: int, protected: slice) -> Lineage:
    rng = np.random.default_rng(1)
    kinds = np.full(size, KIND["neutral"], dtype=np.uint8)
    kinds[protected] = KIND["core"]
    place = np.arange(size + 1, dtype=np.int32)
    return Lineage(rng.integers(0, 4, size).astype(np.uint8), kinds, place, np.ones(size, dtype=bool))


@given(seed=st.integers(0, 2**32))
def test_indels_keep_protected_dna_whole_and_know_where_each_base_went(seed: int) -> None:
    before = lineage_of(2_000, slice(700, 900))
    clade = Clade(indels_per_substitution=0.1)
    edges = np.array([0, 800, 2_000])
    rng = np.random.default_rng(seed)
    after = before
    for _ in range(3):
        after = insert_and_delete(after, clade=clade, length=0.3, rng=rng, edges=edges)
    start, end = after.place[700], after.place[900]
    assert (after.codes[start:end] == before.codes[700:900]).all()
    assert (after.codes[after.place[:-1][after.alive]] == before.codes[after.alive]).all()
    assert (np.diff(after.place) >= 0).all()
    assert (np.diff(after.place[:-1][after.alive]) > 0).all()
    assert after.place[0] == 0
    assert after.place[-1] == after.codes.size == after.kinds.size


def test_indels_are_as_many_and_as_long_as_asked() -> None:
    before = lineage_of(400_000, slice(0, 0))
    clade = Clade(indels_per_substitution=0.05, indel_mean_bp=3.0)
    after = insert_and_delete(
        before, clade=clade, length=0.1, rng=np.random.default_rng(5), edges=np.array([0, 400_000])
    )
    deleted = (~after.alive).sum()
    inserted = after.codes.size - after.alive.sum()
    expected = 400_000 * 0.1 * 0.05 / 2 * 3.0  # half of the events, 3 bases each
    spread = np.sqrt(400_000 * 0.1 * 0.05 / 2 * (3.0**2 + 6.0))  # Poisson number of geometric sizes
    assert abs(inserted - expected) < 4 * spread + 0.03 * expected  # events too close to another are dropped
    assert abs(deleted - expected) < 4 * spread + 0.03 * expected
    assert (bases(after.codes) < UNKNOWN).all()
