"""The values of a bigWig file, read in a process of its own and checked on arrival.

pybigtools (Huey and Abdennur 2024, Bioinformatics 40:btae350) is used since it is maintained and rejects more
than pyBigWig: of 1,500 damaged files pyBigWig died of SIGSEGV on 45, and pybigtools on none. But it panics
or aborts on many and reads some wrongly. So a child process of limited memory and time opens the file, and
what it sends is accepted only if it is in order and adds up to the summary that the file has of itself.

A value in the file that is NaN counts as missing, as uncovered bases are. Not noticed is damage to files that
were written without compression, where the summary stays the same.

Codes: BW-01 to 09 and 14 of `bigwig_layout`, 10 damaged, 11 another length of a contig, 12 infinite values,
13 overlaps, 15 unknown contig, 16 too slow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dnalm.genome.annotations import bigwig_child as child
from dnalm.genome.annotations.bigwig_layout import Summary, bigwig_error, check_layout
from dnalm.genome.annotations.bigwig_process import ChildLimits, damaged, read_frames
from dnalm.genome.annotations.interval_table import OtherContigs
from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.manifest import Contig
from dnalm.genome.store import GenomeStore

Records = npt.NDArray[Any]  # (R,) of bigwig_child.RECORD


@dataclass
class _Tally:
    """Adds up what was read, to compare with the file's own summary."""

    num_bases: int = 0
    num_nan: int = 0
    minimum: float = np.inf
    maximum: float = -np.inf
    total: float = 0.0
    total_squares: float = 0.0
    total_size: float = 0.0
    _ends: dict[int, int] = field(default_factory=dict)

    def add(self, block: Records) -> None:
        widths = block["end"].astype(np.float64) - block["start"]
        values = block["value"].astype(np.float64)
        self.num_bases += int(widths.sum())
        known = ~np.isnan(values)
        self.num_nan += int(widths[~known].sum())
        values, widths = values[known], widths[known]
        if values.size:
            self.minimum = min(self.minimum, float(values.min()))
            self.maximum = max(self.maximum, float(values.max()))
            self.total += float((values * widths).sum())
            self.total_size += float((np.abs(values) * widths).sum())
            self.total_squares += float((values**2 * widths).sum())

    def differs_from(self, summary: Summary) -> bool:
        if self.num_bases != summary.num_bases:
            return True
        if self.num_nan or not self.num_bases:
            return False
        pairs = (
            (self.minimum, summary.minimum, abs(self.minimum)),
            (self.maximum, summary.maximum, abs(self.maximum)),
            (self.total, summary.total, self.total_size),
            (self.total_squares, summary.total_squares, self.total_squares),
        )
        return not all(abs(mine - its) <= 1e-5 * scale + 1e-30 for mine, its, scale in pairs)


class BigWigReader:
    """Iterates over the values of a file, contig by contig; afterwards knows what it skipped.

    Args:
        path: the file.
        store: the genome; contigs may be named by aliases, and must have the same lengths.
        other_contigs: whether a contig that the genome lacks is an error or skipped and counted.
        limits: of the reading process.
    """

    def __init__(
        self,
        path: Path,
        store: GenomeStore,
        *,
        other_contigs: OtherContigs = "error",
        limits: ChildLimits | None = None,
    ) -> None:
        self.path, self._store, self._limits = Path(path), store, limits or ChildLimits()
        self._skips_others = other_contigs == "skip"
        self.aliases = ContigAliases(store, [])
        self.num_nan = 0

    def __iter__(self) -> Iterator[tuple[Contig, Records]]:
        """Yield contigs and blocks of their records: start, end (in the contig) and value, in order.

        Raises:
            DataError: BW-01 to BW-16. Values already given may be wrong if an error follows, so whoever
                takes them must discard them then.
        """
        summary = check_layout(self.path)
        tally = _Tally()
        contigs: list[tuple[str, Contig | None]] = []
        ends: dict[int, int] = {}
        for kind, number, payload in read_frames(self.path, self._limits):
            if kind == child.CONTIGS:
                contigs = self._contigs(payload)
                continue
            if not number < len(contigs):
                raise damaged(self.path, "it was read without its contigs")
            name, contig = contigs[number]
            block = np.frombuffer(payload, dtype=child.RECORD)
            self._check_block(name, contig, block, ends.get(number, 0))
            ends[number] = int(block["end"][-1])
            tally.add(block)
            if contig:
                yield contig, block
        self.num_nan = tally.num_nan
        if summary and tally.differs_from(summary):
            raise damaged(
                self.path,
                f"its {tally.num_bases} values with sum {tally.total:.6g} are not the "
                f"{summary.num_bases} with sum {summary.total:.6g} of its own summary",
            )

    def notes(self) -> list[str]:
        """Sentences about what was skipped."""
        notes = []
        if self.aliases.unknown:
            notes.append(f"BW-15 {self.path}: {len(self.aliases.unknown)} other contigs skipped")
        absent = [name for name in self._store if name not in set(self.aliases.table.values())]
        if absent:
            notes.append(f"BW-15 {self.path}: {len(absent)} contigs of the genome have no values there")
        if self.num_nan:
            notes.append(f"BW-12 {self.path}: {self.num_nan} values are NaN and count as missing")
        return notes

    def _contigs(self, payload: bytes) -> list[tuple[str, Contig | None]]:
        rows: list[tuple[str, int]] = json.loads(payload)
        self.aliases = ContigAliases(self._store, (name for name, _ in rows))
        if not self.aliases.table and rows:
            raise self.aliases.error("BW-15", str(self.path), rows[0][0])
        contigs = []
        for name, length in rows:
            contig = self.aliases.find(name)
            if contig is None and not (self._skips_others and self.aliases.is_unknown(name)):
                raise self.aliases.error("BW-15", str(self.path), name)
            if contig and contig.length != length:
                found = f"contig `{name}` has {length} bases"
                expected = f"{contig.length}, as `{contig.name}` of {self._store.source.name}"
                raise bigwig_error("BW-11", self.path, found, expected, "give the file of this assembly")
            contigs.append((name, contig))
        return contigs

    def _check_block(self, name: str, contig: Contig | None, block: Records, before: int) -> None:
        starts, ends = block["start"].astype(np.int64), block["end"].astype(np.int64)
        if not block.size or (starts >= ends).any() or (contig and ends.max() > contig.length):
            raise damaged(self.path, f"`{name}` has an empty interval or one past its end")
        overlaps = np.flatnonzero(starts < np.concatenate([[before], ends[:-1]]))
        if overlaps.size:
            at = int(overlaps[0])
            found = f"the interval {name}:{starts[at]}-{ends[at]} begins before the one before it ends"
            fix = "make one value a base and write the file again"
            raise bigwig_error("BW-13", self.path, found, "sorted intervals without overlap", fix)
        infinite = np.flatnonzero(np.isinf(block["value"]))
        if infinite.size:
            at = int(infinite[0])
            found = f"the value at {name}:{starts[at]}-{ends[at]} is infinite"
            fix = "write the file again without such values"
            raise bigwig_error("BW-12", self.path, found, "finite numbers, or NaN where there is none", fix)
