"""From the rows of a file to a table of arrays; every row is judged as it streams by."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from dnalm.data.labelled.labels import LabelReader
from dnalm.data.labelled.rows import Row, read_rows, table_error
from dnalm.data.labelled.table import LabelledTable, Labels
from dnalm.data.labelled.task import Part, Task
from dnalm.genome.alphabet import AMBIGUOUS, FIRST_AMBIGUOUS, ILLEGAL, LETTER_TABLE, STORED_TABLE, Codes


def read_table(task: Task, part: Part, *, source: str, num_classes: int | None) -> LabelledTable:
    """Read one table of a task.

    Args:
        task: its columns and what they mean.
        part: which of its tables.
        source: the file or dataset.
        num_classes: of a task of classes, where it is known.

    Raises:
        DataError: CSV-01 to 12, CSV-16, DSET-01.
    """
    filling = _Filling(task, source, LabelReader(task, num_classes))
    for row in read_rows(source, part=part, delimiter=task.delimiter):
        filling.add(row)
    if not filling.lines:
        raise table_error(
            "CSV-04", source, "no rows", "a labelled sequence on each line", f"fill task.{part}"
        )
    return filling.table()


def read_letters(value: object, *, column: str, where: str) -> Codes:
    """The letters of a cell as `alphabet.LETTER_TABLE` has them, ambiguous ones kept apart, (L,) uint8.

    Raises:
        DataError: CSV-04, it is empty; CSV-10, a letter is none of DNA's.
    """
    if not isinstance(value, str) or not value.strip():
        raise table_error("CSV-04", where, f"{column} is {value!r}", "a sequence", "leave the row out")
    text = value.strip()
    letters = np.frombuffer(text.encode("utf-8").translate(LETTER_TABLE), dtype=np.uint8)
    if (illegal := np.flatnonzero(letters == ILLEGAL)).size:
        place = len(text.encode("utf-8")[: illegal[0]].decode("utf-8", "ignore"))
        raise table_error(
            "CSV-10",
            where,
            f"{text[place]!r} at position {place + 1} of {column}",
            f"bases A, C, G, T, N and the ambiguous {AMBIGUOUS}",
            "correct the sequence; RNA is written with T",
        )
    return letters


def read_codes(value: object, *, column: str, where: str) -> Codes:
    """The sequence of a cell, ambiguous letters read as N; raises as `read_letters`."""
    letters = read_letters(value, column=column, where=where)
    return np.frombuffer(letters.tobytes().translate(STORED_TABLE), dtype=np.uint8)


@dataclass
class _Filling:
    """A table under way."""

    task: Task
    source: str
    reader: LabelReader
    codes: bytearray = field(default_factory=bytearray)
    ends: array[int] = field(default_factory=lambda: array("q", [0]))
    labels: array[float] = field(default_factory=lambda: array("d"))
    lines: array[int] = field(default_factory=lambda: array("q"))
    names: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    num_ambiguous: int = 0

    def add(self, row: Row) -> None:
        where = f"{self.source}:{row.line}"
        self._check_columns(row, where)
        self._add_name(row, where)
        self._add_sequence(row.values[self.task.sequence], where)
        for column in self.task.label_columns:
            if self.task.kind == "segmentation":
                self.labels.extend(self._of_bases(row.values[column], column, where))
            else:
                self.labels.append(self.reader.read(row.values[column], column=column, where=where))
        self.lines.append(row.line)

    def table(self) -> LabelledTable:
        task, columns = self.task, len(self.task.label_columns)
        values = np.frombuffer(self.labels, dtype=np.float64)
        labels: Labels = values.astype(np.float32) if task.kind == "regression" else values.astype(np.int64)
        return LabelledTable(
            source=self.source,
            codes=np.frombuffer(bytes(self.codes), dtype=np.uint8),
            offsets=np.array(self.ends, dtype=np.int64),
            labels=labels.reshape(-1, columns) if task.kind == "multilabel" else labels,
            names=np.array(self.names),
            lines=np.array(self.lines, dtype=np.int64),
            num_ambiguous=self.num_ambiguous,
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

    def _check_columns(self, row: Row, where: str) -> None:
        for column in self._columns():
            if column not in row.values:
                raise table_error(
                    "CSV-01",
                    where,
                    f"no column {column!r}; there are {', '.join(map(str, row.values)) or 'none'}",
                    "the columns of sequences and labels",
                    "set task.sequence, task.label or task.id to a column that is there",
                )

    def _columns(self) -> Iterator[str]:
        yield self.task.sequence
        yield from self.task.label_columns
        if self.task.id is not None:
            yield self.task.id

    def _add_name(self, row: Row, where: str) -> None:
        if self.task.id is None:
            self.names.append(str(len(self.lines)))
            return
        name = str(row.values[self.task.id])
        if name in self.seen:
            found = f"{name!r} is there already, on line {self.seen[name]}"
            fix = "give each row its own, or leave task.id out"
            raise table_error("CSV-06", where, found, "a name that no other row has", fix)
        self.seen[name] = row.line
        self.names.append(name)

    def _add_sequence(self, value: object, where: str) -> None:
        letters = read_letters(value, column=self.task.sequence, where=where)
        if self.task.length_bp not in (None, len(letters)):
            found, expected = f"{len(letters)} bases", f"task.length_bp={self.task.length_bp}"
            raise table_error(
                "CSV-09", where, found, expected, "correct the row, or leave task.length_bp out"
            )
        self.num_ambiguous += int((letters >= FIRST_AMBIGUOUS).sum())
        self.codes += letters.tobytes().translate(STORED_TABLE)
        self.ends.append(len(self.codes))
