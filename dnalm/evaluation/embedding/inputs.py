"""Sequences to embed, one at a time: FASTA, intervals of a genome (BED), or a table with a column of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dnalm.data.labelled.reading import read_codes
from dnalm.data.labelled.rows import read_rows, table_error
from dnalm.errors import ConfigError, DataError
from dnalm.genome.alphabet import Codes, reverse_complement
from dnalm.genome.annotations.bed import BedReader, BedRow
from dnalm.genome.building import open_or_build
from dnalm.genome.fasta import FastaReader

_FASTA = (".fa", ".fasta", ".fna", ".fas")
_BED = (".bed", ".narrowpeak", ".broadpeak")
_TABLE = (".csv", ".tsv", ".txt", ".tab", ".jsonl", ".json", ".parquet")
_BED_COLUMNS = ("chrom", "start", "end", "name", "score", "strand")


@dataclass(frozen=True, eq=False)
class NamedSequence:
    """A sequence and where it is from.

    Attributes:
        id: its name in the input.
        codes: its bases, read 5' to 3' on its strand, (L,).
        where: file and place in it, for errors.
        contig: of the genome, or the record's own name; None of a table's rows.
        start: 0-based, on the forward strand of the contig.
        end: excluded.
        strand: `+` or `-`.
        kept: the columns that were asked for.
    """

    id: str
    codes: Codes
    where: str
    contig: str | None
    start: int
    end: int
    strand: str = "+"
    kept: tuple[str | None, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SequenceInput:
    """A file of sequences.

    Args:
        path: FASTA, BED (narrowPeak, broadPeak), or CSV, TSV, JSONL, Parquet; gzip too, told by endings.
        reference: of BED: the genome, as FASTA, 2bit or store.
        cache: folder of stores; the user's cache if absent.
        sequence: of tables: the column of sequences.
        id: of tables: the column of names; rows are numbered from 0 if absent.
        keep: columns to carry along, of a table or of BED (name, score, or column7 and so on).
        max_bp: a longer sequence is refused, for all its vectors are held in memory at once.
    """

    path: Path
    reference: Path | None = None
    cache: Path | None = None
    sequence: str = "sequence"
    id: str | None = None
    keep: tuple[str, ...] = ()
    max_bp: int = 200_000

    def __post_init__(self) -> None:
        if self.kind == "unknown":
            raise _wrong("input", f"{self.path}", "a FASTA (.fa), BED (.bed) or table (.csv, .tsv, .parquet)")
        if (self.kind == "bed") != (self.reference is not None):
            found = "a BED without reference" if self.kind == "bed" else "reference beside no BED"
            raise _wrong("reference", found, "the genome that intervals of a BED lie on: reference=<FASTA>")
        if self.kind == "fasta" and self.keep:
            raise _wrong("keep", f"keep={', '.join(self.keep)} of a FASTA", "columns of a table or a BED")

    @property
    def kind(self) -> str:
        """`fasta`, `bed`, `table` or `unknown`, by the ending."""
        path = self.path.with_suffix("") if self.path.suffix in (".gz", ".bgz") else self.path
        kinds = {"fasta": _FASTA, "bed": _BED, "table": _TABLE}
        return next((kind for kind, ends in kinds.items() if path.suffix.lower() in ends), "unknown")

    def __iter__(self) -> Iterator[NamedSequence]:
        """The sequences in the order of the file.

        Raises:
            DataError: the file is damaged or lacks a column, or SEQ-03, a sequence is too long.
        """
        read = {"fasta": self._fasta, "bed": self._bed, "table": self._table}[self.kind]
        for sequence in read():
            self._check_length(sequence.where, len(sequence.codes))
            yield sequence

    def _check_length(self, where: str, length: int) -> None:
        if length > self.max_bp:
            raise DataError(
                "SEQ-03",
                where=where,
                found=f"a sequence of {length:,} bases or more",
                expected=f"at most max_bp={self.max_bp:,}",
                fix="embed intervals of it: a BED with reference=<this file>, or raise max_bp",
            )

    def _fasta(self) -> Iterator[NamedSequence]:
        name, parts, length = "", list[Codes](), 0
        for contig, codes in FastaReader(self.path):
            if contig != name and parts:
                yield self._record(name, parts)
                parts, length = [], 0
            name, length = contig, length + len(codes)
            self._check_length(f"{self.path} {name}", length)
            parts.append(codes)
        yield self._record(name, parts)

    def _record(self, name: str, parts: list[Codes]) -> NamedSequence:
        codes = np.concatenate(parts)
        return NamedSequence(name, codes, f"{self.path} {name}", name, 0, len(codes))

    def _bed(self) -> Iterator[NamedSequence]:
        assert self.reference is not None, "checked above"
        store = open_or_build(self.reference, self.cache)
        for row in BedReader(self.path, store):
            strand = "-" if len(row.columns) > 5 and row.columns[5] == "-" else "+"
            codes = store.fetch(row.contig.name, row.start, row.end)
            yield NamedSequence(
                id=row.title,
                codes=reverse_complement(codes) if strand == "-" else codes,
                where=f"{self.path}:{row.line.number}",
                contig=row.contig.name,
                start=row.start,
                end=row.end,
                strand=strand,
                kept=tuple(_bed_column(row, column) for column in self.keep),
            )

    def _table(self) -> Iterator[NamedSequence]:
        needed = (self.sequence, *self.keep, *([] if self.id is None else [self.id]))
        for number, row in enumerate(read_rows(str(self.path), part="test")):
            where = f"{self.path}:{row.line}"
            for column in needed:
                if column not in row.values:
                    found = f"no column {column!r}; there are {', '.join(map(str, row.values)) or 'none'}"
                    fix = "set sequence, id or keep to columns that are there"
                    raise table_error("CSV-01", where, found, "the columns that are asked for", fix)
            codes = read_codes(row.values[self.sequence], column=self.sequence, where=where)
            name = str(number if self.id is None else row.values[self.id])
            kept = tuple(None if row.values[key] is None else str(row.values[key]) for key in self.keep)
            yield NamedSequence(name, codes, where, None, 0, len(codes), kept=kept)


def _bed_column(row: BedRow, column: str) -> str:
    names = {name: place for place, name in enumerate(_BED_COLUMNS)}
    names |= {f"column{place + 1}": place for place in range(len(row.columns))}
    if names.get(column, len(row.columns)) >= len(row.columns):
        found = f"no {column!r} among its {len(row.columns)} columns"
        fix = f"keep one of {', '.join(_BED_COLUMNS)}, or column7 and so on"
        raise row.line.error("BED-01", found, "the columns that are asked for", fix)
    return row.columns[names[column]]


def _wrong(where: str, found: str, expected: str) -> ConfigError:
    return ConfigError("CFG-54", where=where, found=found, expected=expected, fix="mend the command line")
