"""Benchmarks: lists of tasks, their data, and tables of what models reach on them."""

from dnalm.evaluation.benchmark.benchmark import Benchmark, Columns

__all__ = ["Benchmark", "Columns"]
