"""Letters of a logo fill their cells: height by value, stacked, the largest outside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch

from dnalm.evaluation.interpretation.pictures import draw_logo


def boxes(heights: list[list[float]], start: int = 0) -> list[tuple[float, float, float]]:
    """Middle, bottom and top of every letter."""
    axes = Figure().subplots()
    draw_logo(axes, np.array(heights), start=start)
    outlines = [patch.get_path().get_extents() for patch in axes.patches if isinstance(patch, PathPatch)]
    return [((box.x0 + box.x1) / 2, box.y0, box.y1) for box in outlines]


def test_letters_stack_from_the_smallest() -> None:
    found = boxes([[0.5, 0.25, 0, 1.0], [np.nan, -1, 2, 0]], start=7)
    expected = [(7, 0, 0.25), (7, 0.25, 0.75), (7, 0.75, 1.75), (8, -1, 0), (8, 0, 2)]
    assert [pytest.approx(box, abs=1e-6) for box in expected] == found


@given(st.lists(st.lists(st.floats(0.01, 3), min_size=4, max_size=4), min_size=1, max_size=4))
def test_a_stack_is_as_high_as_its_letters_together(heights: list[list[float]]) -> None:
    found = boxes(heights)
    for place, row in enumerate(heights):
        tops = [top for middle, _, top in found if round(middle) == place]
        assert max(tops) == pytest.approx(sum(row), rel=1e-6)
