"""Intervals of a file in columns, on a genome's flat coordinates."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.manifest import Contig

OtherContigs = Literal["error", "skip"]


@dataclass(frozen=True)
class IntervalTable:
    """What a file says.

    Attributes:
        path: the file.
        intervals: (R, 2) int64 flat half-open intervals in the order of the file.
        names: (R,) int32 index into `vocabulary`; empty if the file was read without names.
        vocabulary: the distinct names in the order of the file.
        values: (R,) float32, NaN where the file says that there is none; empty if read without values.
        lines: (R,) int64 line of each interval, from 1.
        contigs: those that the file names, by name.
        aliases: the genome's name of every name of the file.
        notes: sentences about what was skipped or looks odd, for the user.
    """

    path: Path
    intervals: npt.NDArray[np.int64]
    names: npt.NDArray[np.int32]
    vocabulary: tuple[str, ...]
    values: npt.NDArray[np.float32]
    lines: npt.NDArray[np.int64]
    contigs: dict[str, Contig]
    aliases: Mapping[str, str]
    notes: tuple[str, ...]


@dataclass
class TableBuilder:
    """Collects intervals as they are read, in 30 bytes each."""

    path: Path
    _ends: array[int] = field(default_factory=lambda: array("q"))
    _names: array[int] = field(default_factory=lambda: array("i"))
    _values: array[float] = field(default_factory=lambda: array("f"))
    _lines: array[int] = field(default_factory=lambda: array("q"))
    _vocabulary: dict[str, int] = field(default_factory=dict)

    def add(
        self, start: int, end: int, line: int, *, name: str | None = None, value: float | None = None
    ) -> None:
        """Append an interval in flat coordinates."""
        self._ends.extend((start, end))
        self._lines.append(line)
        if name is not None:
            self._names.append(self._vocabulary.setdefault(name, len(self._vocabulary)))
        if value is not None:
            self._values.append(value)

    def finish(self, aliases: ContigAliases, notes: list[str]) -> IntervalTable:
        """The table, with a note about intervals that stand twice."""
        table = aliases.table
        contigs = {contig: aliases.find(name) for name, contig in table.items()}
        return IntervalTable(
            path=self.path,
            intervals=np.frombuffer(self._ends, dtype=np.int64).reshape(-1, 2),
            names=np.frombuffer(self._names, dtype=np.int32),
            vocabulary=tuple(self._vocabulary),
            values=np.frombuffer(self._values, dtype=np.float32),
            lines=np.frombuffer(self._lines, dtype=np.int64),
            contigs={name: contig for name, contig in contigs.items() if contig},
            aliases=table,
            notes=tuple(notes),
        )


def duplicates(table: IntervalTable) -> tuple[int, int, int]:
    """How many intervals repeat an earlier one, with its name; and the lines of the first such pair."""
    names = table.names if table.names.size else np.zeros(len(table.intervals), dtype=np.int32)
    order = np.lexsort((names, table.intervals[:, 1], table.intervals[:, 0]))
    sorted_rows = table.intervals[order]
    same = (sorted_rows[1:] == sorted_rows[:-1]).all(axis=1)
    same &= names[order][1:] == names[order][:-1]
    if not same.any():
        return 0, 0, 0
    lines = table.lines[order]
    first = int(np.flatnonzero(same)[0])
    return int(same.sum()), int(lines[first]), int(lines[first + 1])
