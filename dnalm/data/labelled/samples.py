"""From a sample's index to its tokens and its label: row, strand, pieces; and their micro-batches.

As in pretraining, sample i is a pure function of (seed, i), whichever worker or rank draws it. A sequence is
one piece of token ids, or several where it is too long for the encoder. Batches are packed: pieces end to
end, nothing padded.

Shapes: S sequences, P pieces of them, T tokens of one sequence, N packed tokens, M of them, Q pairs of a
token and a base under it, K labels, D model width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dnalm.data.batch import Movable
from dnalm.data.labelled.rows import table_error
from dnalm.data.labelled.table import Labels, Rows, TablePart
from dnalm.data.windows import Stream, generator, permute, permute_one
from dnalm.errors import DataError
from dnalm.genome.alphabet import Codes, reverse_complement
from dnalm.limits import Tokens
from dnalm.tokenizers import Ids, Tokenizer
from dnalm.tokenizers.protocol import pair_up

LongSequence = Literal["pieces", "truncate", "refuse"]


@dataclass(frozen=True, kw_only=True)
class SequenceRecipe:
    """How sequences are read.

    Args:
        max_tokens: tokens of a piece at most, special ones not counted; what the encoder takes if absent.
        long: of a sequence that is longer: `pieces` cuts it into pieces of about equal length, encodes each
            and pools over all; `truncate` reads its beginning; `refuse` is an error.
        reverse_complement: whether training reads half of the sequences on the other strand, drawn again each
            time.
        average_strands: whether the outputs on both strands are averaged in validation and test.
    """

    max_tokens: Tokens | None = None
    long: LongSequence = "pieces"
    reverse_complement: bool = False
    average_strands: bool = False


class Pieces(NamedTuple):
    """The tokens of one sequence.

    Attributes:
        ids: of all pieces end to end, (T,).
        spells: which of them spell bases, (T,).
        lengths: tokens of each piece, (P,).
        covers: where bases are labelled, the pairs of a token in `ids` and a base that it spells, (Q, 2).
    """

    ids: Ids
    spells: npt.NDArray[np.bool_]
    lengths: Ids
    covers: Ids | None = None


def cut(
    codes: Codes,
    tokenizer: Tokenizer,
    recipe: SequenceRecipe,
    *,
    limit: int | None,
    where: str,
    per_base: bool = False,
) -> Pieces:
    """Tokenize a sequence and cut it where it is too long.

    Args:
        codes: its bases, (L,).
        tokenizer: bases to ids.
        recipe: what is done with a long one.
        limit: tokens of a piece at most, special ones not counted.
        where: file and line, for the error.
        per_base: whether to find which bases each token spells.

    Raises:
        DataError: SEQ-01, it is too short for a token; SEQ-02, it is too long and `long` is `refuse`.
    """
    try:
        ids = tokenizer.encode(codes)
    except DataError as error:
        raise table_error(error.code, where, error.found, error.expected, "leave the row out") from error
    special = tokenizer.special
    first, last = int(special.start is not None), len(ids) - int(special.end is not None)
    content = ids[first:last]
    if limit is None or len(content) <= limit:
        parted = [content]
    elif recipe.long == "truncate":
        parted = [content[:limit]]
    elif recipe.long == "refuse":
        fix = "set sequences.long=pieces, which reads all of it, or truncate"
        raise table_error("SEQ-02", where, f"{len(content):,} tokens", f"at most {limit:,}", fix)
    else:
        parted = np.array_split(content, -(-len(content) // limit))
    pieces = [special.wrap(part) for part in parted]
    flags = [np.repeat([False, True, False], [first, len(part), len(ids) - last]) for part in parted]
    spells = np.concatenate(flags)
    covers = None
    if per_base:
        pairs = pair_up(tokenizer.spans(codes, ids)[first:last])
        assert len(np.unique(pairs.base)) == len(codes), "every base is spelt by a token"
        covers = np.stack([np.flatnonzero(spells)[pairs.token], pairs.base], axis=1)
    return Pieces(np.concatenate(pieces), spells, np.array([len(piece) for piece in pieces]), covers)


@dataclass(frozen=True, kw_only=True)
class LabelledSample:
    """One sequence on one strand.

    Attributes:
        index: of the sample.
        row: in its part of the table; -1 of one that only fills a batch.
        pieces: its tokens.
        label: a class, a value, or the labels of a multi-label task.
        num_bases: its length.
        bases: where bases are labelled, the place of each among those of its part; -1 as of `row`.
    """

    index: int
    row: int
    pieces: Pieces
    label: Labels
    num_bases: int
    bases: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True, kw_only=True)
class LabelledBatch(Movable):
    """What one forward pass takes.

    Attributes:
        ids_N: token ids, (N,) int64.
        cu_lengths: where each piece begins, and N at the end, (P + 1,) int32.
        max_length: tokens of the longest piece.
        used_M: places of the tokens that are pooled, (M,) int64.
        owner_P: the sequence of each piece, (P,) int64.
        labels_S: (S,) int64 classes or float32 values, or (S, K) int64 labels.
        rows: of each sequence in its part of the table; -1 of one that only fills the batch.
        samples: index of each sequence's sample.
        num_content: tokens that spell bases.
        num_masked: none.
        num_bases: bases of all sequences.
        covers_Q2: where bases are labelled, pairs of a packed token and a base of the batch that it spells,
            (Q, 2) int64; the S labels and rows are then of bases.
    """

    ids_N: Tensor  # noqa: N815
    cu_lengths: Tensor
    max_length: int
    used_M: Tensor  # noqa: N815
    owner_P: Tensor  # noqa: N815
    labels_S: Tensor  # noqa: N815
    rows: tuple[int, ...]
    samples: tuple[int, ...]
    num_content: int
    num_bases: int
    num_masked: int = 0
    covers_Q2: Tensor | None = None  # noqa: N815

    @property
    def num_tokens(self) -> int:
        """N."""
        return len(self.ids_N)


def collate_labelled(samples: list[LabelledSample], *, first_tokens: bool) -> LabelledBatch:
    """Pack samples end to end, longest last, so that equal lengths are neighbours.

    Args:
        samples: of one micro-batch.
        first_tokens: pool the first token of each piece rather than those that spell bases.
    """
    samples = sorted(samples, key=lambda sample: (len(sample.pieces.ids), sample.index))
    pieces = [sample.pieces for sample in samples]
    lengths = np.concatenate([each.lengths for each in pieces])
    cu_lengths = np.concatenate([[0], np.cumsum(lengths)])
    used = spells = np.concatenate([each.spells for each in pieces])
    if first_tokens:
        used = np.zeros_like(spells)
        used[cu_lengths[:-1]] = True
    labels, covers = [sample.label for sample in samples], None
    places = [sample.bases for sample in samples if sample.bases is not None]
    if places:  # labels are of bases; all tokens are counted through, and all bases
        ends = np.cumsum([(len(sample.pieces.ids), sample.num_bases) for sample in samples], axis=0)
        before = [np.zeros(2, np.int64), *ends[:-1]]
        pairs = [
            each.covers + start for each, start in zip(pieces, before, strict=True) if each.covers is not None
        ]
        covers = torch.from_numpy(np.concatenate(pairs))
    return LabelledBatch(
        ids_N=torch.from_numpy(np.concatenate([each.ids for each in pieces])),
        cu_lengths=torch.from_numpy(cu_lengths.astype(np.int32)),
        max_length=int(lengths.max(initial=0)),
        used_M=torch.from_numpy(np.flatnonzero(used)),
        owner_P=torch.from_numpy(np.repeat(np.arange(len(samples)), [len(each.lengths) for each in pieces])),
        labels_S=torch.from_numpy(np.concatenate(labels) if places else np.stack(labels)),
        rows=tuple(np.concatenate(places).tolist() if places else [sample.row for sample in samples]),
        samples=tuple(sample.index for sample in samples),
        num_content=int(spells.sum()),
        num_bases=sum(sample.num_bases for sample in samples),
        covers_Q2=covers,
    )


@dataclass(frozen=True, kw_only=True)
class SequenceReader:
    """Reads a row of a part of a table on a strand.

    Args:
        part: the rows.
        tokenizer: bases to ids.
        recipe: what is done with long sequences.
        limit: tokens of a piece at most, special ones not counted; any number if None.
    """

    part: TablePart
    tokenizer: Tokenizer
    recipe: SequenceRecipe
    limit: int | None = None

    def read(self, row: int, *, reverse: bool, index: int, fills: bool = False) -> LabelledSample:
        """Sample `index`: a row of the part on a strand; one that only `fills` a batch counts for nothing."""
        table, number = self.part.table, int(self.part.rows[row])
        codes = table.sequence(number)
        codes = reverse_complement(codes) if reverse else codes
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
        epoch, slot = divmod(index, size := len(self.reader.part))
        row = permute_one(slot, size=size, key=(self.seed, epoch))
        both = self.reader.recipe.reverse_complement
        reverse = both and bool(generator(self.seed, Stream.STRAND, index).integers(2))
        return self.reader.read(row, reverse=reverse, index=index)


@dataclass(frozen=True)
class EvaluationSequences(Dataset[LabelledSample]):
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
