"""What is written in a column of labels, as numbers, or an error that says what is wrong with it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dnalm.data.labelled.rows import table_error
from dnalm.data.labelled.task import Task
from dnalm.errors import DataError


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
        text = value.strip() if isinstance(value, str) else value
        if self.task.classes:
            if text in self.task.classes:
                return self.task.classes.index(str(text))
            raise self._not_a_label(text, column, where)
        try:
            number = float(text)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise self._not_a_label(text, column, where) from None
        if not math.isfinite(number):
            fix = "leave the row out, or fill it in"
            raise table_error("CSV-05", where, f"{column} is {text}", "a finite number", fix)
        if self.task.kind != "regression":
            self._check_class(number, column, where)
        return number

    def _check_class(self, number: float, column: str, where: str) -> None:
        if number != int(number):
            raise self._not_a_label(number, column, where)
        if number < 0 or (self.num_classes is not None and number >= self.num_classes):
            limit = f"0 to {self.num_classes - 1}" if self.num_classes else "0 or more"
            fix = "correct the label; task.num_classes=… or task.classes=[…] say how many there are"
            raise table_error("CSV-12", where, f"{column} is {int(number)}", f"a class from {limit}", fix)

    def _not_a_label(self, text: object, column: str, where: str) -> DataError:
        expected = {
            "regression": "a number",
            "multilabel": "0 or 1",
        }.get(self.task.kind, "the number of a class")
        fix = "correct it, or name the classes: task.classes=[first,second]"
        if self.task.classes:
            expected, fix = f"one of {', '.join(self.task.classes)}", "correct it, or add it to task.classes"
        return table_error("CSV-03", where, f"{column} is {text!r}", expected, fix)
