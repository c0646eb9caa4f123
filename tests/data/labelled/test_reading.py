"""One table in any form gives the same rows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.data.labelled import Task, divide
from dnalm.data.labelled.table import fold_groups, fold_numbers, read_table
from dnalm.genome.alphabet import reverse_complement, to_text
from tests.genome.planted import drawn, mutated

ROWS = [("a", "ACGTACGT", 0), ("b", "TTTTAC", 1), ("c", "GGGNCC", 1)]


def write(folder: Path, form: str) -> Path:
    path = folder / f"table.{form}"
    if form in ("csv", "tsv", "csv.gz"):
        mark = "\t" if form == "tsv" else ","
        text = "".join(f"{mark.join(map(str, row))}\n" for row in [("id", "sequence", "label"), *ROWS])
        path.write_bytes(gzip.compress(text.encode()) if form == "csv.gz" else text.encode())
    elif form == "jsonl":
        records = [json.dumps({"id": name, "sequence": text, "label": label}) for name, text, label in ROWS]
        path.write_text("\n".join(records))
    elif form == "fa":
        path.write_text(
            "".join(f">{name} label={label}\n{text[:3]}\n{text[3:]}\n" for name, text, label in ROWS)
        )
    elif form == "fasta":
        path.write_text("".join(f">{name}|{label}\n{text}\n" for name, text, label in ROWS))
    else:
        ids, texts, labels = zip(*ROWS, strict=True)
        pq.write_table(pa.table({"id": ids, "sequence": texts, "label": labels}), path)
    return path


@pytest.mark.parametrize("form", ["csv", "tsv", "csv.gz", "jsonl", "fa", "fasta", "parquet"])
def test_every_form_holds_the_same_rows(form: str, tmp_path: Path) -> None:
    path = write(tmp_path, form)
    table = read_table(Task(train=str(path), id="id"), "train", source=str(path), num_classes=2)
    read = [
        (str(table.names[n]), to_text(table.sequence(n)), int(table.labels[n])) for n in range(len(table))
    ]
    assert read == ROWS


def test_labels_of_several_columns_stand_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("sequence,x,y\nAC,0,1\nAC,1,0\nAC,1,1\n")
    division = divide(Task(train=str(path), val=str(path), kind="multilabel", label=("x", "y")), seed=1)
    np.testing.assert_array_equal(division.train.labels, [[0, 1], [1, 0], [1, 1]])
    assert division.num_classes == 2


def test_without_further_tables_a_tenth_chooses_and_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("sequence,label\n" + "AC,0\nAC,1\n" * 20)
    division = divide(Task(train=str(path)), seed=1)
    assert (len(division.train), len(division.val), len(division.test)) == (36, 4, 4)
    assert "flatters" in " ".join(division.notes)


@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    folds=st.integers(2, 7),
    seed=st.integers(0, 2**32),
)
def test_folds_divide_the_rows_and_every_class_evenly(counts: list[int], folds: int, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    numbers = fold_numbers(labels, folds=folds, seed=seed)
    for of_fold in (numbers, *(numbers[labels == label] for label in range(len(counts)))):
        sizes = np.bincount(of_fold, minlength=folds)
        assert sizes.sum() == len(of_fold)
        assert sizes.max() - sizes.min() <= 1


@given(
    rows=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2)), min_size=1, max_size=60),
    folds=st.integers(2, 5),
    seed=st.integers(0, 2**32),
)
def test_groups_are_whole_in_a_fold_and_folds_differ_by_a_group_at_most(
    rows: list[tuple[int, int]], folds: int, seed: int
) -> None:
    groups = np.unique([group for group, _ in rows], return_inverse=True)[1]
    labels = np.array([label for _, label in rows])
    numbers = fold_groups(labels, groups, folds=folds, seed=seed)
    for group in range(groups.max() + 1):
        assert len({*numbers[groups == group].tolist()}) == 1
    one_class = fold_groups(np.zeros(len(rows), np.int64), groups, folds=folds, seed=seed)
    sizes = np.bincount(one_class, minlength=folds)
    assert sizes.max() - sizes.min() <= np.bincount(groups).max()


def test_homologous_rows_are_in_one_fold(tmp_path: Path) -> None:
    """Ten families of four, every second row on the other strand; no fold has a relative in another."""
    rng = np.random.default_rng(1)
    rows = []
    for family in range(10):
        ancestor = drawn(rng, 150)
        for number in range(4):
            codes = mutated(rng, ancestor, identity=0.85, indels=0.08)
            text = to_text(reverse_complement(codes) if number % 2 else codes)
            rows.append(f"{text},{family % 2}\n")
    path = tmp_path / "table.csv"
    path.write_text("sequence,label\n" + "".join(rows))
    families = []
    for fold in range(5):
        division = divide(Task(train=str(path), folds=5, fold=fold, split="homology"), seed=3)
        assert "40 rows are 10 groups of homologs, the largest 10.0% of them; folds have 8 to 8 rows" in (
            division.notes
        )
        of_parts = [{*(part.rows // 4).tolist()} for part in division.parts.values()]
        assert sum(map(len, of_parts)) == 10
        families += of_parts[2]
    assert sorted(families) == list(range(10))


def test_each_fold_judges_once_and_never_trains_or_chooses(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("sequence,label\n" + "AC,0\nAC,1\n" * 10)
    judged = []
    for fold in range(4):
        parts = divide(Task(train=str(path), folds=4, fold=fold), seed=3).parts
        assert sorted(np.concatenate([part.rows for part in parts.values()])) == list(range(20))
        judged.extend(parts["test"].rows)
    assert sorted(judged) == list(range(20))
