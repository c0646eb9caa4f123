"""What is written in a column of labels, as numbers, or an error that says what is wrong with it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from dnalm.data.labelled.files import table_error
from dnalm.data.labelled.task import Task
from dnalm.errors import DataError, listed, shown

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

    def read(self, value: object, *, column: str, where: str) -> float:
        """A class as its number, a label as 0 or 1, a value.

        Args:
            value: the field.
            column: its name.
            where: file and line.

        Raises:
            DataError: CSV-03, 05, 12.
        """
        text = _plain(value)
        if text is None or text == "":
            raise _empty(column, where, "empty")
        if self.task.classes:
            name = next((each for each in _spellings(text) if each in self.task.classes), None)
            if name is None:
                raise self._not_a_label(text, column, where)
            return self.task.classes.index(name)
        number = self._number(text, column, where)
        if not math.isfinite(number) or (self.task.kind == "regression" and abs(number) > _LARGEST):
            raise _empty(column, where, str(text))
        if self.task.kind != "regression":
            self._check_class(number, column, where)
        return number

    def read_list(self, value: object, *, column: str, where: str) -> list[float]:
        """The labels of one field: a list, or a text as `[0, 1, 0]`, `0;1;0` or `0 1 0`.

        Raises:
            DataError: CSV-03, 05, 12, as `read`.
        """
        value = _plain(value)
        if isinstance(value, str):
            value = [each for each in _BETWEEN_LABELS.split(value.strip("[]() ")) if each]
        values = value if isinstance(value, list) else [value]
        if not values:
            raise _empty(column, where, "empty")
        return [self.read(each, column=column, where=where) for each in values]

    def _number(self, value: object, column: str, where: str) -> float:
        if self.task.kind in ("binary", "multilabel") and isinstance(value, str):
            truth = _BOOLEANS.get(value.lower())
            if truth is not None:
                return truth
        try:
            if isinstance(value, str) and "_" in value:  # which Python reads as 1_000
                raise ValueError
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            raise self._not_a_label(value, column, where) from None

    def _check_class(self, number: float, column: str, where: str) -> None:
        if number != int(number):
            raise self._not_a_label(number, column, where)
        if number < 0 or number >= (self.num_classes or MOST_CLASSES):
            raise self._no_class(number, column, where)

    def _no_class(self, number: float, column: str, where: str) -> DataError:
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
        return table_error("CSV-12", where, f"{column} is {text}", limit, fix)

    def _not_a_label(self, text: object, column: str, where: str) -> DataError:
        kind = self.task.kind
        expected = {"regression": "a number", "multilabel": "0 or 1"}.get(kind, "the number of a class")
        fix = "correct it, or name the classes in their order: task.classes=[first,second]"
        if kind == "regression":
            has_comma = isinstance(text, str) and re.fullmatch(r"[+-]?\d+,\d+", text)
            fix = (
                "write decimals with a point, such as 0.5"
                if has_comma
                else "correct it, or leave the row out"
            )
        elif kind == "multilabel":
            fix = _EACH_LABEL
        elif isinstance(text, list):
            fix = "set task.kind=multilabel, in which a list holds 0 or 1 for each label"
        elif isinstance(text, float) and text != int(text):
            fix = "correct it, or set task.kind=regression"
        if self.task.classes:
            expected, fix = f"one of {listed(self.task.classes)}", "correct it, or add it to task.classes"
        return table_error("CSV-03", where, f"{column} is {shown(text)}", expected, fix)


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


def _empty(column: str, where: str, text: str) -> DataError:
    fix = "leave the row out, or fill it in"
    return table_error(
        "CSV-05",
        where,
        f"{column} is {text}",
        "a label in every row, finite in single precision if a number",
        fix,
    )
