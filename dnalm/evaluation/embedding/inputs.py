"""Sequences to embed, one at a time: FASTA, intervals of a genome (BED), or a table with a column of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dnalm.data.labelled.files import FileKind, Notes, file_kind, sentences, table_error
from dnalm.data.labelled.reading import check_columns, read_codes
from dnalm.data.labelled.rows import read_records, read_rows
from dnalm.durable import file_sha256
from dnalm.errors import ConfigError, DataError
from dnalm.genome.alphabet import Codes, reverse_complement
from dnalm.genome.annotations.bed import BedReader, BedRow
from dnalm.genome.building import open_or_build
from dnalm.genome.dataset_text import saved_splits

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
    """A file of sequences; its kind is told by its content, as `file_kind` has it.

    Args:
        path: FASTA, BED (narrowPeak, broadPeak), a table (CSV, TSV, JSON, Parquet, Arrow), or a folder of
            `save_to_disk` without splits; text may be compressed by gzip.
        reference: of BED: the genome, as FASTA, 2bit or store.
        cache: folder of stores; the user's cache if absent.
        sequence: of tables: the column of sequences.
        id: of tables: the column of names; rows are numbered from 0 if absent.
        keep: columns to carry along, of a table or of BED (name, score, or column7 and so on).
        kept_by: the key of the command that names columns to carry along.
        max_bp: a longer sequence is refused, for all its vectors are held in memory at once.
        has_max_bp: whether the command has that key.
    """

    path: Path
    reference: Path | None = None
    cache: Path | None = None
    sequence: str = "sequence"
    id: str | None = None
    keep: tuple[str, ...] = ()
    kept_by: str = "keep"
    max_bp: int = 200_000
    has_max_bp: bool = True
    kind: FileKind | None = field(init=False)
    _notes: Notes = field(init=False, default_factory=Notes, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", file_kind(self.path))
        if self.kind is None:
            expected = "a FASTA (.fa), BED (.bed) or table (.csv, .tsv, .parquet)"
            raise _wrong("input", f"{self.path}", expected, "name the file by what it holds: input=seqs.fa")
        if self.kind == "folder" and saved_splits(self.path) != []:
            found, expected = f"the folder {self.path}", "a file, or a folder of save_to_disk without splits"
            raise _wrong("input", found, expected, f"name one of its parts, such as input={self.path}/train")
        if (self.kind == "bed") != (self.reference is not None):
            found = "a BED without reference" if self.kind == "bed" else "reference beside no BED"
            fix = "set reference=genome.fa" if self.kind == "bed" else "leave reference out"
            expected = "the genome that intervals of a BED lie on: reference=<FASTA>"
            raise _wrong("reference", found, expected, fix)
        if self.kind == "fasta" and self.keep:
            found = f"{self.kept_by}={', '.join(self.keep)} of a FASTA"
            fix = "give a table of sequences with these columns, such as input=seqs.csv"
            raise _wrong(self.kept_by, found, "columns of a table or a BED", fix)

    @property
    def notes(self) -> list[str]:
        """What was odd in all that was read, in sentences; whole once the last sequence was."""
        return sentences(self._notes, str(self.path))

    @property
    def checksum(self) -> str:
        """Sha256 of the file, or of all files of a folder and their names."""
        if not self.path.is_dir():
            return file_sha256(self.path)
        files = sorted(path for path in self.path.rglob("*") if path.is_file())
        sums = [f"{path.relative_to(self.path)} {file_sha256(path)}" for path in files]
        return hashlib.sha256("\n".join(sums).encode()).hexdigest()

    def __iter__(self) -> Iterator[NamedSequence]:
        """The sequences in the order of the file.

        Raises:
            DataError: the file is damaged or lacks a column, or SEQ-03, a sequence is too long.
        """
        self._notes.clear()
        seen = Counter[str]()
        read = {"fasta": self._fasta, "bed": self._bed}.get(self.kind or "", self._table)
        for sequence in read():
            self._check_length(sequence.where, len(sequence.codes))
            seen[sequence.id] += 1
            self._notes["sequence{s} {have} an id that another has too"] += seen[sequence.id] > 1
            yield sequence
        if not seen:
            fix = "check how the file was made"
            raise table_error("CSV-04", self.path, "no sequence", "at least one", fix)

    def _check_length(self, where: str, length: int) -> None:
        if length > self.max_bp:
            fix = "give intervals of it: a BED with reference=<this file>"
            raise DataError(
                "SEQ-03",
                where=where,
                found=f"a sequence of {length:,} bases or more",
                expected=f"at most max_bp={self.max_bp:,}" if self.has_max_bp else f"at most {self.max_bp:,}",
                fix=f"{fix}, or raise max_bp" if self.has_max_bp else fix,
            )

    def _fasta(self) -> Iterator[NamedSequence]:
        for record in read_records(self.path, longest=self.max_bp):
            where = f"{self.path} {record.name}"
            self._check_length(where, len(record.sequence))
            codes = read_codes(
                record.sequence,
                column=f"sequence {record.name!r}",
                where=f"{self.path}:{record.line}",
                notes=self._notes,
            )
            yield NamedSequence(record.name, codes, where, record.name, 0, len(codes))

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
        wanted = {"sequence": self.sequence} | ({} if self.id is None else {"id": self.id})
        wanted |= {f"{self.kept_by}[{n}]" if n else self.kept_by: each for n, each in enumerate(self.keep)}
        for number, row in enumerate(read_rows(str(self.path), part="test", notes=self._notes)):
            check_columns(row, wanted, str(self.path))
            where = f"{self.path}:{row.line}"
            codes = read_codes(
                row.values[self.sequence], column=self.sequence, where=where, notes=self._notes
            )
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


def _wrong(where: str, found: str, expected: str, fix: str) -> ConfigError:
    return ConfigError("CFG-54", where=where, found=found, expected=expected, fix=fix)
