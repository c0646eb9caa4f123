"""A genome for a notebook: letters and codes of any interval, contigs by any of their names.

    genome = dnalm.genome("genome.fa")          # FASTA (plain, gzip, bgzip), 2bit, or the folder of a store
    genome.contigs                              # {"chr1": 248956422, ...}
    genome.fetch("chr1", 100, 200)              # 100 letters; soft-masked ones in lower case
    genome.fetch("1", 100, 200, strand="-")     # the other strand, read 5' to 3'
    genome.codes("chr1", 100, 200)              # (100,) uint8, 0-3 = A C G T, 4 = N, bit 3 where soft-masked

Coordinates are 0-based and half-open, on the forward strand, as those of BED.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dnalm.errors import DataError, shown
from dnalm.genome.alphabet import Codes, reverse_complement, to_text
from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.store import Contig, GenomeStore, open_or_build


class Genome:
    """A genome on disk, of which only what is asked for is read.

    Args:
        store: where it lies.
    """

    def __init__(self, store: GenomeStore) -> None:
        self.store = store

    @property
    def contigs(self) -> dict[str, int]:
        """The lengths of the contigs in bases, in the order of the file."""
        return {contig.name: contig.length for contig in self.store.contigs}

    def fetch(self, contig: str, start: int, end: int, *, strand: Literal["+", "-"] = "+") -> str:
        """The letters of an interval: A, C, G, T, N; in lower case where the file has them so.

        Args:
            contig: its name, or another of its names: `1` for `chr1`.
            start: of the interval on the forward strand, 0-based.
            end: excluded.
            strand: `-` reads the interval on the other strand, 5' to 3'.

        Raises:
            DataError: STORE-07, the genome has no such contig; STORE-13, the interval does not lie within it.
        """
        return to_text(self.codes(contig, start, end, strand=strand))

    def codes(self, contig: str, start: int, end: int, *, strand: Literal["+", "-"] = "+") -> Codes:
        """The same as codes, (end - start,) uint8: 0-3 = A C G T, 4 = N, bit 3 set where soft-masked."""
        found = self._find(contig)
        if strand not in ("+", "-"):
            raise _wrong("strand", f"strand={shown(strand)}", "+ or -", "write strand='-'")
        if not 0 <= start <= end <= found.length:
            raise _wrong(
                f"{found.name}:{start}-{end}",
                f"an interval of a contig of {found.length:,} bases",
                f"0 <= start <= end <= {found.length}, 0-based and half-open",
                f"give bases that it has, such as fetch({found.name!r}, 0, {min(100, found.length)})",
            )
        codes = self.store.fetch(found.name, start, end)
        return reverse_complement(codes) if strand == "-" else codes

    def _find(self, name: str) -> Contig:
        """The contig of a name or an alias."""
        return ContigAliases(self.store, [name]).find(name) or self.store.contig(name)

    def __contains__(self, contig: object) -> bool:
        return contig in self.store

    def __len__(self) -> int:
        return self.store.num_bases

    def __repr__(self) -> str:
        name, contigs = self.store.source.name, len(self.store.contigs)
        return f"dnalm.genome({name!r}): {contigs:,} contigs, {len(self):,} bases"


def open_genome(path: str | Path, *, cache: str | Path | None = None) -> Genome:
    """Open a genome; the first time it is read through, and a store of a byte a base is left in the cache.

    Args:
        path: FASTA (plain, gzip, bgzip), 2bit, or the folder of a store.
        cache: folder of stores; the user's cache if absent.

    Raises:
        DataError: the file is unusable (FASTA-.., TWOBIT-..), or its store is damaged or cannot be written
            (STORE-..).
    """
    return Genome(open_or_build(Path(path), None if cache is None else Path(cache)))


def _wrong(where: str, found: str, expected: str, fix: str) -> DataError:
    return DataError("STORE-13", where=where, found=found, expected=expected, fix=fix)
