"""Interval arithmetic agrees with a model of one bool a base."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.genome.intervals import (
    Interval,
    Intervals,
    cut_at,
    expand,
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


@given(sets, st.integers(-5, 5))
def test_expand_moves_both_ends(a: Intervals, by: int) -> None:
    moved = [[max(0, start - by), min(LENGTH, end + by)] for start, end in merge(a).tolist()]
    assert_is(expand(a, by, length=LENGTH), covered(np.array(moved, dtype=np.int64).reshape(-1, 2)))


def test_an_interval_is_neither_empty_nor_negative() -> None:
    assert len(Interval("chr1", 3, 8)) == 5
    for start, end in ((3, 3), (4, 3), (-1, 3)):
        with pytest.raises(ValueError, match="empty or negative"):
            Interval("chr1", start, end)


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
