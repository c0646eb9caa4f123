"""A file of variants to a scored file: VCF with our INFO fields, a table of tabs, or Parquet.

Records stay in the order of the input. A VCF keeps its header, its lines and their INFO. Tables have one row
for each ALT: the columns of the input (of a VCF the first five), then the scores, then `skipped` with the
reason where there are none.

Alleles are scored in parts of fixed size; `evaluation.parts` says what a kill leaves. A part is JSON: for
each record, for each ALT, its numbers or a reason.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pysam

from dnalm.console import progress_bar
from dnalm.durable import atomic_write, write_text
from dnalm.errors import ConfigError
from dnalm.evaluation.parts import DoneParts, PartFolder, work_on
from dnalm.evaluation.variants.scoring import Scorer, ScoringPlan
from dnalm.genome.store import GenomeStore
from dnalm.genome.variants import Allele, Form, Reason, Record, Survey, judge, read_records
from dnalm.lock import OutputLock
from dnalm.tables import row_writer

OutputKind = Literal["vcf", "tsv", "parquet"]
_KINDS: dict[str, OutputKind] = {".vcf.gz": "vcf", ".tsv": "tsv", ".parquet": "parquet"}
ENDINGS = tuple(_KINDS)
_OURS = "DNALM_"
_TBI_BP = 1 << 29  # longer contigs do not fit into a .tbi
PART_RECORDS = 250
_PARQUET_ROWS = 10_000  # of a row group
Entry = str | list[float]  # a reason, or the numbers
Scored = tuple[Record, list[Entry]]
Judged = list[list[Allele | Reason]]  # of each record, of each ALT


@dataclass(frozen=True)
class ScoringWork:
    """Scores the alleles of a part.

    Attributes:
        plan: how.
        store: the genome.
    """

    plan: ScoringPlan
    store: GenomeStore

    def open(self) -> Scorer:
        """Load the model."""
        return Scorer.open(self.plan, self.store)

    def do(self, state: Scorer, folder: PartFolder, number: int, part: Judged) -> None:
        """Score a part, and keep its rows in the folder."""
        rows = score_part(state, part)
        folder.keep(number, lambda beside: write_text(beside, json.dumps(rows) + "\n"))


def score_part(scorer: Scorer, part: Judged) -> list[list[Entry]]:
    """The results of a part: of each record, of each ALT."""
    alleles = [entry for entries in part for entry in entries if isinstance(entry, Allele)]
    scores = iter(scorer.score(alleles))
    return [
        [next(scores) if isinstance(entry, Allele) else str(entry) for entry in entries] for entries in part
    ]


def judged_parts(
    variants: Path, found: Survey, store: GenomeStore, *, max_allele_bp: int
) -> Iterator[Judged]:
    """The parts of a surveyed file: which alleles can be scored, and why others cannot."""
    for records in parts_of(read_records(variants, found.form)):
        yield [judge(record, found.aliases, store, max_allele_bp=max_allele_bp) for record in records]


def parts_of(records: Iterable[Record]) -> Iterator[tuple[Record, ...]]:
    """Cut records into parts."""
    rest = iter(records)
    while part := tuple(islice(rest, PART_RECORDS)):
        yield part


def output_kind(out: Path, form: Form) -> OutputKind:
    """By the ending of its name, which is one of `ENDINGS`.

    Raises:
        ConfigError: CFG-52, a VCF of a table.
    """
    kind = next(kind for ending, kind in _KINDS.items() if out.name.endswith(ending))
    if kind == "vcf" and form.kind == "table":
        raise ConfigError(
            "CFG-52",
            where="out",
            found=f"{out}: a VCF of a table with its own columns",
            expected="a file that ends in .tsv or .parquet",
            fix="name it so",
        )
    return kind


def write_output(
    out: Path,
    form: Form,
    names: tuple[str, ...],
    scored: Iterable[Scored],
    *,
    model: str,
    longest_bp: int | None,
) -> str | None:
    """Write all, beside `out` first, so that it is whole or absent; a VCF gets an index.

    What lies beside the scores is removed first, so that after a kill nothing of it is of other scores.

    Args:
        out: the file.
        form: of the input.
        names: of the numbers.
        scored: the records in order.
        model: what the header of a VCF calls it.
        longest_bp: of the contigs, by which an index is `.tbi` or, beyond 2^29, `.csi`; None of variants that
            are not sorted, which have none.

    Returns:
        Why a VCF has no index; None if it has one, and of tables.
    """
    kind = output_kind(out, form)
    writers: dict[str, Callable[[Path, Form, tuple[str, ...], Iterable[Scored]], None]] = {
        "vcf": partial(_write_vcf, model=model),
        "tsv": _write_tsv,
        "parquet": _write_parquet,
    }
    with atomic_write(out) as beside:
        writers[kind](beside, form, names, scored)
        for ending in (".summary.json", ".ranked.tsv", *((".tbi", ".csi") if kind == "vcf" else ())):
            out.with_name(out.name + ending).unlink(missing_ok=True)
    if kind != "vcf":
        return None
    return "the variants are not sorted" if longest_bp is None else _index(out, longest_bp)


def _index(out: Path, longest_bp: int) -> str | None:
    """Make the index; why it could not be made, for the scores are there all the same."""
    beside, reason = out.with_name(f".{out.name}.index"), ""
    verbosity = pysam.set_verbosity(0)  # htslib prints its reasons
    try:
        for is_csi in (True,) if longest_bp > _TBI_BP else (False, True):
            try:
                pysam.tabix_index(str(out), preset="vcf", force=True, csi=is_csi, index=str(beside))
                beside.replace(out.with_name(out.name + (".csi" if is_csi else ".tbi")))
            except OSError as error:  # of positions that the header does not give, such as END
                reason = str(error)
            else:
                return None
    finally:
        pysam.set_verbosity(verbosity)
        beside.unlink(missing_ok=True)
    return reason


def number_text(value: float) -> str:
    """Six significant digits; `.` where there is no number."""
    return "." if math.isnan(value) else f"{value:.6g}"


def _write_vcf(
    path: Path, form: Form, names: tuple[str, ...], scored: Iterable[Scored], *, model: str
) -> None:
    fields = [f"{_OURS}{name.upper()}" for name in names]
    ours = [*fields, f"{_OURS}SKIP"]
    header = form.header or ("##fileformat=VCFv4.3", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO")
    of = f"dnalm {{}} of {model}, both strands averaged".replace("\\", "\\\\").replace('"', '\\"')
    declared = [
        f'##INFO=<ID={field},Number=A,Type=Float,Description="{of.format(name)}">'
        for name, field in zip(names, fields, strict=True)
    ]
    declared.append(
        f'##INFO=<ID={ours[-1]},Number=A,Type=String,Description="Why dnalm has not scored this allele">'
    )
    kept = [line for line in header[:-1] if not any(line.startswith(f"##INFO=<ID={name},") for name in ours)]
    with pysam.BGZFile(str(path), "wb", None) as file:
        file.write(("\n".join([*kept, *declared, header[-1]]) + "\n").encode())
        for record, entries in scored:
            columns = list(record.fields if form.kind == "vcf" else (*record.fields[:5], ".", ".", "."))
            values = dict(zip(ours, _values(names, entries), strict=True))
            old = [e for e in columns[7].split(";") if e not in (".", "") and e.partition("=")[0] not in ours]
            new = [
                f"{field}={','.join(of_alts)}" for field, of_alts in values.items() if set(of_alts) != {"."}
            ]
            columns[7] = ";".join([*old, *new]) or "."
            file.write(("\t".join(columns) + "\n").encode())


def _values(names: tuple[str, ...], entries: list[Entry]) -> list[list[str]]:
    """Texts by column, the reason last, then by ALT."""
    scores = [
        ["." if isinstance(entry, str) else number_text(entry[place]) for entry in entries]
        for place in range(len(names))
    ]
    return [*scores, [entry if isinstance(entry, str) else "." for entry in entries]]


def rows_of(form: Form, scored: Iterable[Scored]) -> Iterator[tuple[list[str], Entry]]:
    """The columns of the input and the result, for each ALT."""
    width = 5 if form.kind == "vcf" else len(form.columns)
    for record, entries in scored:
        for alt, entry in zip(record.alts, entries, strict=True):
            columns = list(record.fields[:width])
            if len(record.alts) > 1:
                columns[form.places["alt"]] = alt
            yield columns, entry


def _table_columns(form: Form, names: tuple[str, ...]) -> list[str]:
    """A name of ours that the input has already begins with `dnalm_`."""
    old = list(form.columns[:5] if form.kind == "vcf" else form.columns)
    return [*old, *(f"dnalm_{name}" if name in old else name for name in (*names, "skipped"))]


def _write_tsv(path: Path, form: Form, names: tuple[str, ...], scored: Iterable[Scored]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        write = row_writer(file, delimiter="\t")
        write(_table_columns(form, names))
        for columns, entry in rows_of(form, scored):
            write([*columns, *(values[0] for values in _values(names, [entry]))])


def _write_parquet(path: Path, form: Form, names: tuple[str, ...], scored: Iterable[Scored]) -> None:
    with pq.ParquetWriter(path, schema_of(form, names)) as writer:
        for table in tables_of(form, names, scored):
            writer.write_table(table)


def schema_of(form: Form, names: tuple[str, ...]) -> pa.Schema:
    """The columns of a table of scores: those of the input, of a VCF the first five, then ours."""
    columns = _table_columns(form, names)
    num_old = len(columns) - len(names) - 1
    types = [*[pa.string()] * num_old, *[pa.float64()] * len(names), pa.string()]
    types[form.places["pos"]] = pa.int64()
    return pa.schema(list(zip(columns, types, strict=True)))


def tables_of(form: Form, names: tuple[str, ...], scored: Iterable[Scored]) -> Iterator[pa.Table]:
    """Tables of scores of some thousands of rows each, a row for each ALT; null where there is no number."""
    schema, pos = schema_of(form, names), form.places["pos"]
    num_old = len(schema) - len(names) - 1
    rows = rows_of(form, scored)
    while batch := list(islice(rows, _PARQUET_ROWS)):
        old: list[list[object]] = [[fields[place] for fields, _ in batch] for place in range(num_old)]
        old[pos] = [int(fields[pos]) for fields, _ in batch]
        numbers = [
            [None if isinstance(e, str) or math.isnan(e[place]) else e[place] for _, e in batch]
            for place in range(len(names))
        ]
        skipped = [entry if isinstance(entry, str) else None for _, entry in batch]
        values = zip([*old, *numbers, skipped], schema.types, strict=True)
        yield pa.table([pa.array(*each) for each in values], schema=schema)


def score_table(variants: Path, scorer: Scorer, *, found: Survey, max_allele_bp: int) -> pa.Table:
    """Score a surveyed file in memory: the table that `score_file` writes to a `.parquet`."""
    parts = judged_parts(variants, found, scorer.store, max_allele_bp=max_allele_bp)
    entries = (entry for part in parts for entry in score_part(scorer, part))
    scored = zip(read_records(variants, found.form), entries, strict=True)
    schema = schema_of(found.form, scorer.names)
    return pa.concat_tables([schema.empty_table(), *tables_of(found.form, scorer.names, scored)])


def score_file(
    variants: Path,
    out: Path,
    *,
    plan: ScoringPlan,
    store: GenomeStore,
    found: Survey,
    names: tuple[str, ...],
    workers: int,
    lock: OutputLock,
) -> tuple[DoneParts, str | None]:
    """Score a surveyed file and write the output, whose lock is held.

    Returns:
        The parts, which the caller removes when it needs them no more, and why a VCF has no index.
    """
    contract = plan.contract(genome=store.fingerprint, variants_sha256=found.sha256)
    folder = PartFolder.begin(out, ".json", contract)
    judged = judged_parts(variants, found, store, max_allele_bp=plan.max_allele_bp)
    with progress_bar("Scoring", total=found.num_records, unit="variants") as advance:
        done = work_on(judged, folder, ScoringWork(plan, store), workers=workers, advance=advance, lock=lock)
    scored = scored_records(variants, found, done)
    longest_bp = found.longest_bp if found.is_sorted else None
    return done, write_output(out, found.form, names, scored, model=plan.title, longest_bp=longest_bp)


def scored_records(variants: Path, found: Survey, done: DoneParts) -> Iterator[Scored]:
    """Every record with its results, in order."""
    parts = parts_of(read_records(variants, found.form))
    for records, content in zip(parts, done.contents(), strict=True):
        yield from zip(records, json.loads(content), strict=True)
