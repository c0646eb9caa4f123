"""Benchmarks: lists of tasks and of variant sets, their data, and tables of what models reach on them."""

from dnalm.evaluation.benchmark.benchmark import Benchmark, Columns
from dnalm.evaluation.benchmark.variant_sets import VariantSuite

__all__ = ["Benchmark", "Columns", "VariantSuite"]
