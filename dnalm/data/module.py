"""Datamodules: a genome on disk to packed, masked micro-batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from pydantic import NonNegativeInt, PositiveInt
from torch.utils.data import DataLoader

from dnalm.data.batch import Batch, Sample, collate
from dnalm.data.batching import BatchPlan, StepBatches, validation_batches
from dnalm.data.masking import Masking
from dnalm.data.order import Integers
from dnalm.data.samples import TrainingSamples, ValidationSamples
from dnalm.data.splits import Division, Split, SplitByContig
from dnalm.data.windows import TrainingWindows, WindowRecipe, validation_windows
from dnalm.errors import DataError
from dnalm.genome.building import open_or_build
from dnalm.genome.clade import Clade, find_or_simulate
from dnalm.genome.intervals import subtract
from dnalm.genome.sources import check_source
from dnalm.genome.store import GenomeStore
from dnalm.paths import InputPath
from dnalm.tokenizers import Tokenizer

_WORKER_TIMEOUT_S = 300  # a worker that is stuck for longer is reported rather than waited for


class GenomeData(LightningDataModule):
    """Windows of one genome, which is either given or simulated.

    Args:
        tokenizer: bases to ids.
        windows: how long windows are and where they come from.
        masking: what is hidden.
        batch: the batch arithmetic.
        seed: the run's seed.
        fasta: the genome: FASTA (plain, gzip, bgzip), UCSC 2bit, or a built store.
        clade: without `fasta`, the clade to simulate on first use.
        species: of a simulated clade, the genome to read; the first if absent.
        split: which part judges the model.
        validation_windows: how many full-length windows to judge it on, at most.
        cache: folder for built stores; the user's cache if absent.
        num_workers: loader processes per rank; 0 loads in the training process.
    """

    def __init__(
        self,
        *,
        tokenizer: Tokenizer,
        windows: WindowRecipe,
        masking: Masking,
        batch: BatchPlan,
        seed: int,
        fasta: InputPath | None = None,
        clade: Clade | None = None,
        species: str | None = None,
        split: Split | None = None,
        validation_windows: PositiveInt = 2000,
        cache: Path | None = None,
        num_workers: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        if (fasta is None) == (clade is None):
            given = "neither" if fasta is None else "both"
            raise ValueError(
                f"of fasta and clade {given} is given; a run reads data=fasta data.fasta=… or data=demo"
            )
        if fasta is not None:
            check_source(fasta)
        if clade is not None and species is not None and species not in clade.species:
            raise ValueError(f"species is {species}; the clade has {', '.join(clade.species)}")
        self.fasta, self.clade, self.species = fasta, clade, species
        self.cache, self.split = cache, split or SplitByContig()
        self.tokenizer, self.windows, self.masking = tokenizer, windows, masking
        self.batch, self.seed = batch, seed
        self.validation_windows, self.num_workers = validation_windows, num_workers

    def prepare_data(self) -> None:
        """Build the store if it is not there, in one process of each node."""
        self.open_store()

    def open_store(self) -> GenomeStore:
        """The genome's store, simulated and built on first use."""
        return open_or_build(self.source(), self.cache)

    def source(self) -> Path:
        """The genome's file, simulated on first use."""
        if self.clade is not None:
            species = self.species or self.clade.species[0]
            return find_or_simulate(self.clade, self.cache) / f"{species}.fa"
        assert self.fasta is not None, "the constructor wants one of both"
        return self.fasta

    def setup(self, stage: str) -> None:  # noqa: ARG002 -- Lightning passes it by name
        """Divide the genome and lay out the windows.

        Raises:
            DataError: no stretch of the genome is long enough for a window.
        """
        self.store = self.open_store()
        self.division = self.split.divide(self.store)
        longest = self.tokenizer.length_in_bases(self.windows.max_tokens)
        shortest = self.tokenizer.length_in_bases(self.windows.min_tokens)
        self.usable = Division(
            train=self._usable(self.division.train, shortest, "training"),
            validation=self._usable(self.division.validation, shortest, "validation"),
            description=self.division.description,
        )
        self.training_windows = TrainingWindows(
            self.usable.train, recipe=self.windows, shortest=shortest, longest=longest, seed=self.seed
        )
        self.validation = validation_windows(
            self.usable.validation, length=longest, count=self.validation_windows
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Micro-batches without end, from the trainer's current step on."""
        trainer = self.trainer
        assert trainer is not None, "the trainer asks for its loaders"
        samples = TrainingSamples(
            self.store, self.training_windows, self.tokenizer, self.masking, self.seed, self.batch.global_size
        )
        order = StepBatches(
            self.batch,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            start_step=trainer.global_step,
        )
        return self._loader(samples, order)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation windows of this rank."""
        trainer = self.trainer
        assert trainer is not None, "the trainer asks for its loaders"
        samples = ValidationSamples(self.store, self.validation, self.tokenizer, self.masking, self.seed)
        order = validation_batches(
            len(samples),
            micro_size=self.batch.micro_size,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        return self._loader(samples, order)

    def _loader(
        self, samples: TrainingSamples | ValidationSamples, order: StepBatches | list[list[int]]
    ) -> DataLoader[Batch]:
        return DataLoader[Sample](  # type: ignore[return-value]
            samples,
            batch_sampler=order,
            collate_fn=collate,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            multiprocessing_context="forkserver" if self.num_workers else None,
            persistent_workers=self.num_workers > 0,
            timeout=_WORKER_TIMEOUT_S if self.num_workers else 0,
        )

    def _usable(self, regions: Integers, shortest: int, side: str) -> Integers:
        """What is left of regions without long runs of N and without stretches too short to read."""
        runs = self.store.unknown_runs
        gaps = runs[runs[:, 1] - runs[:, 0] > self.windows.max_unknown]
        pieces = subtract(regions, gaps)
        usable = pieces[pieces[:, 1] - pieces[:, 0] >= shortest]
        if not len(usable):
            longest = int(np.diff(pieces).max(initial=0))
            raise DataError(
                "DATA-01",
                where=self.store.source.name,
                found=f"no {side} window fits: the longest stretch without N has {longest} bases",
                expected=f"at least {shortest} bases for a window of {self.windows.min_tokens} tokens",
                fix="give a longer genome, raise windows.max_unknown, or change data.split",
            )
        return usable
