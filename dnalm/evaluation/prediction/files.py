"""From a file of sequences, or a genome in tiles, to a file of predictions, computed and written in parts.

`evaluation.parts` says what a kill leaves; batches end where parts do. A part is a table with a row for each
sequence: `id`, `contig`, `start`, `end`, `strand`, `kept_0` and so on, and `values`, its prediction, of bases
all of them end to end. `writers` makes the output of the parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dnalm.console import progress_bar
from dnalm.errors import ConfigError
from dnalm.evaluation.inference import Device, Floats, Precision
from dnalm.evaluation.parts import PartFolder, opened_output, work_on
from dnalm.evaluation.prediction.outputs import ENDINGS, OutputPlan, Totals, check_output, write_output
from dnalm.evaluation.prediction.reader import PredictionRecipe, Predictor
from dnalm.evaluation.sequence_inputs import Part, SequenceInput, TiledGenome, in_parts
from dnalm.genome.store import open_or_build
from dnalm.models import Pretrained
from dnalm.training.model_directory import DescribedHead
from dnalm.training.probing import weights_checksum

PART_SEQUENCES, PART_BP = 4096, 1 << 18


@dataclass(frozen=True, kw_only=True)
class PredictionPlan:
    """All that a process needs to predict.

    Attributes:
        models: where they are; the predictions of several are averaged.
        recipe: strands and long sequences.
        num_kept: columns of the input that are carried along.
        device: where to compute.
        precision: of matrix products.
    """

    models: tuple[Pretrained, ...]
    recipe: PredictionRecipe
    num_kept: int = 0
    device: Device = "auto"
    precision: Precision = "float32"

    def open(self) -> Predictor:
        """Load the models; raises as `Predictor.open`."""
        return Predictor.open(self.models, self.recipe, device=self.device, precision=self.precision)

    def do(self, state: Predictor, folder: PartFolder, number: int, part: Part) -> None:
        """Predict a part, and keep its rows in the folder."""
        predictions = state.predict([item.codes for item in part], where=[item.where for item in part])
        rows = _rows(part, predictions, num_kept=self.num_kept, per_base=state.per_base)
        folder.keep(number, lambda beside: pq.write_table(rows, beside))


def _rows(part: Part, predictions: Sequence[Floats], *, num_kept: int, per_base: bool) -> pa.Table:
    """Of bases in single precision, which keeps seven digits at half the size."""
    ends = np.cumsum([0, *(values.size for values in predictions)])
    flat = np.concatenate([values.ravel() for values in predictions])
    texts = {
        "id": [item.id for item in part],
        "contig": [item.contig for item in part],
        "strand": [item.strand for item in part],
        **{f"kept_{n}": [item.kept[n] for item in part] for n in range(num_kept)},
    }
    columns = {name: pa.array(values, pa.string()) for name, values in texts.items()}
    columns["start"] = pa.array([item.start for item in part], pa.int64())
    columns["end"] = pa.array([item.end for item in part], pa.int64())
    numbers = pa.array(flat.astype(np.float32 if per_base else np.float64))
    columns["values"] = pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), numbers)
    return pa.table(columns)


@dataclass(frozen=True, kw_only=True)
class PredictedFile:
    """Files of predictions of some models, what they say in numbers, and what they depend on."""

    paths: tuple[Path, ...]
    head: DescribedHead
    models: tuple[str, ...]
    totals: Totals
    contract: dict[str, object]


@contextmanager
def prediction(
    source: SequenceInput | TiledGenome,
    out: Path,
    plan: PredictionPlan,
    *,
    keep: tuple[str, ...] = (),
    threshold: float | None = None,
    background: bool = False,
    workers: int = 1,
) -> Iterator[PredictedFile]:
    """Predict all sequences of an input, whose output stays locked in the block; continues after a kill.

    Args:
        source: the input; of a .bw in the order of contigs' names and starts.
        out: ends in .tsv, .parquet, .bed or .bw; replaced if it is there.
        plan: the models, and how they read.
        keep: the columns of the input that are carried along.
        threshold: of .bed, of bases or tiles: the least probability of a class in its intervals; the most
            probable class alone if absent.
        background: whether the intervals of the first class are written too.
        workers: processes.

    Raises:
        ConfigError: CFG-52, `out` has another ending or cannot be written; PRED-01, it cannot hold what the
            models predict of this input; CFG-54, a column to keep has the name of one of the output.
        DataError: the input cannot be read.
        CheckpointError: a model cannot be read; CKPT-12, another process writes `out`.
    """
    with opened_output(out, ENDINGS) as lock:
        predictor = plan.open()
        output = OutputPlan(
            names=predictor.names,
            kind=predictor.head.kind,
            tiled=isinstance(source, TiledGenome),
            placed=isinstance(source, TiledGenome) or source.kind in ("bed", "fasta"),
            keep=keep,
            threshold=threshold,
            background=background,
        )
        check_output(out, output, source)
        contract = _contract(source, plan, predictor)
        folder = PartFolder.begin(out, ".parquet", contract)
        total = len(source) if isinstance(source, TiledGenome) else None
        parts = in_parts(source, most=PART_SEQUENCES, most_bp=PART_BP)
        with progress_bar("Predicting", total=total, unit="sequences") as advance:
            done = work_on(parts, folder, plan, workers=workers, advance=advance, lock=lock)
        if not done.files:
            raise ConfigError(
                "PRED-01",
                where="input",
                found=f"{source.path}: no tile with a known base",
                expected="one at least",
                fix="check the genome, or set short_contigs=whole",
            )
        totals = Totals.of(done, output)
        paths = write_output(out, done, output, sizes=_sizes(source) if out.suffix == ".bw" else {})
        yield PredictedFile(
            paths=tuple(paths),
            head=predictor.head,
            models=tuple(model.name for model in predictor.models),
            totals=totals,
            contract=contract,
        )
        done.remove()


def _sizes(source: SequenceInput | TiledGenome) -> dict[str, int]:
    """The length of each contig of the genome."""
    if isinstance(source, TiledGenome):
        store = source.store
    else:
        assert source.reference is not None, "of a BED"
        store = open_or_build(source.reference, source.cache)
    return {contig.name: contig.length for contig in store.contigs}


def _contract(
    source: SequenceInput | TiledGenome, plan: PredictionPlan, predictor: Predictor
) -> dict[str, object]:
    """What predictions depend on: equal contracts, equal predictions to the byte."""
    if isinstance(source, TiledGenome):
        of_input: dict[str, object] = {
            "genome": source.store.fingerprint,
            "tile_bp": source.tile_bp,
            "stride_bp": source.stride,
            "short_contigs": source.short_contigs,
            "by_name": source.by_name,
        }
    else:
        genome = open_or_build(source.reference, source.cache).fingerprint if source.reference else None
        of_input = {
            "input": source.checksum,
            "reference": genome,
            "columns": [source.sequence, source.id, *source.keep],
            "by_place": source.by_place,
        }
    models = [model.finetuned for model in predictor.models]
    return {
        "weights": [weights_checksum(tuned.model) for tuned in models if tuned],
        "heads": [asdict(tuned.head) for tuned in models if tuned],
        "tokenizers": [model.tokenizer.fingerprint for model in predictor.models],
        **of_input,
        "kernels": [model.kernel for model in plan.models],
        "device": plan.device,
        "precision": plan.precision,
        **asdict(plan.recipe),
    }
