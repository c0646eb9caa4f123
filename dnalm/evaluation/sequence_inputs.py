"""Sequences to be read by a model, one at a time: FASTA, BED on a genome, tables, datasets, tiled genomes.

Every command that reads sequences reads them here. The kind of a file follows from its content, and from its
name where that does not decide. Codes are 0-4, not soft-masked, with ambiguous letters as N. L bases.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from dnalm.data.labelled.rows import (
    LONGEST,
    TABLE,
    FileKind,
    Notes,
    file_kind,
    read_records,
    read_rows,
    sentences,
    table_error,
)
from dnalm.data.labelled.table import check_columns, read_codes
from dnalm.durable import file_sha256
from dnalm.errors import ConfigError, DataError
from dnalm.genome.alphabet import UNKNOWN, Codes, bases, reverse_complement, to_text
from dnalm.genome.bed import BedReader, BedRow
from dnalm.genome.dataset_text import saved_splits
from dnalm.genome.store import Contig, GenomeStore, open_or_build
from dnalm.genome.text import read_lines

_BED_COLUMNS = ("chrom", "start", "end", "name", "score", "strand")


@dataclass(frozen=True, eq=False, kw_only=True)
class NamedSequence:
    """A sequence, where it is from, and what lies around it.

    Attributes:
        id: its name in the input.
        codes: its bases and those of its flanks, read 5' to 3' on its strand, (L,).
        where: file and place in it, for errors.
        contig: of the genome, or the record's own name; None of a table's rows.
        start: of the sequence without flanks, 0-based, on the forward strand of the contig.
        end: excluded.
        strand: `+` or `-`.
        flanks: bases of `codes` before and after the sequence.
        kept: the columns that were asked for.
    """

    id: str
    codes: Codes
    where: str
    contig: str | None
    start: int
    end: int
    strand: str = "+"
    flanks: tuple[int, int] = (0, 0)
    kept: tuple[str | None, ...] = ()

    @property
    def inner(self) -> tuple[int, int]:
        """The sequence's own half-open interval of `codes`."""
        return self.flanks[0], len(self.codes) - self.flanks[1]

    @property
    def text(self) -> str:
        """The sequence's own letters, without flanks."""
        return to_text(self.codes[slice(*self.inner)])

    @property
    def coordinate_name(self) -> str:
        """What its coordinates count along: the contig, or the sequence itself."""
        return self.id if self.contig is None else self.contig

    def position(self, place: int) -> int:
        """The contig's coordinate of a place in `codes` of the forward strand."""
        return self.start + place - self.flanks[0]

    def known(self) -> list[int]:
        """Places in `codes` of the sequence's own bases that are not N."""
        return [place for place in range(*self.inner) if self.codes[place] != UNKNOWN]


Part = list[NamedSequence]


def in_parts(sequences: Iterable[NamedSequence], *, most: int, most_bp: int) -> Iterator[Part]:
    """Cut an input into parts of at most so many sequences and, but for a single one, bases."""
    part, num_bases = Part(), 0
    for sequence in sequences:
        if part and (len(part) == most or num_bases + len(sequence.codes) > most_bp):
            yield part
            part, num_bases = [], 0
        part.append(sequence)
        num_bases += len(sequence.codes)
    if part:
        yield part


@dataclass(frozen=True, kw_only=True)
class SequenceInput:
    """A file of sequences.

    Args:
        path: FASTA, BED (narrowPeak, broadPeak), a table (CSV, TSV, JSON, Parquet, Arrow), or a folder of
            `save_to_disk` without splits; text may be compressed by gzip.
        reference: of BED: the genome, as FASTA, 2bit or store.
        cache: folder of stores; the user's cache if absent.
        sequence: of tables: the column of sequences.
        id: of tables: the column of names; rows are numbered from 0 if absent.
        keep: columns to carry along, of a table or of BED (name, score, or column7 and so on).
        kept_by: the key of the command that names columns to carry along.
        max_bp: a longer sequence is refused, for all that is said of one is in memory at once; None refuses
            records of FASTA above 2^24 bases alone.
        has_max_bp: whether the command has that key.
        flank_bp: of BED: bases on either side that are read too; cut at the ends of contigs.
        follow_strand: of BED: read intervals of the `-` strand on that strand.
        by_place: of BED: read intervals by contig name and start, whatever their order in the file.

    Raises:
        ConfigError: CFG-54, the file's kind is not known, or does not fit the other arguments.
    """

    path: Path
    reference: Path | None = None
    cache: Path | None = None
    sequence: str = "sequence"
    id: str | None = None
    keep: tuple[str, ...] = ()
    kept_by: str = "keep"
    max_bp: int | None = 200_000
    has_max_bp: bool = True
    flank_bp: int = 0
    follow_strand: bool = True
    by_place: bool = False
    kind: FileKind = field(init=False)
    _notes: Notes = field(init=False, default_factory=Notes, compare=False)

    def __post_init__(self) -> None:
        kind = file_kind(self.path)
        if kind is None and self.path.is_file() and _begins_with_comment(self.path):
            kind = "fasta"
        if kind is None:
            expected = "a FASTA (.fa), BED (.bed) or table (.csv, .tsv, .parquet)"
            raise _refused("input", f"{self.path}", expected, "name the file by what it holds: input=seqs.fa")
        object.__setattr__(self, "kind", kind)
        if kind == "folder" and saved_splits(self.path) != []:
            found, expected = f"the folder {self.path}", "a file, or a folder of save_to_disk without splits"
            raise _refused(
                "input", found, expected, f"name one of its parts, such as input={self.path}/train"
            )
        expected = "the genome that intervals of a BED lie on: reference=<FASTA>"
        if kind == "bed" and self.reference is None:
            raise _refused("reference", "a BED without reference", expected, "set reference=genome.fa")
        if kind != "bed" and self.reference is not None:
            fix = "leave reference out, or give the intervals as input=peaks.bed"
            raise _refused("reference", "reference beside no BED", expected, fix)
        if kind == "fasta" and self.keep:
            found = f"{self.kept_by}={', '.join(self.keep)} of a FASTA"
            fix = "give a table of sequences with these columns, such as input=seqs.csv"
            raise _refused(self.kept_by, found, "columns of a table or a BED", fix)

    @property
    def notes(self) -> list[str]:
        """What was odd in all that was read, in sentences; complete once the last sequence was read."""
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
        read = {"fasta": self._fasta, "bed": self._bed}.get(self.kind, self._table)
        for sequence in read():
            self._check_length(sequence.where, sequence.end - sequence.start)
            seen[sequence.id] += 1
            self._notes["sequence{s} {have} an id that another has too"] += seen[sequence.id] > 1
            yield sequence
        if not seen:
            fix = "check how the file was made"
            raise table_error("CSV-04", self.path, "no sequence", "at least one", fix)

    def _check_length(self, where: str, length: int) -> None:
        most = self.max_bp or (LONGEST if self.kind == "fasta" else length)
        if length > most:
            fix = "give intervals of it: a BED with reference=<this file>"
            raise DataError(
                "SEQ-03",
                where=where,
                found=f"a sequence of {length:,} bases or more",
                expected=f"at most max_bp={most:,}" if self.has_max_bp else f"at most {most:,}",
                fix=f"{fix}, or raise max_bp" if self.has_max_bp else fix,
            )

    def _fasta(self) -> Iterator[NamedSequence]:
        for record in read_records(self.path, longest=self.max_bp or LONGEST):
            where = f"{self.path} {record.name}"
            self._check_length(where, len(record.sequence))
            codes = read_codes(
                record.sequence,
                column=f"sequence {record.name!r}",
                where=f"{self.path}:{record.line}",
                notes=self._notes,
            )
            yield NamedSequence(
                id=record.name, codes=bases(codes), where=where, contig=record.name, start=0, end=len(codes)
            )

    def _bed(self) -> Iterator[NamedSequence]:
        assert self.reference is not None, "checked above"
        store = open_or_build(self.reference, self.cache)
        rows: Iterable[BedRow] = BedReader(self.path, store, other_contigs=None)
        if self.by_place:
            rows = sorted(rows, key=lambda row: (row.contig.name, row.start, row.end))
        for row in rows:
            first, last = max(0, row.start - self.flank_bp), min(row.contig.length, row.end + self.flank_bp)
            flanks = (row.start - first, last - row.end)
            codes, strand = bases(store.fetch(row.contig.name, first, last)), "+"
            if self.follow_strand and len(row.columns) > 5 and row.columns[5] == "-":
                codes, strand, flanks = reverse_complement(codes), "-", flanks[::-1]
            yield NamedSequence(
                id=row.title,
                codes=codes,
                where=f"{self.path}:{row.line.number}",
                contig=row.contig.name,
                start=row.start,
                end=row.end,
                strand=strand,
                flanks=flanks,
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
            yield NamedSequence(
                id=str(number if self.id is None else row.values[self.id]),
                codes=bases(codes),
                where=where,
                contig=None,
                start=0,
                end=len(codes),
                kept=tuple(None if row.values[key] is None else str(row.values[key]) for key in self.keep),
            )


ShortContigs = Literal["stop", "skip", "whole"]


@dataclass(frozen=True, kw_only=True)
class TiledGenome:
    """Every contig of a genome in tiles, named `contig:start-end`.

    Tiles begin every `stride_bp` bases; where they leave an end uncovered, one more ends with the contig. A
    tile of N alone is left out.

    Args:
        path: FASTA, 2bit or store.
        tile_bp: bases of a tile.
        stride_bp: from the beginning of a tile to that of the next; `tile_bp` if absent.
        short_contigs: of a contig that is shorter than a tile: `stop` is an error, `skip` leaves it out,
            `whole` makes it a tile.
        cache: folder of stores; the user's cache if absent.
        by_name: contigs in the order of their names, not in that of the genome.

    Raises:
        ConfigError: CFG-54, the stride is longer than a tile.
    """

    path: Path
    tile_bp: int
    stride_bp: int | None = None
    short_contigs: ShortContigs = "stop"
    cache: Path | None = None
    by_name: bool = False

    def __post_init__(self) -> None:
        if self.stride > self.tile_bp:
            found = f"stride_bp={self.stride} above tile_bp={self.tile_bp}, which leaves bases between tiles"
            expected = f"at most {self.tile_bp}"
            raise _refused("stride_bp", found, expected, f"set stride_bp={self.tile_bp}, or leave it out")

    @property
    def notes(self) -> list[str]:
        """What was left out, in sentences."""
        short = [contig for contig in self.store.contigs if contig.length < self.tile_bp]
        if not short or self._whole:
            return []
        contigs, are = ("contig", "is") if len(short) == 1 else ("contigs", "are")
        return [f"{self.path}: {len(short):,} {contigs} shorter than tile_bp={self.tile_bp:,} {are} left out"]

    @property
    def stride(self) -> int:
        """Bases from the beginning of a tile to that of the next."""
        return self.stride_bp or self.tile_bp

    @cached_property
    def store(self) -> GenomeStore:
        """The genome, whose contigs are long enough.

        Raises:
            DataError: SEQ-04, a contig is shorter than a tile; or the genome cannot be read.
        """
        store = open_or_build(self.path, self.cache)
        short = [contig for contig in store.contigs if contig.length < self.tile_bp]
        nothing_left = len(short) == len(store.contigs) and not self._whole
        if short and (self.short_contigs == "stop" or nothing_left):
            number = f"{len(short):,} of {len(store.contigs):,} contigs"
            raise DataError(
                "SEQ-04",
                where=str(self.path),
                found=f"{number} shorter than a tile, such as {short[0].name} of {short[0].length:,} bases",
                expected=f"tile_bp={self.tile_bp:,} bases at least",
                fix=f"set short_contigs=skip or whole, or tile_bp={min(each.length for each in short)}",
            )
        return store

    @property
    def _whole(self) -> bool:
        return self.short_contigs == "whole"

    @property
    def contigs(self) -> list[Contig]:
        """In the order in which they are read."""
        contigs = self.store.contigs
        return sorted(contigs, key=lambda contig: contig.name) if self.by_name else list(contigs)

    def starts(self, contig: Contig) -> npt.NDArray[np.int64]:
        """Where the tiles of a contig begin that are not N alone, ascending."""
        if contig.length < self.tile_bp:
            starts = np.zeros(int(self._whole), np.int64)
        else:
            last = contig.length - self.tile_bp
            starts = np.unique(np.append(np.arange(0, last + 1, self.stride), last))
        runs, flat = self.store.unknown_runs, starts + contig.offset
        if not len(runs):
            return starts
        run_R2 = np.asarray(runs)[np.searchsorted(runs[:, 0], flat, side="right") - 1]
        ends = flat + min(self.tile_bp, contig.length)
        return starts[~((run_R2[:, 0] <= flat) & (ends <= run_R2[:, 1]))]

    def __len__(self) -> int:
        """Tiles of the whole genome."""
        return sum(len(self.starts(contig)) for contig in self.contigs)

    def __iter__(self) -> Iterator[NamedSequence]:
        """The tiles, contig by contig, by start.

        Raises:
            DataError: SEQ-04, as of `store`.
        """
        for contig in self.contigs:
            for start in self.starts(contig).tolist():
                end = min(start + self.tile_bp, contig.length)
                name = f"{contig.name}:{start}-{end}"
                codes = bases(self.store.fetch(contig.name, start, end))
                where = f"{self.path} {name}"
                yield NamedSequence(
                    id=name, codes=codes, where=where, contig=contig.name, start=start, end=end
                )


def _begins_with_comment(path: Path) -> bool:
    """Whether the first line is a comment of FASTA, by which `file_kind` does not recognise it."""
    with suppress(DataError):
        first = next((line.text for line in read_lines(path, TABLE) if line.text.strip()), "")
        return first.lstrip().startswith(";")
    return False


def _bed_column(row: BedRow, column: str) -> str:
    names = {name: place for place, name in enumerate(_BED_COLUMNS)}
    names |= {f"column{place + 1}": place for place in range(len(row.columns))}
    if names.get(column, len(row.columns)) >= len(row.columns):
        found = f"no {column!r} among its {len(row.columns)} columns"
        fix = f"keep one of {', '.join(_BED_COLUMNS)}, or column7 and so on"
        raise row.line.error("BED-01", found, "the columns that are asked for", fix)
    return row.columns[names[column]]


def _refused(where: str, found: str, expected: str, fix: str) -> ConfigError:
    return ConfigError("CFG-54", where=where, found=found, expected=expected, fix=fix)
