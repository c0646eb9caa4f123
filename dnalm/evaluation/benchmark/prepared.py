"""A task as it was published, and as it lies in the cache: three tables, read alike by every model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dnalm.data.labelled import LabelledTable, Part, TablePart, Task
from dnalm.data.labelled.reading import read_table
from dnalm.data.labelled.rows import read_rows
from dnalm.data.labelled.table import fold_numbers, whole
from dnalm.errors import DataError
from dnalm.evaluation.benchmark.task_list import ListedTask
from dnalm.genome.alphabet import to_text
from dnalm.genome.atomic_folder import locked
from dnalm.tables import replace_text

PARTS: tuple[Part, ...] = ("train", "val", "test")
_TENTH = 10
_SEED = 1  # of the tenths that stand in for splits that are not published


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a table."""

    sequence: str = "sequence"
    label: str = "label"


@dataclass(frozen=True)
class PreparedTask:
    """A task that can be run.

    Attributes:
        task: its row of the list.
        folder: of its three tables.
        sha256: of the published rows.
        classes: labels as published, by number.
    """

    task: ListedTask
    folder: Path
    sha256: str
    classes: tuple[str, ...]

    def file(self, part: Part) -> Path:
        """The table of a part."""
        return self.folder / f"{part}.csv"

    def read(self, part: Part) -> LabelledTable:
        """The rows of a part."""
        task = Task(train=str(self.file("train")), kind=self.task.kind)
        return read_table(task, part, source=str(self.file(part)), num_classes=len(self.classes))


def read_published(
    task: ListedTask, files: Sequence[Path], columns: Columns
) -> tuple[tuple[str, ...], list[LabelledTable]]:
    """Read the published tables.

    Args:
        task: the row of the list.
        files: of its splits, the training set first.
        columns: their names.

    Returns:
        The labels as published, by number, and the tables.

    Raises:
        DataError: BENCH-06, the training set has not as many classes as the list says; CSV-01 to 12.
    """
    labels = (row.values.get(columns.label) for row in read_rows(str(files[0]), part="train"))
    texts = {str(label).strip() for label in labels if label is not None}
    numbered = all(text.isdecimal() for text in texts)
    classes = tuple(sorted(texts, key=lambda text: (int(text) if numbered else 0, text)))
    reads = Task(
        train=str(files[0]),
        kind=task.kind,
        sequence=columns.sequence,
        label=columns.label,
        classes=() if numbered else classes,
    )
    tables = [
        read_table(reads, part, source=str(file), num_classes=task.labels, prefix="benchmark.columns.")
        for part, file in zip(PARTS, files, strict=False)
    ]
    if len(classes) != task.labels:
        raise DataError(
            "BENCH-06",
            where=str(files[0]),
            found=f"{len(classes)} labels: {', '.join(classes[:20])}",
            expected=f"{task.labels} classes of {task.name}, each in the training set",
            fix="put the published files there",
        )
    return classes, tables


def checksum(splits: Mapping[str, LabelledTable], classes: Sequence[str]) -> str:
    """Sha256 of what the splits hold, whatever the format: equal rows in equal order, equal checksum."""
    digest = hashlib.sha256()
    for name, table in splits.items():
        digest.update(f"{name}\n".encode())
        for sequence, label in _rows(whole(table)):
            digest.update(f"{sequence}\t{classes[label]}\n".encode())
    return digest.hexdigest()


def leave(
    folder: Path, task: ListedTask, tables: Sequence[LabelledTable], classes: Sequence[str], *, sha256: str
) -> PreparedTask:
    """Write the three tables where they are not there yet.

    Args:
        folder: of the task in the cache, named by the checksum.
        task: the row of the list.
        tables: as published, one to three.
        classes: labels by number.
        sha256: of the tables.
    """
    with locked(folder):
        for part, rows in zip(PARTS, _divided(tables), strict=True):
            path = folder / f"{part}.csv"
            if not path.is_file():
                folder.mkdir(parents=True, exist_ok=True)
                lines = [f"{sequence},{label}\n" for sequence, label in _rows(rows)]
                replace_text(path, "".join(["sequence,label\n", *lines]))
    return PreparedTask(task, folder, sha256, tuple(classes))


def _divided(tables: Sequence[LabelledTable]) -> list[TablePart]:
    """Training, validation and test set; what is not published is taken from the first, class by class."""
    train, *others = [whole(table) for table in tables]
    while len(others) < len(PARTS) - 1:
        folds = fold_numbers(train.labels, folds=_TENTH, seed=_SEED)
        held = TablePart(train.table, train.rows[folds == 0])
        train = TablePart(train.table, train.rows[folds != 0])
        others.insert(0, held)
    return [train, *others]


def _rows(part: TablePart) -> Iterator[tuple[str, int]]:
    for row, label in zip(part.rows, np.asarray(part.labels), strict=True):
        yield to_text(part.table.sequence(int(row))).upper(), int(label)
