"""Labelled sequences: tables of any form, checked row by row, and what a step of fine-tuning sees of them.

The datamodule is `dnalm.data.labelled.module.SequenceData`, kept apart as that of genomes is.
"""

from dnalm.data.labelled.batch import LabelledBatch
from dnalm.data.labelled.division import AnyTask, Division, divide
from dnalm.data.labelled.next_kmer import NextKmer
from dnalm.data.labelled.pieces import SequenceRecipe
from dnalm.data.labelled.table import LabelledTable, TablePart
from dnalm.data.labelled.task import METRICS, MetricName, Part, Task, TaskKind

__all__ = [
    "METRICS",
    "AnyTask",
    "Division",
    "LabelledBatch",
    "LabelledTable",
    "MetricName",
    "NextKmer",
    "Part",
    "SequenceRecipe",
    "TablePart",
    "Task",
    "TaskKind",
    "divide",
]
