"""The table of what `transformers` makes of every directory: it is complete, and it can be made."""

import csv
from pathlib import Path

import pytest

from dnalm.compose.groups import options
from experiments.parity import matrix

OLDEST = "5.3.0"


@pytest.fixture(scope="module")
def committed() -> list[dict[str, str]]:
    with (matrix.HERE / "matrix.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_every_experiment_head_call_and_way_for_the_oldest_and_newest_version(
    committed: list[dict[str, str]],
) -> None:
    versions = dict.fromkeys(row["transformers"] for row in committed)
    assert len(versions) == 2
    assert OLDEST in versions
    wanted = {
        (version, experiment, head, way, call)
        for version in versions
        for experiment in (*options("experiment"), "char")
        for head in matrix.HEADS
        for way in matrix.WAYS
        for call in matrix.CALLS
    }
    assert {tuple(row.values())[:5] for row in committed} == wanted


def test_nothing_in_it_is_another_number(committed: list[dict[str, str]]) -> None:
    assert matrix.failures(committed) == []


@pytest.mark.parametrize(
    ("changed", "is_wrong"),
    [
        ({}, False),
        ({"result": "1.1e-05"}, True),
        ({"result": "nan"}, True),
        ({"call": "AutoTokenizer", "result": "other ids: [1]"}, True),
        ({"result": "refused: ValueError: not known"}, True),
        ({"way": "stock", "result": "refused: ValueError: not known"}, False),
        ({"call": "AutoModelForTokenClassification", "result": "new weights"}, True),
        ({"call": "AutoModelForSequenceClassification", "head": "none", "result": "new weights"}, False),
        ({"call": "AutoModelForSequenceClassification", "result": "new weights"}, True),
    ],
)
def test_what_counts_as_wrong(changed: dict[str, str], is_wrong: bool) -> None:
    row = {
        "transformers": OLDEST,
        "experiment": "dnabert",
        "head": "single label, mean",
        "way": "registered",
        "call": "AutoModel",
        "result": "9.9e-06",
    }
    assert bool(matrix.failures([row | changed])) == is_wrong


def test_a_slice_of_it_can_be_made(tmp_path: Path) -> None:
    chosen = ["--experiments", "dnabert_k3", "dnabert2", "--heads", "single label, mean", "segmentation"]
    assert matrix.main([*chosen, "--out", str(tmp_path)]) == 0
    page = (tmp_path / "matrix.md").read_text()
    for line in ("| dnabert_k3 | segmentation |", "| dnabert2 | single label, mean |", "has model type"):
        assert line in page
