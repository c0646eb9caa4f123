"""A few of the labels: nested, every class in its share, drawn by the seed; and what cannot be drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.data.labelled import Division, Task, divide
from dnalm.data.labelled.table import LabelledTable, TablePart, nested_order
from dnalm.errors import ConfigError
from tests.conftest import random_sequence
from tests.data.labelled import tables

CLASSES = st.lists(st.integers(0, 4), min_size=1, max_size=120)


def part_of(labels: list[int]) -> TablePart:
    """Every second row of a table whose others have a class of their own."""
    doubled = np.repeat(np.array(labels, dtype=np.int64), 2)
    doubled[1::2] = 9
    table = LabelledTable(
        source="t.csv",
        codes=np.zeros(len(doubled), np.uint8),
        offsets=np.arange(len(doubled) + 1),
        labels=doubled,
        names=np.arange(len(doubled)).astype(np.str_),
        lines=np.arange(len(doubled)),
    )
    return TablePart(table, np.arange(0, len(doubled), 2))


@given(labels=CLASSES, seed=st.integers(0, 2**32))
def test_every_beginning_of_the_order_has_every_class_in_its_share(labels: list[int], seed: int) -> None:
    truth = np.array(labels)
    order = nested_order(part_of(labels), by_class=True, seed=seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    classes, counts = np.unique(truth, return_counts=True)
    share = counts / len(labels)
    seen = (truth[order][:, None] == classes).cumsum(axis=0)  # of each beginning, by class
    assert seen[len(classes) - 1].tolist() == [1] * len(classes)
    for number in range(len(classes), len(labels) + 1):
        assert (abs(seen[number - 1] - share * number) <= share * len(classes) + 1).all()


@given(number=st.integers(1, 50), seed=st.integers(0, 2**32))
def test_of_two_equal_classes_each_has_half(number: int, seed: int) -> None:
    truth = np.arange(100) % 2
    order = nested_order(part_of(truth.tolist()), by_class=True, seed=seed)
    assert truth[order][: 2 * number].sum() == number


def of_file(folder: Path, rows: int = 60, *, seed: int = 1, **words: object) -> Division:
    train = folder / "train.csv"
    if not train.exists():
        tables.write(train, tables.rows(rows, seed=1))
        tables.write(folder / "val.csv", tables.rows(20, seed=2))
        tables.write(folder / "test.csv", tables.rows(30, seed=3))
    parts = {part: str(folder / f"{part}.csv") for part in ("train", "val", "test")}
    return divide(Task(**parts, **words), seed=seed)  # type: ignore[arg-type]


def test_ten_are_among_twenty_and_these_among_all_and_the_test_set_is_whole(tmp_path: Path) -> None:
    few, more, all_of = (of_file(tmp_path, labels=number) for number in (10, 40, "all"))
    assert set(few.train.names) < set(more.train.names) < set(all_of.train.names)
    assert set(few.val.names) < set(more.val.names) == set(all_of.val.names)
    assert [len(each.train) for each in (few, more, all_of)] == [10, 40, 60]
    assert [len(each.val) for each in (few, more, all_of)] == [10, 20, 20]
    assert few.test.fingerprint == all_of.test.fingerprint
    assert few.train.labels.sum() == few.val.labels.sum() == 5
    assert "10 of 60 training rows teach and 10 of 20 validation rows choose" in few.notes[-1]


def test_a_seed_draws_the_same_rows_and_another_seed_others(tmp_path: Path) -> None:
    first, again, other = (of_file(tmp_path, labels=10, seed=seed) for seed in (1, 1, 2))
    assert first.train.rows.tolist() == again.train.rows.tolist() != other.train.rows.tolist()


def test_rows_that_stand_in_for_a_test_table_stay_whole(tmp_path: Path) -> None:
    tables.write(tmp_path / "t.csv", tables.rows(200))
    found = divide(Task(train=str(tmp_path / "t.csv"), labels=10), seed=1)
    assert (len(found.train), len(found.val), len(found.test)) == (10, 10, 20)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (
            61,
            r"CFG-18 task\.labels: 61, where training has 60 rows of 2 classes; a number from 2 to 60",
        ),
        (
            1,
            r"CFG-18 task\.labels: 1, where training has 60 rows of 2 classes; .*one of each class at least",
        ),
    ],
)
def test_more_labels_than_rows_and_fewer_than_classes_are_refused(
    number: int, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        of_file(tmp_path, labels=number)


def test_values_are_drawn_without_classes(tmp_path: Path) -> None:
    table = [{"sequence": random_sequence(20, n), "label": n / 7} for n in range(40)]
    tables.write(tmp_path / "t.csv", table)
    task = Task(train=str(tmp_path / "t.csv"), kind="regression", labels=2)
    assert len(divide(task, seed=1).train) == 2
    with pytest.raises(ConfigError, match=r"41, where training has 36 rows; a number from 1 to 36\. "):
        divide(Task(train=str(tmp_path / "t.csv"), kind="regression", labels=41), seed=1)
