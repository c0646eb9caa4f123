"""The LightningModules, optimizers, schedules, callbacks and the trainer."""

from dnalm.training.informed import inform_embeddings
from dnalm.training.ledger import Ledger
from dnalm.training.masked_lm import HiddenBits, MaskedLMTraining
from dnalm.training.metrics_file import MetricsFile
from dnalm.training.model_directory import write_model_directory
from dnalm.training.multi_objective import MultiObjectiveTraining
from dnalm.training.plan import TrainingPlan
from dnalm.training.quiet import quiet_frameworks
from dnalm.training.run_directory import RunDirectory
from dnalm.training.schedules import InverseSquareRoot, LinearWarmupDecay, Schedule
from dnalm.training.throughput import Throughput, peak_memory_bytes
from dnalm.training.trainer import TrainerRecipe
from dnalm.training.tuning import Tuning

__all__ = [
    "HiddenBits",
    "InverseSquareRoot",
    "Ledger",
    "LinearWarmupDecay",
    "MaskedLMTraining",
    "MetricsFile",
    "MultiObjectiveTraining",
    "RunDirectory",
    "Schedule",
    "Throughput",
    "TrainerRecipe",
    "TrainingPlan",
    "Tuning",
    "inform_embeddings",
    "peak_memory_bytes",
    "quiet_frameworks",
    "write_model_directory",
]
