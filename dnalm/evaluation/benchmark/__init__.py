"""Benchmarks: lists of tasks, their data, and tables of what models reach on them."""

from dnalm.evaluation.benchmark.benchmark import Benchmark
from dnalm.evaluation.benchmark.outcomes import Outcome, read_outcome
from dnalm.evaluation.benchmark.prepared import PARTS, Columns, PreparedTask
from dnalm.evaluation.benchmark.published import Published, read_published
from dnalm.evaluation.benchmark.report import write_report
from dnalm.evaluation.benchmark.standing import Judge, Standing
from dnalm.evaluation.benchmark.task_list import ANY_FAMILY, ListedTask, read_recipes, read_tasks

__all__ = [
    "ANY_FAMILY",
    "PARTS",
    "Benchmark",
    "Columns",
    "Judge",
    "ListedTask",
    "Outcome",
    "PreparedTask",
    "Published",
    "Standing",
    "read_outcome",
    "read_published",
    "read_recipes",
    "read_tasks",
    "write_report",
]
