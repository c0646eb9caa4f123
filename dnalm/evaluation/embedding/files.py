"""From a file of sequences to a file of vectors: Parquet, NumPy or Zarr, computed and written in parts.

`.parquet` holds the table of `reader`. `.npy` is the vectors alone, (R, D); `.zarr` a group whose array
`vectors` they are. Beside these two, `<out>.index.parquet` is the table without the vectors, row by row.
`evaluation.parts` says what a kill leaves. Batches end where parts do.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from dnalm.console import progress_bar
from dnalm.durable import reserve, sync
from dnalm.evaluation.embedding.reader import (
    EmbeddingRecipe,
    SequenceReader,
    rows_of,
    schema_of,
    vectors_of,
)
from dnalm.evaluation.inference import Device, LoadedModel, Precision
from dnalm.evaluation.parts import DoneParts, PartFolder, opened_output, summary_path, work_on
from dnalm.evaluation.sequence_inputs import Part, SequenceInput, in_parts
from dnalm.genome.store import open_or_build
from dnalm.models import Pretrained
from dnalm.tokenizers import Tokenizer
from dnalm.training.probing import weights_checksum

PART_SEQUENCES, PART_BP = 1024, 1 << 17


@dataclass(frozen=True, kw_only=True)
class EmbeddingPlan:
    """All that a process needs to embed.

    Attributes:
        model: where it is.
        recipe: layer, pooling and resolution.
        tokenizer: what its ids mean; that of the model's folder if absent.
        keep: columns of the input to carry along.
        device: where to compute.
        precision: of matrix products.
    """

    model: Pretrained
    recipe: EmbeddingRecipe
    tokenizer: Tokenizer | None = None
    keep: tuple[str, ...] = ()
    device: Device = "auto"
    precision: Precision = "float32"

    def open(self) -> SequenceReader:
        """Load the model.

        Raises:
            CheckpointError: it cannot be read, or the tokenizer is not its own.
            ConfigError: the recipe does not fit it, or there is no GPU.
        """
        model = LoadedModel.open(
            self.model,
            tokenizer=self.tokenizer,
            device=self.device,
            precision=self.precision,
            needs_lm_head=False,
        )
        return SequenceReader(model, self.recipe)

    def do(self, state: SequenceReader, folder: PartFolder, number: int, part: Part) -> None:
        """Embed a part, and keep its rows in the folder."""
        states = state.read([item.codes for item in part], where=[item.where for item in part])
        schema = schema_of(self.recipe, state.encoder.hidden_size, self.keep)
        rows = rows_of(part, states, self.recipe, schema)
        folder.keep(number, lambda beside: pq.write_table(rows, beside))


ENDINGS = (".parquet", ".npy", ".zarr")
_CHUNK_ROWS = 1024


@dataclass(frozen=True, kw_only=True)
class EmbeddedFile:
    """A file or folder of vectors (`num_rows`, `width`), and what they depend on."""

    path: Path
    num_sequences: int
    num_rows: int
    width: int
    contract: dict[str, object]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Vectors read back, with the table that names their sequences."""

    index: pa.Table
    vectors: npt.NDArray[np.floating]


@contextmanager
def embedding(
    source: SequenceInput, out: Path, plan: EmbeddingPlan, *, workers: int = 1
) -> Iterator[EmbeddedFile]:
    """Embed all sequences of a file, whose output stays locked in the block; continues where a kill ended.

    Args:
        source: the input.
        out: ends in .parquet, .npy or .zarr; replaced if it is there.
        plan: the model, and what is read off it.
        workers: processes.

    Raises:
        ConfigError: CFG-52, `out` has another ending or cannot be written; CFG-53, 54, choices that do not
            fit each other.
        DataError: the input cannot be read.
        CheckpointError: the model cannot be read; CKPT-12, another process writes `out`.
    """
    with opened_output(out, ENDINGS) as lock:
        reader = plan.open()
        schema = schema_of(plan.recipe, reader.encoder.hidden_size, plan.keep)
        contract = _contract(source, plan, reader)
        folder = PartFolder.begin(out, ".parquet", contract)
        parts = in_parts(source, most=PART_SEQUENCES, most_bp=PART_BP)
        with progress_bar("Embedding", total=None) as advance:
            done = work_on(parts, folder, plan, workers=workers, advance=advance, lock=lock)
        num_rows = _write(out, done, schema)
        yield EmbeddedFile(
            path=out,
            num_sequences=done.num_items,
            num_rows=num_rows,
            width=reader.encoder.hidden_size,
            contract=contract,
        )
        done.remove()


def embed_file(source: SequenceInput, out: Path, plan: EmbeddingPlan, *, workers: int = 1) -> EmbeddedFile:
    """Embed all sequences of a file; see `embedding`."""
    with embedding(source, out, plan, workers=workers) as found:
        return found


def read_embeddings(path: Path) -> Embeddings:
    """Read a whole file of vectors, with its table."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return Embeddings(table.drop_columns("vector"), vectors_of(table))
    index = pq.read_table(index_path(path))
    if path.suffix == ".npy":
        return Embeddings(index, np.load(path, mmap_mode="r"))
    array = zarr.open_group(path, mode="r")["vectors"]
    assert isinstance(array, zarr.Array), "as it was written"
    return Embeddings(index, np.asarray(array[:]))


def index_path(out: Path) -> Path:
    """The table beside a file that holds vectors alone."""
    return out.with_name(out.name + ".index.parquet")


def _contract(source: SequenceInput, plan: EmbeddingPlan, reader: SequenceReader) -> dict[str, object]:
    """What vectors depend on: equal contracts, equal vectors to the byte."""
    genome = open_or_build(source.reference, source.cache).fingerprint if source.reference else None
    return {
        "weights": weights_checksum(reader.encoder),
        "tokenizer": reader.tokenizer.fingerprint,
        "input": source.checksum,
        "reference": genome,
        "columns": [source.sequence, source.id, *source.keep],
        "kernel": plan.model.kernel,
        "device": plan.device,
        "precision": plan.precision,
        **asdict(reader.recipe),
        "window_tokens": reader.limit,
    }


def _write(out: Path, done: DoneParts, schema: pa.Schema) -> int:
    """Put the vectors in the place of what was there; returns the number of rows.

    What lies beside the vectors is removed first, so that after a kill nothing of it is of other vectors.
    """
    num_rows: int = sum(pq.read_metadata(path).num_rows for path in done.files)
    parts = (pq.read_table(pa.BufferReader(content)) for content in done.contents())
    beside = out.with_name(f".{out.stem}.part{out.suffix}")
    _remove(beside)
    if out.suffix == ".parquet":
        with pq.ParquetWriter(beside, schema) as writer:
            for part in parts:
                writer.write_table(part)
    else:
        index = _write_array(beside, index_path(out), parts, num_rows, schema)
    for path in [*beside.rglob("*"), beside]:  # Zarr's is a folder
        sync(path)
    summary_path(out).unlink(missing_ok=True)
    if out.suffix != ".parquet":
        _remove(out)
        index.rename(index_path(out))
    beside.rename(out)
    sync(out.parent)
    return num_rows


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write_array(
    target: Path, index: Path, parts: Iterable[pa.Table], num_rows: int, schema: pa.Schema
) -> Path:
    """Write the vectors to `target` and their table beside `index`; returns where that is."""
    column = schema.field("vector").type
    shape, dtype = (num_rows, column.list_size), np.dtype(column.value_type.to_pandas_dtype())
    array: zarr.Array[Any] | np.memmap[tuple[int, ...], np.dtype[np.floating]]
    if target.suffix == ".npy":
        array = np.lib.format.open_memmap(target, mode="w+", dtype=dtype, shape=shape)
        reserve(target, target.stat().st_size)
    else:
        chunks = (min(_CHUNK_ROWS, num_rows), shape[1])
        array = zarr.open_group(target, mode="w").create_array(
            "vectors", shape=shape, dtype=dtype, chunks=chunks
        )
    done = 0
    beside = index.with_name(f".{index.name}.part")
    with pq.ParquetWriter(beside, schema.remove(schema.get_field_index("vector"))) as writer:
        for part in parts:
            array[done : done + len(part)] = vectors_of(part)
            writer.write_table(part.drop_columns("vector"))
            done += len(part)
    if isinstance(array, np.memmap):
        array.flush()
    sync(beside)
    return beside
