"""Benchmarks: lists of tasks, their data, and tables of what models reach on them."""

from dnalm.evaluation.benchmark.benchmark import (
    ANY_FAMILY,
    PARTS,
    Benchmark,
    Columns,
    ListedTask,
    PreparedTask,
    read_recipes,
    read_tasks,
)
from dnalm.evaluation.benchmark.report import (
    Comparison,
    Leaderboard,
    Outcome,
    Published,
    read_outcome,
    read_published,
    write_report,
)

__all__ = [
    "ANY_FAMILY",
    "PARTS",
    "Benchmark",
    "Columns",
    "Comparison",
    "Leaderboard",
    "ListedTask",
    "Outcome",
    "PreparedTask",
    "Published",
    "read_outcome",
    "read_published",
    "read_recipes",
    "read_tasks",
    "write_report",
]
