"""What predictions are written as: a table (.tsv, .parquet), intervals (.bed) or tracks (.bw).

Columns of a table: `id`; of an input with places `contig`, `start`, `end` (0-based, half-open, on the forward
strand) and `strand`; the columns kept of the input; of classes `predicted`, the most probable one; then
`probability_<class>` of each class or label, or `value`. Of more than 64 classes there is the `probability`
of the predicted one. Where bases are judged there is a row for each, with `base`, its place in the sequence
as it is read, from 0; of a genome in tiles a row for each base of it, the mean over the tiles that cover it.

R rows, O outputs, L bases.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dnalm.data.labelled import TaskKind
from dnalm.durable import atomic_write
from dnalm.errors import ConfigError
from dnalm.evaluation.inference import Floats
from dnalm.evaluation.parts import DoneParts, summary_path
from dnalm.evaluation.prediction.tracks import Rows, Run, mean_runs, write_bed, write_bigwig
from dnalm.evaluation.sequence_inputs import SequenceInput, TiledGenome
from dnalm.tables import row_writer

ENDINGS = (".tsv", ".parquet", ".bed", ".bw")
_MOST_COLUMNS = 64  # of classes, as in the predictions of fine-tuning
_LIKELY = 0.5
_PLACES = ("contig", "start", "end", "strand")


@dataclass(frozen=True, kw_only=True)
class OutputPlan:
    """What is predicted of what, and what of it is written.

    Attributes:
        names: of the outputs.
        kind: of the task.
        tiled: whether the sequences are tiles of a genome.
        placed: whether the sequences have places on contigs.
        keep: columns of the input that are carried along.
        threshold: least probability of a class in its intervals; the most probable class alone if None.
        background: whether intervals of the first class are written too.
    """

    names: tuple[str, ...]
    kind: TaskKind
    tiled: bool = False
    placed: bool = False
    keep: tuple[str, ...] = ()
    threshold: float | None = None
    background: bool = False

    @property
    def per_base(self) -> bool:
        """Whether every base is judged."""
        return self.kind == "segmentation"

    @property
    def has_classes(self) -> bool:
        """Whether a sequence or base has one class of several."""
        return self.kind in ("binary", "multiclass", "segmentation")

    @property
    def is_made_of_intervals(self) -> bool:
        """Whether a .bed of it has intervals that are made of predictions, and not those of the input."""
        return self.tiled or self.per_base

    @property
    def columns(self) -> tuple[str, ...]:
        """Of predictions in a table."""
        if self.kind == "regression":
            return self.names
        predicted = ("predicted",) if self.has_classes else ()
        if self.has_classes and len(self.names) > _MOST_COLUMNS:
            return (*predicted, "probability")
        return (*predicted, *(f"probability_{name}" for name in self.names))

    @cached_property
    def schema(self) -> pa.Schema:
        """Of a table."""
        placed = [
            ("contig", pa.string()),
            ("start", pa.int64()),
            ("end", pa.int64()),
            ("strand", pa.string()),
        ]
        fields = [("id", pa.string()), *(placed if self.placed else ())]
        fields += [("base", pa.int64())] if self.per_base else []
        fields += [(name, pa.string()) for name in self.keep]
        number = pa.float32() if self.per_base else pa.float64()
        fields += [(name, pa.string() if name == "predicted" else number) for name in self.columns]
        return pa.schema(fields)

    @property
    def tracks(self) -> dict[int, str | None]:
        """The outputs that have a bigWig, each with what its name adds to that of `out`; None adds nothing.

        Of two classes it is the second, and of a single label or value that one.
        """
        if self.has_classes and len(self.names) == 2:
            return {1: None}
        if len(self.names) == 1:
            return {0: None}
        plain = [re.sub(r"[^\w.-]+", "_", name) for name in self.names]
        unique = len({name.lower() for name in plain}) == len(plain)
        return dict(enumerate(plain if unique else map(str, range(len(plain)))))

    def classes_of(self, values_RO: Floats) -> npt.NDArray[np.bool_]:
        """Which classes or labels each row is of, (R, O)."""
        if self.threshold is not None:
            return values_RO >= self.threshold
        if self.has_classes:
            best: npt.NDArray[np.bool_] = np.arange(len(self.names)) == values_RO.argmax(axis=1)[:, None]
            return best
        return values_RO > _LIKELY


def check_output(out: Path, output: OutputPlan, source: SequenceInput | TiledGenome) -> None:
    """Refuse an output that cannot hold what is predicted of this input.

    Raises:
        ConfigError: PRED-01; CFG-54, a column to keep has the name of one of the output, or is given twice.
    """
    own = {"id", "base", *_PLACES, *output.columns}
    if taken := sorted({*output.keep} & own | {k for k in output.keep if output.keep.count(k) > 1}):
        raise ConfigError(
            "CFG-54",
            where="keep",
            found=", ".join(taken),
            expected="each once, and none of the table's own columns",
            fix="rename the column in the input",
        )
    if out.suffix in (".bed", ".bw") and not output.placed:
        raise _refused("out", f"{out.suffix} of a table of sequences, which has no places", "a table", _TABLE)
    if out.suffix in (".bed", ".bw") and output.keep:
        raise _refused("keep", f"columns beside out={out.name}, which has none", "none", _TABLE)
    if out.suffix == ".bed" and output.kind == "regression":
        raise _refused(
            "out", ".bed of values, and its intervals name classes", ".bw, .tsv or .parquet", _TABLE
        )
    if out.suffix != ".bed" or not output.is_made_of_intervals:
        for key, given in (("threshold", output.threshold is not None), ("background", output.background)):
            if given:
                found = f"{key} where no intervals are made of predictions"
                raise _refused(key, found, "out=….bed of tiles, or of bases", f"leave {key} out")
    if out.suffix == ".bw":
        _check_tracks(out, output, source)


_TABLE = "write a table: out=predictions.tsv"


def _check_tracks(out: Path, output: OutputPlan, source: SequenceInput | TiledGenome) -> None:
    if not isinstance(source, TiledGenome) and source.kind != "bed":
        fix = "tile it: tile_bp=1000; or give intervals: input=peaks.bed reference=genome.fa"
        raise _refused("out", ".bw of records that lie on no genome", "tiles or a BED", fix)
    if len(output.tracks) > _MOST_COLUMNS:
        found = f"{len(output.tracks):,} classes, of a bigWig each"
        raise _refused("out", found, f"at most {_MOST_COLUMNS}", _TABLE)
    for path in track_paths(out, output).values():
        if path.is_dir():
            raise _refused("out", f"{path} is a folder", "a file or nothing", "move it away")


def _refused(where: str, found: str, expected: str, fix: str) -> ConfigError:
    return ConfigError("PRED-01", where=where, found=found, expected=expected, fix=fix)


def track_paths(out: Path, output: OutputPlan) -> dict[int, Path]:
    """The bigWig of each output that has one: `pred.bw`, or `pred.<class>.bw` of several."""
    named = output.tracks.items()
    return {n: out.with_name(f"{out.stem}.{name}{out.suffix}") if name else out for n, name in named}


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Predictions in numbers.

    Attributes:
        sequences: how many were read.
        bases: of them together.
        counts: sequences, or bases where they are judged, by predicted class; of a multi-label task those
            with a probability above 0.5, by label; none of regression.
        means: the mean probability of each class or label, or of the value.
    """

    sequences: int
    bases: int
    counts: dict[str, int]
    means: dict[str, float]

    @classmethod
    def of(cls, done: DoneParts, output: OutputPlan) -> Totals:
        """Of all parts, a base of two tiles counted twice."""
        size = len(output.names)
        counts, sums, number, sequences, num_bases = np.zeros(size, np.int64), np.zeros(size), 0, 0, 0
        for part in read_parts(done):
            values_RO = values_of(part, size)
            if output.kind != "regression":
                likely = OutputPlan(names=output.names, kind=output.kind).classes_of(values_RO)
                counts += likely.sum(axis=0)
            sums += values_RO.sum(axis=0, dtype=np.float64)
            number += len(values_RO)
            sequences += len(part)
            num_bases += int((column(part, "end") - column(part, "start")).sum())
        by_name = {} if output.kind == "regression" else dict(zip(output.names, counts.tolist(), strict=True))
        means = dict(zip(output.names, (sums / max(number, 1)).tolist(), strict=True))
        return cls(sequences=sequences, bases=num_bases, counts=by_name, means=means)


def read_parts(done: DoneParts) -> Iterator[pa.Table]:
    """The table of each part, in order."""
    for content in done.contents():
        yield pq.read_table(pa.BufferReader(content))


def values_of(part: pa.Table, size: int) -> Floats:
    """All predictions of a part, of sequences or of bases, end to end, (R, O)."""
    flat: Floats = part["values"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, size)


def column(part: pa.Table, name: str) -> npt.NDArray[np.int64]:
    """A column of whole numbers."""
    numbers: npt.NDArray[np.int64] = part[name].to_numpy()
    return numbers


def write_output(out: Path, done: DoneParts, output: OutputPlan, *, sizes: dict[str, int]) -> list[Path]:
    """Put predictions in the place of what was there; returns the files.

    Args:
        out: ends in one of `ENDINGS`.
        done: all parts; of .bw in the order of contigs' names and starts.
        output: what is written.
        sizes: of .bw, the length of each contig.
    """
    summary_path(out).unlink(missing_ok=True)
    if out.suffix == ".bw":
        tracks = track_paths(out, output)
        for number, path in tracks.items():
            with atomic_write(path) as beside:
                write_bigwig(beside, _mean_runs(done, output), number, sizes)
        return list(tracks.values())
    with atomic_write(out) as beside:
        if out.suffix == ".parquet":
            with pq.ParquetWriter(beside, output.schema) as writer:
                for rows in _tables(done, output):
                    writer.write_table(rows)
        elif out.suffix == ".tsv":
            _write_tsv(beside, output.schema, _tables(done, output))
        elif output.is_made_of_intervals:
            write_bed(beside, _interval_rows(done, output), output.names, _shown(output))
        else:
            _write_given_intervals(beside, done, output)
    return [out]


def _shown(output: OutputPlan) -> Callable[[Floats], npt.NDArray[np.bool_]]:
    """Which classes of each row have intervals."""

    def shown(values_RO: Floats) -> npt.NDArray[np.bool_]:
        chosen = output.classes_of(values_RO)
        if output.has_classes and not output.background:
            chosen[:, 0] = False
        return chosen

    return shown


def placed_rows(done: DoneParts, output: OutputPlan) -> Iterator[Rows]:
    """Sequences with their predictions, a part's of one contig together; bases by forward coordinate."""
    for part in read_parts(done):
        size, contigs = len(output.names), part["contig"].to_pylist()
        starts, ends, strands = column(part, "start"), column(part, "end"), part["strand"].to_pylist()
        values = values_of(part, size)
        edges = [n for n in range(len(contigs)) if n == 0 or contigs[n] != contigs[n - 1]]
        if not output.per_base:
            for first, last in zip(edges, [*edges[1:], len(contigs)], strict=True):
                yield Rows(contigs[first], starts[first:last], ends[first:last], values[first:last])
            continue
        offsets = np.cumsum(ends - starts)
        for number, (start, of_bases) in enumerate(zip(starts, np.split(values, offsets[:-1]), strict=True)):
            place = start + np.arange(len(of_bases))
            turned = of_bases[::-1] if strands[number] == "-" else of_bases
            yield Rows(contigs[number], place, place + 1, turned, strands[number])


def _mean_runs(done: DoneParts, output: OutputPlan) -> Iterator[Rows]:
    return mean_runs(placed_rows(done, output))


def _interval_rows(done: DoneParts, output: OutputPlan) -> Iterator[Rows]:
    """What intervals are made of: tiles, the bases of tiles averaged, or the bases of each sequence."""
    if output.tiled and output.per_base:
        return _mean_runs(done, output)
    return placed_rows(done, output)


def _tables(done: DoneParts, output: OutputPlan) -> Iterator[pa.Table]:
    """The rows of the output."""
    if output.tiled and output.per_base:
        for run in _mean_runs(done, output):
            name = pa.array([run.contig] * len(run.starts), pa.string())
            strand = pa.array(["+"] * len(run.starts), pa.string())
            texts = {"id": name, "contig": name, "strand": strand}
            yield _table(output, texts, run.starts, run.ends, run.starts, run.values.astype(np.float32))
        return
    for part in read_parts(done):
        values, starts, ends = values_of(part, len(output.names)), column(part, "start"), column(part, "end")
        texts = {name: part[name].combine_chunks() for name in ("id", "contig", "strand")}
        texts |= {name: part[f"kept_{n}"].combine_chunks() for n, name in enumerate(output.keep)}
        base = np.zeros(0, np.int64)
        if output.per_base:
            widths = ends - starts
            owner = np.repeat(np.arange(len(part)), widths)
            base = np.arange(len(owner)) - np.repeat(np.cumsum(widths) - widths, widths)
            turned = np.array(part["strand"].to_pylist(), dtype=object)[owner] == "-"
            texts = {name: text.take(pa.array(owner)) for name, text in texts.items()}
            starts = np.where(turned, ends[owner] - 1 - base, starts[owner] + base)
            ends = starts + 1
        yield _table(output, texts, starts, ends, base, values)


def _table(
    output: OutputPlan,
    texts: dict[str, pa.Array],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    base: npt.NDArray[np.int64],
    values_RO: Floats,
) -> pa.Table:
    columns = {**texts, "start": pa.array(starts), "end": pa.array(ends), "base": pa.array(base)}
    best = values_RO.argmax(axis=1)
    if output.has_classes:
        columns["predicted"] = pa.array(output.names, pa.string()).take(pa.array(best))
    if output.columns[-1] == "probability":
        columns["probability"] = pa.array(values_RO[np.arange(len(best)), best])
    else:
        numbers = output.columns[int(output.has_classes) :]
        columns |= {name: pa.array(values_RO[:, n]) for n, name in enumerate(numbers)}
    return pa.table([columns[name] for name in output.schema.names], schema=output.schema)


def _write_tsv(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Numbers have nine significant digits, of bases seven."""
    digits = {pa.string(): "", pa.float64(): ".9g", pa.float32(): ".7g"}
    with path.open("w", encoding="utf-8", newline="") as file:
        write = row_writer(file, delimiter="\t")
        write(schema.names)
        for table in tables:
            columns = [
                ["" if value is None else format(value, digits.get(field.type, "d")) for value in values]
                for field in schema
                for values in [table[field.name].to_pylist()]
            ]
            for row in zip(*columns, strict=True):
                write(row)


def _write_given_intervals(path: Path, done: DoneParts, output: OutputPlan) -> None:
    """The intervals of the input, each with its class, or a line for each of its labels."""
    with path.open("w", encoding="utf-8") as file:
        for part in read_parts(done):
            values_RO = values_of(part, len(output.names))
            rows = zip(*(part[name].to_pylist() for name in _PLACES), strict=True)
            for (contig, start, end, strand), values_O, chosen_O in zip(
                rows, values_RO, output.classes_of(values_RO), strict=True
            ):
                for number in np.flatnonzero(chosen_O).tolist():
                    mean = float(values_O[number])
                    file.write(Run(contig, start, end, number, mean, strand).line(output.names))
