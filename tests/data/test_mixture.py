"""The mixture of genomes: shares over any stretch, places inside each genome without gap or repetition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnalm.data.samples import SLOTS, Mixture

WINDOW = 100_000


def genomes_of(mixture: Mixture, start: int, count: int) -> np.ndarray:
    return np.array([mixture[i][0] for i in range(start, start + count)])


@pytest.mark.parametrize(
    "shares",
    [[1.0, 1.0], [0.9, 0.1], [12.07, 12.06, 12.02, 11.81, 11.56], list(range(1, 60)), [1e-3, 1.0, 2.0]],
)
@pytest.mark.parametrize("start", [0, 12_345, SLOTS - 50_000, 5 * SLOTS + 77])
def test_shares_are_met_within_half_a_percent_over_any_100_000_samples(
    shares: list[float], start: int
) -> None:
    found = np.bincount(genomes_of(Mixture(shares, seed=3), start, WINDOW), minlength=len(shares)) / WINDOW
    assert np.abs(found - np.array(shares) / sum(shares)).max() < 0.005


@pytest.mark.parametrize("length", [10, 100, 1000])
def test_short_stretches_hold_every_genome_within_two_of_its_share(length: int) -> None:
    shares = np.array([5.0, 3.0, 2.0])
    mixture = Mixture(shares.tolist(), seed=1)
    for start in range(0, 5000, 617):
        found = np.bincount(genomes_of(mixture, start, length), minlength=3)
        assert np.abs(found - length * shares / shares.sum()).max() < 2


@settings(max_examples=20)
@given(shares=st.lists(st.floats(0.01, 100), min_size=1, max_size=6), seed=st.integers(0, 2**31))
def test_places_in_each_genome_count_up_from_zero(shares: list[float], seed: int) -> None:
    mixture = Mixture(shares, seed=seed)
    following = [0] * len(shares)
    for index in range(300):
        genome, place = mixture[index]
        assert place == following[genome]
        following[genome] += 1


def test_places_go_on_over_the_end_of_the_table() -> None:
    mixture = Mixture([3.0, 1.0], seed=1)
    before = dict(mixture[i] for i in range(SLOTS - 20, SLOTS))
    after: dict[int, int] = {}
    for index in range(SLOTS, SLOTS + 20):
        genome, place = mixture[index]
        after.setdefault(genome, place)
    assert after == {genome: place + 1 for genome, place in before.items()}


def test_one_genome_takes_every_sample() -> None:
    mixture = Mixture([7.0], seed=1)
    assert [mixture[i] for i in (0, 1, 10**12)] == [(0, 0), (0, 1), (0, 10**12)]


def test_a_tiny_share_is_not_forgotten() -> None:
    assert Mixture([1.0, 1e-9], seed=1).slots.tolist() == [SLOTS - 1, 1]


def test_the_order_depends_on_the_seed_alone() -> None:
    one, same, other = (genomes_of(Mixture([2.0, 1.0], seed=seed), 0, 50).tolist() for seed in (1, 1, 2))
    assert one == same != other
