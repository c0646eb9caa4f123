"""What is examined: the parts of a composed run, and what checks leave for later ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from dnalm.data import BatchPlan
from dnalm.evaluation.doctor.examination import Finding, Untried
from dnalm.training.run import Run
from dnalm.training.run_directory import RunDirectory
from dnalm.training.trainer import TrainerRecipe

TrialRun = TypeVar("TrialRun", bound=Run[Any, Any])


@dataclass(frozen=True, kw_only=True)
class Size:
    """Parameters of a model, and those of them that train."""

    parameters: int
    trained: int


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What the first steps have shown.

    Attributes:
        step_s: seconds of a whole optimizer step, if the run's processes lose nothing to each other.
        save_s: seconds of a checkpoint.
    """

    step_s: float
    save_s: float


@dataclass(kw_only=True)
class Subject(Generic[TrialRun]):
    """A run that has not begun.

    Attributes:
        config: composed, with the target of the run's own command.
        make: makes the run that is tried from its parts.
        folder: a temporary folder, which the examination removes.
        parts: components and values by key, those that were accepted; see `part`.
        size: of the model, once it is known.
        sample_bytes: of a sample as a loader worker sends it, once one was drawn.
        trial: the run as one process in the temporary folder, once it is made.
        speed: once steps were taken.
        obstacle: why no step is to be taken, such as too little memory.
    """

    config: Mapping[str, Any]
    make: Callable[..., TrialRun]
    folder: Path
    parts: dict[str, Any] = field(default_factory=dict)
    size: Size | None = None
    sample_bytes: int | None = None
    trial: TrialRun | None = None
    speed: Speed | None = None
    obstacle: str = ""

    def part(self, name: str) -> Any:  # noqa: ANN401 -- of many kinds
        """A component or value.

        Raises:
            Untried: it was not accepted.
        """
        if name not in self.parts:
            raise Untried(f"{name} was not accepted above")
        return self.parts[name]

    @property
    def trainer(self) -> TrainerRecipe:
        """How the run is to be computed."""
        trainer: TrainerRecipe = self.part("trainer")
        return trainer

    @property
    def batch(self) -> BatchPlan:
        """Its batch arithmetic."""
        batch: BatchPlan = self.part("batch")
        return batch

    @property
    def run_folder(self) -> Path:
        """Where the run is to go, or the nearest folder above it that is there."""
        run: RunDirectory = self.part("run")
        path = run.path.absolute()
        return next(each for each in (path, *path.parents) if each.is_dir())

    def hindered_by(self, finding: Finding, obstacle: str) -> Finding:
        """A finding, after which no step is taken if it is a FAIL."""
        if finding.level == "FAIL":
            self.obstacle = obstacle
        return finding

    def make_trial(self, tokenizer: object = None) -> TrialRun:
        """The run as one of its processes alone would compute it, in the temporary folder.

        Args:
            tokenizer: one that was learned, in place of the recipe among the parts.

        Raises:
            Untried: a part was not accepted.
            ConfigError, DataError: the parts do not fit together.
        """
        trainer, batch = self.trainer, self.batch
        share = replace(batch, global_size=batch.of_rank(trainer.world_size))
        alone = replace(trainer, devices=1, num_nodes=1, cluster="local", not_finite="raise", loss_spike=None)
        own: dict[str, Any] = {
            "trainer": alone,
            "batch": share,
            "run": RunDirectory(name="trial", dir=self.folder / "trial"),
        }
        own |= {"config": dict(self.config), "logger": None}
        own |= {} if tokenizer is None else {"tokenizer": tokenizer}
        self.trial = self.make(**{**self.parts, **own})
        return self.trial
