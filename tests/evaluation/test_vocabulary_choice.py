"""Ranks, the choice, and the tables that show it."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.evaluation.vocabulary_choice import (
    Outcome,
    choose,
    mean_ranks,
    outcomes_csv,
    outcomes_markdown,
    plot_choice,
)

FOUND = {100: (0.10, 0.02), 300: (0.12, 0.03), 600: (0.11, 0.03)}  # by merges, for k = 2 and k = 4


def outcome(merges: int | None, k: int, accuracy: float | None, *, status: str = "done") -> Outcome:
    name = f"{merges} merges" if merges else "4-mers"
    return Outcome(
        tokenizer=name,
        merges=merges,
        k=k,
        status=status,
        accuracy=accuracy,
        majority=0.05,
        rows=400 if accuracy is not None else 0,
        run=f"runs/{name}",
    )


def outcomes() -> list[Outcome]:
    of_bpe = [outcome(n, k, pair[place]) for n, pair in FOUND.items() for place, k in enumerate((2, 4))]
    return [*of_bpe, outcome(None, 2, 0.5), outcome(None, 4, 0.5)]


def test_mean_ranks_share_ties_and_leave_fixed_kmers_out() -> None:
    assert mean_ranks(outcomes()) == {100: 3.0, 300: (1 + 1.5) / 2, 600: (2 + 1.5) / 2}


def test_the_best_mean_rank_is_chosen_and_of_equals_the_fewest_merges() -> None:
    assert choose(mean_ranks(outcomes())) == 300
    assert choose({600: 1.5, 100: 1.5, 300: 2.0}) == 100
    assert choose({}) is None


def test_a_count_without_every_accuracy_is_not_ranked() -> None:
    there = [each for each in outcomes() if (each.merges, each.k) != (300, 4)]
    assert set(mean_ranks([*there, outcome(300, 4, None, status="failed")])) == {100, 600}


@given(values=st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_ranks_of_a_k_sum_to_what_places_do(values: list[int]) -> None:
    ranks = mean_ranks([outcome(10 * n + 10, 2, value / 5) for n, value in enumerate(values)])
    assert sum(ranks.values()) == pytest.approx(len(values) * (len(values) + 1) / 2)


def test_the_tables_have_every_tokenizer_and_k() -> None:
    shown = [*outcomes(), outcome(900, 2, None, status="failed"), outcome(900, 4, None, status="waiting")]
    rows = list(csv.DictReader(outcomes_csv(shown).splitlines()))
    assert len(rows) == len(shown)
    assert float(rows[0]["standard_error"]) == pytest.approx(math.sqrt(0.1 * 0.9 / 400))
    assert [row["chance"] for row in rows[:2]] == ["0.0625", "0.00390625"]
    assert outcomes_markdown(shown).splitlines() == [
        "| tokenizer | k = 2 | k = 4 | mean rank |",
        "| --- | --- | --- | --- |",
        "| 100 merges | 10.00 ± 1.50 | 2.00 ± 0.70 | 3.00 |",
        "| 300 merges | 12.00 ± 1.62 | 3.00 ± 0.85 | 1.25 |",
        "| 600 merges | 11.00 ± 1.56 | 3.00 ± 0.85 | 1.75 |",
        "| 4-mers | 50.00 ± 2.50 | 50.00 ± 2.50 | - |",
        "| 900 merges | failed | waiting | - |",
        "| most frequent k-mer | 5.00 | 5.00 | - |",
    ]


def test_the_table_of_the_committed_study_is_that_of_its_figures() -> None:
    folder = Path(__file__).resolve().parents[2] / "experiments/grover_vocabulary"
    with (folder / "table.csv").open(newline="") as file:
        found = [
            Outcome(
                tokenizer=row["tokenizer"],
                merges=int(row["merges"]) if row["merges"] else None,
                k=int(row["k"]),
                status=row["status"],
                accuracy=float(row["accuracy"]),
                majority=float(row["majority"]),
                rows=int(row["rows"]),
                run="",
            )
            for row in csv.DictReader(file)
        ]
    assert outcomes_markdown(found) in (folder / "README.md").read_text()
    assert choose(mean_ranks(found)) == 100


def test_a_picture_is_drawn_of_what_is_known(tmp_path: Path) -> None:
    target = tmp_path / "plot.png"
    assert not plot_choice([outcome(100, 2, None, status="failed")], target)
    assert not target.exists()
    assert plot_choice(outcomes(), target)
    assert target.read_bytes().startswith(b"\x89PNG")
