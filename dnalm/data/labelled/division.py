"""The tables of a task divided into what trains, what chooses a checkpoint, and what judges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnalm.data.corpus import Corpus
from dnalm.data.labelled.files import table_error
from dnalm.data.labelled.next_kmer import NextKmer
from dnalm.data.labelled.reading import read_table
from dnalm.data.labelled.table import LabelledTable, TablePart, fold_numbers, whole
from dnalm.data.labelled.task import Part, Task, label_names
from dnalm.errors import ConfigError, listed

AnyTask = Task | NextKmer

_TENTH = 10
_NAMED = 3


@dataclass(frozen=True)
class Division:
    """What a task is trained and judged on.

    Attributes:
        train: what trains.
        val: what chooses a checkpoint.
        test: what judges.
        num_classes: of a task of classes; labels of a multi-label one; 1 of regression.
        notes: what a user should know of it, in sentences.
    """

    train: TablePart
    val: TablePart
    test: TablePart
    num_classes: int
    notes: tuple[str, ...]

    @property
    def parts(self) -> dict[Part, TablePart]:
        """All three by name."""
        return {"train": self.train, "val": self.val, "test": self.test}


def divide(task: AnyTask, *, seed: int, data: Corpus | None = None) -> Division:
    """Read the tables of a task and divide them, or draw those of next-k-mer prediction.

    Args:
        task: the task.
        seed: of the folds, of the tenth that stands in for a validation table, and of what is drawn.
        data: the genomes of a task that reads genomes.

    Raises:
        ConfigError: CFG-18, genomes are wanted and not given, or given and not wanted.
        DataError: CSV-01 to 15, DSET-01.
    """
    if isinstance(task, NextKmer) != (data is not None):
        wants = isinstance(task, NextKmer)
        raise ConfigError(
            "CFG-18",
            where="data",
            found="no genome" if wants else "a genome beside a task that has tables",
            expected="a genome that rows are drawn from" if wants else "none, which would have no effect",
            fix="set data=fasta data.fasta=…, or data=demo"
            if wants
            else "leave data out, or set task=next_kmer",
        )
    if isinstance(task, NextKmer):
        assert data is not None, "just checked"
        return _drawn(task, data, seed)
    sources = task.sources()
    known = len(task.classes) or task.num_classes or {"binary": 2, "multilabel": 2}.get(task.kind)
    train = read_table(task, "train", source=sources["train"], num_classes=known)
    classes = known if known or task.kind == "regression" else int(train.labels.max()) + 1
    others: dict[Part, LabelledTable] = {
        part: read_table(task, part, source=source, num_classes=classes)
        for part, source in sources.items()
        if part != "train"
    }
    _check_names(task, train, others)
    _check_num_labels(train, others)
    notes = [note for table in (train, *others.values()) for note in table.notes]
    division = _divided(task, train, others, seed=seed, classes=classes or 1, notes=notes)
    for part, rows in division.parts.items():
        _check_labels(task, part, rows, division)
    return division


def _drawn(task: NextKmer, data: Corpus, seed: int) -> Division:
    tables = task.tables(data, seed=seed)
    train, val, test = (whole(tables[part]) for part in ("train", "val", "test"))
    return Division(train, val, test, task.num_classes, notes=())


def _divided(
    task: Task,
    train: LabelledTable,
    others: dict[Part, LabelledTable],
    *,
    seed: int,
    classes: int,
    notes: list[str],
) -> Division:
    trains, val, test = whole(train), others.get("val"), others.get("test")
    judged = whole(test) if test is not None else None
    if task.folds or val is None:
        by = np.zeros((len(train), 1), np.int64) if train.per_base else train.labels
        numbers = fold_numbers(by, folds=task.folds or _TENTH, seed=seed)
        chooses = numbers == (task.fold if judged or not task.folds else (task.fold + 1) % task.folds)
        judges = numbers == task.fold if judged is None and task.folds > 0 else np.zeros_like(chooses)
        chosen = TablePart(train, np.flatnonzero(chooses & ~judges))
        judged = judged or (TablePart(train, np.flatnonzero(judges)) if judges.any() else None)
        trains = TablePart(train, np.flatnonzero(~chooses & ~judges))
        if not task.folds:
            notes.append(f"{len(chosen):,} of the training rows, a tenth, choose the checkpoint")
    else:
        chosen = whole(val)
    if judged is None:
        notes.append("there is no test table: the rows that choose the checkpoint judge, which flatters it")
        judged = chosen
    if task.kind == "multiclass":
        untrained = np.flatnonzero(np.bincount(trains.labels, minlength=classes) == 0).tolist()
        if untrained:
            found = f"{len(untrained):,} of {classes:,} classes have no row to train on"
            notes.append(f"{found}: {listed(untrained)}")
    outputs = {"multilabel": train.labels.shape[-1], "regression": 1}.get(task.kind, classes)
    return Division(trains, chosen, judged, outputs, tuple(notes))


def _check_num_labels(train: LabelledTable, others: dict[Part, LabelledTable]) -> None:
    for table in others.values():
        if table.labels.shape[1:] != train.labels.shape[1:]:
            raise table_error(
                "CSV-16",
                table.source,
                f"{table.labels.shape[1]} labels a row",
                f"{train.labels.shape[1]}, as {train.source} has",
                "write 0 or 1 for each label",
            )


def _check_names(task: Task, train: LabelledTable, others: dict[Part, LabelledTable]) -> None:
    if task.id is None:
        return
    places = {str(name): row for row, name in enumerate(train.names)}
    for table in others.values():
        shared = [row for row, name in enumerate(table.names) if str(name) in places]
        if shared:
            name = str(table.names[shared[0]])
            raise table_error(
                "CSV-13",
                table.place(shared[0]),
                f"{name!r} is in the training table too, at {train.place(places[name])}; "
                f"so are {len(shared) - 1:,} more",
                "rows that training has not seen",
                "take them out of one of the tables",
            )


def _check_labels(task: Task, part: Part, rows: TablePart, division: Division) -> None:
    """Refuse what nothing can be learned from, and what no metric is defined on."""
    source = rows.table.source
    if not len(rows):
        fix = "use fewer folds, or larger tables"
        raise table_error("CSV-04", source, f"no rows for {part}", "some of each part", fix)
    labels = rows.labels
    columns = labels.T if task.kind == "multilabel" else labels[None]
    for column, values in zip(label_names(task.label_columns, len(columns)), columns, strict=True):
        if (values == values[0]).all() and (part == "train" or task.kind != "multilabel"):
            raise table_error(
                "CSV-15",
                source,
                f"{column} is {values[0]} in all {len(rows):,} rows for {part}",
                "at least two different labels, without which nothing is learned and no metric is defined",
                "check how the table was divided",
            )
    if task.kind in ("binary", "multiclass", "segmentation"):
        trained = np.bincount(division.train.labels, minlength=division.num_classes)
        missing = [number for number in np.unique(labels).tolist() if not trained[number]]
        if missing:
            named = ", ".join(map(str, missing[:_NAMED]))
            raise table_error(
                "CSV-14",
                source,
                f"class {named} among the rows for {part}, and none of it in training",
                "classes that training has seen",
                "leave those rows out, or divide the table so that each part has every class",
            )
