"""The regions that are looked into: sequences of a FASTA file, or intervals of a BED file on a genome."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dnalm.data.labelled.rows import Notes, file_kind, read_records
from dnalm.data.labelled.table import read_codes
from dnalm.errors import ConfigError, DataError
from dnalm.genome.alphabet import UNKNOWN, Codes, bases, to_text
from dnalm.genome.bed import BedReader
from dnalm.genome.store import open_or_build

_FILE_NAME = re.compile(r"[^A-Za-z0-9.+-]+")


@dataclass(frozen=True, eq=False, kw_only=True)
class Region:
    """A stretch of DNA with what lies around it.

    Attributes:
        number: place in the file, from 1.
        name: of the FASTA record, or column 4 of the BED file, or contig:start-end.
        contig: the genome's contig; of FASTA, the record.
        start: of the region in the contig, from 0.
        codes: (L,) values 0-4 of the region and its flanks, forward strand, not soft-masked.
        inner: the region's own half-open interval of `codes`.
    """

    number: int
    name: str
    contig: str
    start: int
    codes: Codes
    inner: tuple[int, int]

    @property
    def text(self) -> str:
        """The region's own letters, without flanks."""
        return to_text(self.codes[slice(*self.inner)])

    @property
    def file_name(self) -> str:
        """Number and name, without letters that file names may not have."""
        return f"{self.number:04d}-{_FILE_NAME.sub('_', self.name)[:80]}"

    def position(self, place: int) -> int:
        """The contig's coordinate, from 0, of a place in `codes`."""
        return self.start + place - self.inner[0]

    def known(self) -> list[int]:
        """Places in `codes` of the region's bases that are not N."""
        return [place for place in range(*self.inner) if self.codes[place] != UNKNOWN]


def read_regions(
    path: Path, *, reference: Path | None, flank_bp: int, cache: Path | None = None
) -> Iterator[Region]:
    """Read regions in the order of the file.

    Args:
        path: FASTA or BED, as `file_kind` has it.
        reference: the genome of a BED file: FASTA, 2bit or store.
        flank_bp: bases on either side that the model sees besides; cut at the ends of contigs.
        cache: folder of stores; the user's cache if absent.

    Raises:
        ConfigError: INT-02, a BED file without a genome; INT-03, a genome beside a FASTA file; INT-06, a
            file of another kind.
        DataError: a file cannot be read, or a region holds no base but N (INT-04).
    """
    kind = file_kind(path)
    if kind == "bed":
        if reference is None:
            raise ConfigError(
                "INT-02",
                where="reference",
                found=f"nothing, and {path} is a BED file",
                expected="the genome that its intervals lie on",
                fix="give reference=<FASTA, 2bit or store>",
            )
        found = _read_bed(path, reference, flank_bp, cache)
    else:
        if kind not in ("fasta", None):
            raise ConfigError(
                "INT-06",
                where="input",
                found=f"{path}, which is a table or a dataset",
                expected="a FASTA file, or a BED file with reference",
                fix="write the sequences as FASTA, a line >name above each",
            )
        if reference is not None:
            raise ConfigError(
                "INT-03",
                where="reference",
                found=f"a value, and {path} is read as FASTA",
                expected="a BED file, whose name ends in .bed or .bed.gz, on that genome",
                fix="leave it out, or give intervals as BED",
            )
        found = _read_fasta(path)
    return (_with_bases(region, path) for region in found)


def _read_bed(path: Path, reference: Path, flank_bp: int, cache: Path | None) -> Iterator[Region]:
    store = open_or_build(reference, cache)
    for number, row in enumerate(BedReader(path, store), start=1):
        first, last = max(0, row.start - flank_bp), min(row.contig.length, row.end + flank_bp)
        yield Region(
            number=number,
            name=row.title,
            contig=row.contig.name,
            start=row.start,
            codes=bases(store.fetch(row.contig.name, first, last)),
            inner=(row.start - first, row.end - first),
        )


def _read_fasta(path: Path) -> Iterator[Region]:
    for number, record in enumerate(read_records(path), start=1):
        where = f"{path}:{record.line}"
        codes = bases(read_codes(record.sequence, column=record.name, where=where, notes=Notes()))
        yield Region(
            number=number,
            name=record.name,
            contig=record.name,
            start=0,
            codes=codes,
            inner=(0, len(codes)),
        )


def _with_bases(region: Region, path: Path) -> Region:
    if not region.known():
        raise DataError(
            "INT-04",
            where=f"{path}, {region.name}",
            found="no base but N",
            expected="a region with known bases",
            fix="leave it out",
        )
    return region
