"""From a sample's index to its tokens and its label: row, strand, pieces.

As in pretraining, sample i is a pure function of (seed, i), whichever worker or rank draws it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from dnalm.data.labelled.batch import LabelledSample
from dnalm.data.labelled.pieces import Pieces, SequenceRecipe, cut
from dnalm.data.labelled.table import Rows, TablePart
from dnalm.data.order import Stream, generator, permute
from dnalm.genome.alphabet import reverse_complement
from dnalm.tokenizers import Tokenizer

Vectors = npt.NDArray[np.float32]  # of each row on its own strand and on the other, (R, 2, D)
_NO_TOKENS = Pieces(np.zeros(0, np.int64), np.zeros(0, np.bool_), np.zeros(0, np.int64))


@dataclass(frozen=True)
class SequenceReader:
    """Reads a row of a part of a table on a strand.

    Args:
        part: the rows.
        tokenizer: bases to ids.
        recipe: what is done with long sequences.
        limit: tokens of a piece at most, special ones not counted.
        vectors: what a frozen encoder makes of every row, in place of tokens.
    """

    part: TablePart
    tokenizer: Tokenizer
    recipe: SequenceRecipe
    limit: int | None
    vectors: Vectors | None = None

    def read(self, row: int, *, reverse: bool, index: int, fills: bool = False) -> LabelledSample:
        """The sample of a row.

        Args:
            row: of the part.
            reverse: read the other strand.
            index: of the sample.
            fills: whether it only fills a batch.
        """
        table, number = self.part.table, int(self.part.rows[row])
        codes = table.sequence(number)
        codes = reverse_complement(codes) if reverse else codes
        pieces = _NO_TOKENS
        if self.vectors is None:
            where = table.place(number)
            pieces = cut(
                codes, self.tokenizer, self.recipe, limit=self.limit, where=where, per_base=table.per_base
            )
        label, places = table.label(number), None
        if table.per_base:
            places = np.full(len(codes), -1) if fills else self.part.starts[row] + np.arange(len(codes))
            label, places = (label[::-1], places[::-1]) if reverse else (label, places)
        return LabelledSample(
            index=index,
            row=-1 if fills else row,
            pieces=pieces,
            label=label,
            bases=places,
            num_bases=len(codes),
            pooled=None if self.vectors is None else np.array(self.vectors[row, int(reverse)]),
        )


@dataclass(frozen=True)
class TrainingSequences(Dataset[LabelledSample]):
    """Sample i of a run, for any i >= 0: every row once before any comes again.

    Args:
        reader: reads the rows that train.
        seed: the run's seed.
    """

    reader: SequenceReader
    seed: int

    def rows_of(self, indices: Rows) -> Rows:
        """The row of each sample, (S,)."""
        size = len(self.reader.part)
        key = np.stack([np.full_like(indices, self.seed), indices // size], axis=1)
        return permute(indices % size, size=size, key=key)

    def lengths_of(self, indices: Rows) -> Rows:
        """The bases of each sample, (S,)."""
        return self.reader.part.lengths[self.rows_of(indices)]

    def __getitem__(self, index: int) -> LabelledSample:
        """Draw sample `index`."""
        row = int(self.rows_of(np.array([index]))[0])
        turned = self.reader.recipe.reverse_complement
        reverse = turned and bool(generator(self.seed, Stream.STRAND, index).integers(2))
        return self.reader.read(row, reverse=reverse, index=index)


@dataclass(frozen=True)
class JudgedSequences(Dataset[LabelledSample]):
    """Every row of a part, on one strand or on both, shortest first.

    Args:
        reader: reads the rows.
    """

    reader: SequenceReader
    order: Rows = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", np.argsort(self.reader.part.lengths, kind="stable"))

    @property
    def strands(self) -> int:
        """How often each row is read."""
        return 2 if self.reader.recipe.average_strands else 1

    def __len__(self) -> int:
        return len(self.order) * self.strands

    def __getitem__(self, index: int) -> LabelledSample:
        """Draw a sample; past the end, one that only fills a batch."""
        fills = index >= len(self)
        row, strand = divmod(0 if fills else index, self.strands)
        return self.reader.read(int(self.order[row]), reverse=strand == 1, index=index, fills=fills)
