"""The LightningModules, optimizers, schedules, callbacks and the trainer."""

from dnalm.training.informed import inform_embeddings
from dnalm.training.masked_lm import MaskedLMTraining
from dnalm.training.model_directory import write_model_directory
from dnalm.training.multi_objective import MultiObjectiveTraining
from dnalm.training.quiet import quiet_frameworks
from dnalm.training.run_directory import RunDirectory
from dnalm.training.schedules import InverseSquareRoot, LinearWarmupDecay, Schedule
from dnalm.training.throughput import Throughput, peak_memory_bytes
from dnalm.training.trainer import build_trainer

__all__ = [
    "InverseSquareRoot",
    "LinearWarmupDecay",
    "MaskedLMTraining",
    "MultiObjectiveTraining",
    "RunDirectory",
    "Schedule",
    "Throughput",
    "build_trainer",
    "inform_embeddings",
    "peak_memory_bytes",
    "quiet_frameworks",
    "write_model_directory",
]
