"""What a variant does, as a model sees it: scores of both alleles, over whole files."""

from dnalm.evaluation.variants.scoring import ScoreName, Scorer, ScoringPlan

__all__ = ["ScoreName", "Scorer", "ScoringPlan"]
