"""How a run begins: everything is validated before any of its processes trains, and by one of them.

Paths, the batch arithmetic, the genomes and their windows, the model, and the checkpoint to go on from:
what is wrong with one of these is said before the run directory is touched.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass

from lightning.pytorch.loggers import Logger

from dnalm.console import stdout
from dnalm.data import GenomeData
from dnalm.training.checkpoints import CheckpointFolder, RunLock
from dnalm.training.contract import contract_of
from dnalm.training.launch import launch
from dnalm.training.masked_lm import MaskedLMTraining
from dnalm.training.resume import Start, find_start
from dnalm.training.run_directory import RunDirectory
from dnalm.training.trainer import TrainerRecipe


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a run does, whoever does it.

    Attributes:
        command: the command that its processes are started with.
        config: the composed config.
        steps: optimizer steps.
        lay_out: prepares the genomes, divides them and lays out the windows.
        make_module: makes the training module as it is before the first step.
        logger: makes a further logger beside `metrics.csv`.
        resume: where it begins; see `resume`.
        allowed: fields of the contract that may have changed.
    """

    command: str
    config: dict[str, object]
    steps: int
    lay_out: Callable[[], GenomeData]
    make_module: Callable[[GenomeData], MaskedLMTraining]
    logger: Callable[..., Logger] | None
    resume: str
    allowed: Collection[str]


@dataclass(frozen=True)
class Beginning:
    """The first process's part of a run, before it trains or lets others train.

    Attributes:
        run: the run directory.
        recipe: how the run is computed.
        work: what it does.
        folder: its checkpoints.
    """

    run: RunDirectory
    recipe: TrainerRecipe
    work: Work
    folder: CheckpointFolder

    def validated(self) -> tuple[GenomeData, MaskedLMTraining]:
        """The genomes laid out and the module as it is before the first step; nothing is written for the run.

        Raises:
            ConfigError, DataError: the run cannot begin.
        """
        self.run.claim(goes_on=self.work.resume != "never")
        data = self.work.lay_out()
        return data, self.work.make_module(data)

    def begin(self, data: GenomeData) -> Start:
        """Choose where to begin, and make the run directory, whose lock is held; say both.

        Raises:
            ConfigError, CheckpointError: there is no such place.
        """
        self.folder.remove_leftovers()
        start = find_start(
            self.run,
            self.folder,
            self.work.resume,
            steps=self.work.steps,
            contract=contract_of(data),
            allowed=self.work.allowed,
        )
        if self.is_complete(start):
            sentence = (
                f"is complete: {self.work.steps:,} steps. Extend it by a larger steps=…, or start it anew by "
                "run.replace=true or under another run.name"
            )
        else:
            self.run.create(self.work.config)
            sentence = start.sentence
        stdout.print(f"run {self.run.path} {sentence}", markup=False)
        return start

    def is_complete(self, start: Start) -> bool:
        """Whether nothing is left to do."""
        summary = self.run.read_summary()
        done = summary is not None and start.step == self.work.steps == summary.get("steps")
        return self.work.resume == "auto" and done

    def begin_for_others(self) -> str:
        """Begin a run whose processes something else has started; the checkpoint to start from, or nothing.

        The run directory is locked for as long as this process lives.
        """
        data, _ = self.validated()
        RunLock(self.run.path).__enter__()
        return str(self.begin(data).checkpoint or "")

    def launch(self, start: Start) -> None:
        """Start the processes, and end with their exit code if they were told to stop.

        Raises:
            RankFailed: one has failed.
        """
        words = [sys.executable, "-m", "dnalm", self.work.command]
        words += ["--config", str(self.run.path / "config.yaml")]
        world = self.recipe.world_size
        if code := launch(words, num_ranks=world, folder=self.run.ranks, start=start.checkpoint):
            sys.exit(code)
