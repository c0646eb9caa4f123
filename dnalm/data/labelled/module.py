"""The datamodule of fine-tuning: labelled tables to packed micro-batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from lightning.pytorch import LightningDataModule

from dnalm.data.batch import BatchPlan, StepBatches, validation_batches
from dnalm.data.labelled.division import AnyTask, Division
from dnalm.data.labelled.samples import (
    EvaluationSequences,
    LabelledBatch,
    SequenceReader,
    SequenceRecipe,
    TrainingSequences,
    collate_labelled,
)
from dnalm.data.labelled.table import Part
from dnalm.data.loading import Loader
from dnalm.tokenizers import Tokenizer


class SequenceData(LightningDataModule):
    """The sequences of a task.

    Args:
        task: what is predicted.
        division: its training, validation and test rows.
        tokenizer: bases to ids.
        recipe: how sequences are read.
        batch: the batch arithmetic.
        seed: the run's seed.
        limit: tokens of a piece at most, special ones not counted; None for any.
        first_tokens: whether the first token of each piece is pooled.
    """

    def __init__(
        self,
        task: AnyTask,
        division: Division,
        *,
        tokenizer: Tokenizer,
        recipe: SequenceRecipe,
        batch: BatchPlan,
        seed: int,
        limit: int | None,
        first_tokens: bool,
    ) -> None:
        super().__init__()
        self.task, self.division, self.tokenizer = task, division, tokenizer
        self.recipe, self.batch, self.seed = recipe, batch, seed
        self.limit, self.first_tokens = limit, first_tokens

    @property
    def fingerprint(self) -> str:
        """Of what trains."""
        return self.division.train.fingerprint

    def check_lengths(self) -> None:
        """Read the shortest and the longest sequence of each part, so that none fails in training.

        Raises:
            DataError: SEQ-01, one is too short for a token; SEQ-02, one is too long and is to be refused.
        """
        for part in self.division.parts:
            order = np.argsort(self.division.parts[part].lengths, kind="stable")
            for row in (int(order[0]), int(order[-1])):
                self.reader(part).read(row, reverse=False, index=0)

    @property
    def longest_piece(self) -> int:
        """Tokens of the longest piece that trains, special ones not counted, by a row of each length.

        The longest row need not have it: cut into pieces of one length, a shorter one may fill them better.
        """
        reader = self.reader("train")
        _, rows = np.unique(reader.part.lengths, return_index=True)
        lengths = [reader.read(int(row), reverse=False, index=0).pieces.lengths.max() for row in rows]
        return int(max(lengths)) - self.tokenizer.special.num_wrapping

    def reader(self, part: Part) -> SequenceReader:
        """Reads the rows of a part."""
        return SequenceReader(
            part=self.division.parts[part],
            tokenizer=self.tokenizer,
            recipe=self.recipe,
            limit=self.limit,
        )

    def train_dataloader(self) -> Loader[LabelledBatch]:
        """Micro-batches without end, from the trainer's current step on."""
        trainer = self.trainer
        assert trainer is not None, "the trainer asks for its loaders"
        samples = TrainingSequences(self.reader("train"), self.seed)
        order = LengthBuckets(
            self.batch,
            samples,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            start_step=trainer.global_step,
        )
        return self._loader(samples, order, trainer.strategy.root_device)

    def val_dataloader(self) -> Loader[LabelledBatch]:
        """The validation rows, of this rank."""
        return self.evaluation_dataloader("val")

    def test_dataloader(self) -> list[Loader[LabelledBatch]]:
        """The validation and the test rows, of this rank."""
        return [self.evaluation_dataloader("val"), self.evaluation_dataloader("test")]

    def evaluation_dataloader(self, part: Part) -> Loader[LabelledBatch]:
        """The rows of a part in a fixed order, of this rank."""
        trainer = self.trainer
        assert trainer is not None, "the trainer asks for its loaders"
        samples = EvaluationSequences(self.reader(part))
        order = validation_batches(
            len(samples),
            micro_size=self.batch.most,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        return self._loader(samples, order, trainer.strategy.root_device)

    def both_strands(self, part: Part, device: torch.device) -> Loader[LabelledBatch]:
        """Every row of a part on its own strand and on the other, for a process that runs alone."""
        reader = replace(self.reader(part), recipe=replace(self.recipe, average_strands=True))
        samples = EvaluationSequences(reader)
        order = validation_batches(len(samples), micro_size=self.batch.most, rank=0, world_size=1)
        return self._loader(samples, order, device)

    def _loader(
        self,
        samples: TrainingSequences | EvaluationSequences,
        order: StepBatches | list[list[int]],
        device: torch.device,
    ) -> Loader[LabelledBatch]:
        made = partial(collate_labelled, first_tokens=self.first_tokens)
        return Loader(samples, order, collate=made, num_workers=self.batch.num_workers, device=device)


class LengthBuckets(StepBatches):
    """`StepBatches` whose micro-batches hold sequences of about one length.

    The samples of an optimizer step are the same; they are sorted by length before they are cut, and
    micro-batches are dealt to the ranks in turn, so that all have as much to do.

    Args:
        plan: the batch arithmetic.
        samples: those that train.
        rank: this process.
        world_size: number of processes.
        start_step: optimizer step to begin with.
    """

    def __init__(
        self, plan: BatchPlan, samples: TrainingSequences, *, rank: int, world_size: int, start_step: int
    ) -> None:
        super().__init__(plan, rank=rank, world_size=world_size, start_step=start_step)
        self.samples = samples

    def __iter__(self) -> Iterator[list[int]]:
        """Yield equally many indices at a time, but for one, `accumulation` times a step."""
        passes = self.plan.accumulation(self.world_size)
        step = self.start_step
        while True:
            indices = step * self.plan.global_size + np.arange(self.plan.global_size)
            indices = indices[np.argsort(self.samples.lengths_of(indices), kind="stable")]
            parts = np.array_split(indices, passes * self.world_size)
            for part in parts[self.rank :: self.world_size]:
                yield part.tolist()
            step += 1
