"""Benchmarks: lists of tasks, their data, and tables of what models reach on them."""

from dnalm.evaluation.benchmark.benchmark import SPLITS, Benchmark, PreparedTask
from dnalm.evaluation.benchmark.labelled import Columns, Labelled
from dnalm.evaluation.benchmark.task_list import Recipe, Task, read_recipes

__all__ = ["SPLITS", "Benchmark", "Columns", "Labelled", "PreparedTask", "Recipe", "Task", "read_recipes"]
