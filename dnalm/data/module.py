"""Datamodules: a genome on disk to packed, masked micro-batches."""

from __future__ import annotations

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from dnalm.data.batch import Batch, Sample, collate
from dnalm.data.batching import BatchPlan, StepBatches, validation_batches
from dnalm.data.corpus import GenomeCorpus
from dnalm.data.masking import Masking
from dnalm.data.order import Integers
from dnalm.data.samples import TrainingSamples, ValidationSamples
from dnalm.data.splits import Division
from dnalm.data.windows import TrainingWindows, WindowRecipe, validation_windows
from dnalm.errors import DataError
from dnalm.genome.intervals import cut_at, subtract
from dnalm.tokenizers import Tokenizer

_WORKER_TIMEOUT_S = 300  # a worker that is stuck for longer is reported rather than waited for


class GenomeData(LightningDataModule):
    """Windows of one genome.

    Args:
        corpus: the genome.
        tokenizer: bases to ids.
        windows: how long windows are and where they come from.
        masking: what is hidden.
        batch: the batch arithmetic.
        seed: the run's seed.
    """

    def __init__(
        self,
        corpus: GenomeCorpus,
        *,
        tokenizer: Tokenizer,
        windows: WindowRecipe,
        masking: Masking,
        batch: BatchPlan,
        seed: int,
    ) -> None:
        super().__init__()
        self.corpus, self.tokenizer, self.windows = corpus, tokenizer, windows
        self.masking, self.batch, self.seed = masking, batch, seed

    def prepare_data(self) -> None:
        """Build the store if it is not there, in one process of each node."""
        self.corpus.genome()

    def setup(self, stage: str) -> None:  # noqa: ARG002 -- Lightning passes it by name
        """Divide the genome and lay out the windows.

        Raises:
            DataError: no stretch of the genome is long enough for a window.
        """
        genome = self.corpus.genome()
        self.store, self.division = genome.store, genome.division
        longest = self.windows.bases(self.windows.max_tokens, self.tokenizer)
        shortest = self.windows.bases(self.windows.shortest, self.tokenizer)
        self.usable = Division(
            train=self._usable(self.division.train, shortest, "training"),
            validation=self._usable(self.division.validation, shortest, "validation"),
            description=self.division.description,
        )
        self.training_windows = TrainingWindows(
            self.usable.train, recipe=self.windows, shortest=shortest, longest=longest, seed=self.seed
        )
        self.validation = validation_windows(
            self.usable.validation, length=longest, count=self.windows.num_validation
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Micro-batches without end, from the trainer's current step on."""
        trainer = self.trainer
        assert trainer is not None, "the trainer asks for its loaders"
        samples = TrainingSamples(
            self.store,
            self.training_windows,
            self.tokenizer,
            self.windows.max_tokens,
            self.masking,
            self.seed,
            self.batch.global_size,
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
        samples = ValidationSamples(
            self.store,
            self.validation,
            self.tokenizer,
            self.windows.max_tokens,
            self.masking,
            self.seed,
        )
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
            num_workers=self.batch.num_workers,
            pin_memory=torch.cuda.is_available(),
            multiprocessing_context="forkserver" if self.batch.num_workers else None,
            persistent_workers=self.batch.num_workers > 0,
            timeout=_WORKER_TIMEOUT_S if self.batch.num_workers else 0,
        )

    def _usable(self, regions: Integers, shortest: int, side: str) -> Integers:
        """What is left of regions without long runs of N and without stretches too short to read."""
        runs = self.store.unknown_runs
        gaps = runs[runs[:, 1] - runs[:, 0] > self.windows.max_unknown]
        pieces = cut_at(subtract(regions, gaps), self.store.offsets)
        usable = pieces[pieces[:, 1] - pieces[:, 0] >= shortest]
        if not len(usable):
            longest = int(np.diff(pieces).max(initial=0))
            raise DataError(
                "DATA-01",
                where=self.store.source.name,
                found=f"no {side} window fits: the longest stretch without N has {longest} bases",
                expected=f"at least {shortest} bases for a window of {self.windows.shortest} tokens",
                fix="give a longer genome, raise windows.max_unknown, or change data.split",
            )
        return usable
