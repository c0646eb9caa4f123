"""Labelled sequences: tables of any form, checked row by row, and what a step of fine-tuning sees of them.

The datamodule is `dnalm.data.labelled.module.SequenceData`, kept apart as that of genomes is.
"""

from dnalm.data.labelled.division import AnyTask, Division, NextKmer, divide
from dnalm.data.labelled.negatives import Negatives
from dnalm.data.labelled.peaks import PeakTables, PeakTask
from dnalm.data.labelled.samples import LabelledBatch, LongSequence, SequenceRecipe
from dnalm.data.labelled.table import METRICS, LabelledTable, MetricName, Part, TablePart, Task, TaskKind

__all__ = [
    "METRICS",
    "AnyTask",
    "Division",
    "LabelledBatch",
    "LabelledTable",
    "LongSequence",
    "MetricName",
    "Negatives",
    "NextKmer",
    "Part",
    "PeakTables",
    "PeakTask",
    "SequenceRecipe",
    "TablePart",
    "Task",
    "TaskKind",
    "divide",
]
