"""Pictures of attention, mutagenesis, dependencies and motifs, each as PNG and SVG.

Logos show bases as stacked letters of a height, the largest outside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from dnalm.evaluation.inference import Floats
from dnalm.evaluation.interpretation.reader import Mutagenesis
from dnalm.evaluation.interpretation.seqlets import FoundMotif, Match, Table
from dnalm.evaluation.plots import WIDTH, new_figure, printed, save_figure
from dnalm.evaluation.sequence_inputs import NamedSequence
from dnalm.genome.alphabet import UNKNOWN

COLOURS = {"A": "#009e73", "C": "#0072b2", "G": "#e0a100", "T": "#d55e00"}
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
def _outline(letter: str) -> TextPath:
    return TextPath((0, 0), letter, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold"))


_INCHES_A_BASE = 0.11
_MOST_LAYERS = 12  # with a map of their own
_CHANCE = 0.05  # E-value from which a known motif is no match
_HEAD_TITLES = {  # of the numbers of `HeadSummary`
    "special_share": "attention to special tokens\n(share of 1)",
    "distance_bp": "attention distance of tokens\n(bases)",
    "entropy_bits": "attention entropy over tokens\n(bits)",
    "base_distance_bp": "attention distance of bases\n(bases)",
    "base_entropy_bits": "attention entropy over bases\n(bits)",
}


@printed
def draw_mutagenesis(region: NamedSequence, found: Mutagenesis, stem: Path) -> None:
    """What the model expects (letters, bits), how much it prefers what stands there, and every effect."""
    first, last = region.inner
    width = max(WIDTH, 1.6 + _INCHES_A_BASE * (last - first))  # letters need it
    figure = new_figure(width, 6.4)
    expected, preferred, own, near = figure.subplots(4, 1, height_ratios=[1.2, 1.2, 1, 1], sharex=True)
    probabilities = np.exp(found.log_p_R4)
    bits = 2 + (probabilities * found.log_p_R4).sum(axis=1, keepdims=True) / np.log(2)
    draw_logo(expected, np.nan_to_num(probabilities * bits), start=region.start)
    expected.set(ylabel="bits", title=f"{_title(region)}: what the model expects of each hidden base")
    draw_logo(preferred, _preference(region, found), start=region.start)
    preferred.set(ylabel="nats", title="base that stands there, by what it exceeds the others' mean")
    _draw_effects(own, region, found.effect_R4, "effect of a substitution: log p(ALT) - log p(REF), nats")
    _draw_effects(near, region, found.neighbours_R4, "effect on the bases nearby: sum of log p, nats")
    near.set_xlabel(f"{region.coordinate_name}, counted from 0")
    _save(figure, stem)


def _preference(region: NamedSequence, found: Mutagenesis) -> Floats:
    """Height of the base that stands there: minus the mean effect of the three others."""
    codes = region.codes[slice(*region.inner)]
    heights = np.zeros((len(codes), 4))
    known = np.flatnonzero(codes != UNKNOWN)
    heights[known, codes[known]] = -np.nan_to_num(found.effect_R4[known]).sum(axis=1) / 3
    return heights


def _draw_effects(axes: Axes, region: NamedSequence, effects_R4: Floats, title: str) -> None:
    most = max(float(np.nanmax(np.abs(effects_R4), initial=0)), 1e-6)
    first = region.start - 0.5
    image = axes.imshow(
        effects_R4.T,
        aspect="auto",
        interpolation="nearest",
        cmap="RdBu",
        vmin=-most,
        vmax=most,
        extent=(first, first + len(effects_R4), 3.5, -0.5),
    )
    axes.set_yticks(range(4), list("ACGT"))
    axes.set_title(title)
    axes.figure.colorbar(image, ax=axes, pad=0.01)


@printed
def draw_dependency(region: NamedSequence, map_RR: Floats, stem: Path) -> None:
    """The map, with the bases along both sides where there is room."""
    figure = new_figure(WIDTH, 6.2)
    axes = figure.subplots()
    first, last = region.start - 0.5, region.start + len(map_RR) - 0.5
    off = map_RR[~np.eye(len(map_RR), dtype=bool)]
    high = float(np.nanpercentile(off, 99.5)) if off.size and not np.isnan(off).all() else 1.0
    image = axes.imshow(
        map_RR, cmap="magma_r", vmin=0, vmax=max(high, 1e-6), extent=(first, last, last, first)
    )
    axes.set(
        xlabel=f"base that is hidden ({region.coordinate_name} from {region.start}, counted from 0)",
        ylabel=f"base that is substituted ({region.coordinate_name} from {region.start})",
        title=f"{_title(region)}: dependencies",
    )
    if len(map_RR) <= 120:
        places = range(region.start, region.start + len(map_RR))
        axes.set_xticks(places, list(region.text), fontsize=min(8, 480 / len(map_RR)))
        axes.set_yticks(places, list(region.text), fontsize=min(8, 480 / len(map_RR)))
        axes.tick_params(length=0)
    figure.colorbar(image, label="largest change of log2-odds (scale ends at the 99.5th percentile)")
    _save(figure, stem)


@printed
def draw_attention(region: NamedSequence, maps: Sequence[Floats], stem: Path) -> None:
    """A map for each layer, in order: (L, L), the mean of its heads, from base to base, flanks included.

    All have one scale, so that layers compare.
    """
    shown = maps[:_MOST_LAYERS]
    columns = 2 if len(shown) in (2, 4) else min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = new_figure(WIDTH, 0.7 + (WIDTH - 0.8) / columns * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    first = region.position(0) - 0.5
    last = first + len(region.codes)
    most = max(1e-9, *(float(np.percentile(values, 99.5)) for values in shown))
    for layer, (axes, values) in enumerate(zip(panels, shown, strict=False), start=1):
        image = axes.imshow(
            values,
            cmap="magma_r",
            vmin=0,
            vmax=most,
            extent=(first, last, last, first),
        )
        axes.set_title(f"layer {layer}")
        axes.locator_params(nbins=4)
        axes.tick_params(labelbottom=layer > len(shown) - columns)  # nothing stands below
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    label = "attention, mean of the heads (share of 1; scale ends at the 99.5th percentile)"
    figure.colorbar(image, ax=panels.tolist(), label=label, fraction=0.03)
    figure.suptitle(_title(region))
    figure.supxlabel(f"attended base ({region.coordinate_name}, from 0)", fontsize=8)
    figure.supylabel(f"attending base ({region.coordinate_name}, from 0)", fontsize=8)
    _save(figure, stem)


@printed
def draw_heads(means: Mapping[str, Floats], stem: Path) -> None:
    """Numbers of every head, means over the regions: a panel each, layers by heads."""
    some = next(iter(means.values()))
    columns = 3 if some.shape[1] <= 16 else 1
    rows = -(-len(means) // columns)
    figure = new_figure(WIDTH, (0.8 + max(1.2, 0.16 * len(some))) * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(means) :]:
        axes.set_axis_off()
    for axes, (name, values) in zip(panels, means.items(), strict=False):
        image = axes.imshow(values, cmap="viridis", aspect="auto", interpolation="nearest")
        axes.set_title(_HEAD_TITLES[name])
        axes.set(xlabel="head", ylabel="layer")
        axes.set_xticks(range(values.shape[1]), range(1, values.shape[1] + 1), fontsize=6)
        axes.set_yticks(range(len(values)), range(1, len(values) + 1), fontsize=6)
        figure.colorbar(image, ax=axes)
    _save(figure, stem)


@printed
def draw_motifs(
    found: Sequence[FoundMotif], matches: Sequence[Match], known: Mapping[str, Table], stem: Path
) -> None:
    """Found motifs as logos, beside each the known one that matches it, turned and aligned.

    A base is equally wide everywhere. Of a motif that no known one matches better than by chance, the nearest
    one's name and E-value stand there.
    """
    figure = new_figure(WIDTH, max(1.2, 0.35 + 0.75 * len(found)))
    panels = figure.subplots(max(1, len(found)), 2 if matches else 1, squeeze=False, sharex=True)
    beside = [_aligned(motif, match, known) for motif, match in zip(found, matches, strict=False)]
    drawn = [place for place, match in zip(beside, matches, strict=True) if match.e_value <= _CHANCE]
    first = min([0, *(start for start, _ in drawn)])
    ends = [start + len(table) for start, table in drawn]
    last = max([1, *ends, *(len(motif.frequencies) for motif in found)])
    for row, motif in enumerate(found):
        _draw_motif(panels[row, 0], motif.frequencies, f"{motif.name}: {motif.num_seqlets} places")
        if matches:
            match, (start, table) = matches[row], beside[row]
            named = f"{match.known} ({match.strand}), E = {match.e_value:.2g}"
            if match.e_value <= _CHANCE:
                _draw_motif(panels[row, 1], table, named, start=start)
            else:
                panels[row, 1].set_axis_off()
                panels[row, 1].set_title(f"no known motif; nearest: {named}", color="0.4")
    panels[0, 0].set_xlim(first - 0.5, last - 0.5)
    if not found:
        panels[0, 0].set_axis_off()
        panels[0, 0].set_title("no motif was found")
    _save(figure, stem)


def _aligned(motif: FoundMotif, match: Match, known: Mapping[str, Table]) -> tuple[int, Table]:
    """The known motif on the found one's strand, where the two agree best: at which place it begins."""
    table = known[match.known] if match.strand == "+" else known[match.known][::-1, ::-1]
    ours, theirs = motif.frequencies - 0.25, table - 0.25

    def agreement(start: int) -> float:
        low, high = max(0, start), min(len(ours), start + len(theirs))
        return float((ours[low:high] * theirs[low - start : high - start]).sum())

    return max(range(1 - len(theirs), len(ours)), key=agreement), table


def _draw_motif(axes: Axes, table_W4: Floats, title: str, *, start: int = 0) -> None:
    logs = np.log2(np.maximum(table_W4, 1e-9))
    bits = 2 + (table_W4 * logs).sum(axis=1, keepdims=True)
    draw_logo(axes, table_W4 * bits, start=start)
    axes.set(ylim=(0, 2), ylabel="bits", xticks=[], yticks=[0, 1, 2])
    axes.set_title(title)


def _title(region: NamedSequence) -> str:
    return region.id if len(region.id) < 60 else f"{region.id[:57]}…"


def _save(figure: Figure, stem: Path) -> None:
    save_figure(figure, *(stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg")))
