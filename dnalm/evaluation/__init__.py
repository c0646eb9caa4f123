"""Judging a trained model: baselines, statistics and reports."""

from dnalm.evaluation.baselines import CountModels, Judgement, count, judge
from dnalm.evaluation.plots import plot_training
from dnalm.evaluation.statistics import PairedDifference, paired_difference

__all__ = [
    "CountModels",
    "Judgement",
    "PairedDifference",
    "count",
    "judge",
    "paired_difference",
    "plot_training",
]
