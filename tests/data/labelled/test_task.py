"""What a task may not ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnalm.compose import build
from dnalm.data.labelled import Task


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"metric": "spearman"}, "metric is spearman; a binary task has mcc"),
        ({"label": ("a", "b")}, "a binary task has one column of labels, kind=multilabel several"),
        ({"folds": 1}, "fold is 0 of 1"),
        ({"folds": 3, "fold": 3}, "fold is 3 of 3"),
        ({"folds": 3, "val": "v.csv"}, "val is given beside folds"),
        ({"split": "homology", "val": "v.csv"}, "split is homology beside a validation table"),
    ],
)
def test_a_task_that_contradicts_itself_is_refused(words: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Task(train="t.csv", **words)  # type: ignore[arg-type]


def test_classes_that_are_numbers_need_no_quotes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("sequence,label\nAC,2\nAG,1\n")
    node = {"_target_": "dnalm.data.labelled.Task", "train": str(tmp_path / "t.csv"), "classes": [1, 2]}
    task = build(node)
    assert isinstance(task, Task)
    assert task.classes == ("1", "2")
