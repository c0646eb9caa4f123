"""One track over several genomes: statistics as of one long genome, and the same labels in all."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.errors import DataError
from dnalm.genome.store import open_or_build
from dnalm.genome.track_recipes import IntervalClasses, IntervalLabels, TrackRecipe
from dnalm.genome.tracks import TrackStore, class_statistics, join_statistics, join_track, value_statistics
from tests.conftest import random_sequence

VALUES = st.lists(st.floats(-100, 100, width=32) | st.just(float("nan")), min_size=1, max_size=30)
CLASSES = st.lists(st.sampled_from([0, 1, 2, 255]), min_size=1, max_size=30)


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_values_are_joined_as_if_the_genomes_were_one(genomes: list[list[float]]) -> None:
    parts = [np.array(values, dtype=np.float32) for values in genomes]
    joined = join_statistics([value_statistics(part) for part in parts])
    whole = value_statistics(np.concatenate(parts))
    for name in ("num_bases", "num_covered", "minimum", "maximum"):
        assert getattr(joined, name) == getattr(whole, name)
    for name in ("mean", "sd"):
        expected = getattr(whole, name)
        assert getattr(joined, name) == (expected and pytest.approx(expected, rel=1e-6, abs=1e-5))


@given(st.lists(CLASSES, min_size=1, max_size=5))
def test_classes_are_counted_over_all_genomes(genomes: list[list[int]]) -> None:
    parts = [np.array(classes, dtype=np.uint8) for classes in genomes]
    names = ("a", "b", "c")
    joined = join_statistics([class_statistics(part, names) for part in parts])
    assert joined == class_statistics(np.concatenate(parts), names)


def test_a_large_genome_weighs_more_than_a_small_one() -> None:
    small, large = np.float32([4.0]), np.float32([0.0, 0.0, 0.0])
    joined = join_statistics([value_statistics(small), value_statistics(large)])
    assert (joined.mean, joined.sd) == (1.0, pytest.approx(3**0.5))  # of 4, 0, 0, 0: the mean is 1, not 2


Tracks = Callable[..., dict[str, TrackStore]]


@pytest.fixture
def tracks_of(tmp_path: Path) -> Tracks:
    """The track of a recipe for each genome, whose BED files have the classes given."""

    def make(make_recipe: Callable[[Path], TrackRecipe], **classes: str) -> dict[str, TrackStore]:
        tracks = {}
        for number, (genome, letters) in enumerate(classes.items()):
            fasta, bed = tmp_path / f"{genome}.fa", tmp_path / f"{genome}.bed"
            fasta.write_text(f">chr1\n{random_sequence(100 * (number + 1), number)}\n")
            bed.write_text("".join(f"chr1\t{10 * n}\t{10 * n + 5}\t{x}\n" for n, x in enumerate(letters)))
            store = open_or_build(fasta, tmp_path / "cache")
            tracks[genome] = make_recipe(bed).prepare(store, tmp_path / "tracks")
        return tracks

    return make


def test_a_genome_without_the_track_has_all_its_bases_missing(tracks_of: Tracks) -> None:
    tracks = tracks_of(lambda bed: IntervalClasses(files={"x": bed}), yeast="ab", mould="ba")
    joined = join_track("region", tracks, lengths={"yeast": 100, "mould": 200, "worm": 700})
    assert (joined.kind, joined.names, joined.num_genomes) == ("classes", ("a", "b"), 3)
    assert (joined.statistics.num_bases, joined.statistics.num_covered) == (1000, 20)
    assert joined.statistics.positive_bases == {"a": 10, "b": 10}


@pytest.mark.parametrize(
    ("make", "classes", "found"),
    [
        (
            lambda bed: IntervalClasses(files={"x": bed}),
            {"yeast": "abc", "mould": "abd"},
            "yeast has c that the other lacks, and mould has d that the other lacks",
        ),
        (
            lambda bed: IntervalLabels(files={"liver": bed}, label_by="class"),
            {"yeast": "ab", "mould": "a"},
            "yeast has liver/b that the other lacks, and mould has nothing that the other lacks",
        ),
    ],
)
def test_other_labels_name_both_genomes(
    make: Callable[[Path], TrackRecipe], classes: dict[str, str], found: str, tracks_of: Tracks
) -> None:
    tracks = tracks_of(make, **classes)
    with pytest.raises(DataError) as caught:
        join_track("marks", tracks, lengths={"yeast": 100, "mould": 200})
    assert str(caught.value) == (
        f"TRACK-13 data.tracks.marks: {found}; the same labels in the same order in every genome, since one "
        "head learns them all. Fix: give the recipes of both genomes the same files by name, and list "
        "classes where they are read from a file."
    )


def test_labels_in_another_order_are_others(tracks_of: Tracks) -> None:
    first = tracks_of(lambda bed: IntervalClasses(files={"x": bed}, classes=["a", "b"]), yeast="ab")
    other = tracks_of(lambda bed: IntervalClasses(files={"x": bed}, classes=["b", "a"]), mould="ab")
    with pytest.raises(DataError, match="yeast has the order a, b, and mould has the order b, a; "):
        join_track("marks", first | other, lengths={"yeast": 100, "mould": 200})


def test_listed_classes_make_labels_agree_where_a_genome_lacks_one(tracks_of: Tracks) -> None:
    recipe: dict[str, object] = {"label_by": "class", "classes": ["b", "a"]}
    tracks = tracks_of(
        lambda bed: IntervalLabels(files={"liver": bed}, **recipe),  # type: ignore[arg-type]
        yeast="ab",
        mould="a",
    )
    joined = join_track("marks", tracks, lengths={"yeast": 100, "mould": 200})
    assert joined.names == ("liver/b", "liver/a")
    assert joined.statistics.positive_bases == {"liver/b": 5, "liver/a": 10}
