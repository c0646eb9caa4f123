"""Interval arithmetic agrees with a model of one bool a base."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dnalm.genome.intervals import (
    Intervals,
    cut_at,
    intersect,
    merge,
    subtract,
    total_length,
)

LENGTH = 40
positions = st.integers(0, LENGTH)
sets = st.lists(st.tuples(positions, positions), max_size=8).map(
    lambda rows: np.array(rows, dtype=np.int64).reshape(-1, 2)
)


def covered(intervals: Intervals) -> np.ndarray:
    """The model: (LENGTH,) bool."""
    model = np.zeros(LENGTH, dtype=bool)
    for start, end in intervals.tolist():
        model[start:end] = True
    return model


def assert_is(result: Intervals, model: np.ndarray) -> None:
    """The result covers what the model does, in canonical form."""
    assert covered(result).tolist() == model.tolist()
    assert (result[:, 0] < result[:, 1]).all()
    assert (result[1:, 0] > result[:-1, 1]).all()
    assert result.dtype == np.int64


@given(sets)
def test_merge_covers_the_same_bases(a: Intervals) -> None:
    assert_is(merge(a), covered(a))
    assert total_length(a) == covered(a).sum()


@given(sets, sets)
def test_intersect_and_subtract_are_and_and_and_not(a: Intervals, b: Intervals) -> None:
    assert_is(intersect(a, b), covered(a) & covered(b))
    assert_is(subtract(a, b), covered(a) & ~covered(b))


@given(
    rows=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8),
    places=st.sets(st.integers(0, 60)),
)
def test_cutting_keeps_every_base_and_leaves_no_place_inside(
    rows: list[tuple[int, int]], places: set[int]
) -> None:
    whole = merge(np.array(rows, dtype=np.int64).reshape(-1, 2))
    pieces = cut_at(whole, np.array(sorted(places), dtype=np.int64))
    assert merge(pieces).tolist() == whole.tolist()
    assert (pieces[:, 0] < pieces[:, 1]).all()
    assert not any(start < place < end for start, end in pieces.tolist() for place in places)
