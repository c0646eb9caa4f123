"""Ortholog retrieval against a search by loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.evaluation.embedding.clusters import (
    SpeciesRegions,
    ortholog_ranks,
    plot_retrieval,
    retrieve_orthologs,
)


def vectors(seed: int, genes: int = 30, width: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(genes, width))


def slow_rank(query: np.ndarray, target: np.ndarray, gene: int) -> int:
    """How many targets are at least as near as the ortholog, one cosine at a time."""
    ours, theirs = query - query.mean(0), target - target.mean(0)
    near = [ours[gene] @ other / np.linalg.norm(ours[gene]) / np.linalg.norm(other) for other in theirs]
    return sum(value >= near[gene] for value in near)


@given(st.integers(0, 1000))
def test_ranks_are_those_of_a_search_by_loops(seed: int) -> None:
    query, target = vectors(seed), vectors(seed + 1)
    expected = [slow_rank(query, target, gene) for gene in range(30)]
    assert ortholog_ranks(query, target).tolist() == expected


def test_blocks_change_no_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ortholog_ranks(vectors(1), vectors(2))
    monkeypatch.setattr("dnalm.evaluation.embedding.clusters._BLOCK", 7)
    assert (ortholog_ranks(vectors(1), vectors(2)) == whole).all()


def test_a_species_finds_itself_whatever_was_added_to_all_its_vectors() -> None:
    regions = {"a": SpeciesRegions(tuple(map(str, range(30))), vectors(1))}
    regions["b"] = SpeciesRegions(regions["a"].genes, vectors(1) + 7)
    for found in retrieve_orthologs(regions):
        assert (found.num_genes, found.top1, found.top10, found.mean_reciprocal_rank) == (30, 1, 1, 1)


def test_vectors_that_are_all_alike_find_nothing() -> None:
    genes = tuple(map(str, range(20)))
    regions = {name: SpeciesRegions(genes, np.ones((20, 3))) for name in "ab"}
    for found in retrieve_orthologs(regions):
        assert (found.top1, found.top10, found.mean_reciprocal_rank) == (0, 0, pytest.approx(1 / 20))


def test_genes_are_matched_by_name_and_only_those_that_both_have() -> None:
    ours = SpeciesRegions(("x", "y", "z", "mine"), vectors(1, 4))
    theirs = SpeciesRegions(("z", "theirs", "x", "y"), ours.vectors[[2, 3, 0, 1]])
    pair = retrieve_orthologs({"a": ours, "b": theirs})
    assert [(found.query, found.target, found.num_genes, found.top1) for found in pair] == [
        ("a", "b", 3, 1),
        ("b", "a", 3, 1),
    ]


def test_the_picture_has_a_bar_for_each_pair_and_kind(tmp_path: Path) -> None:
    genes = tuple(map(str, range(30)))
    found = retrieve_orthologs({name: SpeciesRegions(genes, vectors(ord(name))) for name in "abc"})
    plot_retrieval({"model": found, "k-mers": found}, [tmp_path / "a.png"])
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
