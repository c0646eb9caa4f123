"""Labelled sequences: tables of any form, checked row by row, and what a step of fine-tuning sees of them."""

from dnalm.data.labelled.batch import LabelledBatch
from dnalm.data.labelled.division import Division, divide
from dnalm.data.labelled.module import SequenceData
from dnalm.data.labelled.pieces import SequenceRecipe
from dnalm.data.labelled.table import LabelledTable, TablePart
from dnalm.data.labelled.task import METRICS, MetricName, Part, Task, TaskKind

__all__ = [
    "METRICS",
    "Division",
    "LabelledBatch",
    "LabelledTable",
    "MetricName",
    "Part",
    "SequenceData",
    "SequenceRecipe",
    "TablePart",
    "Task",
    "TaskKind",
    "divide",
]
