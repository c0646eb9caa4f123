"""Models at common bases: places against their rules, bits against the reader, counts against counting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dnalm.errors import DataError
from dnalm.evaluation.baselines import SIDE, count
from dnalm.evaluation.comparison import (
    HeldOut,
    HiddenStretches,
    Places,
    compare_models,
    draw_places,
    plot_comparison,
    read_stretches,
    token_base_frequencies,
)
from dnalm.evaluation.interpretation.reader import HiddenBase, Reader
from dnalm.evaluation.statistics import paired_difference
from dnalm.genome.alphabet import bases, from_text
from dnalm.genome.store import GenomeStore
from dnalm.tokenizers import SixMerTokenizer
from tests.conftest import random_sequence
from tests.evaluation.embedding.models import PAIRS, loaded, tiny

MakeStore = Callable[[dict[str, str]], GenomeStore]
WINDOW = 20


def _held_out(make_store: MakeStore) -> list[HeldOut]:
    text = random_sequence(400, 3)
    store = make_store({"chr1": random_sequence(300, 1), "chr2": text[:200] + "N" + text[201:]})
    return [HeldOut("one", store, np.array([[250, 290], [330, 690]]))]


def test_places_keep_to_their_rules(make_store: MakeStore) -> None:
    genomes = _held_out(make_store)
    places = draw_places(genomes, stretch_bp=4, window_bp=WINDOW, count=60, draws=3, seed=7)
    store = genomes[0].store
    text = "".join("ACGTN"[code] for code in bases(store.codes[:]))
    assert len(places) == 180
    assert places.draw.tolist() == [0] * 60 + [1] * 60 + [2] * 60
    for draw in range(3):
        assert len(np.unique(places.start[places.draw == draw])) == 60
    for start, offset in zip(places.start.tolist(), places.offset.tolist(), strict=True):
        assert any(first <= start and start + 4 <= last for first, last in ((250, 290), (330, 690)))
        assert WINDOW // 4 <= offset <= WINDOW - WINDOW // 4 - 4
        first = start - offset
        assert first >= 300 or first + WINDOW <= 300, "within a contig"
        assert "N" not in text[first : first + WINDOW]
    again = draw_places(genomes, stretch_bp=4, window_bp=WINDOW, count=60, draws=3, seed=7)
    assert (again.start == places.start).all()
    assert (again.offset == places.offset).all()
    one_draw = draw_places(genomes, stretch_bp=4, window_bp=WINDOW, count=60, draws=1, seed=7)
    assert (one_draw.start == places.start[:60]).all(), "a draw does not depend on how many follow"


def test_every_place_can_be_drawn(make_store: MakeStore) -> None:
    store = make_store({"chr1": random_sequence(60, 1)})
    # starts 25 to 28 of a stretch of 4: windows of 20 around them lie within 60 bases
    genomes = [HeldOut("one", store, np.array([[25, 32]]))]
    places = draw_places(genomes, stretch_bp=4, window_bp=WINDOW, count=4, draws=1, seed=1)
    assert sorted(places.start.tolist()) == [25, 26, 27, 28]
    with pytest.raises(DataError, match="CMP-01") as raised:
        draw_places(genomes, stretch_bp=4, window_bp=WINDOW, count=5, draws=1, seed=1)
    assert "4 places in 4 held-out bases" in str(raised.value)
    assert "lower places or window_bp" in str(raised.value)


def test_nothing_held_out_is_too_little(make_store: MakeStore) -> None:
    store = make_store({"chr1": random_sequence(60, 1)})
    with pytest.raises(DataError, match="CMP-01"):
        draw_places(
            [HeldOut("one", store, np.zeros((0, 2), dtype=np.int64))],
            stretch_bp=4,
            window_bp=WINDOW,
            count=1,
            draws=1,
            seed=1,
        )


@pytest.mark.parametrize("name", PAIRS)
def test_a_stretch_of_one_base_is_what_the_reader_says(name: str, make_store: MakeStore) -> None:
    genomes = _held_out(make_store)
    places = draw_places(genomes, stretch_bp=1, window_bp=WINDOW, count=12, draws=1, seed=2)
    model = loaded(*tiny(name))
    flat = np.full((model.tokenizer.token_bases.shape[1], 4), 0.25)
    found = read_stretches(model, genomes, places, flat, batch_tokens=50)
    reader = Reader(model, window_bp=WINDOW)
    for number, (start, offset) in enumerate(zip(places.start, places.offset, strict=True)):
        codes = bases(genomes[0].store.codes[start - offset : start - offset + WINDOW])
        log_p = reader.log_probabilities([HiddenBase(codes, int(offset))])[0, codes[offset]]
        np.testing.assert_allclose(found.bits[number, 0], -log_p / np.log(2), rtol=1e-4)
    covered = ~np.isnan(found.bits)
    np.testing.assert_allclose(found.of_tokens[covered], 2)  # bits of a uniform base


@pytest.mark.parametrize("size", [1, 4, 5])
def test_what_lies_beyond_the_stretch(size: int, make_store: MakeStore) -> None:
    genomes = _held_out(make_store)
    places = draw_places(genomes, stretch_bp=size, window_bp=WINDOW, count=20, draws=1, seed=3)
    overlapping = read_stretches(loaded(*tiny("kmer")), genomes, places, np.full((3, 4), 0.25))
    assert not overlapping.beyond.any()
    six_mers = loaded(*tiny("six_mer"))
    tiled = read_stretches(six_mers, genomes, places, np.full((6, 4), 0.25))
    for offset, (left, right) in zip(places.offset.tolist(), tiled.beyond.tolist(), strict=True):
        # 20 bases are three 6-mers and two single bases
        starts = [0, 6, 12, 18, 19, 20]
        assert left == offset - max(start for start in starts if start <= offset)
        assert right == min(start for start in starts if start >= offset + size) - offset - size


def test_hidden_neighbours_are_summed_over(make_store: MakeStore) -> None:
    text = random_sequence(4000, 5)
    store = make_store({"chr1": text})
    models = count([(store, np.array([[0, 4000]]))])
    position, hidden = 2000, (2, 1)
    seen = [offset for offset in range(-SIDE, SIDE + 1) if not -hidden[0] <= offset <= hidden[1]]
    alike = [
        text[place]
        for place in range(SIDE, 4000 - SIDE)
        if all(text[place + offset] == text[position + offset] for offset in seen)
    ]
    expected = -np.log2((alike.count(text[position]) + 1) / (len(alike) + 4))
    bits = models.two_sided_bits(store, np.array([position]), np.array([hidden]))
    assert bits.tolist() == pytest.approx([expected])
    every = models.two_sided_bits(store, np.array([position]), np.array([[9, 9]]))
    middle = text[SIDE:-SIDE]
    assert every.tolist() == pytest.approx([-np.log2((middle.count(text[position]) + 1) / (len(middle) + 4))])


def test_frequencies_are_of_tokens_that_reach_the_place() -> None:
    tokenizer = SixMerTokenizer()
    ids = np.concatenate([tokenizer.encode(from_text(text)) for text in ["AACCGT"] * 40 + ["GG"]])
    shares = token_base_frequencies(tokenizer, np.bincount(ids, minlength=tokenizer.vocab_size))
    assert shares.shape == (6, 4)
    # 40 6-mers AACCGT and two single G, each count with one more
    np.testing.assert_allclose(shares[0], np.array([41, 1, 3, 1]) / 46)
    np.testing.assert_allclose(shares[5], np.array([1, 1, 1, 41]) / 44)


def _judged(make_store: MakeStore) -> tuple[list[HeldOut], Places, dict[str, HiddenStretches]]:
    genomes = _held_out(make_store)
    places = draw_places(genomes, stretch_bp=3, window_bp=WINDOW, count=40, draws=2, seed=5)
    rng = np.random.default_rng(0)
    found = {}
    for name, beyond in (("narrow", 0), ("wide", 2)):
        bits = rng.uniform(1, 3, size=(80, 3))
        found[name] = HiddenStretches(bits, np.full((80, 3), 1.5), np.full((80, 2), beyond))
    return genomes, places, found


def test_models_are_compared_at_the_bases_that_all_cover(make_store: MakeStore) -> None:
    genomes, places, found = _judged(make_store)
    found["narrow"].bits[0, 1] = np.nan
    counts = count([(genomes[0].store, np.array([[0, 250]]))])
    comparison = compare_models(genomes, counts, places, found)
    assert (comparison.num_places, comparison.num_bases) == (80, 239)
    keep = np.ones(240, dtype=bool)
    keep[1] = False
    narrow, wide = (found[name].bits.reshape(-1)[keep] for name in ("narrow", "wide"))
    assert comparison.models["wide"].bits == pytest.approx(wide.mean())
    first_draw = found["wide"].bits[:40].reshape(-1)[keep[:120]]
    assert comparison.models["wide"].draws[0] == pytest.approx(first_draw.mean())
    cluster = np.repeat(np.arange(80), 3)[keep]
    assert comparison.differences["narrow", "wide"] == paired_difference(narrow, wide, cluster=cluster)
    positions = places.positions.reshape(-1)[keep]
    store = genomes[0].store
    order0 = counts.order0_bits(bases(store.codes[positions]))
    assert comparison.order0 == pytest.approx(order0.mean())
    within = np.tile([0, 1, 2], 80)[keep]
    gaps = np.stack([within, 2 - within], axis=1)
    for name, beyond in (("narrow", 0), ("wide", 2)):
        expected = counts.two_sided_bits(store, positions, gaps + beyond)
        assert comparison.models[name].counts == pytest.approx(expected.mean())
        assert comparison.models[name].hidden_bp == 3 + 2 * beyond
        assert comparison.models[name].of_tokens == pytest.approx(1.5)
    assert comparison.models["narrow"].counts == pytest.approx(comparison.two_sided)


def test_the_picture_names_every_model(make_store: MakeStore, tmp_path: Path) -> None:
    genomes, places, found = _judged(make_store)
    counts = count([(genomes[0].store, np.array([[0, 250]]))])
    target = tmp_path / "c.svg"
    plot_comparison(compare_models(genomes, counts, places, found), [target], stretch_bp=3)
    drawn = target.read_text()
    assert all(f"<!-- {text} -->" in drawn for text in ("narrow", "wide", "order-0 entropy"))
