"""Annotation tracks and objectives in sentences and figures: how labels are balanced, what was learned."""

from __future__ import annotations

import math
from collections.abc import Mapping

from dnalm.genome.tracks import JoinedTrack, TrackStatistics
from dnalm.training.objectives import Scores

_NAMED = 12  # classes or labels that are listed one by one
_GENOMES = 20  # genomes that are listed one by one


def describe_track(name: str, track: JoinedTrack) -> str:
    """Coverage and balance of a track, one line; of several genomes over all of them, and a line for each."""
    known = f"{_coverage(track.statistics)}; {_balance(track)}"
    if track.num_genomes == 1:
        (only,) = track.genomes.values()
        return f"track {name}: {known}; {only.path}"
    lines = [f"track {name} of {len(track.genomes)} of {track.num_genomes} genomes: {known}"]
    for genome, store in [*track.genomes.items()][:_GENOMES]:
        lines.append(f"  {genome}: {_coverage(store.statistics)}; {store.path}")
    if len(track.genomes) > _GENOMES:
        lines.append(f"  and {len(track.genomes) - _GENOMES} more genomes")
    return "\n".join(lines)


def _coverage(statistics: TrackStatistics) -> str:
    return f"{statistics.num_covered / max(1, statistics.num_bases):.1%} of the bases known"


def _balance(track: JoinedTrack) -> str:
    statistics = track.statistics
    if track.kind == "values":
        figures = (statistics.mean, statistics.sd, statistics.minimum, statistics.maximum)
        if None in figures:
            return "no value"
        return "mean {:.4g}, standard deviation {:.4g}, from {:.4g} to {:.4g}".format(*figures)
    nowhere = [label for label, count in statistics.covered_bases.items() if not count]
    known = {label: share for label, share in statistics.fractions().items() if label not in nowhere}
    shares = sorted(known.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{label} {share:.2%}" for label, share in shares[:_NAMED])
    more = f", {len(shares) - _NAMED} rarer down to {shares[-1][1]:.3%}" if len(shares) > _NAMED else ""
    absent = sum(share == 0 for _, share in shares)
    listed += more + (f", {absent} absent" if absent else "")
    return listed + (f", {len(nowhere)} known nowhere: {', '.join(nowhere)}" if nowhere else "")


def objective_figures(scores: Mapping[str, Scores]) -> dict[str, object]:
    """What `summary.json` says of objectives; a figure that is not defined is null."""
    return {
        name: {
            "targets": of.num_targets,
            "model": _figures(of.model),
            "baseline": _figures(of.baseline),
            "baseline_name": of.baseline_name,
            "labels": {label: _figures(row) for label, row in of.each.items()},
        }
        for name, of in scores.items()
    }


def objective_sentences(scores: Mapping[str, Scores]) -> list[str]:
    """Each objective's validation figures beside its baseline's on the same targets."""
    return [_sentence(name, of) for name, of in scores.items()]


def _sentence(name: str, scores: Scores) -> str:
    if not scores.num_targets:
        return f"{name}: no validation token has a target"
    figures = [
        f"{metric} {value:.4f}, {scores.baseline_name} {scores.baseline[metric]:.4f}"
        for metric, value in sorted(scores.model.items(), key=lambda item: item[0] == "loss")
    ]
    return f"{name}: {'; '.join(figures)} ({scores.num_targets:,} validation targets)"


def _figures(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in figures.items()}
