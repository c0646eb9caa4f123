"""What is said of tracks and objectives, word by word."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from dnalm.evaluation.plots import plot_tracks
from dnalm.evaluation.pretraining_report import describe_track, objective_figures, objective_sentences
from dnalm.genome.tracks import JoinedTrack, TrackStatistics, join_statistics
from dnalm.training.objectives import Scores


@dataclass
class FakeStore:
    """What reports ask of a genome's track."""

    statistics: TrackStatistics
    path: Path = Path("cache/track")


def track_of(
    kind: str, *parts: TrackStatistics, names: tuple[str, ...] = (), without: int = 0
) -> JoinedTrack:
    """A track of genomes g0, g1, …, and of others without it."""
    stores = {
        f"g{number}": FakeStore(part, Path(f"cache/track{number}")) for number, part in enumerate(parts)
    }
    return JoinedTrack(
        kind=kind,  # type: ignore[arg-type]
        names=names,
        statistics=join_statistics(parts),
        genomes=stores,  # type: ignore[arg-type]
        num_genomes=len(parts) + without,
    )


def values(mean: float) -> TrackStatistics:
    return TrackStatistics(num_bases=100, num_covered=25, mean=mean, sd=0.25, minimum=-1.0, maximum=7.0)


COUNTS = TrackStatistics(num_bases=200, num_covered=100, positive_bases={"a": 20, "b": 80, "c": 0})
CLASSES = track_of("classes", COUNTS, names=("a", "b", "c"))
LABELS = track_of(
    "labels",
    TrackStatistics(
        num_bases=100,
        num_covered=50,
        positive_bases={"x": 10, "y": 5},
        covered_bases={"x": 40, "y": 50},
    ),
    names=("x", "y"),
)
VALUES = track_of("values", values(1.5))
NOTHING = track_of("values", TrackStatistics(num_bases=100, num_covered=0))
SEVERAL = track_of(
    "classes",
    COUNTS,
    TrackStatistics(num_bases=800, num_covered=300, positive_bases={"a": 300, "b": 0, "c": 0}),
    names=("a", "b", "c"),
    without=1,
)


def test_a_track_is_reported_by_coverage_and_balance() -> None:
    expected = "track t: 50.0% of the bases known; b 80.00%, a 20.00%, c 0.00%, 1 absent; cache/track0"
    assert describe_track("t", CLASSES) == expected
    # Shares are of the bases where a label is known: 10 of 40 and 5 of 50
    assert "x 25.00%, y 10.00%; " in describe_track("t", LABELS)
    expected = (
        "track t: 25.0% of the bases known; mean 1.5, standard deviation 0.25, from -1 to 7; cache/track0"
    )
    assert describe_track("t", VALUES) == expected
    assert "0.0% of the bases known; no value" in describe_track("t", NOTHING)


def test_of_several_genomes_all_are_reported_together_and_one_by_one() -> None:
    # 400 of 1,000 bases are known, 320 of them a, though one genome has mostly b
    assert describe_track("t", SEVERAL).splitlines() == [
        "track t of 2 of 3 genomes: 40.0% of the bases known; a 80.00%, b 20.00%, c 0.00%, 1 absent",
        "  g0: 50.0% of the bases known; cache/track0",
        "  g1: 37.5% of the bases known; cache/track1",
    ]
    many = track_of("classes", *[COUNTS] * 25, names=("a", "b", "c"))
    assert describe_track("t", many).splitlines()[-1] == "  and 5 more genomes"
    # A label that is known nowhere is not one that holds nowhere
    counts = TrackStatistics(
        num_bases=100,
        num_covered=50,
        positive_bases={"x": 10, "y": 0},
        covered_bases={"x": 40, "y": 0},
    )
    unknown = track_of("labels", counts, names=("x", "y"))
    assert "; x 25.00%, 1 known nowhere: y; " in describe_track("t", unknown)


def test_of_many_labels_the_common_ones_are_reported() -> None:
    counts = {f"l{number}": 1000 - number for number in range(20)}
    track = track_of(
        "classes",
        TrackStatistics(num_bases=20_000, num_covered=20_000, positive_bases=counts),
        names=tuple(counts),
    )
    assert "l11 4.95%, 8 rarer down to 4.905%; " in describe_track("t", track)


def scores(targets: int = 10) -> Scores:
    model = {"loss": 1.25, "accuracy": 0.61, "mcc": math.nan}
    return Scores(
        model,
        {"loss": 1.5, "accuracy": 0.48, "mcc": 0.0},
        targets,
        "majority class",
        {"x": {"auroc": math.nan}},
    )


def test_every_figure_stands_beside_its_baseline() -> None:
    (sentence,) = objective_sentences({"region": scores()})
    assert sentence == (
        "region: accuracy 0.6100, majority class 0.4800; mcc nan, majority class 0.0000; "
        "loss 1.2500, majority class 1.5000 (10 validation targets)"
    )
    assert objective_sentences({"region": scores(0)}) == ["region: no validation token has a target"]


def test_figures_that_cannot_be_reported_are_null() -> None:
    text = json.dumps(objective_figures({"region": scores()}), allow_nan=False)
    assert json.loads(text)["region"] == {
        "targets": 10,
        "model": {"loss": 1.25, "accuracy": 0.61, "mcc": None},
        "baseline": {"loss": 1.5, "accuracy": 0.48, "mcc": 0.0},
        "baseline_name": "majority class",
        "labels": {"x": {"auroc": None}},
    }


def test_tracks_of_every_kind_are_drawn(tmp_path: Path) -> None:
    tracks = {"classes": CLASSES, "labels": LABELS, "values": VALUES, "nothing": NOTHING}
    two = track_of("values", *[values(mean) for mean in (1.5, 2.5)])
    plot_tracks({**tracks, "several": SEVERAL, "two": two}, tmp_path / "tracks.png")
    assert (tmp_path / "tracks.png").read_bytes().startswith(b"\x89PNG")
