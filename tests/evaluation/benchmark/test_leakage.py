"""Planted copies are counted, whatever their form; real sets have as many as they have."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnalm.compose import build
from dnalm.data.labelled import LabelledTable, Part
from dnalm.errors import DataError
from dnalm.evaluation.benchmark.leakage import (
    IN_TRAINING,
    clusters_of,
    drop_homologs,
    find_clusters,
    find_leakage,
    leakage_of,
)
from dnalm.genome.alphabet import from_text, reverse_complement, to_text
from tests.conftest import random_sequence
from tests.evaluation.benchmark.test_benchmark import benchmark, node, write_split
from tests.genome.planted import drawn, mutated

COMPLEMENT = str.maketrans("ACGT", "TGCA")


def table(rows: list[tuple[str, int]]) -> LabelledTable:
    ends = np.cumsum([0, *(len(text) for text, _ in rows)])
    return LabelledTable(
        source="table.csv",
        codes=np.concatenate([from_text(text) for text, _ in rows]),
        offsets=ends,
        labels=np.array([label for _, label in rows]),
        names=np.array([str(row) for row in range(len(rows))]),
        lines=np.arange(2, len(rows) + 2),
    )


def turned(text: str) -> str:
    return text[::-1].translate(COMPLEMENT)


@given(st.integers(0, 10**6), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
@settings(max_examples=20)
def test_planted_copies_are_counted(seed: int, exact: int, reverse: int, near: int) -> None:
    texts = [random_sequence(80, seed + row) for row in range(12)]
    copies = [*texts[:exact], *(turned(text) for text in texts[3 : 3 + reverse])]
    copies += ["A" + text[1:40] + "C" + text[41:] for text in texts[6 : 6 + near] if text[40] != "C"]
    planted = len(copies) - exact - reverse
    new = [random_sequence(80, seed + 10**7 + row) for row in range(5)]
    tables: dict[Part, LabelledTable] = {
        "train": table([(text, 1) for text in texts]),
        "test": table([(text, 0) for text in [*copies, *new]]),
    }
    (found,) = find_leakage(tables)
    assert (found.part, found.other, found.rows) == ("test", "train", len(copies) + 5)
    assert (found.exact, found.reverse, found.homologous) == (exact, reverse, planted)
    assert found.other_label == exact + reverse
    assert found.related == tuple(range(len(copies)))


@given(st.permutations(range(6)))
def test_rows_of_one_sequence_are_a_cluster_and_those_in_training_are_none(order: list[int]) -> None:
    known, one, other = (random_sequence(60, seed) for seed in (1, 2, 3))
    texts = [known, turned(known), one, turned(one), one, other]
    expected = ["trained", "trained", "one", "one", "one", "other"]
    found = find_clusters([table([(known, 0)])], table([(texts[place], 1) for place in order]))
    for cluster, place in zip(found, order, strict=True):
        assert (cluster == IN_TRAINING) == (expected[place] == "trained")
    groups = {
        name: {c for c, place in zip(found, order, strict=True) if expected[place] == name}
        for name in expected
    }
    assert [len(group) for group in groups.values()] == [1, 1, 1]
    assert len(set.union(*groups.values())) == 3


def test_a_repeated_copy_is_one_distinct_sequence_and_case_does_not_matter() -> None:
    text = random_sequence(50)
    (found,) = find_leakage({"train": table([(text, 0)]), "test": table([(text.lower(), 0)] * 3)})
    assert (found.exact, found.distinct, found.other_label) == (3, 1, 0)


def test_sequences_too_short_for_homology_are_compared_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (found,) = find_leakage({"train": table([("ACGT", 0)]), "test": table([("ACG", 0), ("N" * 40, 0)])})
    assert (found.exact, found.homologous, found.related) == (0, 0, ())
    for split in ("train", "dev", "test"):
        write_split(tmp_path / f"toy/{split}.csv", [("ACGT" * 8, "0"), ("ACGA", "1")])
    toy = benchmark(tmp_path, root=tmp_path)
    (task,) = toy.prepare(toy.choose(None))
    leakage_of(task)
    assert "3 of 6 sequences have less than 30 bases" in " ".join(capsys.readouterr().err.split())


def test_leakage_is_kept_beside_the_tables(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        write_split(tmp_path / f"toy/{split}.csv", [("ACGT", "0"), ("ACGA", "1")])
    toy = benchmark(tmp_path, root=tmp_path)
    (task,) = toy.prepare(toy.choose(None))
    first = leakage_of(task)
    assert [each.exact for each in first] == [2, 2, 2]
    task.file("train").unlink()
    assert leakage_of(task) == first


def test_homologs_are_dropped_from_the_test_set_and_two_classes_must_be_left(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    one, other, new = (drawn(rng, 100) for _ in range(3))
    related = [
        to_text(reverse_complement(mutated(rng, each, identity=0.8, indels=0.08))) for each in (one, other)
    ]
    train = [(to_text(one), "0"), (to_text(other), "1")]
    tests = {"kept": [(related[0], "0"), (to_text(new), "1"), (random_sequence(100, 5), "0")]}
    tests["lost"] = [(related[0], "0"), (to_text(new), "1"), (related[1], "0")]
    found = {}
    for name, test in tests.items():
        for split, rows in {"train": train, "dev": train, "test": test}.items():
            write_split(tmp_path / f"{name}/toy/{split}.csv", rows)
        toy = benchmark(tmp_path / name, root=tmp_path / name)
        (found[name],) = toy.prepare(toy.choose(None))
    kept, lost = found["kept"], found["lost"]
    assert clusters_of(kept).tolist() == [0, 1, 2]
    assert drop_homologs(kept, clusters_of(kept), leakage_of(kept)).tolist() == [IN_TRAINING, 1, 2]
    with pytest.raises(DataError) as caught:
        drop_homologs(lost, clusters_of(lost), leakage_of(lost))
    assert str(caught.value) == (
        f"BENCH-09 homology=drop: {lost.task.name}: 2 of 3 test sequences are homologous to a training "
        "sequence; two classes among those that are left. Fix: use homology=report, or choose other tasks."
    )


def test_the_published_prom_core_all_has_42_sequences_in_two_splits(
    shared_data: Path, tmp_path: Path
) -> None:
    gue = build({**node("gue"), "root": str(shared_data / "gue"), "cache": str(tmp_path)})
    (task,) = gue.prepare(gue.choose(["prom_core_all"]))
    found = {(each.part, each.other): each for each in leakage_of(task)}
    assert found["test", "train"].distinct == 42
    assert {pair: each.exact for pair, each in found.items()} == {
        ("val", "train"): 54,
        ("test", "train"): 43,
        ("test", "val"): 8,
    }
