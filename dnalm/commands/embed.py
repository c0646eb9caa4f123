"""`dnalm embed`: vectors of sequences, tokens or bases from a trained model, with ids and coordinates.

Beside the vectors, `<out>.summary.json` has `out`, `model`, `sequences`, `rows`, `width`, `seconds`,
`contract` (what the vectors depend on) and `config`.
"""

from __future__ import annotations

import time
from typing import Annotated, Literal

from pydantic import Field

from dnalm.console import stdout
from dnalm.evaluation.embedding.files import EmbeddedFile, EmbeddingPlan, embedding
from dnalm.evaluation.embedding.reader import EmbeddingRecipe, PoolingKind, Resolution
from dnalm.evaluation.inference import Device, Precision
from dnalm.evaluation.parts import write_summary
from dnalm.evaluation.sequence_inputs import SequenceInput
from dnalm.limits import Processes, Tokens, WindowBases
from dnalm.models import Pretrained
from dnalm.paths import CachePath, InputPath, OutputFile
from dnalm.tokenizers import Tokenizer


def embed(
    *,
    model: Pretrained,
    input: InputPath,  # noqa: A002 -- the key's name
    out: OutputFile,
    config: dict[str, object],
    reference: InputPath | None = None,
    sequence: str = "sequence",
    id: str | None = None,  # noqa: A002 -- the key's name
    keep: tuple[str, ...] = (),
    layer: int = -1,
    pooling: PoolingKind | None = None,
    resolution: Resolution = "sequence",
    dtype: Literal["float32", "float16"] = "float32",
    long: Literal["windows", "refuse"] = "windows",
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5,
    max_tokens: Tokens | None = None,
    max_bp: WindowBases = 200_000,
    batch_tokens: Tokens = 16_384,
    tokenizer: Tokenizer | None = None,
    cache: CachePath | None = None,
    workers: Processes = 1,
    device: Device = "auto",
    precision: Precision = "float32",
) -> None:
    """Embed a file of sequences, from where a killed command ended, and say where the vectors are.

    Args:
        model: a run, a model directory or a published model.
        input: FASTA; BED, with `reference`; or a table: CSV, TSV, JSONL, Parquet.
        out: ends in .parquet, .npy or .zarr.
        config: the composed config.
        reference: the genome of a BED: FASTA, 2bit or store.
        sequence: of a table: the column of sequences.
        id: of a table: the column of names; rows are numbered from 0 if absent.
        keep: columns of a table or BED to carry along.
        layer: 0 the embeddings, -1 the last block's output.
        pooling: mean (of sequences if absent), cls, max; none of tokens and bases.
        resolution: a vector for each sequence, token or base.
        dtype: of the vectors in the file.
        long: a sequence that is longer than the model is read in `windows`, or refused.
        overlap: share of a window that the next one holds too, at least.
        max_tokens: of a window; those that the model was trained with if absent.
        max_bp: longer sequences are refused, since a sequence's vectors are in memory at once.
        batch_tokens: tokens of a batch.
        tokenizer: what the model's ids mean; that of its folder if absent.
        cache: folder of stores; the user's cache if absent.
        workers: processes.
        device: where to compute.
        precision: of matrix products; `bfloat16` is faster where the processor has it.

    Raises:
        ConfigError: CFG-52 to 54, choices that do not fit each other or the model.
        DataError: the input cannot be used.
        CheckpointError: the model cannot be read.
    """
    began = time.monotonic()
    source = SequenceInput(
        path=input, reference=reference, cache=cache, sequence=sequence, id=id, keep=keep, max_bp=max_bp
    )
    recipe = EmbeddingRecipe(
        layer=layer,
        pooling=pooling,
        resolution=resolution,
        long=long,
        overlap=overlap,
        max_tokens=max_tokens,
        dtype=dtype,
        batch_tokens=batch_tokens,
    )
    plan = EmbeddingPlan(
        model=model, recipe=recipe, tokenizer=tokenizer, keep=keep, device=device, precision=precision
    )
    with embedding(source, out, plan, workers=workers) as found:
        for note in source.notes:
            stdout.print(note)
        _report(found, model.title, config, time.monotonic() - began)


def _report(found: EmbeddedFile, model: str, config: dict[str, object], seconds: float) -> None:
    summary: dict[str, object] = {
        "out": str(found.path),
        "model": model,
        "sequences": found.num_sequences,
        "rows": found.num_rows,
        "width": found.width,
        "seconds": round(seconds, 1),
        "contract": found.contract,
        "config": config,
    }
    path = write_summary(found.path, summary)
    of = f"{found.width} numbers, of {found.num_sequences:,} sequences"
    stdout.print(f"{found.num_rows:,} vectors of {of}: {found.path}")
    stdout.print(f"summary: {path}")
