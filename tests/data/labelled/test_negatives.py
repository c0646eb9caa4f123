"""Negatives: as many in every bin of GC and repeat share as there are positives, if the genome has them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.data.labelled import Negatives
from dnalm.data.labelled.negatives import (
    Composition,
    CompositionBins,
    Drawn,
    NonOverlapping,
    composition,
    draw_negatives,
)
from dnalm.genome.alphabet import Codes, from_text
from tests.conftest import random_sequence

LENGTH = 20


def stretches(*shares: float, bases: int = 4_000, masked: float = 0.0) -> Codes:
    """DNA of stretches of one GC each; some of every stretch is soft-masked."""
    random = np.random.default_rng(7)
    parts = []
    for share in shares:
        letters = np.where(
            random.random(bases) < share, random.choice(list("GC"), bases), random.choice(list("AT"), bases)
        )
        text = "".join(letters)
        parts.append(text[: int(bases * masked)].lower() + text[int(bases * masked) :])
    return from_text("".join(parts))


def drawn_from(
    codes: Codes, positives: Composition, recipe: Negatives, *, seed: int = 1
) -> tuple[Drawn, Composition]:
    regions = np.array([[0, len(codes)]])
    found = draw_negatives(recipe, codes, regions, positives, length=LENGTH, key=(seed, 0))
    return found, composition(codes, found.starts, length=LENGTH)


def alike(gc: list[float], repeats: float = 0.0) -> Composition:
    return Composition(np.array(gc), np.full(len(gc), repeats), np.zeros(len(gc), np.int64))


def test_composition_counts_known_bases_and_both_cases() -> None:
    found = composition(from_text("GGccNNAAttAAAAAAnnGG" + "A" * 20), np.array([0, 20]), length=20)
    assert found.gc.tolist() == [6 / 16, 0]
    assert found.repeats.tolist() == [6 / 20, 0]
    assert found.unknown.tolist() == [4, 0]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.floats(0.1, 5), st.integers(0, 9))
def test_every_bin_holds_the_ratio_of_its_positives(counts: list[int], ratio: float, seed: int) -> None:
    """Of equal bins none is more than one off, and the whole is the rounded whole."""
    values = [place / 20 for place, count in enumerate(counts) for _ in range(count)]
    if not values:
        return
    codes = stretches(*(place / 20 for place in range(12)))
    recipe = Negatives(ratio=ratio, gc_bins=4, repeat_bins=1)
    positives = alike(values)
    found, windows = drawn_from(codes, positives, recipe, seed=seed)
    assert found.wanted == max(1, round(len(values) * ratio))
    assert (np.diff(found.starts) >= LENGTH).all()
    if found.nearest or len(found.starts) < found.wanted:
        return
    bins = CompositionBins(positives, gc_bins=4, repeat_bins=1)
    wanted = np.bincount(bins.of(positives), minlength=bins.number) * ratio
    there = np.bincount(bins.of(windows), minlength=bins.number)
    assert (np.abs(there - wanted) <= 1 + 0.5).all()


def test_negatives_have_the_repeats_of_the_positives() -> None:
    codes = stretches(0.5, 0.5, masked=0.5)
    half = Composition(np.full(60, 0.5), np.array([0.0] * 20 + [1.0] * 40), np.zeros(60, np.int64))
    _, windows = drawn_from(codes, half, Negatives(gc_bins=1, repeat_bins=2))
    assert (windows.repeats == 1).sum() == 40
    assert (windows.repeats == 0).sum() == 20


def test_a_share_that_most_positives_have_does_not_take_the_bins_of_the_others() -> None:
    """Three quarters without repeats, the others with any share: both are matched, within the 4 bins."""
    random = np.random.default_rng(3)
    blocks = (random_sequence(60, block) for block in range(2_000))
    texts = [
        text[: int(cut)].lower() + text[int(cut) :]
        for text, cut in zip(blocks, random.uniform(0, 60, 2_000), strict=True)
    ]
    repeats = np.concatenate([np.zeros(120), np.arange(40) / 80 + 0.25])
    positives = Composition(np.full(160, 0.5), repeats, np.zeros(160, np.int64))
    found, windows = drawn_from(from_text("".join(texts)), positives, Negatives(gc_bins=1))
    assert (found.nearest, len(found.starts)) == (0, 160)
    assert (windows.repeats == 0).sum() == 120
    assert np.abs(np.sort(windows.repeats)[120:] - repeats[120:]).max() <= 1 / 8 + 0.05, "the width of a bin"


def test_without_bins_nothing_is_matched() -> None:
    codes = stretches(0.1, 0.9)
    _, windows = drawn_from(codes, alike([0.9] * 60), Negatives(gc_bins=1, repeat_bins=1))
    assert 0.3 < windows.gc.mean() < 0.7


def test_a_bin_that_the_genome_cannot_fill_takes_the_nearest() -> None:
    codes = stretches(0.2, 0.4)
    found, windows = drawn_from(codes, alike([0.2] * 30 + [0.95] * 30), Negatives(gc_bins=10, repeat_bins=1))
    assert len(found.starts) == found.wanted == 60
    assert 25 <= found.nearest <= 30
    richest = np.sort(windows.gc)[-30:]
    assert richest.mean() > 0.55, "the richest windows of a genome of 40 % at most"


def test_where_places_end_fewer_are_drawn_and_where_there_are_none_none() -> None:
    codes = stretches(0.5, bases=100)
    found, _ = drawn_from(codes, alike([0.5] * 50), Negatives())
    assert 3 <= len(found.starts) <= 5 < found.wanted == 50
    nowhere = draw_negatives(
        Negatives(), codes, np.zeros((0, 2), np.int64), alike([0.5]), length=LENGTH, key=(1, 0)
    )
    assert len(nowhere.starts) == 0


@given(st.lists(st.integers(0, 500), max_size=80), st.integers(1, 30))
def test_no_two_that_are_taken_overlap_and_none_is_refused_without_need(
    starts: list[int], length: int
) -> None:
    taken = NonOverlapping(length)
    kept: list[int] = []
    for start in starts:
        fits = all(abs(start - other) >= length for other in kept)
        assert taken.add(start) == fits
        kept += [start] if fits else []
    assert taken.starts == sorted(kept)


@pytest.mark.parametrize("ratio", [0.5, 3.0])
def test_a_ratio_multiplies_the_whole(ratio: float) -> None:
    found, _ = drawn_from(stretches(0.3, 0.5), alike([0.3, 0.4, 0.5] * 5), Negatives(ratio=ratio))
    assert len(found.starts) == round(15 * ratio)
