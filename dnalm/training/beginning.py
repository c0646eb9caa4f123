"""How a run begins: everything is validated before any of its processes trains, and by one of them.

Paths, the batch arithmetic, the genomes and their windows, the model, and the checkpoint to go on from:
what is wrong with one of these is said before the run directory is touched.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar

from lightning.pytorch import LightningDataModule
from lightning.pytorch.loggers import Logger
from torch import Tensor

from dnalm.console import stdout
from dnalm.errors import ConfigError, NumericsError
from dnalm.grants import program
from dnalm.training.checkpoints import CheckpointFolder
from dnalm.training.contract import Contract
from dnalm.training.launch import launch
from dnalm.training.resume import Start, find_start
from dnalm.training.run_directory import RunDirectory, RunLock
from dnalm.training.step_training import StepTraining
from dnalm.training.trainer import TrainerRecipe

Data = TypeVar("Data", bound=LightningDataModule)
Module = TypeVar("Module", bound=StepTraining)
Given = TypeVar("Given", contravariant=True)
Trained = TypeVar("Trained", contravariant=True)


class WriteModel(Protocol[Trained, Given]):
    """Writes a model directory."""

    def __call__(
        self,
        folder: Path,
        module: Trained,
        data: Given,
        *,
        weights: Mapping[str, Tensor] | None,
        heads: Mapping[str, Mapping[str, Tensor]],
        steps: int,
    ) -> None:
        """Write it.

        Args:
            folder: where.
            module: what trains, which may hold but shards of its weights.
            data: what it trains on.
            weights: all of the network; None while they lie in checkpoints, and what describes it is written.
            heads: weights of what lies beside the network, by name.
            steps: optimizer steps it was trained for.
        """


def diverged(run: RunDirectory, summary: Mapping[str, object], config: Mapping[str, object]) -> NumericsError:
    """NUM-02, of a run that has come to its end.

    Args:
        run: the run directory.
        summary: its figures, with those of `LossHistory.summary`.
        config: of the run.
    """
    return NumericsError(
        "NUM-02",
        where=str(run.path),
        found=f"the run diverged: its training loss began at {summary['first_train_loss']:.4g} and ended at "
        f"{summary['end_train_loss']:.4g}",
        expected="a loss that ends below its start",
        fix=f"try {lower_rate(config)} {run.another}, or a longer schedule.warmup_steps",
    )


def lower_rate(config: Mapping[str, object]) -> str:
    """A tenth of the learning rate of a config, as a word of the command line."""
    optim = config.get("optim")
    rate = optim.get("lr") if isinstance(optim, Mapping) else None
    return f"optim.lr={rate / 10:g}" if isinstance(rate, int | float) else "optim.lr ten times lower"


@dataclass(frozen=True, kw_only=True)
class Work(Generic[Data, Module]):
    """What a run does, whoever does it.

    Attributes:
        command: the command that its processes are started with.
        config: the composed config.
        steps: optimizer steps.
        lay_out: prepares the data and lays them out.
        make_module: makes the training module as it is before the first step.
        contract: what must not change when the run goes on.
        write_model: writes the model directory.
        logger: makes a further logger beside `metrics.csv`.
        resume: where it begins; see `resume`.
        allowed: fields of the contract that may have changed.
        best_metric: the figure of a validation by which checkpoints are compared.
        best_mode: whether the lowest or the highest is best.
    """

    command: str
    config: dict[str, object]
    steps: int
    lay_out: Callable[[], Data]
    make_module: Callable[[Data], Module]
    contract: Callable[[Data], Contract]
    write_model: WriteModel[Module, Data]
    logger: Callable[..., Logger] | None
    resume: str
    allowed: Collection[str]
    best_metric: str = "val_bits_per_base"
    best_mode: Literal["min", "max"] = "min"


@dataclass(frozen=True)
class Beginning(Generic[Data, Module]):
    """The first process's part of a run, before it trains or lets others train.

    Attributes:
        run: the run directory.
        recipe: how the run is computed.
        work: what it does.
        folder: its checkpoints.
    """

    run: RunDirectory
    recipe: TrainerRecipe
    work: Work[Data, Module]
    folder: CheckpointFolder

    def validated(self) -> tuple[Data, Module]:
        """The data laid out and the module as it is before the first step; nothing is written for the run.

        Raises:
            ConfigError, DataError: the run cannot begin.
        """
        self.run.claim(self.work.config, resumable=self.work.resume != "never")
        data = self.work.lay_out()
        return data, self.work.make_module(data)

    def begin(self, data: Data) -> Start:
        """Choose where to begin, and make the run directory, whose lock is held; say both.

        Raises:
            ConfigError, CheckpointError: there is no such place.
        """
        self.run.claim(self.work.config, resumable=self.work.resume != "never")  # another may have come first
        is_new, resume = self.run.replace or not self.run.begun, self.work.resume
        if not is_new:
            self.folder.remove_leftovers()
        start = find_start(
            self.run,
            self.folder,
            "never" if is_new and resume == "auto" else resume,
            steps=self.work.steps,
            contract=self.work.contract(data),
            allowed=self.work.allowed,
        )
        if self.run.replace and start.checkpoint and start.checkpoint.is_relative_to(self.run.path):
            raise _resumes_what_moves(start.checkpoint, self.run.key)
        if not is_new and self.is_complete(start):
            sentence = (
                f"is complete: {self.work.steps:,} steps. Extend it by a larger steps=…, or start it anew by "
                "run.replace=true or under another {self.run.key}"
            )
        else:
            self.run.create(self.work.config)
            sentence = start.sentence
        stdout.print(f"computing on {self.recipe.place}")
        stdout.print(f"run {self.run.path} {sentence}")
        return start

    def is_complete(self, start: Start) -> bool:
        """Whether nothing is left to do."""
        summary = self.run.read_summary()
        if summary is None or self.work.resume != "auto":
            return False
        asked = summary.get("steps")
        return asked == self.work.steps and start.step == summary.get("steps_done", asked)

    def check_divergence(self) -> None:
        """Of a run that is complete: its end stays what it was.

        Raises:
            NumericsError: NUM-02.
        """
        summary = self.run.read_summary() or {}
        if summary.get("diverged"):
            raise diverged(self.run, summary, self.work.config)

    def begin_for_others(self) -> str:
        """Begin a run whose processes something else has started; the checkpoint to start from, or nothing.

        The run directory is locked for as long as this process lives.
        """
        data, _ = self.validated()
        lock = RunLock(self.run.path).__enter__()
        try:
            with self.run.undone_if_refused(lock):
                return str(self.begin(data).checkpoint or "")
        except BaseException:
            lock.__exit__()
            raise

    def launch(self, start: Start, lock: RunLock) -> None:
        """Start the processes, and end with their exit code if they were told to stop.

        Raises:
            RankFailed: one has failed.
        """
        words = [*program(self.work.command), "--config", str(self.run.path / "config.yaml")]
        world = self.recipe.world_size
        held, first = (lock.descriptor,), start.checkpoint
        if code := launch(words, num_ranks=world, folder=self.run.ranks, start=first, held=held):
            sys.exit(code)


def _resumes_what_moves(checkpoint: Path, key: str) -> ConfigError:
    return ConfigError(
        "CFG-23",
        where="resume",
        found=f"{checkpoint}, in the run that run.replace=true moves away",
        expected="a checkpoint of another run",
        fix=f"leave run.replace out, or choose another {key}",
    )
