"""Vectors as rows of a table: who they are of, where on the genome, and the numbers.

Columns: `id`; `contig` (null of a table's sequences), `start`, `end` (0-based, half-open, on the forward
strand) and `strand` of the sequence, the token or the base; at those resolutions `place`, the number of the
token or base in the sequence as it is read; the columns kept of the input; `vector`, D numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dnalm.errors import ConfigError, NumericsError
from dnalm.evaluation.embedding.inputs import NamedSequence
from dnalm.evaluation.embedding.reader import TokenStates, Vectors
from dnalm.evaluation.embedding.recipe import EmbeddingRecipe

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
        vectors.append(_checked(sequence, state, recipe))
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


def _checked(
    sequence: NamedSequence, state: TokenStates, recipe: EmbeddingRecipe
) -> npt.NDArray[np.floating]:
    if recipe.resolution == "sequence":
        vectors: Vectors = state.pooled(recipe.kind)[None]
    else:
        vectors = state.vectors if recipe.resolution == "token" else state.at_bases()
    with np.errstate(over="ignore"):
        kept = vectors.astype(np.float16) if recipe.dtype == "float16" else vectors
    if not np.isfinite(state.vectors).all() or np.isinf(kept).any():
        raise NumericsError(
            "NUM-10",
            where=sequence.where,
            found=f"numbers that are not finite as {recipe.dtype}",
            expected="finite vectors",
            fix="use dtype=float32" if recipe.dtype == "float16" else "check the model's weights",
        )
    return kept
