"""Every malformed table is told what is wrong with it, with file and line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dnalm.data.labelled import Task, divide
from dnalm.errors import DataError

GOOD = "sequence,label\nACGTACGT,0\nACGTACGA,1\n"


@dataclass(frozen=True)
class Case:
    """A training table, what the task says of it, and what the error must say."""

    code: str
    content: str | bytes
    said: tuple[str, ...]
    name: str = "train.csv"
    task: dict[str, Any] = field(default_factory=dict)
    val: str = GOOD


CASES = {
    "a missing column": Case(
        "CSV-01", "seq,label\nACGT,0\n", ("train.csv:2", "'sequence'", "there are seq, label")
    ),
    "a ragged row": Case("CSV-02", "sequence,label\nACGT,0\nACGT\n", ("train.csv:3", "1 fields", "2")),
    "a line that is no JSON": Case("CSV-02", '{"sequence": "ACGT"', ("train.jsonl:1",), name="train.jsonl"),
    "bases before a header": Case("CSV-02", "ACGT\n>a label=1\n", ("train.fa:1", "'ACGT'"), name="train.fa"),
    "a file that is no Parquet": Case(
        "CSV-02", "ACGT", ("train.parquet", "after row 0"), name="train.parquet"
    ),
    "a label that is text": Case(
        "CSV-03", "sequence,label\nACGT,0\nACGT,yes\n", ("train.csv:3", "'yes'", "number of a class")
    ),
    "a class that has no name": Case(
        "CSV-03",
        "sequence,label\nACGT,up\nACGT,no\n",
        ("train.csv:3", "'no'", "one of up, down"),
        task={"classes": ("up", "down")},
    ),
    "half a class": Case("CSV-03", "sequence,label\nACGT,0.5\n", ("train.csv:2", "0.5")),
    "an empty file": Case("CSV-04", "", ("train.csv", "an empty file")),
    "a header alone": Case("CSV-04", "sequence,label\n", ("train.csv", "no rows")),
    "an empty sequence": Case("CSV-04", "sequence,label\n,0\n", ("train.csv:2", "sequence is ''")),
    "NaN": Case("CSV-05", "sequence,label\nACGT,nan\n", ("train.csv:2", "label is nan", "finite")),
    "infinity": Case(
        "CSV-05", "sequence,label\nACGT,-inf\n", ("train.csv:2", "label is -inf"), task={"kind": "regression"}
    ),
    "a name twice": Case(
        "CSV-06",
        "id,sequence,label\na,ACGT,0\nb,ACGT,1\na,ACGT,1\n",
        ("train.csv:4", "'a'", "on line 2"),
        task={"id": "id"},
    ),
    "not UTF-8": Case("CSV-07", b"sequence,label\nACGT\xff,0\n", ("train.csv:2", "0xff", "offset 19")),
    "semicolons": Case("CSV-08", "sequence;label\nACGT;0\n", ("train.csv:1", "task.delimiter=';'")),
    "tabs": Case("CSV-08", "sequence\tlabel\nACGT\t0\n", ("train.csv:1", "task.delimiter='\\t'")),
    "another length": Case(
        "CSV-09",
        "sequence,label\nACGT,0\nACG,1\n",
        ("train.csv:3", "3 bases", "task.length_bp=4"),
        task={"length_bp": 4},
    ),
    "a letter that is no base": Case(
        "CSV-10", "sequence,label\nACGT,0\nACXT,1\n", ("train.csv:3", "'X' at position 3")
    ),
    "RNA": Case("CSV-10", "sequence,label\nACGU,0\n", ("train.csv:2", "'U' at position 4", "written with T")),
    "a quoted line break": Case("CSV-11", 'sequence,label\n"AC\nGT",0\n', ("train.csv:2", "to line 3")),
    "a class too many": Case("CSV-12", "sequence,label\nACGT,2\n", ("train.csv:2", "label is 2", "0 to 1")),
    "a class below 0": Case("CSV-12", "sequence,label\nACGT,-1\n", ("train.csv:2", "label is -1")),
    "a name in two tables": Case(
        "CSV-13",
        "id,sequence,label\na,ACGT,0\nb,ACGT,1\n",
        ("val.csv:3", "'b' is in the training table too", "train.csv:3"),
        task={"id": "id"},
        val="id,sequence,label\nc,ACGT,0\nb,ACGT,1\n",
    ),
    "a class that training lacks": Case(
        "CSV-14",
        "sequence,label\nAC,0\nAC,1\n",
        ("val.csv", "class 2", "none of it in training"),
        task={"kind": "multiclass", "num_classes": 3},
        val="sequence,label\nAC,0\nAC,2\n",
    ),
    "one class only": Case("CSV-15", "sequence,label\nAC,1\nAC,1\n", ("train.csv", "label is 1 in all 2")),
}


def wrong_with(case: Case, folder: Path) -> str:
    """The error as text, or nothing."""
    content = case.content if isinstance(case.content, bytes) else case.content.encode()
    (folder / case.name).write_bytes(content)
    (folder / "val.csv").write_text(case.val)
    try:
        divide(Task(train=str(folder / case.name), val=str(folder / "val.csv"), **case.task), seed=1)
    except DataError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", CASES)
def test_a_malformed_table_is_told_with_file_and_line(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    said = wrong_with(case, tmp_path)
    assert said.startswith(case.code)
    assert all(part in said for part in (*case.said, "Fix:")), said


def test_every_case_of_the_list_is_there() -> None:
    assert {f"CSV-{number:02}" for number in range(1, 16)} == {case.code for case in CASES.values()}


def test_windows_line_ends_a_byte_order_mark_and_lower_case_are_no_fault(tmp_path: Path) -> None:
    good = "\ufeff" + GOOD.replace("\n", "\r\n").lower()
    assert wrong_with(Case("", good, ()), tmp_path) == ""
