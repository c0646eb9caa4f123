"""Labelled tables: what a `Task` is, and its rows read into flat arrays, which loader workers share.

Shapes: R rows, L bases of a sequence, K labels.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import re
import shlex
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, NonNegativeInt, PositiveInt

from dnalm.data.labelled.rows import TWICE, Notes, Row, file_kind, read_rows, sentences, table_error
from dnalm.errors import DataError, listed, shown
from dnalm.genome.alphabet import AMBIGUOUS, FIRST_AMBIGUOUS, ILLEGAL, LETTER_TABLE, STORED_TABLE, Codes
from dnalm.limits import Classes, Folds, WindowBases
from dnalm.paths import CachePath, InputName
from dnalm.simulation.settings import Clade
from dnalm.simulation.simulate import find_or_simulate

Rows = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int64] | npt.NDArray[np.float32]
TaskKind = Literal["binary", "multiclass", "multilabel", "regression", "segmentation"]
MetricName = Literal["mcc", "f1_macro", "accuracy", "auroc", "auprc", "f1", "spearman", "pearson", "r2"]
Part = Literal["train", "val", "test"]


def _as_text(value: object) -> object:
    """Numbers as the texts that they are in a table, so that `task.classes=[1,2]` needs no quotes."""
    return str(value) if isinstance(value, int) else value


ClassName = Annotated[str, BeforeValidator(_as_text)]
# The first of each kind is the one that is compared by default.
METRICS: dict[TaskKind, tuple[MetricName, ...]] = {
    "binary": ("mcc", "f1_macro", "accuracy", "auroc", "auprc", "f1"),  # f1: of class 1
    "multiclass": ("mcc", "f1_macro", "accuracy", "auroc", "auprc"),
    "multilabel": ("auroc", "auprc", "f1_macro", "accuracy"),
    "regression": ("spearman", "pearson", "r2"),
    "segmentation": ("mcc", "f1_macro", "accuracy", "auroc", "auprc"),  # over bases, as of classes
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is predicted, and from which tables.

    Args:
        train: a table (CSV, TSV, JSON, Parquet, Arrow, FASTA with labels in its headers), a folder of
            `save_to_disk`, or `owner/name` of the Hugging Face hub; `:split` may follow the last two. What is
            there on disk comes before the hub.
        val: the validation table, which chooses a checkpoint; a tenth of `train` if absent.
        test: the test table; the validation table if absent.
        name: what the task is called; if absent the folder of `train`, or the task of the clade.
        kind: what a label is; of `segmentation` a text of one letter a base, each a class.
        sequence: the column of sequences.
        label: the column of labels; of a multi-label task the columns, of 0 and 1 each, or one column of
            lists.
        id: the column of names, which no two rows share; rows are numbered if absent.
        classes: the texts that labels are spelt with, in their order; numbers from 0 if absent.
        num_classes: how many classes there are, where the training table does not show it.
        delimiter: what separates columns, one character, or backslash and t; found by the header if absent.
        length_bp: bases that every sequence has; any number if absent.
        metric: by which models are compared.
        folds: parts that `train` is cut into for cross-validation; 0 for none. `fold` is the test fold and
            the next one chooses the checkpoint; beside a test table, `fold` chooses.
        fold: number of the test fold, from 0.
        split: how folds, and the tenth that stands in for `val`, are dealt: `homology` keeps homologous rows
            together, on either strand, so that none is trained on and judged by.
        labels: how many training rows to learn from, and of the validation set as many at most; by the seed,
            every class in its share, and each number's rows among those of a larger one; `all` by default.
        clade: the simulated clade that has the tables.
        clade_task: which of its tasks.
        cache: folder of the simulated clade and of embeddings; the user's cache if absent.
    """

    train: InputName | None = None
    val: InputName | None = None
    test: InputName | None = None
    name: str | None = None
    kind: TaskKind = "binary"
    sequence: str = "sequence"
    label: str | tuple[str, ...] = "label"
    id: str | None = None
    classes: tuple[ClassName, ...] = ()
    num_classes: Classes | None = None
    delimiter: str | None = None
    length_bp: WindowBases | None = None
    metric: MetricName | None = None
    folds: Folds = 0
    fold: NonNegativeInt = 0
    split: Literal["random", "homology"] = "random"
    labels: PositiveInt | Literal["all"] = "all"
    clade: Clade | None = None
    clade_task: Literal["promoter", "enhancer", "splice"] = "promoter"
    cache: CachePath | None = None

    def __post_init__(self) -> None:
        if self.metric is not None and self.metric not in METRICS[self.kind]:
            raise ValueError(
                f"metric is {self.metric}; a {self.kind} task has {', '.join(METRICS[self.kind])}"
            )
        if self.kind != "multilabel" and not isinstance(self.label, str):
            raise ValueError(
                f"label is {list(self.label)}; a {self.kind} task has one column of labels, "
                "kind=multilabel several"
            )
        if self.delimiter is not None and len(self.delimiter.replace("\\t", "\t")) != 1:
            raise ValueError(f"delimiter is {self.delimiter!r}; it is one character, such as ';' or '\\t'")
        if self.folds == 1 or (self.folds and self.fold >= self.folds):
            raise ValueError(
                f"fold is {self.fold} of {self.folds}; folds are at least 2, and numbered from 0"
            )
        if self.folds and self.val:
            raise ValueError(
                "val is given beside folds; a fold of the training table is the validation table"
            )
        if self.split == "homology" and not self.folds and (self.val or self.clade):
            raise ValueError(
                "split is homology beside a validation table, where nothing is divided; leave val out, "
                "or set folds"
            )
        if (self.train is None) == (self.clade is None):
            raise ValueError("train is not given; name a table: task.train=<file>")

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """The metrics of its kind."""
        return METRICS[self.kind]

    @property
    def declared(self) -> MetricName:
        """The metric by which models are compared."""
        return self.metric or METRICS[self.kind][0]

    @property
    def title(self) -> str:
        """What the task is called."""
        if self.name:
            return self.name
        if self.train is None:
            return self.clade_task
        return Path(self.train).resolve().parent.name if Path(self.train).is_file() else self.train

    @property
    def label_columns(self) -> Sequence[str]:
        """The columns of labels."""
        return (self.label,) if isinstance(self.label, str) else self.label

    def sources(self) -> dict[Part, str]:
        """The tables that are there, by part; those of a clade are simulated on first use."""
        if self.clade is not None:
            folder = find_or_simulate(self.clade, self.cache) / "tasks" / self.clade_task
            return {"train": f"{folder}/train.csv", "val": f"{folder}/dev.csv", "test": f"{folder}/test.csv"}
        given: dict[Part, str | None] = {"train": self.train, "val": self.val, "test": self.test}
        return {part: source for part, source in given.items() if source is not None}


def label_names(columns: Sequence[str], number: int) -> Sequence[str]:
    """Names of the labels of a row: their columns, or the places in the one column that lists them."""
    return columns if len(columns) == number else [f"{columns[0]}_{n}" for n in range(number)]


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledTable:
    """All rows of one file.

    Attributes:
        source: the file.
        codes: bases of all sequences end to end, 0-4 and soft-masked, uint8.
        offsets: where each sequence begins, and the end, (R + 1,).
        labels: classes (R,) int64; of multi-label tasks (R, K) of 0 and 1; of regression (R,) float32; of
            segmentation the classes of all bases end to end, as `codes`.
        names: of the rows, (R,) text.
        lines: where each stands in the file, (R,).
        notes: oddities of the file, in sentences.
        per_base: whether labels are of bases.
    """

    source: str
    codes: Codes
    offsets: Rows
    labels: Labels
    names: npt.NDArray[np.str_]
    lines: Rows
    notes: tuple[str, ...] = ()
    per_base: bool = False

    def __len__(self) -> int:
        return len(self.lines)

    def sequence(self, row: int) -> Codes:
        """The bases of a row."""
        return self.codes[self.offsets[row] : self.offsets[row + 1]]

    def label(self, row: int) -> Labels:
        """Of a row, or of its bases."""
        if self.per_base:
            return self.labels[self.offsets[row] : self.offsets[row + 1]]
        label: Labels = self.labels[row]
        return label

    @property
    def lengths(self) -> Rows:
        """Bases of each sequence, (R,)."""
        return np.diff(self.offsets)

    def place(self, row: int) -> str:
        """File and line of a row."""
        return f"{self.source}:{self.lines[row]}"

    @cached_property
    def fingerprint(self) -> str:
        """Of sequences and labels, in their order."""
        digest = hashlib.sha256(self.codes.tobytes())
        digest.update(self.offsets.tobytes())
        digest.update(np.ascontiguousarray(self.labels).tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class TablePart:
    """Some rows of a table, in the table's order."""

    table: LabelledTable
    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> Labels:
        """Labels of its rows, or of their bases end to end."""
        if self.table.per_base:
            return np.concatenate([self.table.label(row) for row in self.rows.tolist()])
        chosen: Labels = self.table.labels[self.rows]
        return chosen

    @cached_property
    def starts(self) -> Rows:
        """Where the bases of each row begin, all put end to end, (R,)."""
        starts: Rows = np.cumsum(self.lengths) - self.lengths
        return starts

    @property
    def lengths(self) -> Rows:
        """Bases of its sequences."""
        return self.table.lengths[self.rows]

    @property
    def names(self) -> npt.NDArray[np.str_]:
        """Names of its rows."""
        return self.table.names[self.rows]

    @property
    def fingerprint(self) -> str:
        """Of the table and of the rows."""
        return hashlib.sha256(f"{self.table.fingerprint}{self.rows.tolist()}".encode()).hexdigest()[:16]


def whole(table: LabelledTable) -> TablePart:
    """All rows of a table."""
    return TablePart(table, np.arange(len(table), dtype=np.int64))


def fold_numbers(labels: Labels, *, folds: int, seed: int) -> Rows:
    """Which fold each row belongs to, (R,): seeded, and every class spread evenly.

    Args:
        labels: one class of each row; of other tasks rows are dealt without regard to labels.
        folds: their number.
        seed: of the run.
    """
    random = np.random.Generator(np.random.Philox(key=[seed, 0]))
    shuffled = random.permutation(len(labels))
    if labels.ndim == 1 and labels.dtype == np.int64:
        shuffled = shuffled[np.argsort(labels[shuffled], kind="stable")]
    numbers = np.empty(len(labels), dtype=np.int64)
    numbers[shuffled] = np.arange(len(labels)) % folds
    return numbers


def nested_order(part: TablePart, *, by_class: bool, seed: int) -> Rows:
    """The rows of a part in an order of which every beginning is a stratified sample, (R,) places in it.

    So samples of all sizes are nested. A row of each class comes first, then the classes by their shares: the
    j-th row of a class of n, from 0, stands where (j + 0.5) / n of all rows are through. A sample of N rows
    with at least one of each of C classes has, of a class of share s, s N rows up to s C + 1 more or less.

    Args:
        part: the rows.
        by_class: whether each row has one class; rows of other tasks are drawn without regard to labels.
        seed: of the run.
    """
    random = np.random.Generator(np.random.Philox(key=[seed, 1]))
    shuffled: Rows = random.permutation(len(part))
    if not by_class:
        return shuffled
    _, classes, counts = np.unique(part.labels[shuffled], return_inverse=True, return_counts=True)
    grouped = np.argsort(classes, kind="stable")
    number = np.empty(len(part), dtype=np.int64)  # of each row in its class
    number[grouped] = np.arange(len(part)) - np.repeat(np.cumsum(counts) - counts, counts)
    place = np.where(number == 0, -1.0, (number + 0.5) / counts[classes])
    ordered: Rows = shuffled[np.argsort(place, kind="stable")]
    return ordered


def fold_groups(labels: Labels, groups: Rows, *, folds: int, seed: int) -> Rows:
    """Which fold each row belongs to, (R,): groups stay whole; the largest is in the last fold.

    Groups are dealt in the order of their size, each to the fold that has least of its classes.

    Args:
        labels: as of `fold_numbers`.
        groups: (R,) the group of each row, from 0.
        folds: their number.
        seed: of the order among groups of a size.
    """
    has_classes = labels.ndim == 1 and labels.dtype == np.int64
    classes = np.asarray(labels) if has_classes else np.zeros(len(labels), np.int64)
    rows_of = np.bincount(classes)
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1])
    random = np.random.Generator(np.random.Philox(key=[seed, 0]))
    order = random.permutation(len(members))
    order = order[np.argsort([-len(members[group]) for group in order.tolist()], kind="stable")]
    dealt = np.zeros((folds, len(rows_of)), np.int64)
    numbers = np.empty(len(labels), np.int64)
    for group in order.tolist():
        here, counts = np.unique(classes[members[group]], return_counts=True)
        fold = folds - 1 - int(np.argmin((dealt[::-1, here] * (counts / rows_of[here])).sum(axis=1)))
        dealt[fold, here] += counts
        numbers[members[group]] = fold
    return numbers


# Reading a table: every row is checked as it streams by

_ABSENT = object()
_OTHER_NAMES = {
    "sequence": ("seq", "sequences", "dna", "dnasequence", "text", "window"),
    "label": ("labels", "target", "targets", "class", "y", "value", "score"),
    "id": ("name", "ids", "uid"),
}
_ADVICE = {  # on letters that are none of DNA's
    **dict.fromkeys("Uu", "RNA is written with T: replace U by T"),
    **dict.fromkeys("-.", "it is a gap of an alignment: remove gaps"),
    **dict.fromkeys("*EFILPQJOZefilpqjoz", "is it a protein? Give nucleotides"),
    **dict.fromkeys("Xx?", "write N for an unknown base"),
    **dict.fromkeys(" \t\n0123456789", "remove white space and numbers from the sequence"),
}


def read_table(
    task: Task, part: Part, *, source: str, num_classes: int | None, prefix: str = "task."
) -> LabelledTable:
    """Read one table of a task.

    Args:
        task: its columns and what they mean.
        part: which of its tables.
        source: the file or dataset.
        num_classes: of a task of classes, where it is known.
        prefix: what the keys of its columns begin with, in errors.

    Raises:
        DataError: CSV-01 to 12, CSV-16 to 20, DSET-01.
    """
    builder = _TableBuilder(task, source, num_classes, prefix)
    for row in read_rows(source, part=part, delimiter=task.delimiter, notes=builder.notes):
        builder.add(row)
    if not builder.lines:
        expected = "a labelled sequence on each line"
        raise table_error("CSV-04", source, "no rows", expected, f"fill task.{part}")
    return builder.table()


class Cell(NamedTuple):
    """A value of a row and where it stands: its column, and its file and line."""

    value: object
    column: str
    where: str

    def error(self, code: str, found: str, expected: str, fix: str) -> DataError:
        """An error about this cell; what is found follows the column's name."""
        return table_error(code, self.where, f"{self.column} {found}", expected, fix)


class _TableBuilder:
    """Rows of one file so far, in growing arrays."""

    def __init__(self, task: Task, source: str, num_classes: int | None, prefix: str) -> None:
        self.task, self.source, self.reader = task, source, LabelReader(task, num_classes)
        self.notes = Notes()
        needed = {"sequence": task.sequence}
        needed |= {f"label[{n}]" if n else "label": column for n, column in enumerate(task.label_columns)}
        needed |= {} if task.id is None else {"id": task.id}
        self.needed = {f"{prefix}{key}": column for key, column in needed.items()}
        self.codes, self.ends = bytearray(), array("q", [0])
        self.labels, self.lines = array("d"), array("q")
        self.line_of: dict[str, int] = {}  # by name
        self.num_labels: int | None = None  # of a row, where one column lists them

    def add(self, row: Row) -> None:
        where = f"{self.source}:{row.line}"
        check_columns(row, self.needed, self.source)
        name = str(len(self.lines)) if self.task.id is None else str(row.values[self.task.id])
        if name in self.line_of:
            found = f"{shown(name)} is there already, on line {self.line_of[name]}"
            fix = "give each row its own, or leave task.id out"
            raise table_error("CSV-06", where, found, "a name that no other row has", fix)
        self.line_of[name] = row.line
        self._add_sequence(row.values[self.task.sequence], where)
        for column in self.task.label_columns:
            self._add_label(Cell(row.values[column], column, where))
        self.lines.append(row.line)

    def table(self) -> LabelledTable:
        task, columns = self.task, self.num_labels or len(self.task.label_columns)
        values = np.frombuffer(self.labels, dtype=np.float64)
        labels: Labels = values.astype(np.float32) if task.kind == "regression" else values.astype(np.int64)
        return LabelledTable(
            source=self.source,
            codes=np.frombuffer(bytes(self.codes), dtype=np.uint8),
            offsets=np.array(self.ends, dtype=np.int64),
            labels=labels.reshape(-1, columns) if task.kind == "multilabel" else labels,
            names=np.array(list(self.line_of)),
            lines=np.array(self.lines, dtype=np.int64),
            notes=tuple(sentences(self.notes, self.source)),
            per_base=task.kind == "segmentation",
        )

    def _add_sequence(self, value: object, where: str) -> None:
        letters = read_letters(value, column=self.task.sequence, where=where, notes=self.notes)
        if self.task.length_bp not in (None, len(letters)):
            found, expected = f"{len(letters)} bases", f"task.length_bp={self.task.length_bp}"
            fix = "correct the row, or leave task.length_bp out"
            raise table_error("CSV-09", where, found, expected, fix)
        self.codes += letters.tobytes().translate(STORED_TABLE)
        self.ends.append(len(self.codes))

    def _add_label(self, cell: Cell) -> None:
        """The label of a row, the labels that a cell lists (as many in every row), or those of all bases."""
        if self.task.kind == "multilabel" and len(self.task.label_columns) == 1:
            values = self.reader.read_list(cell)
            self.num_labels = self.num_labels or len(values)
            if len(values) != self.num_labels:
                expected = f"{self.num_labels:,}, as the first row has"
                raise cell.error(
                    "CSV-16", f"has {len(values):,} labels", expected, "write 0 or 1 for each label"
                )
            self.labels.extend(values)
        elif self.task.kind == "segmentation":
            letters = cell.value if isinstance(cell.value, list) else list(str(cell.value).strip())
            num_bases = self.ends[-1] - self.ends[-2]
            if len(letters) != num_bases:
                found = f"has {len(letters):,} labels for {num_bases:,} bases"
                fix = "correct the row, or choose another task.kind"
                raise cell.error("CSV-16", found, "one letter a base", fix)
            classes = {each: self.reader.read(cell._replace(value=each)) for each in dict.fromkeys(letters)}
            self.labels.extend(classes[each] for each in letters)
        else:
            self.labels.append(self.reader.read(cell))


def check_columns(row: Row, needed: Mapping[str, str], source: str) -> None:
    """Refuse a row of a source that lacks a column of `needed`, which has them by the keys that name them.

    Raises:
        DataError: CSV-01, a column is not there; CSV-17, it is there twice.
    """
    for key, column in needed.items():
        value = row.values.get(column, _ABSENT)
        if value is _ABSENT:
            raise _missing(row, key, column, source)
        if value is TWICE:
            raise table_error(
                "CSV-17",
                f"{source}:{row.line}",
                f"column {column!r} is there twice",
                "one column of that name",
                f"rename one of them, or set {key} to another column",
            )


def _missing(row: Row, key: str, column: str, source: str) -> DataError:
    there = [str(name) for name in row.values]
    found = f"no column {column!r}; there are {listed(there) or 'none'}"
    fix = f"set {key} to a column that is there"
    near = _near_name(column, there)
    if near is not None:
        fix = f"set {shlex.quote(f'{key}={near}')}"
    elif any(re.fullmatch(r"[ACGTNacgtn]{8,}", name) for name in there):
        fix = f"write a header above the first row, with {column} among its names"
    elif key.endswith("label") and file_kind(Path(source)) == "fasta":
        fix = "write the labels into the headers: >id label=0, or >id|0"
    elif key == "task.label":
        fix = (
            "set task.label to the column of labels. A table without one can neither train nor test a model: "
            "dnalm embed writes vectors of its sequences"
        )
    return table_error("CSV-01", f"{source}:{row.line}", found, "the columns that are asked for", fix)


def _near_name(column: str, there: list[str]) -> str | None:
    """The column that is most likely meant."""
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(there)}
    wanted = re.sub(r"[^a-z0-9]", "", column.lower())
    others = _OTHER_NAMES.get(wanted, ())
    close = difflib.get_close_matches(wanted, plain, n=1, cutoff=0.75)
    return next((plain[name] for name in (wanted, *others, *close) if name in plain), None)


# Sequences


def read_letters(value: object, *, column: str, where: str, notes: Notes) -> Codes:
    """The letters of a cell as `alphabet.LETTER_TABLE` has them, ambiguous ones kept apart, (L,) uint8.

    Args:
        value: the cell; overlapping k-mers, with spaces between them or as a list, are joined.
        column: its name.
        where: file and line.
        notes: counts of ambiguous letters and joined cells, which grow.

    Raises:
        DataError: CSV-04, it is empty; CSV-10, a letter is none of DNA's; CSV-20, words that do not overlap.
    """
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        text = " ".join(value)
    if not isinstance(text, str) or not text.strip():
        raise Cell(value, column, where).error(
            "CSV-04", f"is {shown(value)}", "a sequence", "leave the row out"
        )
    text = text.strip()
    if " " in text:
        text = _joined(text, column, where)
        notes["row{s} of overlapping k-mers {are} joined to sequences"] += 1
    letters = np.frombuffer(text.encode("utf-8", "surrogatepass").translate(LETTER_TABLE), dtype=np.uint8)
    if letters.max() >= FIRST_AMBIGUOUS:
        _check_letters(text, letters, column, where)
        notes["ambiguous letter{s} {are} read as N"] += int((letters >= FIRST_AMBIGUOUS).sum())
    return letters


def read_codes(value: object, *, column: str, where: str, notes: Notes) -> Codes:
    """The sequence of a cell, ambiguous letters read as N; raises as `read_letters`."""
    letters = read_letters(value, column=column, where=where, notes=notes)
    return np.frombuffer(letters.tobytes().translate(STORED_TABLE), dtype=np.uint8)


def _joined(text: str, column: str, where: str) -> str:
    """The sequence that overlapping k-mers spell, each a base further than the one before it."""
    words = text.split()
    size = len(words[0])
    for number, (word, after) in enumerate(pairwise(words), start=1):
        if len(after) != size or after[:-1] != word[1:]:
            raise table_error(
                "CSV-20",
                where,
                f"words {number} and {number + 1} of {column} are {shown(word)} and {shown(after)}",
                "a sequence without spaces, or k-mers that overlap in all bases but one",
                "remove the spaces, or write the k-mers again",
            )
    return words[0] + "".join(word[-1] for word in words[1:])


def _check_letters(text: str, letters: Codes, column: str, where: str) -> None:
    illegal = np.flatnonzero(letters == ILLEGAL)
    if illegal.size:
        before = text.encode("utf-8", "surrogatepass")[: illegal[0]]
        place = len(before.decode("utf-8", "ignore"))
        raise table_error(
            "CSV-10",
            where,
            f"{text[place]!r} at position {place + 1} of {column}",
            f"bases A, C, G, T, N and the ambiguous {AMBIGUOUS}",
            _ADVICE.get(text[place], "correct the sequence"),
        )


# Labels

MOST_CLASSES = 1 << 16
_LARGEST = float(np.finfo(np.float32).max)  # values are learned in single precision
_BOOLEANS = {"true": 1.0, "false": 0.0}
_EACH_LABEL = "write 0 or 1 for each label of the task, such as [0, 1, 0]"
_EXACT = 1 << 53  # whole numbers below it are exact
_BETWEEN_LABELS = re.compile(r"[\s,;|]+")


@dataclass(frozen=True)
class LabelReader:
    """Reads the labels of a task.

    Args:
        task: what labels mean.
        num_classes: how many there are; None where the table is to show it.
    """

    task: Task
    num_classes: int | None

    def read(self, cell: Cell) -> float:
        """A class as its number, a label as 0 or 1, a value.

        Raises:
            DataError: CSV-03, 05, 12.
        """
        value, is_regression = _plain(cell.value), self.task.kind == "regression"
        if value is None or value == "":
            raise _no_label(cell, "empty")
        if self.task.classes:
            name = next((each for each in _spellings(value) if each in self.task.classes), None)
            if name is None:
                raise self._not_a_label(cell, value)
            return self.task.classes.index(name)
        number = self._number(cell, value)
        if not math.isfinite(number) or (is_regression and abs(number) > _LARGEST):
            raise _no_label(cell, str(value))
        if not is_regression and number != int(number):
            raise self._not_a_label(cell, number)
        if not is_regression and not 0 <= number < (self.num_classes or MOST_CLASSES):
            raise self._no_class(cell, number)
        return number

    def read_list(self, cell: Cell) -> list[float]:
        """The labels of one cell: a list, or a text as `[0, 1, 0]`, `0;1;0` or `0 1 0`.

        Raises:
            DataError: CSV-03, 05, 12, as `read`.
        """
        value = _plain(cell.value)
        if isinstance(value, str):
            value = [each for each in _BETWEEN_LABELS.split(value.strip("[]() ")) if each]
        values = value if isinstance(value, list) else [value]
        if not values:
            raise _no_label(cell, "empty")
        return [self.read(cell._replace(value=each)) for each in values]

    def _number(self, cell: Cell, value: object) -> float:
        if self.task.kind in ("binary", "multilabel") and isinstance(value, str):
            truth = _BOOLEANS.get(value.lower())
            if truth is not None:
                return truth
        try:
            if isinstance(value, str) and "_" in value:  # which Python reads as 1_000
                raise ValueError
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            raise self._not_a_label(cell, value) from None

    def _no_class(self, cell: Cell, number: float) -> DataError:
        limit = f"a class from 0 to {(self.num_classes or MOST_CLASSES) - 1:,}"
        fix = "correct the label, or set task.num_classes=<number of classes>"
        if self.task.kind == "multilabel":
            limit, fix = "0 or 1", _EACH_LABEL
        elif number < 0 or self.task.kind == "binary":
            names = "['-1','1']" if number < 0 else "['1','2']"
            fix = f"name the classes in their order, such as task.classes={names}"
            fix += ", or set task.kind=multiclass" if number > 1 else ""
        elif self.num_classes is None:
            fix = "set task.kind=regression for values, or name the classes: task.classes=['7','9']"
        text = str(int(number)) if abs(number) < _EXACT else f"{number:g}"
        return cell.error("CSV-12", f"is {text}", limit, fix)

    def _not_a_label(self, cell: Cell, value: object) -> DataError:
        expected, fix = (
            "the number of a class",
            "name the classes in their order: task.classes=[first,second]",
        )
        if self.task.classes:
            expected, fix = f"one of {listed(self.task.classes)}", "add it to task.classes"
        elif self.task.kind == "regression":
            expected, fix = "a number", "leave the row out"
            if isinstance(value, str) and re.fullmatch(r"[+-]?\d+,\d+", value):
                return cell.error(
                    "CSV-03", f"is {shown(value)}", expected, "write decimals with a point, such as 0.5"
                )
        elif self.task.kind == "multilabel":
            return cell.error("CSV-03", f"is {shown(value)}", "0 or 1", _EACH_LABEL)
        elif isinstance(value, list):
            fix = "set task.kind=multilabel, in which a list holds 0 or 1 for each label"
        elif isinstance(value, float) and value != int(value):
            fix = "set task.kind=regression"
        return cell.error("CSV-03", f"is {shown(value)}", expected, f"correct it, or {fix}")


def _plain(value: object) -> object:
    """Text without white space around it; bytes as text."""
    value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return value.strip() if isinstance(value, str) else value


def _spellings(value: object) -> tuple[str, ...]:
    """How a class may be spelt in `task.classes`, which are texts: 1, 1.0 and '1' are one class."""
    if isinstance(value, bool):
        return str(value), str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value)), str(value)
    return (str(value),)


def _no_label(cell: Cell, text: str) -> DataError:
    expected = "a label in every row, finite in single precision if a number"
    return cell.error("CSV-05", f"is {text}", expected, "leave the row out, or fill it in")
