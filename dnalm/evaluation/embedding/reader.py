"""Sequences in, vectors out: FASTA, BED or table → windows of tokens → states of a layer → rows of a table.

A sequence of more tokens than the model takes is tokenized once, and its tokens are cut into windows of equal
length that overlap; a token's vector is its mean over the windows that hold it. Vectors depend neither on the
size of batches nor on what else is read, but for the last bits of float32.

Rows have the columns `id`; `contig` (null of a table's sequences), `start`, `end` (0-based, half-open, on the
forward strand) and `strand` of the sequence, the token or the base; at those resolutions `place`, the number
of the token or base in the sequence as it is read; the columns kept of the input; `vector`, D numbers.

T tokens that spell bases, L bases, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from dnalm.errors import ConfigError, DataError, NumericsError
from dnalm.evaluation.inference import InferenceQueue, LoadedModel
from dnalm.evaluation.sequence_inputs import NamedSequence
from dnalm.genome.alphabet import Codes
from dnalm.limits import Tokens
from dnalm.tokenizers import Ids
from dnalm.tokenizers.protocol import mean_over_tokens

PoolingKind = Literal["mean", "cls", "max", "none"]
Resolution = Literal["sequence", "token", "base"]


@dataclass(frozen=True, kw_only=True)
class EmbeddingRecipe:
    """How a sequence becomes vectors.

    Of a sequence in several windows the vector of `cls` is the mean over all of them, as a token's is over
    those that hold it.

    Args:
        layer: 0 are the embeddings, `num_layers`, blocks of any kind, the last one's output; -1 is the last,
            -2 the one before.
        pooling: of a sequence's vector: `mean` and `max` over the tokens that spell bases, `cls` the start
            token. `none` of tokens and bases; mean of sequences if absent.
        resolution: a vector for each sequence, token or base; that of a base is the mean over the tokens that
            cover it, NaN where none does.
        long: `windows`, or `refuse`, which makes a longer sequence an error.
        overlap: share of a window that lies in the next one too, at least.
        max_tokens: tokens of a window, special ones not counted; those of the windows that it was trained
            on if absent, or what it takes where they are unknown.
        dtype: of the vectors in the file; they are computed in float32.
        batch_tokens: tokens of a batch, about; changes speed and memory, and no vector.
    """

    layer: int = -1
    pooling: PoolingKind | None = None
    resolution: Resolution = "sequence"
    long: Literal["windows", "refuse"] = "windows"
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    max_tokens: Tokens | None = None
    dtype: Literal["float32", "float16"] = "float32"
    batch_tokens: Tokens = 16_384

    def __post_init__(self) -> None:
        if (self.kind == "none") == (self.resolution == "sequence"):
            raise ConfigError(
                "CFG-53",
                where="pooling",
                found=f"pooling={self.kind} at resolution={self.resolution}",
                expected="mean, cls or max of a sequence, none of tokens and bases",
                fix="leave pooling out, or choose resolution=sequence to pool and token or base not to",
            )

    @property
    def kind(self) -> PoolingKind:
        """The pooling, as given or by default."""
        return self.pooling or ("mean" if self.resolution == "sequence" else "none")

    def chosen_layer(self, num_layers: int) -> int:
        """The layer counted from the embeddings, 0 to `num_layers`.

        Raises:
            ConfigError: CFG-53, there is no such layer.
        """
        chosen = self.layer if self.layer >= 0 else num_layers + 1 + self.layer
        if not 0 <= chosen <= num_layers:
            raise ConfigError(
                "CFG-53",
                where="layer",
                found=f"layer {self.layer} of a model of {num_layers} blocks",
                expected=f"0 (the embeddings) to {num_layers}, or from the end, -1 to {-num_layers - 1}",
                fix="choose one of them",
            )
        return chosen


Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False, kw_only=True)
class TokenStates:
    """A layer's hidden states of a sequence.

    Attributes:
        vectors: of the tokens that spell bases, in order, (T, D).
        spans: the half-open base interval of each, (T, 2).
        ids: of each, (T,).
        start: the start token's vector, (D,); None where the tokenizer has no such token.
        num_bases: L.
    """

    vectors: Vectors
    spans: Ids
    ids: Ids
    start: Vectors | None
    num_bases: int

    def at_bases(self) -> Vectors:
        """(L, D), the mean over the tokens that cover a base; NaN where none does."""
        return mean_over_tokens(self.vectors, self.spans, self.num_bases).astype(np.float32, copy=False)

    def pooled(self, kind: PoolingKind) -> Vectors:
        """(D,)."""
        if kind == "cls":
            assert self.start is not None, "SequenceReader checks that there is one"
            return self.start
        pooled: Vectors = self.vectors.max(0) if kind == "max" else self.vectors.mean(0)
        return pooled


class SequenceReader:
    """Reads sequences with an encoder.

    Args:
        model: computes where it is.
        recipe: the layer, and how long sequences are read.

    Raises:
        ConfigError: CFG-53, there is no such layer, the tokenizer has no start token for `cls`, or windows
            are longer than the model takes.
    """

    def __init__(self, model: LoadedModel, recipe: EmbeddingRecipe) -> None:
        self.encoder, self.tokenizer, self.recipe = model.network.encoder, model.tokenizer, recipe
        layer = recipe.chosen_layer(self.encoder.depth)
        self._queue = InferenceQueue(model, batch_tokens=recipe.batch_tokens, layers=[layer])
        special, is_limited = self.tokenizer.special, self.encoder.longest_sequence is not None
        most = self.encoder.max_positions - special.num_wrapping
        trained = self.encoder.window_tokens or most
        self.limit = recipe.max_tokens or (min(trained, most) if is_limited else trained)
        if is_limited and self.limit > most:
            raise _wrong("max_tokens", f"max_tokens={self.limit}", f"at most {most}, as the model takes")
        if recipe.kind == "cls" and special.start is None:
            raise _wrong("pooling", "pooling=cls, and a tokenizer without a start token", "mean or max")

    def read(self, sequences: Sequence[Codes], *, where: Sequence[str] | None = None) -> list[TokenStates]:
        """The states of all tokens of each sequence, in their order.

        Args:
            sequences: (L,) codes each.
            where: the place of each, for errors; their numbers if absent.

        Raises:
            DataError: SEQ-01, one is too short for a token; SEQ-02, too long and `long` is `refuse`.
        """
        places = where or [f"sequence {number}" for number in range(len(sequences))]
        texts = [self._tokenize(codes, place) for codes, place in zip(sequences, places, strict=True)]
        special, limit = self.tokenizer.special, self.limit
        starts = [window_starts(len(ids), limit, self.recipe.overlap) for ids, _ in texts]
        states: dict[tuple[int, int], Vectors] = {}
        for owner, (ids, _) in enumerate(texts):
            for first in starts[owner]:
                window = special.wrap(ids[first : first + limit])
                self._queue.submit("hidden_states", window, partial(_keep, states, (owner, first)))
        self._queue.run()
        return [
            self._averaged(codes, text, [(first, states.pop((owner, first))) for first in starts[owner]])
            for owner, (codes, text) in enumerate(zip(sequences, texts, strict=True))
        ]

    def _tokenize(self, codes: Codes, place: str) -> tuple[Ids, Ids]:
        """Ids and spans without those of special tokens."""
        try:
            ids = self.tokenizer.encode(codes)
        except DataError as error:
            parts = error.as_parts()
            raise DataError(
                error.code, where=place, found=parts["found"], expected=parts["expected"], fix="leave it out"
            ) from error
        special = self.tokenizer.special
        inner = slice(int(special.start is not None), len(ids) - int(special.end is not None))
        if self.recipe.long == "refuse" and len(ids[inner]) > self.limit:
            raise DataError(
                "SEQ-02",
                where=place,
                found=f"{len(ids[inner]):,} tokens",
                expected=f"at most {self.limit:,}",
                fix="set long=windows, which reads all of it in windows that overlap",
            )
        return ids[inner], self.tokenizer.spans(codes, ids)[inner]

    def _averaged(
        self, codes: Codes, text: tuple[Ids, Ids], windows: list[tuple[int, Vectors]]
    ) -> TokenStates:
        """Means over windows, which are added from left to right, whatever batch each came in."""
        ids, spans = text
        has_start = self.tokenizer.special.start is not None
        width = self.encoder.hidden_size
        total, count = np.zeros((len(ids), width), np.float32), np.zeros((len(ids), 1), np.float32)
        start = np.zeros(width, np.float32)
        for first, states in windows:
            length = len(states) - self.tokenizer.special.num_wrapping
            total[first : first + length] += states[int(has_start) : int(has_start) + length]
            count[first : first + length] += 1
            start += states[0]
        return TokenStates(
            vectors=total / count,
            spans=spans,
            ids=ids,
            start=(start / len(windows)).astype(np.float32) if has_start else None,
            num_bases=len(codes),
        )


def _keep(states: dict[tuple[int, int], Vectors], key: tuple[int, int], values: Vectors) -> None:
    states[key] = values[0]  # of the one layer


def window_starts(num_tokens: int, limit: int, overlap: float) -> list[int]:
    """Where windows of `limit` tokens begin that cover a text evenly: one if it is short enough.

    Args:
        num_tokens: of the text.
        limit: of a window.
        overlap: share of a window that the next one holds too, at least, in [0, 1).
    """
    rest = num_tokens - limit
    if rest <= 0:
        return [0]
    stride = max(1, int(limit * (1 - overlap)))
    number = -(-rest // stride) + 1
    return [index * rest // (number - 1) for index in range(number)]


def _wrong(where: str, found: str, expected: str) -> ConfigError:
    return ConfigError("CFG-53", where=where, found=found, expected=expected, fix="choose one of those")


Places = npt.NDArray[np.int64]
_OWN = ("id", "contig", "start", "end", "strand", "place", "vector")


def schema_of(recipe: EmbeddingRecipe, width: int, keep: Sequence[str]) -> pa.Schema:
    """The table's columns.

    Raises:
        ConfigError: CFG-54, a column to keep is named like one of the table's own, or is given twice.
    """
    if taken := sorted({*keep} & {*_OWN} | {name for name in keep if list(keep).count(name) > 1}):
        raise ConfigError(
            "CFG-54",
            where="keep",
            found=f"{', '.join(taken)}",
            expected=f"each once, and none of the table's own: {', '.join(_OWN)}",
            fix="rename the column in the input",
        )
    number = pa.float16() if recipe.dtype == "float16" else pa.float32()
    fields = [("id", pa.string()), ("contig", pa.string()), ("start", pa.int64()), ("end", pa.int64())]
    fields += [("strand", pa.string())]
    fields += [("place", pa.int64())] if recipe.resolution != "sequence" else []
    fields += [(name, pa.string()) for name in keep]
    return pa.schema([*fields, ("vector", pa.list_(number, width))])


def rows_of(
    sequences: Sequence[NamedSequence],
    states: Sequence[TokenStates],
    recipe: EmbeddingRecipe,
    schema: pa.Schema,
) -> pa.Table:
    """The rows of some sequences.

    Raises:
        NumericsError: NUM-10, a vector of a token is not finite, or too large for float16.
    """
    vectors, spans = [], []
    for sequence, state in zip(sequences, states, strict=True):
        vectors.append(checked_vectors(state, recipe, where=sequence.where))
        spans.append(_spans(sequence, state, recipe))
    counts = [len(found) for found in spans]
    owner = np.repeat(np.arange(len(sequences)), counts)

    def repeated(values: Sequence[str | None]) -> pa.Array:
        return pa.array(values, pa.string()).take(pa.array(owner))

    columns = {
        "id": repeated([sequence.id for sequence in sequences]),
        "contig": repeated([sequence.contig for sequence in sequences]),
        "start": pa.array(np.concatenate(spans)[:, 0]),
        "end": pa.array(np.concatenate(spans)[:, 1]),
        "strand": repeated([sequence.strand for sequence in sequences]),
        "place": pa.array(np.concatenate([np.arange(count) for count in counts])),
    }
    kept = [name for name in schema.names if name not in _OWN]
    for index, name in enumerate(kept):
        columns[name] = repeated([sequence.kept[index] for sequence in sequences])
    flat = pa.array(np.concatenate(vectors).ravel())
    columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, type=schema.field("vector").type)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def vectors_of(table: pa.Table) -> npt.NDArray[np.floating]:
    """The numbers of a table, (R, D)."""
    column = table["vector"].combine_chunks()
    flat: npt.NDArray[np.floating] = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(table), column.type.list_size)


def _spans(sequence: NamedSequence, state: TokenStates, recipe: EmbeddingRecipe) -> Places:
    """Intervals of the contig's forward strand, (rows, 2)."""
    if recipe.resolution == "sequence":
        return np.array([[sequence.start, sequence.end]], dtype=np.int64)
    place = np.arange(state.num_bases)
    within = state.spans if recipe.resolution == "token" else np.stack([place, place + 1], axis=1)
    return sequence.end - within[:, ::-1] if sequence.strand == "-" else sequence.start + within


def checked_vectors(state: TokenStates, recipe: EmbeddingRecipe, *, where: str) -> npt.NDArray[np.floating]:
    """The vectors of a sequence's rows at the recipe's resolution, (rows, D), in its dtype.

    Raises:
        NumericsError: NUM-10, a vector of a token is not finite, or too large for float16.
    """
    if recipe.resolution == "sequence":
        vectors: Vectors = state.pooled(recipe.kind)[None]
    else:
        vectors = state.vectors if recipe.resolution == "token" else state.at_bases()
    with np.errstate(over="ignore"):
        kept = vectors.astype(np.float16) if recipe.dtype == "float16" else vectors
    if not np.isfinite(state.vectors).all() or np.isinf(kept).any():
        raise NumericsError(
            "NUM-10",
            where=where,
            found=f"numbers that are not finite as {recipe.dtype}",
            expected="finite vectors",
            fix="use dtype=float32" if recipe.dtype == "float16" else "check the model's weights",
        )
    return kept
