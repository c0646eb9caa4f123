"""The LightningModules, optimizers, schedules, callbacks and the trainer."""

from dnalm.training.callbacks import Ledger, MetricsFile, Throughput, peak_memory_bytes
from dnalm.training.finetuning import Tuning
from dnalm.training.model_directory import write_model_directory
from dnalm.training.optim import (
    InverseSquareRoot,
    LinearWarmupDecay,
    Schedule,
    WarmupCosine,
    WarmupStableDecay,
)
from dnalm.training.pretraining import (
    HiddenBits,
    MaskedLMTraining,
    MultiObjectiveTraining,
    TrainingPlan,
)
from dnalm.training.run_directory import RunDirectory
from dnalm.training.trainer import TrainerRecipe

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
    "WarmupCosine",
    "WarmupStableDecay",
    "peak_memory_bytes",
    "write_model_directory",
]
