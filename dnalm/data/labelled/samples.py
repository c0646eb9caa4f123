"""From a sample's index to its tokens and its label: row, strand, pieces; and their micro-batches.

As in pretraining, sample i is a pure function of (seed, i), whichever worker or rank draws it. A sequence is
one piece of token ids, or several where it is too long for the encoder. Batches are packed: pieces end to
end, nothing padded.

Shapes: S sequences, P pieces of them, T tokens of one sequence, N packed tokens, Q pairs of a token and a
base under it, K labels, D model width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dnalm.data.labelled.table import Rows, TablePart
from dnalm.data.windows import Stream, generator, permute
from dnalm.errors import DataError
from dnalm.genome.alphabet import Codes, reverse_complement
from dnalm.limits import Tokens
from dnalm.tokenizers import Ids, Tokenizer


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
    long: Literal["pieces", "truncate", "refuse"] = "pieces"
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
        codes: its bases.
        tokenizer: bases to ids.
        recipe: what is done with a long one.
        limit: tokens of a piece at most, special ones not counted.
        where: file and line, for the error.
        per_base: whether it must be known which bases a token spells.

    Raises:
        DataError: SEQ-01, it is too short for a token; SEQ-02, it is too long and `long` is `refuse`.
    """
    try:
        ids = tokenizer.encode(codes)
    except DataError as error:
        parts = error.as_parts()
        raise DataError(
            error.code, where=where, found=parts["found"], expected=parts["expected"], fix="leave the row out"
        ) from error
    special = tokenizer.special
    first, last = int(special.start is not None), len(ids) - int(special.end is not None)
    content = ids[first:last]
    if limit is None or len(content) <= limit:
        parted = [content]
    elif recipe.long == "truncate":
        parted = [content[:limit]]
    elif recipe.long == "refuse":
        raise DataError(
            "SEQ-02",
            where=where,
            found=f"{len(content):,} tokens",
            expected=f"at most {limit:,}",
            fix="set sequences.long=pieces, which reads all of it, or truncate",
        )
    else:
        parted = np.array_split(content, -(-len(content) // limit))
    wrapped = [special.wrap(part) for part in parted]
    spells = [special.wrap(np.zeros_like(part)) * 0 for part in parted]
    for flags, part in zip(spells, parted, strict=True):
        flags[first : first + len(part)] = 1
    spelling = np.concatenate(spells).astype(np.bool_)
    spans = tokenizer.spans(codes, ids)[first:last] if per_base else None
    return Pieces(
        ids=np.concatenate(wrapped),
        spells=spelling,
        lengths=np.array([len(piece) for piece in wrapped], dtype=np.int64),
        covers=None if spans is None else _covers(np.flatnonzero(spelling), spans, len(codes)),
    )


def _covers(tokens: Ids, spans: Ids, num_bases: int) -> Ids:
    """Pairs of a token and a base, (Q, 2)."""
    lengths = spans[:, 1] - spans[:, 0]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    covers = np.stack([np.repeat(tokens, lengths), np.repeat(spans[:, 0], lengths) + within], axis=1)
    assert len(np.unique(covers[:, 1])) == num_bases, "every base is spelt by a token"
    return covers


@dataclass(frozen=True, kw_only=True)
class LabelledSample:
    """One sequence on one strand.

    Attributes:
        index: of the sample.
        row: in its part of the table; -1 of one that only fills a batch.
        pieces: its tokens.
        label: a class, a value, or the labels of a multi-label task.
        num_bases: its length.
        pooled: its vector, where that is known already.
        bases: where bases are labelled, the place of each among those of its part; -1 as of `row`.
    """

    index: int
    row: int
    pieces: Pieces
    label: npt.NDArray[np.int64] | npt.NDArray[np.float32]
    num_bases: int
    pooled: npt.NDArray[np.float32] | None = None
    bases: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True, kw_only=True)
class LabelledBatch:
    """What one forward pass takes.

    Attributes:
        ids_N: token ids, (N,) int64.
        cu_lengths: where each piece begins, and N at the end, (P + 1,) int32.
        max_length: tokens of the longest piece.
        used_N: which tokens are pooled, (N,) bool.
        owner_P: the sequence of each piece, (P,) int64.
        labels_S: (S,) int64 classes or float32 values, or (S, K) int64 labels.
        rows: of each sequence in its part of the table; -1 of one that only fills the batch.
        samples: index of each sequence's sample.
        num_content: tokens that spell bases.
        num_masked: none.
        num_bases: bases of all sequences.
        pooled_SD: vectors of the sequences, where they are known already.
        covers_Q2: where bases are labelled, pairs of a packed token and a base of the batch that it spells,
            (Q, 2) int64; the S labels and rows are then of bases.
    """

    ids_N: Tensor  # noqa: N815
    cu_lengths: Tensor
    max_length: int
    used_N: Tensor  # noqa: N815
    owner_P: Tensor  # noqa: N815
    labels_S: Tensor  # noqa: N815
    rows: tuple[int, ...]
    samples: tuple[int, ...]
    num_content: int
    num_bases: int
    num_masked: int = 0
    pooled_SD: Tensor | None = None  # noqa: N815
    covers_Q2: Tensor | None = None  # noqa: N815

    def to(self, device: torch.device, *, non_blocking: bool = False) -> LabelledBatch:
        """The same batch with its tensors on `device`."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> LabelledBatch:
        """The same batch in page-locked memory, from which a GPU copies faster."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> LabelledBatch:
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(v) for name, v in named.items() if isinstance(v, Tensor)})  # type: ignore[arg-type]


def collate_labelled(samples: list[LabelledSample], *, first_tokens: bool) -> LabelledBatch:
    """Pack samples end to end, longest last, so that equal lengths are neighbours.

    Args:
        samples: of one micro-batch.
        first_tokens: pool the first token of each piece rather than those that spell bases.
    """
    samples = sorted(samples, key=lambda sample: (len(sample.pieces.ids), sample.index))
    lengths = np.concatenate([sample.pieces.lengths for sample in samples])
    cu_lengths = np.concatenate([[0], np.cumsum(lengths)])
    spells = np.concatenate([sample.pieces.spells for sample in samples])
    used = spells
    if first_tokens:
        used = np.zeros_like(spells)
        used[cu_lengths[:-1]] = True
    owners = np.repeat(np.arange(len(samples)), [len(sample.pieces.lengths) for sample in samples])
    covers, labels = _of_bases(samples)
    rows = [sample.row for sample in samples] if labels is None else _places(samples)
    pooled = [sample.pooled for sample in samples if sample.pooled is not None]
    return LabelledBatch(
        ids_N=torch.from_numpy(np.concatenate([sample.pieces.ids for sample in samples])),
        cu_lengths=torch.from_numpy(cu_lengths.astype(np.int32)),
        max_length=int(lengths.max(initial=0)),
        used_N=torch.from_numpy(used),
        owner_P=torch.from_numpy(owners),
        labels_S=torch.from_numpy(
            np.stack([sample.label for sample in samples]) if labels is None else labels
        ),
        rows=tuple(rows),
        samples=tuple(sample.index for sample in samples),
        num_content=int(spells.sum()),
        num_bases=sum(sample.num_bases for sample in samples),
        pooled_SD=torch.from_numpy(np.stack(pooled)) if pooled else None,
        covers_Q2=None if covers is None else torch.from_numpy(covers),
    )


def _of_bases(
    samples: list[LabelledSample],
) -> tuple[npt.NDArray[np.int64] | None, npt.NDArray[np.int64] | npt.NDArray[np.float32] | None]:
    """Pairs of token and base, (Q, 2), and labels of all bases; nothing where sequences are labelled."""
    if samples[0].bases is None:
        return None, None
    pairs, token, base = [], 0, 0
    for sample in samples:
        assert sample.pieces.covers is not None, "asked for where bases are labelled"
        pairs.append(sample.pieces.covers + np.array([token, base]))
        token, base = token + len(sample.pieces.ids), base + sample.num_bases
    return np.concatenate(pairs), np.concatenate([sample.label for sample in samples])


def _places(samples: list[LabelledSample]) -> list[int]:
    return [place for sample in samples if sample.bases is not None for place in sample.bases.tolist()]


Vectors = npt.NDArray[np.float32]  # of each row on its own strand and on the other, (R, 2, D)
_NO_TOKENS = Pieces(np.zeros(0, np.int64), np.zeros(0, np.bool_), np.zeros(0, np.int64))


@dataclass(frozen=True, kw_only=True)
class SequenceReader:
    """Reads a row of a part of a table on a strand.

    Args:
        part: the rows.
        tokenizer: bases to ids.
        recipe: what is done with long sequences.
        limit: tokens of a piece at most, special ones not counted; any number if None.
        vectors: a frozen encoder's vectors of every row, in place of tokens.
    """

    part: TablePart
    tokenizer: Tokenizer
    recipe: SequenceRecipe
    limit: int | None = None
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
        both = self.reader.recipe.reverse_complement
        reverse = both and bool(generator(self.seed, Stream.STRAND, index).integers(2))
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
