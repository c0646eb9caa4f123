"""`dnalm predict`: what a fine-tuned model says of new sequences, of their bases, or along a genome.

Beside the predictions, `<out>.summary.json` has `out` (the files), `task`, `kind`, `models`, `sequences`,
`bases`, `counts` (sequences, or bases where they are judged, by predicted class or label), `means` (of each
probability, or of the value), `seconds`, `bases_per_s`, `contract` (what the predictions depend on) and
`config`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from dnalm.console import stdout
from dnalm.data.labelled import LongSequence
from dnalm.data.labelled.rows import file_kind
from dnalm.errors import ConfigError
from dnalm.evaluation.inference import Device, Precision
from dnalm.evaluation.parts import write_summary
from dnalm.evaluation.prediction.files import PredictedFile, PredictionPlan, prediction
from dnalm.evaluation.prediction.reader import PredictionRecipe, Strands
from dnalm.evaluation.sequence_inputs import SequenceInput, ShortContigs, TiledGenome
from dnalm.limits import Processes, Tokens, WindowBases
from dnalm.models import Ensemble, Pretrained
from dnalm.paths import CachePath, InputPath, OutputFile


def predict(
    *,
    model: Pretrained | Ensemble,
    input: InputPath,  # noqa: A002 -- the key's name
    out: OutputFile,
    config: dict[str, object],
    reference: InputPath | None = None,
    tile_bp: WindowBases | None = None,
    stride_bp: WindowBases | None = None,
    short_contigs: ShortContigs = "stop",
    sequence: str = "sequence",
    id: str | None = None,  # noqa: A002 -- the key's name
    keep: tuple[str, ...] = (),
    strands: Strands = "as_trained",
    long: LongSequence | None = None,
    threshold: Annotated[float, Field(gt=0, le=1)] | None = None,
    background: bool = False,
    max_bp: WindowBases = 200_000,
    batch_tokens: Tokens = 16_384,
    cache: CachePath | None = None,
    workers: Processes = 1,
    device: Device = "auto",
    precision: Precision = "float32",
) -> None:
    """Predict, from where a killed command ended, and say where the predictions are.

    Args:
        model: a run of `dnalm finetune`, or the model directory that it left; several are averaged.
        input: FASTA; BED, with `reference`; a table: CSV, TSV, JSONL, Parquet; or with `tile_bp` a genome:
            FASTA, 2bit or store.
        out: ends in .tsv, .parquet, .bed or .bw.
        config: the composed config.
        reference: the genome of a BED: FASTA, 2bit or store.
        tile_bp: read a genome in tiles of so many bases.
        stride_bp: from the beginning of a tile to that of the next; `tile_bp` if absent.
        short_contigs: of contigs shorter than a tile: `stop`, `skip` them, or read each `whole`.
        sequence: of a table: the column of sequences.
        id: of a table: the column of names; rows are numbered from 0 if absent.
        keep: columns of a table or BED to carry along.
        strands: `as_trained` does as the model was tested; `both` averages both strands; `forward`.
        long: of sequences longer than the model takes: pieces, truncate, refuse; as it was tested if absent.
        threshold: of .bed of tiles or bases: least probability of a class; the most probable one if absent.
        background: whether such intervals of the first class are written too.
        max_bp: longer sequences are refused, since a sequence is in memory at once.
        batch_tokens: tokens of a batch.
        cache: folder of stores; the user's cache if absent.
        workers: processes.
        device: where to compute.
        precision: of matrix products; `bfloat16` is faster where the processor has it.

    Raises:
        ConfigError: CFG-52, 54, PRED-01, choices that do not fit each other or the model.
        DataError: the input cannot be used.
        CheckpointError: a model cannot be read or has no task's head; PRED-02, models differ.
    """
    began, by_place = time.monotonic(), out.suffix == ".bw"
    source: SequenceInput | TiledGenome
    if tile_bp is not None:
        _check_tiled(input, reference=reference, keep=keep, id=id)
        source = _tiled(input, tile_bp, stride_bp, short_contigs, cache, by_name=by_place)
    else:
        _check_not_tiled(input, stride_bp=stride_bp, short_contigs=short_contigs)
        source = SequenceInput(
            path=input,
            reference=reference,
            cache=cache,
            sequence=sequence,
            id=id,
            keep=keep,
            max_bp=max_bp,
            by_place=by_place,
        )
    recipe = PredictionRecipe(strands=strands, long=long, batch_tokens=batch_tokens)
    plan = PredictionPlan(
        models=model.members, recipe=recipe, num_kept=len(keep), device=device, precision=precision
    )
    with prediction(
        source, out, plan, keep=keep, threshold=threshold, background=background, workers=workers
    ) as found:
        _report(out, source.notes, found, config, time.monotonic() - began)


def _tiled(
    path: Path,
    tile_bp: int,
    stride_bp: int | None,
    short_contigs: ShortContigs,
    cache: Path | None,
    *,
    by_name: bool,
) -> TiledGenome:
    return TiledGenome(
        path=path,
        tile_bp=tile_bp,
        stride_bp=stride_bp,
        short_contigs=short_contigs,
        cache=cache,
        by_name=by_name,
    )


def _check_tiled(
    path: Path,
    *,
    reference: Path | None,
    keep: tuple[str, ...],
    id: str | None,  # noqa: A002
) -> None:
    """Refuse tiles of what is no genome, and keys of other inputs beside tiles."""
    kind = file_kind(path)
    if kind not in (None, "fasta", "folder"):
        found = f"tiles of {path}, which is a {'BED' if kind == 'bed' else 'table'}"
        raise _refused("tile_bp", found, "a genome: FASTA, 2bit or store", "leave tile_bp out")
    given = {"reference": reference is not None, "keep": bool(keep), "id": id is not None}
    for key in (key for key, is_given in given.items() if is_given):
        raise _refused(key, f"{key} beside tile_bp", "a genome alone: input=genome.fa", f"leave {key} out")


def _check_not_tiled(path: Path, *, stride_bp: int | None, short_contigs: ShortContigs) -> None:
    """Refuse keys of tiles without tiles, and a genome that can be read in no other way."""
    for key, given in (("stride_bp", stride_bp is not None), ("short_contigs", short_contigs != "stop")):
        if given:
            raise _refused(key, f"{key} without tile_bp", "tiles", "set tile_bp=1000, or leave it out")
    if path.suffix == ".2bit" or (path / "manifest.json").is_file():
        raise _refused("input", f"{path}, a whole genome, without tile_bp", "tiles of it", "set tile_bp=1000")


def _refused(where: str, found: str, expected: str, fix: str) -> ConfigError:
    return ConfigError("PRED-01", where=where, found=found, expected=expected, fix=fix)


def _report(
    out: Path, notes: Iterable[str], found: PredictedFile, config: dict[str, object], seconds: float
) -> None:
    for note in notes:
        stdout.print(note)
    totals, head = found.totals, found.head
    summary: dict[str, object] = {
        "out": [str(path) for path in found.paths],
        "task": head.task,
        "kind": head.kind,
        "models": list(found.models),
        "sequences": totals.sequences,
        "bases": totals.bases,
        "counts": totals.counts,
        "means": totals.means,
        "seconds": round(seconds, 1),
        "bases_per_s": round(totals.bases / seconds),
        "contract": found.contract,
        "config": config,
    }
    path = write_summary(out, summary)
    files = ", ".join(str(path) for path in found.paths)
    stdout.print(f"{head.task}: {totals.sequences:,} sequences of {totals.bases:,} bases predicted: {files}")
    figures = [f"{name} {count:,}" for name, count in totals.counts.items()]
    figures = figures or [f"mean {name} {mean:.4g}" for name, mean in totals.means.items()]
    unit = "bases" if head.kind == "segmentation" else "sequences"
    shown = f"{', '.join(figures[:_MOST_SHOWN])}{', …' if len(figures) > _MOST_SHOWN else ''}"
    stdout.print(f"{unit} by class: {shown}" if totals.counts else shown)
    stdout.print(f"summary: {path}")


_MOST_SHOWN = 20
