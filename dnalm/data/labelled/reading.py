"""From the rows of a file to a table of arrays; every row is judged as it streams by."""

from __future__ import annotations

import difflib
import re
import shlex
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from dnalm.data.labelled.files import TWICE, Notes, Row, file_kind, sentences, table_error
from dnalm.data.labelled.labels import LabelReader
from dnalm.data.labelled.rows import read_rows
from dnalm.data.labelled.table import LabelledTable, Labels
from dnalm.data.labelled.task import Part, Task
from dnalm.errors import DataError, listed, shown
from dnalm.genome.alphabet import AMBIGUOUS, FIRST_AMBIGUOUS, ILLEGAL, LETTER_TABLE, STORED_TABLE, Codes

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
    notes = Notes()
    filling = _Filling(task, source, LabelReader(task, num_classes), notes, prefix)
    for row in read_rows(source, part=part, delimiter=task.delimiter, notes=notes):
        filling.add(row)
    if not filling.lines:
        raise table_error(
            "CSV-04", source, "no rows", "a labelled sequence on each line", f"fill task.{part}"
        )
    return filling.table()


def read_letters(value: object, *, column: str, where: str, notes: Notes) -> Codes:
    """The letters of a cell as `alphabet.LETTER_TABLE` has them, ambiguous ones kept apart, (L,) uint8.

    Args:
        value: the cell; overlapping k-mers, with spaces between them or as a list, are joined.
        column: its name.
        where: file and line.
        notes: counts ambiguous letters and joined cells.

    Raises:
        DataError: CSV-04, it is empty; CSV-10, a letter is none of DNA's; CSV-20, words that do not overlap.
    """
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        text = " ".join(value)
    if not isinstance(text, str) or not text.strip():
        raise table_error("CSV-04", where, f"{column} is {shown(value)}", "a sequence", "leave the row out")
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


def check_columns(row: Row, wanted: Mapping[str, str], source: str) -> None:
    """See that a row has the columns that are wanted.

    Args:
        row: a row.
        wanted: columns by the keys that name them.
        source: its file or dataset.

    Raises:
        DataError: CSV-01, a column is not there; CSV-17, it is there twice.
    """
    for key, column in wanted.items():
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
            "set task.label to the column of labels. A table without one can neither train nor judge: "
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
                "remove the spaces, or write the k-mers anew",
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


@dataclass
class _Filling:
    """A table under way."""

    task: Task
    source: str
    reader: LabelReader
    notes: Notes
    prefix: str
    codes: bytearray = field(default_factory=bytearray)
    ends: array[int] = field(default_factory=lambda: array("q", [0]))
    labels: array[float] = field(default_factory=lambda: array("d"))
    lines: array[int] = field(default_factory=lambda: array("q"))
    names: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    num_labels: int | None = None  # of a row, where one column lists them
    wanted: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        labels = {f"{self.prefix}label": column for column in self.task.label_columns[:1]}
        labels |= {f"{self.prefix}label[{n}]": each for n, each in enumerate(self.task.label_columns) if n}
        names = {} if self.task.id is None else {f"{self.prefix}id": self.task.id}
        self.wanted = {f"{self.prefix}sequence": self.task.sequence, **labels, **names}

    def add(self, row: Row) -> None:
        where = f"{self.source}:{row.line}"
        check_columns(row, self.wanted, self.source)
        self._add_name(row, where)
        self._add_sequence(row.values[self.task.sequence], where)
        for column in self.task.label_columns:
            if self.task.kind == "multilabel" and len(self.task.label_columns) == 1:
                self.labels.extend(self._listed(row.values[column], column, where))
            elif self.task.kind == "segmentation":
                self.labels.extend(self._of_bases(row.values[column], column, where))
            else:
                self.labels.append(self.reader.read(row.values[column], column=column, where=where))
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
            names=np.array(self.names),
            lines=np.array(self.lines, dtype=np.int64),
            notes=tuple(sentences(self.notes, self.source)),
            per_base=task.kind == "segmentation",
        )

    def _of_bases(self, value: object, column: str, where: str) -> list[float]:
        """The class of each base, one letter or item each."""
        letters = value if isinstance(value, list) else list(str(value).strip())
        num_bases = self.ends[-1] - self.ends[-2]
        if len(letters) != num_bases:
            raise table_error(
                "CSV-16",
                where,
                f"{column} has {len(letters):,} labels for {num_bases:,} bases",
                "one letter a base",
                "correct the row, or choose another task.kind",
            )
        classes = {
            each: self.reader.read(each, column=column, where=where) for each in dict.fromkeys(letters)
        }
        return [classes[each] for each in letters]

    def _listed(self, value: object, column: str, where: str) -> list[float]:
        """The labels of a list, as many in every row."""
        values = self.reader.read_list(value, column=column, where=where)
        self.num_labels = self.num_labels or len(values)
        if len(values) != self.num_labels:
            found = f"{column} has {len(values):,} labels"
            expected = f"{self.num_labels:,}, as the first row has"
            raise table_error("CSV-16", where, found, expected, "write 0 or 1 for each label")
        return values

    def _add_name(self, row: Row, where: str) -> None:
        if self.task.id is None:
            self.names.append(str(len(self.lines)))
            return
        name = str(row.values[self.task.id])
        if name in self.seen:
            found = f"{shown(name)} is there already, on line {self.seen[name]}"
            fix = "give each row its own, or leave task.id out"
            raise table_error("CSV-06", where, found, "a name that no other row has", fix)
        self.seen[name] = row.line
        self.names.append(name)

    def _add_sequence(self, value: object, where: str) -> None:
        letters = read_letters(value, column=self.task.sequence, where=where, notes=self.notes)
        if self.task.length_bp not in (None, len(letters)):
            found, expected = f"{len(letters)} bases", f"task.length_bp={self.task.length_bp}"
            raise table_error(
                "CSV-09", where, found, expected, "correct the row, or leave task.length_bp out"
            )
        self.codes += letters.tobytes().translate(STORED_TABLE)
        self.ends.append(len(self.codes))
