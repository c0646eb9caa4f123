"""Charts of a page: inline SVG whose ink is the colour of the page's text, so that it follows light and dark.

Every axis has a name with its unit, and every mean of a sample its 95 % interval. Colours can be told apart
with any colour vision and lie three to one above white and above the page's dark; lines differ in their
dashes and points in their shapes too.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dnalm.errors import escape_controls
from dnalm.evaluation.plots import COLOURS, Curve, appearance, new_figure

INK = "#010203"  # of figures; in the page the colour of its text
_DASHES = ("", "6 3", "2 2", "8 2 2 2")
MOST_POINTS = 300  # of a curve
_MOST_PARTS = 30  # rows of a chart
_BINS = 40
_INCHES = (5.0, 3.1)
_ROW_INCHES = 0.27
_HALF_WIDTH = 1.96  # standard errors of a 95 % interval
_STYLE: dict[Any, Any] = {  # whose keys matplotlib types as literals
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 11,
    "legend.fontsize": 9,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.parse_math": False,  # a run may be called $x$
}
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure of a page.

    Attributes:
        caption: what it is.
        svg: inline SVG; or
        source: the data URI of a picture.
        is_wide: whether it takes the page's whole width, and on a narrow screen is moved sideways.
    """

    caption: str
    svg: Markup | None = None
    source: str = ""
    is_wide: bool = False


class Line(NamedTuple):
    """A line of a chart."""

    label: str
    curve: Curve
    colour: str
    dashes: str
    is_validation: bool


class Mark(NamedTuple):
    """A point with its interval, one of several kinds in a row."""

    row: str
    kind: str
    value: float
    low: float
    high: float


def look(number: int) -> tuple[str, str]:
    """Colour and dashes of a run's lines."""
    return COLOURS[number % len(COLOURS)], _DASHES[number // len(COLOURS) % len(_DASHES)]


def as_number(value: object) -> float:
    """What can be drawn; NaN of all else."""
    is_number = isinstance(value, int | float) and abs(value) < 1e30
    return float(value) if is_number else math.nan  # type: ignore[arg-type]


def short(name: str) -> str:
    """A name as axes show it: of a long one its end."""
    return escape_controls(name if len(name) <= 28 else f"…{name[-27:]}")


def curves_chart(title: str, lines: Sequence[Line], *, unit: str) -> Drawing:
    """Curves against optimizer steps."""
    with mpl.rc_context(_STYLE):
        figure = new_figure(*_INCHES)
        axes = figure.subplots()
        kinds = {line.is_validation for line in lines}
        for line in lines:
            _draw(axes, line, is_pale=len(kinds) > 1 and line.label == "training")
        axes.set(xlabel="optimizer step", ylabel=unit)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=6))
        labels = dict.fromkeys(line.label for line in lines)
        if len(labels) > 1 and len({(line.colour, line.label) for line in lines}) == len(labels):
            figure.legend(loc="outside lower center", ncols=min(3, len(labels)))
        return Drawing(caption=title, svg=_svg(figure, title))


def _draw(axes: Axes, line: Line, *, is_pale: bool) -> None:
    steps, values = thinned(line.curve)
    dashes = [float(each) for each in line.dashes.split()]
    axes.plot(
        steps,
        values,
        color=line.colour,
        linestyle=(0, dashes) if dashes else "-",
        linewidth=1 if is_pale else 1.5,
        alpha=0.5 if is_pale else 1,
        marker="o" if (line.is_validation and len(steps) <= 60) or len(steps) == 1 else "",
        markersize=3,
        label=short(line.label),
    )


def thinned(curve: Curve) -> tuple[list[float], list[float]]:
    """The means of at most 300 pieces."""
    if len(curve.steps) <= MOST_POINTS:
        return list(curve.steps), curve.values
    pieces = (np.array_split(np.array(each, float), MOST_POINTS) for each in (curve.steps, curve.values))
    steps, values = ([float(f"{piece.mean():.6g}") for piece in each] for each in pieces)
    return steps, values


def histogram(caption: str, values: Iterable[float], *, xlabel: str, ylabel: str) -> Drawing:
    """How values are distributed."""
    kept = np.array([each for each in values if abs(each) < 1e30])
    with mpl.rc_context(_STYLE):
        figure = new_figure(*_INCHES)
        axes = figure.subplots()
        axes.hist(kept, bins=_BINS, color=COLOURS[0])
        axes.set(xlabel=short(xlabel), ylabel=ylabel)
        return Drawing(caption=caption, svg=_svg(figure, caption))


def marks_chart(caption: str, marks: Sequence[Mark], *, xlabel: str) -> Drawing:
    """A row for each thing, in it a point with its interval for each kind; the first 30 rows."""
    rows = list(dict.fromkeys(mark.row for mark in marks))[:_MOST_PARTS]
    kinds = list(dict.fromkeys(mark.kind for mark in marks))
    spread = 0.5 if len(kinds) > 1 else 0.0
    with mpl.rc_context(_STYLE):
        figure = new_figure(_INCHES[0], 1.2 + _ROW_INCHES * len(rows) * max(1.0, len(kinds) / 2))
        axes = figure.subplots()
        for number, kind in enumerate(kinds):
            mine = [mark for mark in marks if mark.kind == kind and mark.row in rows]
            offset = spread * (number / max(1, len(kinds) - 1) - 0.5)
            values = np.array([mark.value for mark in mine])
            ends = np.array([[mark.value - mark.low, mark.high - mark.value] for mark in mine])
            axes.errorbar(
                values,
                [rows.index(mark.row) + offset for mark in mine],
                xerr=np.nan_to_num(ends.clip(min=0)).T,
                linestyle="",
                **appearance(number),
                markersize=5,
                elinewidth=1.4,
                label=short(kind),
            )
        axes.set_yticks(range(len(rows)), [short(row) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(xlabel)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        if len(kinds) > 1:
            figure.legend(loc="outside upper center", ncols=3, handletextpad=0.2, columnspacing=1)
        return Drawing(caption=caption, svg=_svg(figure, caption))


def with_interval(row: str, kind: str, value: object, error: object) -> Mark:
    """A mark of a mean and its standard error; without interval where that is not defined."""
    mean, half = as_number(value), _HALF_WIDTH * as_number(error)
    return Mark(row, kind, mean, mean - half, mean + half)


def tenths_chart(caption: str, marks: Sequence[Mark], *, ylabel: str) -> Drawing:
    """Figures against tenths of the training text, 1 to 10, from the rarest token to the most frequent."""
    marks = [mark for mark in marks if mark.row in map(str, range(1, 11))]
    with mpl.rc_context(_STYLE):
        figure = new_figure(*_INCHES)
        axes = figure.subplots()
        for number, kind in enumerate(dict.fromkeys(mark.kind for mark in marks)):
            mine = [mark for mark in marks if mark.kind == kind]
            values = np.array([mark.value for mark in mine])
            ends = np.array([[mark.value - mark.low, mark.high - mark.value] for mark in mine])
            axes.errorbar(
                [int(mark.row) for mark in mine],
                values,
                yerr=np.nan_to_num(ends.clip(min=0)).T,
                **appearance(number),
                markersize=4,
                linewidth=1.2,
                label=kind,
            )
        axes.set(xlabel="tenth of the training tokens, from the rarest", ylabel=ylabel, xlim=(0.5, 10.5))
        axes.set_xticks(range(1, 11))
        figure.legend(loc="outside upper center", ncols=3, handletextpad=0.4, columnspacing=1)
        return Drawing(caption=caption, svg=_svg(figure, caption))


def map_chart(caption: str, points: Mapping[str, Sequence[tuple[float, float]]], *, axis: str) -> Drawing:
    """Points on a plane, a colour and a shape for each label."""
    most = sum(map(len, points.values()))
    size = float(np.clip(9000 / max(1, most), 5, 40))
    with mpl.rc_context(_STYLE):
        figure = new_figure(_INCHES[0], 4.6)
        axes = figure.subplots()
        for number, (label, places) in enumerate(points.items()):
            x, y = np.array(places).T
            axes.scatter(
                x,
                y,
                s=size,
                **appearance(number),
                linewidths=0,
                alpha=0.8,
                label=short(label),
                rasterized=True,
            )
        axes.set(xlabel=f"{axis} 1", ylabel=f"{axis} 2", xticks=[], yticks=[])
        figure.legend(loc="outside upper center", ncols=3, markerscale=1.5, handletextpad=0.1)
        return Drawing(caption=caption, svg=_svg(figure, caption))


def _svg(figure: Figure, caption: str) -> Markup:
    """A figure as inline SVG: no sizes, names or addresses of its own, its ink that of the page."""
    text = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": caption}):
        figure.savefig(text, format="svg", transparent=True, metadata=nothing, dpi=150)
    svg = text.getvalue()
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    head, _, body = svg.partition(">")
    head = re.sub(r' (xmlns(:\w+)?|width|height|version)="[^"]*"', "", head)
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace("xlink:href", "href")
    label = escape(_described(caption))
    described = head.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return Markup((f"{described}>{body}").replace(INK, "currentColor"))


def _described(caption: str) -> str:
    return escape_controls(caption[:240])
