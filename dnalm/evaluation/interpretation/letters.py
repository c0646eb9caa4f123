"""Logos: bases drawn as letters of a height, stacked, the largest outside."""

from __future__ import annotations

from functools import cache

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from dnalm.evaluation.interpretation.reader import Floats

COLOURS = {"A": "#2a9d3a", "C": "#2a5fc4", "G": "#e0a100", "T": "#cf2f2f"}
_GAP = 0.06  # of a letter's cell, left free


def draw_logo(axes: Axes, heights_R4: Floats, *, start: int = 0) -> None:
    """Draw a logo, one place a unit, centred on whole numbers; negative heights hang below the axis.

    Args:
        axes: where; its limits are set.
        heights_R4: of A, C, G, T at each place; NaN and 0 draw nothing.
        start: the first place's number.
    """
    low = high = 0.0
    for place, row in enumerate(heights_R4, start=start):
        up = down = 0.0
        for height, letter in sorted(zip(row.tolist(), "ACGT", strict=True), key=lambda item: abs(item[0])):
            if height > 0:
                axes.add_patch(_letter(letter, place, up, height))
                up += height
            elif height < 0:
                down += height
                axes.add_patch(_letter(letter, place, down, -height))
        low, high = min(low, down), max(high, up)
    axes.axhline(0, color="0.4", linewidth=0.5)
    axes.set_xlim(start - 0.5, start + len(heights_R4) - 0.5)
    axes.set_ylim(1.05 * low, 1.05 * high if high > low else low + 1)


def _letter(letter: str, place: float, bottom: float, height: float) -> PathPatch:
    """A letter that fills its cell."""
    outline = _outline(letter)
    box = outline.get_extents()
    fitted = (
        Affine2D()
        .translate(-box.x0, -box.y0)
        .scale((1 - _GAP) / box.width, height / box.height)
        .translate(place - (1 - _GAP) / 2, bottom)
    )
    return PathPatch(fitted.transform_path(outline), facecolor=COLOURS[letter], linewidth=0)


@cache
def _outline(letter: str) -> Path:
    return TextPath((0, 0), letter, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold"))
