"""Pictures show what they are given, and the same is drawn in the same bytes."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.evaluation.interpretation.pictures import (
    _aligned,
    draw_dependency,
    draw_heads,
    draw_motifs,
    draw_mutagenesis,
)
from dnalm.evaluation.interpretation.reader import HeadSummary, Mutagenesis
from dnalm.evaluation.interpretation.seqlets import FoundMotif, Match
from dnalm.genome.alphabet import UNKNOWN
from tests.evaluation.interpretation.small import random_codes, region_of


def test_the_same_is_drawn_in_the_same_bytes(tmp_path: Path) -> None:
    region = region_of(random_codes(12))
    values = np.random.default_rng(0).random((12, 12))
    draw_dependency(region, values, tmp_path / "one.x")
    draw_dependency(region, values, tmp_path / "two.x")
    for ending in ("png", "svg"):
        assert (tmp_path / f"one.x.{ending}").read_bytes() == (tmp_path / f"two.x.{ending}").read_bytes()


@pytest.mark.parametrize("unknown", [[], [3], list(range(12))], ids=["none", "one", "all"])
def test_unknown_bases_leave_gaps(unknown: list[int], tmp_path: Path) -> None:
    codes = random_codes(12)
    codes[unknown] = UNKNOWN
    log_p = np.log(np.full((12, 4), 0.25))
    log_p[unknown] = np.nan
    draw_mutagenesis(region_of(codes), Mutagenesis(log_p, log_p - log_p, log_p - log_p), tmp_path / "m")
    draw_dependency(region_of(codes), np.full((12, 12), np.nan), tmp_path / "d")
    assert {path.name for path in tmp_path.iterdir()} == {"m.png", "m.svg", "d.png", "d.svg"}


def test_no_motif_and_motifs_with_their_matches(tmp_path: Path) -> None:
    draw_motifs([], [], {}, tmp_path / "none")
    found = FoundMotif(name="found1", counts_W4=np.eye(4, dtype=np.int64) * 9, num_seqlets=9, mean_score=1.0)
    match = Match(found="found1", known="a & b", p_value=0.1, e_value=0.2, overlap=4, strand="-")
    draw_motifs([found], [match], {"a & b": np.full((3, 4), 0.25)}, tmp_path / "one")
    assert "a &amp; b (-), E = 0.2" in (tmp_path / "one.svg").read_text()
    assert (tmp_path / "none.png").is_file()


@given(
    width=st.integers(4, 15),
    before=st.integers(0, 5),
    after=st.integers(0, 5),
    strand=st.sampled_from("+-"),
    seed=st.integers(0, 99),
)
def test_a_known_motif_stands_where_it_agrees_turned_to_the_strand(
    width: int, before: int, after: int, strand: str, seed: int
) -> None:
    counts_W4 = np.random.default_rng(seed).multinomial(40, [0.85, 0.05, 0.05, 0.05], size=width)
    counts_W4 = np.random.default_rng(seed).permuted(counts_W4, axis=1)
    motif = FoundMotif(name="found", counts_W4=counts_W4, num_seqlets=40, mean_score=1.0)
    flanked = np.vstack([np.full((before, 4), 0.25), motif.frequencies, np.full((after, 4), 0.25)])
    match = Match(found="found", known="k", p_value=0, e_value=0, overlap=width, strand=strand)
    start, table = _aligned(motif, match, {"k": flanked if strand == "+" else flanked[::-1, ::-1]})
    assert start == -before
    assert table == pytest.approx(flanked)


def test_a_match_by_chance_is_named_and_not_drawn(tmp_path: Path) -> None:
    found = FoundMotif(name="found1", counts_W4=np.eye(4, dtype=np.int64) * 9, num_seqlets=9, mean_score=1.0)
    drawn = []
    for name, e_value in (("sure", 0.01), ("chance", 10.0)):
        match = Match(found="found1", known="SP1", p_value=0.1, e_value=e_value, overlap=4, strand="+")
        draw_motifs([found], [match], {"SP1": np.eye(4) * 0.96 + 0.01}, tmp_path / name)
        drawn.append((tmp_path / f"{name}.svg").read_text())
    assert [text.count("no known motif; nearest: SP1 (+), E = 10") for text in drawn] == [0, 1]
    assert drawn[0].count("<path") > drawn[1].count("<path")


def test_numbers_of_heads_have_titles_with_units(tmp_path: Path) -> None:
    draw_heads({each.name: np.zeros((2, 3)) for each in fields(HeadSummary)}, tmp_path / "heads")
    drawn = (tmp_path / "heads.svg").read_text()
    for title in (
        "attention to special tokens",
        "attention distance of bases",
        "(share of 1)",
        "(bases)",
        "(bits)",
    ):
        assert title in drawn
    assert not any(each.name in drawn for each in fields(HeadSummary))
