"""What a training module is given beside its network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch.optim import Optimizer

from dnalm.training.guard import StepGuard
from dnalm.training.parallelize import Parallel
from dnalm.training.schedules import Schedule


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """How any run takes its steps.

    Args:
        optimizer: makes the optimizer from parameter groups, all else filled in.
        schedule: factor of the learning rate by optimizer step.
        seed: the run's seed, which keys dropout.
        global_batch: samples of an optimizer step.
        guard: what the ranks decide together.
        parallel: how the model is made to fit.
        exact: sum gradients in an order that does not depend on the number of processes.
    """

    optimizer: Callable[..., Optimizer]
    schedule: Schedule
    seed: int
    global_batch: int
    guard: StepGuard = field(default_factory=StepGuard)
    parallel: Parallel = field(default_factory=Parallel)
    exact: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainingPlan(StepPlan):
    """What masked language modelling is given beside its network.

    Args:
        token_bases: (V, K) bases that each id spells, for bits per base.
        overlap: neighbouring tokens that share a base; 1 where tokens tile the sequence.
        species: names of the genomes that judge, if each is to be logged.
        species_of: (W,) which of them each validation sample is of.
    """

    token_bases: npt.NDArray[np.uint8]
    overlap: int
    species: Sequence[str] = ()
    species_of: npt.NDArray[np.int64] | None = None
