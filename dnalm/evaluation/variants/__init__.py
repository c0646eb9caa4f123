"""What a variant does, as a model sees it: scores of both alleles, over whole files."""

from dnalm.evaluation.variants.plan import ScoreName, ScoringPlan
from dnalm.evaluation.variants.scorer import Scorer

__all__ = ["ScoreName", "Scorer", "ScoringPlan"]
