"""How every picture is made and written, and those of a training run, a tokenizer and annotation tracks.

Pictures are at most 7.2 inches wide, two columns of a journal, with letters of 7 points and more; colours
can be told apart with any colour vision, and shapes or dashes differ too.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.ticker import MaxNLocator, NullFormatter

from dnalm.durable import atomic_write
from dnalm.evaluation.baselines import Judgement
from dnalm.genome.tracks import JoinedTrack
from dnalm.limits import MOST_STEPS
from dnalm.tokenizers import Tokenizer
from dnalm.tokenizers.statistics import TokenStatistics

_SHOWN_TOKENS = 25
_ROW_INCHES, _LEAST_INCHES = 0.16, 1.4
_MOST_CURVES = 200
_LARGEST = 1e30  # that an axis is drawn for


WIDTH = 7.2  # inches, of two columns
# The first three: Okabe and Ito 2008, Color Universal Design; its others are too light for lines on white
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#c46a9c", "#8d6be0", "#a8842a")
_MARKERS = "oDs^vP"
_STYLE: dict[Any, Any] = {  # whose keys matplotlib types as literals
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "font.size": 8,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "text.parse_math": False,  # a label may be called $x$
}
printed = mpl.rc_context(_STYLE)  # decorates what draws a picture


def appearance(number: int) -> dict[str, Any]:
    """Colour and shape of the points of one kind of several, unlike for 36 of them."""
    turn = number // len(COLOURS)
    return {"color": COLOURS[number % len(COLOURS)], "marker": _MARKERS[(number + turn) % len(_MARKERS)]}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that needs no display."""
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, *targets: Path, dpi: int = 200) -> None:
    """Write a figure in the forms that the targets' endings name, PNG in `dpi`.

    Each file is whole or absent, and the same figure gives the same bytes.
    """
    for target in targets:
        metadata = {"Date": None} if target.suffix == ".svg" else None
        with mpl.rc_context({"svg.hashsalt": "dnalm"}), atomic_write(target) as beside:
            figure.savefig(beside, dpi=dpi, metadata=metadata)


@printed
def plot_training(
    metrics: Path, judgement: Judgement, target: Path, *, steps: int, loss_of: str = "masked token"
) -> None:
    """Draw loss and bits per base against the optimizer steps that were done.

    Args:
        metrics: a run's `metrics.csv`.
        judgement: the baselines to draw beside.
        target: the PNG to write.
        steps: optimizer steps of the run.
        loss_of: what the loss is a mean over.
    """
    curves = read_curves(metrics, steps=steps)
    nothing = Curve([], [])
    figure = new_figure(WIDTH, 2.9)
    loss, bits = figure.subplots(1, 2)
    loss.plot(*curves.get("train_loss", nothing), color="0.7", linewidth=1, label="training")
    loss.plot(*curves.get("val_loss", nothing), color="C0", marker="o", markersize=3, label="validation")
    loss.set(xlabel="optimizer step", ylabel=f"loss (nats per {loss_of})")
    loss.legend()
    bits.plot(*curves.get("val_bits_per_base", nothing), color="C0", marker="o", markersize=3, label="model")
    bits.axhline(judgement.order0, color="0.4", linestyle="--", label="order-0 entropy")
    bits.axhline(judgement.two_sided, color="C1", linestyle="--", label="two-sided context model")
    bits.set(xlabel="optimizer step", ylabel="validation (bits per hidden base)")
    bits.legend()
    for axes in (loss, bits):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    save_figure(figure, target)


class Curve(NamedTuple):
    """A column of `metrics.csv`: optimizer steps that were done, and values."""

    steps: list[int]
    values: list[float]


def read_curves(metrics: Path, *, steps: int | None) -> dict[str, Curve]:
    """The columns of a run's `metrics.csv` by name; values that are not finite are left out.

    Lightning numbers what it logs after step n while it trains n - 1, and the validation after the end n.

    Args:
        metrics: the file.
        steps: optimizer steps of the run, if it has come to its end.

    Raises:
        ValueError: a line that has no step, or a cell that is no number.
        csv.Error: it is no CSV.
    """
    curves: dict[str, Curve] = {}
    with metrics.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        for row in reader:
            step = int(row["step"]) + 1 if row.get("step") else 0
            if not 0 < step <= MOST_STEPS:
                raise ValueError(f"line {reader.line_num} has no step")
            for name in (reader.fieldnames or ())[:_MOST_CURVES]:
                if name == "step" or not row[name]:
                    continue
                if abs(value := float(row[name])) < _LARGEST:
                    curve = curves.setdefault(name, Curve([], []))
                    curve.steps.append(step if steps is None else min(step, steps))
                    curve.values.append(value)
    return curves


@printed
def plot_tokens(statistics: TokenStatistics, tokenizer: Tokenizer, title: str, target: Path) -> None:
    """Draw the lengths of a tokenizer's tokens, their frequencies by rank, and the most frequent ones."""
    figure = new_figure(WIDTH, 3.4)
    figure.suptitle(title)
    lengths, ranks, frequent = figure.subplots(1, 3)
    used = np.flatnonzero(statistics.lengths)
    lengths.bar(used, statistics.lengths[used] / statistics.num_known, color="C0")
    lengths.set(xlabel="bases a token covers", ylabel="share of known tokens", title="Token lengths")
    lengths.axvline(
        statistics.mean_length, color="C1", linestyle="--", label=f"mean {statistics.mean_length:.2f}"
    )
    lengths.legend()

    counts = statistics.counts[statistics.words]
    share = np.sort(counts[counts > 0])[::-1] / statistics.num_known
    ranks.loglog(np.arange(1, len(share) + 1), share, color="C0", label="tokens")
    ranks.axhline(1 / len(statistics.words), color="C1", linestyle="--", label="all equally frequent")
    ranks.set(xlabel="rank", ylabel="share of tokens", title=f"Balance {statistics.balance:.3f}")
    for axis in (ranks.xaxis, ranks.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    ranks.legend(loc="lower left")

    top = statistics.most_frequent(_SHOWN_TOKENS)
    top = top[statistics.counts[top] > 0]
    words = tokenizer.vocabulary()
    frequent.barh(np.arange(len(top)), statistics.counts[top] / statistics.num_known, color="C0")
    frequent.set_yticks(np.arange(len(top)), [words[i] for i in top], fontsize=6, family="monospace")
    frequent.invert_yaxis()
    frequent.set(xlabel="share of tokens", title="Most frequent")
    save_figure(figure, target)


@printed
def plot_tracks(tracks: Mapping[str, JoinedTrack], target: Path) -> None:
    """Draw a panel a track: shares of classes or labels among the bases where they are known, in percent.

    Of several genomes bars are over all of them, and a dot is one.
    """
    heights = [max(_LEAST_INCHES, _ROW_INCHES * len(track.names) + 0.8) for track in tracks.values()]
    figure = new_figure(WIDTH, sum(heights))
    panels = figure.subplots(len(tracks), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axes, (name, track) in zip(panels, tracks.items(), strict=True):
        statistics = track.statistics
        covered = statistics.num_covered / max(1, statistics.num_bases)
        legend = ", a dot a genome" if len(track.genomes) > 1 else ""
        axes.set_title(f"{name}: {covered:.1%} of the bases known{legend}", loc="left")
        if track.kind == "values":
            _draw_values(axes, track)
        else:
            _draw_shares(axes, track)
    save_figure(figure, target)


def _draw_shares(axes: Axes, track: JoinedTrack) -> None:
    shares = track.statistics.fractions()
    places, small = range(len(shares)), 6 if len(shares) > 20 else 7.5
    bars = axes.barh(places, [100 * share for share in shares.values()], color="C0")
    most = max(shares.values(), default=0)
    for store in track.genomes.values() if len(track.genomes) > 1 else ():
        of_genome = store.statistics.fractions()
        axes.scatter([100 * of_genome[label] for label in shares], places, color="C1", s=6, zorder=3)
        most = max(most, *of_genome.values())
    written = [f"{share:.2%}".replace("%", " %") for share in shares.values()]
    beyond = 0 if len(track.genomes) < 2 else 100 * most  # dots stand where numbers would
    if beyond:
        for place, text in zip(places, written, strict=True):
            axes.text(1.02 * beyond, place, text, va="center", fontsize=small)
    else:
        axes.bar_label(bars, written, padding=2, fontsize=small)
    axes.margins(y=0.01)
    axes.set_yticks(places, list(shares), fontsize=small)
    axes.set(xlim=(0, 116 * max(most, 1e-6)), xlabel="share of the bases where it is known (%)")
    axes.invert_yaxis()


def _draw_values(axes: Axes, track: JoinedTrack) -> None:
    """Range, mean and spread."""
    statistics = track.statistics
    axes.set_yticks([])
    axes.set_xlabel("value: range, and mean with one standard deviation")
    if statistics.mean is None or statistics.minimum is None or statistics.maximum is None:
        return
    axes.hlines(0, statistics.minimum, statistics.maximum, color="0.7", linewidth=2)
    means = [store.statistics.mean for store in track.genomes.values() if store.statistics.mean is not None]
    if len(means) > 1:
        axes.scatter(means, [0] * len(means), color="C1", s=6, zorder=3)
    axes.errorbar([statistics.mean], [0], xerr=[statistics.sd or 0.0], fmt="o", color="C0", capsize=4)
