"""The rows of a task divided into training, validation (which chooses a checkpoint) and test.

`divide` reads the tables of a `Task`, makes those of a `PeakTask`, or draws the rows of `NextKmer`: predict
the k bases that follow a stretch of a genome. Bases are predicted, whatever the tokens are, so the task
compares tokenizers fairly. The genome is laid out in stretches of context and answer, end to end and without
N, of which rows are drawn; so no two rows share a base. Training regions give the training rows, validation
regions the others.

Source: GROVER (Sanabria et al. 2024), which chose its vocabulary so: 50 bases, k of 2 to 6, 500,000 rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from pydantic import PositiveInt

from dnalm.data.corpus import Corpus, CorpusGenome
from dnalm.data.labelled.peaks import PeakTables, PeakTask
from dnalm.data.labelled.rows import table_error
from dnalm.data.labelled.table import (
    LabelledTable,
    Labels,
    MetricName,
    Part,
    Rows,
    TablePart,
    Task,
    TaskKind,
    fold_groups,
    fold_numbers,
    label_names,
    nested_order,
    read_table,
    whole,
)
from dnalm.data.windows import permute
from dnalm.errors import ConfigError, listed
from dnalm.genome.alphabet import Codes, bases, is_unknown
from dnalm.genome.homology import Homology
from dnalm.limits import DrawnRows, WindowBases
from dnalm.paths import CachePath

_LONGEST = 8
_DRAWN_AT_ONCE = 1 << 16
_HELD_OUT, _TRAINING = 0, 1  # keys of both drawings
_TENTH = 10


@dataclass(frozen=True, kw_only=True)
class NextKmer:
    """The task, whose genome is the run's `data`.

    Args:
        k: bases to predict, 1 to 8; the classes are the 4^k k-mers in the order of A, C, G, T.
        context_bp: bases that are read before them.
        num_train: training rows, at most.
        num_val: validation rows, at most.
        num_test: test rows, at most.
        cache: folder of embeddings; the user's cache if absent.
    """

    k: PositiveInt = 4
    context_bp: WindowBases = 50
    num_train: DrawnRows = 20_000
    num_val: DrawnRows = 2_000
    num_test: DrawnRows = 5_000
    cache: CachePath | None = None

    kind: ClassVar[TaskKind] = "multiclass"
    metrics: ClassVar[tuple[MetricName, ...]] = ("accuracy",)
    declared: ClassVar[MetricName] = "accuracy"
    classes: ClassVar[tuple[str, ...]] = ()
    label_columns: ClassVar[tuple[str, ...]] = ("label",)

    def __post_init__(self) -> None:
        if self.k > _LONGEST:
            raise ValueError(f"k is {self.k}; at most {_LONGEST} bases are predicted, of 65,536 classes")

    @property
    def title(self) -> str:
        """What the task is called."""
        return f"next_{self.k}mer"

    @property
    def num_classes(self) -> int:
        """How many k-mers there are."""
        return int(4**self.k)

    def tables(self, corpus: Corpus, *, seed: int) -> dict[Part, LabelledTable]:
        """The rows of each part.

        Args:
            corpus: the genomes and their division.
            seed: of the drawing.

        Raises:
            DataError: CSV-04, a part has no stretch without N.
        """
        corpus.prepare(tracks=())
        genomes = corpus.genomes(tracks=())
        training = _Stretches(self, genomes, [genome.division.train for genome in genomes])
        held_out = _Stretches(self, genomes, [genome.division.validation for genome in genomes])
        others = held_out.drawn(self.num_val + self.num_test, key=(seed, _HELD_OUT))
        num_val = len(others) * self.num_val // (self.num_val + self.num_test)
        drawn: dict[Part, Rows] = {
            "train": training.drawn(self.num_train, key=(seed, _TRAINING)),
            "val": others[:num_val],
            "test": others[num_val:],
        }
        source = ", ".join(genome.name for genome in genomes)
        return {
            part: (training if part == "train" else held_out).table(rows, source=f"{source} ({part})")
            for part, rows in drawn.items()
        }


class _Stretches:
    """Stretches of equal length, end to end in regions of several genomes, numbered through.

    Args:
        task: how long they are.
        genomes: of the regions.
        regions: (R, 2) flat intervals of each genome.
    """

    def __init__(self, task: NextKmer, genomes: Sequence[CorpusGenome], regions: Sequence[Rows]) -> None:
        self.task, self.genomes = task, genomes
        self.width = task.context_bp + task.k
        self.genome = np.repeat(np.arange(len(genomes)), [len(of_one) for of_one in regions])
        joined = np.concatenate([of_one.reshape(-1, 2) for of_one in regions])
        self.starts = joined[:, 0]
        self.ends = np.cumsum((joined[:, 1] - joined[:, 0]) // self.width)  # numbers of stretches

    def drawn(self, most: int, *, key: tuple[int, int]) -> Rows:
        """Numbers of stretches without N in a random order, none twice."""
        size = int(self.ends[-1]) if len(self.ends) else 0
        found = [np.zeros(0, np.int64)]
        for start in range(0, size, _DRAWN_AT_ONCE):
            slots = np.arange(start, min(start + _DRAWN_AT_ONCE, size))
            numbers = permute(slots, size=size, key=np.tile(np.array(key), (len(slots), 1)))
            found.append(numbers[~is_unknown(self.codes(numbers)).any(axis=1)])
            if sum(map(len, found)) >= most:
                break
        return np.concatenate(found)[:most]

    def places(self, numbers: Rows) -> tuple[Rows, Rows]:
        """Genome and flat start of each stretch."""
        regions = np.searchsorted(self.ends, numbers, side="right")
        first = np.concatenate([[0], self.ends])[regions]
        return self.genome[regions], self.starts[regions] + (numbers - first) * self.width

    def codes(self, numbers: Rows) -> Codes:
        """Their bases, (S, width)."""
        genomes, starts = self.places(numbers)
        codes = np.empty((len(numbers), self.width), dtype=np.uint8)
        for genome in np.unique(genomes):
            here = genomes == genome
            codes[here] = self.genomes[genome].store.codes[starts[here, None] + np.arange(self.width)]
        return codes

    def table(self, numbers: Rows, *, source: str) -> LabelledTable:
        """Their contexts as sequences, their last k bases as labels, their places as names.

        Raises:
            DataError: CSV-04, there are none.
        """
        if not len(numbers):
            found = f"no stretch of {self.width} bases without N"
            expected = "some in the training regions and some in the validation regions"
            fix = "divide the genome otherwise: data.split.validation=[…], or data/split=fraction"
            raise table_error("CSV-04", source, found, expected, fix)
        codes, context = self.codes(numbers), self.task.context_bp
        digits = bases(codes[:, context:]).astype(np.int64)
        return LabelledTable(
            source=source,
            codes=np.ascontiguousarray(codes[:, :context]).reshape(-1),
            offsets=np.arange(len(numbers) + 1) * context,
            labels=digits @ 4 ** np.arange(self.task.k - 1, -1, -1),
            names=np.array(
                [self._name(genome, int(start)) for genome, start in zip(*self.places(numbers), strict=True)]
            ),
            lines=np.arange(1, len(numbers) + 1),
        )

    def _name(self, genome: int, start: int) -> str:
        """`contig:start-end` of what is read, 0-based and half-open."""
        store = self.genomes[genome].store
        contig = store.contigs[int(np.searchsorted(store.offsets, start, side="right")) - 1]
        first = start - contig.offset
        return f"{contig.name}:{first}-{first + self.task.context_bp}"


AnyTask = Task | NextKmer | PeakTask


@dataclass(frozen=True, kw_only=True)
class Division:
    """The rows of a task by their use.

    Attributes:
        train: training rows.
        val: validation rows, which choose a checkpoint.
        test: test rows.
        num_classes: of a task of classes; number of labels of a multi-label one; 1 of regression.
        notes: warnings for the user, in sentences.
        peaks: of a task from peaks, where its rows lie and what they are made of.
        fewer_than: training rows of which `task.labels` has drawn these; None where it is `all`.
    """

    train: TablePart
    val: TablePart
    test: TablePart
    num_classes: int
    notes: tuple[str, ...]
    peaks: PeakTables | None = None
    fewer_than: int | None = None

    @property
    def all_rows(self) -> int:
        """Training rows with `task.labels=all`."""
        return self.fewer_than or len(self.train)

    @property
    def parts(self) -> dict[Part, TablePart]:
        """All three by name."""
        return {"train": self.train, "val": self.val, "test": self.test}


def divide(task: AnyTask, *, seed: int, data: Corpus | None = None) -> Division:
    """Read the tables of a task and divide them, or make those of peaks or of next-k-mer prediction.

    Args:
        task: the task.
        seed: of the folds, of the tenth that stands in for a validation table, and of what is drawn.
        data: the genomes of a task that reads genomes.

    Raises:
        ConfigError: CFG-18, genomes are needed and not given, or given and not needed; `task.labels` is more
            than there are rows or fewer than there are classes.
        DataError: CSV-01 to 15, DSET-01; of peaks, see `PeakTask.tables`.
    """
    if isinstance(task, NextKmer):
        if data is None:
            raise ConfigError(
                "CFG-18",
                where="data",
                found="no genome",
                expected="a genome that rows are drawn from",
                fix="set data=fasta data.fasta=…, or data=demo",
            )
        drawn = {part: whole(table) for part, table in task.tables(data, seed=seed).items()}
        return Division(
            train=drawn["train"], val=drawn["val"], test=drawn["test"], num_classes=task.num_classes, notes=()
        )
    if data is not None:
        raise ConfigError(
            "CFG-18",
            where="data",
            found="a genome beside a task that has tables",
            expected="none, which would have no effect",
            fix="leave data out, or set task=next_kmer",
        )
    if isinstance(task, PeakTask):
        made = task.tables(seed=seed)
        windows = {part: whole(rows.table) for part, rows in made.rows.items()}
        division = Division(
            train=windows["train"],
            val=windows["val"],
            test=windows["test"],
            num_classes=len(task.classes),
            notes=made.notes,
            peaks=made,
        )
        for part, rows in division.parts.items():
            _check_labels(task, part, rows, division)
        return division
    sources = task.sources()
    known = len(task.classes) or task.num_classes or {"binary": 2, "multilabel": 2}.get(task.kind)
    train = read_table(task, "train", source=sources["train"], num_classes=known)
    classes = known if known or task.kind == "regression" else int(train.labels.max()) + 1
    others: dict[Part, LabelledTable] = {
        part: read_table(task, part, source=source, num_classes=classes)
        for part, source in sources.items()
        if part != "train"
    }
    for table in others.values():
        _check_beside_training(task, train, table)
    notes = [note for table in (train, *others.values()) for note in table.notes]
    division = _divided(task, train, others, seed=seed, classes=classes or 1, notes=notes)
    if task.labels != "all":
        division = few_labels(division, task.labels, task.kind, seed=seed)
    for part, rows in division.parts.items():
        _check_labels(task, part, rows, division)
    return division


def _divided(
    task: Task,
    train: LabelledTable,
    others: dict[Part, LabelledTable],
    *,
    seed: int,
    classes: int,
    notes: list[str],
) -> Division:
    train_rows = whole(train)
    parts = {part: whole(table) for part, table in others.items()}
    if task.folds or "val" not in parts:
        by = np.zeros((len(train), 1), np.int64) if train.per_base else train.labels
        numbers = _folds(task, train, by, seed=seed, notes=notes)
        val_fold = task.fold
        if task.folds and "test" not in parts:
            val_fold = (task.fold + 1) % task.folds
            parts["test"] = TablePart(train, np.flatnonzero(numbers == task.fold))
        parts["val"] = TablePart(train, np.flatnonzero(numbers == val_fold))
        train_rows = TablePart(train, np.flatnonzero(~np.isin(numbers, [task.fold, val_fold])))
        if not task.folds:
            notes.append(f"{len(parts['val']):,} of the training rows, a tenth, choose the checkpoint")
    if "test" not in parts:
        notes.append(
            "there is no test table: the rows that choose the checkpoint test it too, which flatters it"
        )
        parts["test"] = parts["val"]
    if task.kind == "multiclass":
        untrained = np.flatnonzero(np.bincount(train_rows.labels, minlength=classes) == 0).tolist()
        if untrained:
            found = f"{len(untrained):,} of {classes:,} classes have no row to train on"
            notes.append(f"{found}: {listed(untrained)}")
    outputs = {"multilabel": train.labels.shape[-1], "regression": 1}.get(task.kind, classes)
    return Division(
        train=train_rows, val=parts["val"], test=parts["test"], num_classes=outputs, notes=tuple(notes)
    )


def few_labels(division: Division, number: int, kind: TaskKind, *, seed: int) -> Division:
    """A division with so many labels to learn from, and at most as many to choose by; the test set stays.

    Whoever has 10 labels has no thousand to choose a checkpoint by (Perez et al. 2021, "True few-shot
    learning with language models").

    Args:
        division: of all rows.
        number: of training rows; see `nested_order`.
        kind: of the task.
        seed: of the run.

    Raises:
        ConfigError: CFG-18, there are fewer rows, or more classes.
    """
    train, by_class = division.train, kind in ("binary", "multiclass")
    least = len(np.unique(train.labels)) if by_class else 1
    if not least <= number <= len(train):
        raise ConfigError(
            "CFG-18",
            where="task.labels",
            found=f"{number}, where training has {len(train):,} rows"
            + (f" of {least:,} classes" if by_class else ""),
            expected=f"a number from {least:,} to {len(train):,}"
            + (", one of each class at least" if by_class else ""),
            fix="choose one of these, or task.labels=all",
        )

    def sample(part: TablePart) -> TablePart:
        chosen = nested_order(part, by_class=by_class, seed=seed)[:number]
        return TablePart(part.table, np.sort(part.rows[chosen]))

    fewer = replace(division, train=sample(train), val=sample(division.val), fewer_than=len(train))
    note = (
        f"{len(fewer.train):,} of {len(train):,} training rows teach and {len(fewer.val):,} of "
        f"{len(division.val):,} validation rows choose (task.labels={number}); the test set is whole"
    )
    return replace(fewer, notes=(*division.notes, note))


def _folds(task: Task, train: LabelledTable, by: Labels, *, seed: int, notes: list[str]) -> Rows:
    """The fold of each row, by homology where the task asks for it, with a note of how that went."""
    folds = task.folds or _TENTH
    if task.split == "random":
        return fold_numbers(by, folds=folds, seed=seed)
    groups = Homology(train.codes, train.offsets).components()
    numbers = fold_groups(by, groups, folds=folds, seed=seed)
    largest, sizes = np.bincount(groups).max() / len(groups), np.bincount(numbers, minlength=folds)
    notes.append(
        f"{len(groups):,} rows are {groups.max() + 1:,} groups of homologs, the largest {largest:.1%} of "
        f"them; folds have {sizes.min():,} to {sizes.max():,} rows"
    )
    return numbers


def _check_beside_training(task: Task, train: LabelledTable, other: LabelledTable) -> None:
    """Refuse a table with another number of labels than training has, or with rows of the same names."""
    if other.labels.shape[1:] != train.labels.shape[1:]:
        found = f"{other.labels.shape[1]} labels a row"
        expected = f"{train.labels.shape[1]}, as {train.source} has"
        raise table_error("CSV-16", other.source, found, expected, "write 0 or 1 for each label")
    if task.id is None:
        return
    _, rows, training_rows = np.intersect1d(other.names, train.names, return_indices=True)
    if len(rows):
        first = rows.argmin()
        found = (
            f"{str(other.names[rows[first]])!r} is in the training table too, at "
            f"{train.place(training_rows[first])}; so are {len(rows) - 1:,} more"
        )
        fix = "take them out of one of the tables"
        raise table_error("CSV-13", other.place(rows[first]), found, "rows that training has not seen", fix)


def _check_labels(task: Task | PeakTask, part: Part, rows: TablePart, division: Division) -> None:
    """Refuse what nothing can be learned from, and what no metric is defined on."""
    source = rows.table.source
    if not len(rows):
        fix = "use fewer folds, or larger tables"
        raise table_error("CSV-04", source, f"no rows for {part}", "some of each part", fix)
    labels = rows.labels
    columns = labels.T if task.kind == "multilabel" else labels[None]
    for column, values in zip(label_names(task.label_columns, len(columns)), columns, strict=True):
        if (values == values[0]).all() and (part == "train" or task.kind != "multilabel"):
            found = f"{column} is {values[0]} in all {len(rows):,} rows for {part}"
            expected = (
                "at least two different labels, without which nothing is learned and no metric is defined"
            )
            raise table_error("CSV-15", source, found, expected, "check how the table was divided")
    if task.kind in ("binary", "multiclass", "segmentation"):
        trained = np.bincount(division.train.labels, minlength=division.num_classes)
        missing = [number for number in np.unique(labels).tolist() if not trained[number]]
        if missing:
            found = f"class {listed(missing)} among the rows for {part}, and none of it in training"
            fix = "leave those rows out, or divide the table so that each part has every class"
            raise table_error("CSV-14", source, found, "classes that training has seen", fix)
