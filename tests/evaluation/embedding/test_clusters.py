"""Clusters, silhouettes and k-mers against what can be counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.errors import DataError
from dnalm.evaluation.classical import kmer_frequencies
from dnalm.evaluation.embedding.clusters import (
    check_labels,
    cluster,
    draw_maps,
    plane,
    plot_clusters,
    write_maps,
)
from dnalm.genome.alphabet import from_text, reverse_complement

LABELS = ["a", "b", "c"] * 20


def clouds(distance: float) -> np.ndarray:
    """A cloud for each label, of unit width, this far from the others."""
    centres = distance * np.eye(3)[[LABELS.index(label) for label in LABELS]]
    return centres + np.random.default_rng(0).normal(size=(60, 3))


def test_labels_that_lie_apart_are_found_and_labels_of_chance_are_not() -> None:
    apart = cluster(clouds(30), LABELS, seed=1)
    assert apart.rand == 1
    assert apart.silhouette > 0.8
    assert len({tuple(apart.clusters[number::3]) for number in range(3)}) == 3
    together = cluster(clouds(0), LABELS, seed=1)
    assert abs(together.rand) < 0.1
    assert together.silhouette < 0.05


def test_the_silhouette_is_the_mean_over_rows_and_so_over_equal_labels() -> None:
    found = cluster(clouds(3), LABELS, seed=1)
    assert found.silhouette == pytest.approx(np.mean(list(found.by_label.values())))
    assert list(found.by_label) == ["a", "b", "c"]


@given(st.floats(0.1, 10), st.integers(0, 3))
def test_figures_do_not_depend_on_the_unit_or_origin_of_vectors(unit: float, origin: int) -> None:
    plain, moved = cluster(clouds(4), LABELS, seed=1), cluster(unit * clouds(4) + origin, LABELS, seed=1)
    assert (moved.rand, moved.silhouette) == pytest.approx((plain.rand, plain.silhouette), abs=1e-9)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            ["a", None, "b", "a"],
            "CLUS-01 x.csv kind: 1 rows without a label; a label for each of at most 20,000",
        ),
        (["a", "a"], "1 labels of 2 rows"),
        (["a", "b"], "2 labels of 2 rows"),
        (["a", "b"] * 10_001, "20,002 rows"),
    ],
)
def test_labels_that_no_cluster_can_match_are_refused(labels: list[str | None], message: str) -> None:
    with pytest.raises(DataError) as error:
        check_labels(labels, where="x.csv kind")
    assert message in str(error.value)


def test_kmers_are_counted_over_known_bases_in_either_case() -> None:
    (row,) = kmer_frequencies([from_text("AAcNAC")], k=2)  # AA, AC, AC
    assert row[0] == pytest.approx(1 / 3)
    assert row[1] == pytest.approx(2 / 3)
    assert kmer_frequencies([from_text("A"), from_text("NNN")], k=2).sum() == 0


@given(st.text("ACGT", min_size=3, max_size=60))
def test_kmers_of_the_other_strand_are_complements(text: str) -> None:
    codes = from_text(text)
    (here,), (there,) = kmer_frequencies([codes], k=3), kmer_frequencies([reverse_complement(codes)], k=3)
    assert here.sum() == pytest.approx(1)
    order = [16 * (3 - c) + 4 * (3 - b) + 3 - a for a in range(4) for b in range(4) for c in range(4)]
    assert here[order] == pytest.approx(there)


def test_the_picture_is_the_same_each_time(tmp_path: Path) -> None:
    found = {"model": cluster(clouds(4), LABELS, seed=1)}
    for name in ("a", "b"):
        maps = draw_maps({"model": clouds(4)}, seed=1)
        plot_clusters(maps, found, LABELS, [tmp_path / f"{name}.png", tmp_path / f"{name}.svg"])
        write_maps(maps, LABELS, tmp_path / f"{name}.csv")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert (tmp_path / "a.svg").stat().st_size > 1000


def test_the_first_plane_holds_the_most_variance() -> None:
    flat = plane(clouds(4), seed=1, method="pca")
    assert flat.shape == (60, 2)
    assert flat[:, 0].var() >= flat[:, 1].var()
