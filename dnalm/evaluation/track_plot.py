"""The picture of a run's tracks: how much is known, and how common every class and label is.

Of several genomes bars are over all of them, and a dot is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dnalm.durable import atomic_write
from dnalm.genome.tracks import JoinedTrack

_ROW_INCHES, _LEAST_INCHES = 0.16, 1.4
_LEAST_SHARE = 1e-6  # of a logarithmic axis


def plot_tracks(tracks: Mapping[str, JoinedTrack], target: Path) -> None:
    """Draw a panel a track: shares of classes or labels among the bases where they are known.

    Args:
        tracks: by name, at least one.
        target: the PNG to write.
    """
    heights = [max(_LEAST_INCHES, _ROW_INCHES * len(track.names) + 0.8) for track in tracks.values()]
    figure = Figure(figsize=(8, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
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
    with atomic_write(target) as beside:
        figure.savefig(beside, dpi=110)


def _draw_shares(axes: Axes, track: JoinedTrack) -> None:
    shares = track.statistics.fractions()
    places = range(len(shares))
    axes.barh(places, [max(share, _LEAST_SHARE) for share in shares.values()], color="C0")
    for store in track.genomes.values() if len(track.genomes) > 1 else ():
        of_genome = store.statistics.fractions()
        axes.scatter(
            [max(of_genome[label], _LEAST_SHARE) for label in shares], places, color="C1", s=6, zorder=3
        )
    axes.margins(y=0.01)
    axes.set_yticks(places, list(shares), fontsize=6 if len(shares) > 20 else 8)
    axes.set(xscale="log", xlim=(1e-5, 1), xlabel="share of the bases where it is known")
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
