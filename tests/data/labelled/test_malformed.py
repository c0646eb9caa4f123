"""What is wrong with a malformed table is reported with file and line."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dnalm.data.labelled import Task, divide
from dnalm.data.labelled.rows import LONGEST
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
    "another delimiter than is given": Case(
        "CSV-08",
        "sequence;label\nACGT;0\n",
        ("train.csv:1", "one column, 'sequence;label'", "task.delimiter=';'"),
        task={"delimiter": ","},
    ),
    "another delimiter than a tab": Case(
        "CSV-08", "sequence;label\nACGT;0\n", ("train.csv:1", "between '\\t'"), task={"delimiter": "\\t"}
    ),
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
    "a line break in a sequence": Case(
        "CSV-10", 'sequence,label\n"AC\nGT",0\n', ("train.csv:2", "'\\n' at position 3", "remove white space")
    ),
    "a quote that is not closed": Case(
        "CSV-11", 'sequence,label\nACGT,"0\nACGT,1\n', ("train.csv:2", "is not closed")
    ),
    "a quote that swallows rows": Case(
        "CSV-11",
        'sequence,label,note\nACGT,0,"x\nACGT,1,y\nACGT,0,z"\n',
        ("train.csv:2", "runs to line 4 and holds the delimiters of a whole row"),
    ),
    "text after a closing quote": Case(
        "CSV-02",
        'sequence,label\n"AC"GT,0\n',
        ("train.csv:2", "text between a closing quote and the next ','"),
    ),
    "a gap of an alignment": Case("CSV-10", "sequence,label\nAC-T,0\n", ("'-' at position 3", "remove gaps")),
    "a protein": Case("CSV-10", "sequence,label\nMKEL*,0\n", ("'E' at position 3", "is it a protein?")),
    "three classes where two are meant": Case(
        "CSV-12", "sequence,label\nACGT,2\n", ("label is 2", "set task.kind=multiclass")
    ),
    "values where classes are meant": Case(
        "CSV-12",
        "sequence,label\nACGT,350000\n",
        ("label is 350000", "0 to 65,535", "task.kind=regression"),
        task={"kind": "multiclass"},
    ),
    "a number that Python alone reads": Case("CSV-03", "sequence,label\nACGT,1_0\n", ("label is '1_0'",)),
    "a number of 400 digits": Case(
        "CSV-03",
        f'{{"sequence": "ACGT", "label": {10**400}}}\n',
        ("train.jsonl:1", f"label is {str(10**400)[:60]}…;"),
        name="train.jsonl",
    ),
    "a number of 5,000 digits": Case(
        "CSV-02", '{"label": ' + "1" * 5000 + "}\n", ("train.jsonl:1", "no JSON object"), name="train.jsonl"
    ),
    "deep brackets": Case("CSV-02", '{"a": ' + "[" * 99_999, ("nested too deeply",), name="train.jsonl"),
    "deep brackets in an array": Case("CSV-02", "[" * 99_999, ("item 1", "too deeply"), name="train.json"),
    "decimals with a comma": Case(
        "CSV-03",
        "sequence;label\nACGT;0,5\n",
        ("train.csv:2", "label is '0,5'", "write decimals with a point"),
        task={"kind": "regression"},
    ),
    "a label that is empty": Case("CSV-05", "sequence,label\nACGT,\n", ("train.csv:2", "label is empty")),
    "a label that is null": Case(
        "CSV-05", '{"sequence": "ACGT", "label": null}', ("train.jsonl:1", "is empty"), name="train.jsonl"
    ),
    "a value that single precision lacks": Case(
        "CSV-05",
        "sequence,label\nACGT,1e39\n",
        ("train.csv:2", "label is 1e39", "finite in single precision"),
        task={"kind": "regression"},
    ),
    "a class of 300 digits": Case("CSV-12", "sequence,label\nACGT,1e300\n", ("label is 1e+300;",)),
    "half a letter": Case(
        "CSV-07", '{"id": "\\ud800"}', ("train.jsonl:1: '\\ud800', half",), name="train.jsonl"
    ),
    "half a letter in an array": Case("CSV-07", '[{"id": "\\ud800"}]', ("t.json, item 1",), name="t.json"),
    "numbers of labels": Case(
        "CSV-12",
        '{"sequence": "AC", "label": [0, 5]}',
        ("label is 5; 0 or 1.", "such as [0, 1, 0]"),
        name="train.jsonl",
        task={"kind": "multilabel"},
    ),
    "names of labels": Case(
        "CSV-03",
        '{"sequence": "AC", "label": ["TF1"]}',
        ("label is 'TF1'; 0 or 1.", "such as [0, 1, 0]"),
        name="train.jsonl",
        task={"kind": "multilabel"},
    ),
    "R's row names": Case("CSV-02", "sequence\tlabel\n1\tAC\t0\n", ("3 fields", "row.names=FALSE")),
    "a list where one class is meant": Case(
        "CSV-03",
        '{"sequence": "ACGT", "label": [0, 1, 0, 1, 0, 1, 1]}',
        ("label is [0, 1, 0, 1, 0, … (7 in all)]", "set task.kind=multilabel"),
        name="train.jsonl",
    ),
    "lists of several lengths": Case(
        "CSV-16",
        "sequence,label\nACGT,0;1;1\nACGT,0;1\n",
        ("train.csv:3", "label has 2 labels", "3, as the first row has"),
        task={"kind": "multilabel", "delimiter": ","},
    ),
    "lists of other lengths in another table": Case(
        "CSV-16",
        "sequence,label\nACGT,[0 1]\nACGA,[1 0]\n",
        ("val.csv", "1 labels a row", "2, as "),
        task={"kind": "multilabel"},
    ),
    "a column twice": Case(
        "CSV-17",
        "sequence,label,label\nACGT,0,1\n",
        ("train.csv:2", "'label' is there twice", "set task.label to another"),
    ),
    "a key twice": Case(
        "CSV-17", '{"sequence": "AC", "label": 0, "label": 1}', ("train.jsonl:1", "twice"), name="train.jsonl"
    ),
    "a cut gzip": Case(
        "CSV-18", gzip.compress(GOOD.encode(), mtime=0)[:-9], ("train.csv.gz",), name="train.csv.gz"
    ),
    "a damaged gzip": Case("CSV-18", gzip.compress(GOOD.encode(), mtime=0)[:-8] + b"\0" * 8, ("train.csv",)),
    "a line without end": Case(
        "CSV-19",
        gzip.compress(b"sequence,label\n" + b"A" * (LONGEST + (1 << 21)), compresslevel=1, mtime=0),
        ("train.csv.gz:2", "a line of more than 16 MiB"),
        name="train.csv.gz",
    ),
    "a record without end": Case(
        "CSV-19",
        gzip.compress(b">a label=1\n" + (b"A" * 60 + b"\n") * (LONGEST // 60 + 1), compresslevel=1, mtime=0),
        ("train.fa.gz:1", "a record of more than 16,777,216 letters"),
        name="train.fa.gz",
    ),
    "an item without end": Case(
        "CSV-19",
        gzip.compress(b'[{"sequence": "' + b"A" * (2 * LONGEST), compresslevel=1, mtime=0),
        ("train.json", "item 1 has more than 16,777,216 characters"),
        name="train.json",
    ),
    "k-mers that do not overlap": Case(
        "CSV-20",
        "sequence,label\nACG CGT TTT,0\n",
        ("train.csv:2", "words 2 and 3 of sequence are 'CGT' and 'TTT'"),
    ),
    "a workbook": Case("CSV-07", b"PK\x03\x04" + bytes(99), ("a zip archive (Excel workbooks are)",)),
    "text in UTF-16": Case("CSV-07", GOOD.encode("utf-16"), ("text in UTF-16", "save it as UTF-8")),
    "an array that breaks off": Case(
        "CSV-02", '[{"sequence": "AC", "label": 0}', ("the end of the file in place of ','",), "t.json"
    ),
    "an item that breaks off": Case(
        "CSV-02", '[{"sequence": "AC", "label": 0}, {"b', ("item 2 is no JSON",), "t.json"
    ),
    "an array of texts": Case("CSV-02", '["ACGT"]', ("item 1 is 'ACGT'", "an array of objects"), "t.json"),
    "something after an array": Case(
        "CSV-02", '[{"sequence": "AC", "label": 0}] x', ("'x' after the array",), "t.json"
    ),
    "columns of an object": Case(
        "CSV-02", '{"sequence": {"0": "AC"}, "label": {"0": 1}}', ("orient='records'",), "t.json"
    ),
    "no name of a record": Case("CSV-02", ">\nACGT\n", ("train.fa:1", "a header without a name"), "train.fa"),
    "records without labels": Case("CSV-01", ">a\nACGT\n", ("train.fa:1", ">id label=0"), "train.fa"),
    "no header": Case("CSV-01", "ACGTACGTA,0\nACGT,1\n", ("write a header above the first row",)),
    "another spelling": Case("CSV-01", "Sequence,label\nACGT,0\n", ("Fix: set task.sequence=Sequence.",)),
    "another word": Case("CSV-01", "sequence,target\nACGT,0\n", ("Fix: set task.label=target.",)),
    "no labels": Case(
        "CSV-01", "sequence\nACGT\n", ("no column 'label'; there are sequence", "dnalm embed writes vectors")
    ),
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
def test_a_malformed_table_is_reported_with_file_and_line(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    said = wrong_with(case, tmp_path)
    assert said.startswith(case.code)
    assert all(part in said for part in (*case.said, "Fix:")), said


def test_every_case_of_the_list_is_there() -> None:
    assert {f"CSV-{number:02}" for number in range(1, 21)} == {case.code for case in CASES.values()}


def test_windows_line_ends_a_byte_order_mark_and_lower_case_are_no_fault(tmp_path: Path) -> None:
    good = "\ufeff" + GOOD.replace("\n", "\r\n").lower()
    assert wrong_with(Case("", good, ()), tmp_path) == ""
