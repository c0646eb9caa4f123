"""Judging a trained model: baselines, statistics and reports; and what a run will cost."""
