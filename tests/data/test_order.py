"""Order is a pure function: permutations are bijections, generators are keyed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.data.windows import Stream, generator, permute, permute_one


def permutation(size: int, seed: int, epoch: int) -> np.ndarray:
    return permute(np.arange(size), size=size, key=np.full((size, 2), [seed, epoch]))


@given(size=st.integers(1, 5000), seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
def test_every_slot_is_visited_once(size: int, seed: int, epoch: int) -> None:
    assert sorted(permutation(size, seed, epoch)) == list(range(size))


def test_a_million_slots_are_visited_once() -> None:
    assert len(np.unique(permutation(1_000_000, 1, 0))) == 1_000_000


def test_generators_are_philox_by_key() -> None:
    philox = np.random.Philox(key=[9, int(Stream.CUTS)], counter=[0, 0, 4, 8])
    expected = np.random.Generator(philox).random(50)
    assert (generator(9, Stream.CUTS, 8, 4).random(50) == expected).all()


def test_a_slot_alone_equals_the_slot_among_others() -> None:
    whole = permutation(777, 5, 3)
    alone = [permute(np.array([slot]), size=777, key=np.array([[5, 3]]))[0] for slot in (0, 400, 776)]
    assert alone == [whole[0], whole[400], whole[776]]


@given(
    size=st.integers(1, 2**40), seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 2**31), draw=st.data()
)
def test_one_slot_in_python_integers_equals_arrays(
    size: int, seed: int, epoch: int, draw: st.DataObject
) -> None:
    slot = draw.draw(st.integers(0, size - 1))
    (expected,) = permute(np.array([slot]), size=size, key=np.array([[seed, epoch]]))
    assert permute_one(slot, size=size, key=(seed, epoch)) == expected


def test_the_order_and_the_draws_of_a_seed_are_these() -> None:
    # A run that another version resumes sees the samples that it would have seen
    assert [permute_one(slot, size=1000, key=(7, 2)) for slot in range(6)] == [266, 302, 419, 283, 105, 559]
    assert generator(7, Stream.MASK, 5, 3).integers(1000, size=4).tolist() == [930, 517, 250, 178]


def test_epochs_and_seeds_give_unlike_orders() -> None:
    # Two random permutations of n agree at 1 place on average (Poisson); 12 or more has p < 1e-9.
    first = permutation(10_000, 1, 0)
    for other in (permutation(10_000, 1, 1), permutation(10_000, 2, 0), np.arange(10_000)):
        assert (first == other).sum() < 12


def test_the_order_is_uncorrelated_with_the_identity() -> None:
    # The correlation of a random permutation of n has standard deviation 1 / sqrt(n - 1).
    size = 100_000
    correlation = np.corrcoef(np.arange(size), permutation(size, 9, 0))[0, 1]
    assert abs(correlation) < 5 / np.sqrt(size - 1)


@pytest.mark.parametrize(
    "other",
    [(2, Stream.MASK, 3, 0), (1, Stream.STRAND, 3, 0), (1, Stream.MASK, 4, 0), (1, Stream.MASK, 3, 1)],
)
def test_a_draw_is_keyed_by_seed_stream_index_and_part(other: tuple[int, Stream, int, int]) -> None:
    key = (1, Stream.MASK, 3, 0)
    draw = generator(*key).random(8)
    assert (draw == generator(*key).random(8)).all()
    assert not (draw == generator(*other).random(8)).any()
