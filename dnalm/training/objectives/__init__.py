"""What a model may be asked to learn, alone or together."""

from dnalm.training.objectives.chromatin_state import ChromatinState
from dnalm.training.objectives.conservation import Conservation
from dnalm.training.objectives.goals import Goals
from dnalm.training.objectives.leakage import check_sources
from dnalm.training.objectives.masked_tokens import MaskedTokens
from dnalm.training.objectives.region_class import RegionClass
from dnalm.training.objectives.task import Scores, TrackObjective, TrackTask
from dnalm.training.objectives.tasks import make_tasks
from dnalm.training.objectives.weighting import LossWeights, WeightingName

__all__ = [
    "ChromatinState",
    "Conservation",
    "Goals",
    "LossWeights",
    "MaskedTokens",
    "RegionClass",
    "Scores",
    "TrackObjective",
    "TrackTask",
    "WeightingName",
    "check_sources",
    "make_tasks",
]
