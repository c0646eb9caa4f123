"""Labelled sequences as flat arrays, which loader workers share, and the parts that they are divided into.

R rows, K labels or classes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from dnalm.genome.alphabet import Codes

Rows = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int64] | npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LabelledTable:
    """All rows of one file.

    Attributes:
        source: the file.
        codes: bases of all sequences end to end, 0-4 and soft-masked, uint8.
        offsets: where each sequence begins, and the end, (R + 1,).
        labels: classes (R,) int64; of multi-label tasks (R, K) of 0 and 1; of regression (R,) float32; of
            segmentation the classes of all bases end to end, as `codes`.
        names: of the rows, (R,) text.
        lines: where each stands in the file, (R,).
        notes: what was odd in the file, in sentences.
        per_base: whether labels are of bases.
    """

    source: str
    codes: Codes
    offsets: Rows
    labels: Labels
    names: npt.NDArray[np.str_]
    lines: Rows
    notes: tuple[str, ...] = ()
    per_base: bool = False

    def __len__(self) -> int:
        return len(self.lines)

    def sequence(self, row: int) -> Codes:
        """The bases of a row."""
        return self.codes[self.offsets[row] : self.offsets[row + 1]]

    def label(self, row: int) -> Labels:
        """Of a row, or of its bases."""
        if self.per_base:
            return self.labels[self.offsets[row] : self.offsets[row + 1]]
        label: Labels = self.labels[row]
        return label

    @property
    def lengths(self) -> Rows:
        """Bases of each sequence, (R,)."""
        return np.diff(self.offsets)

    def place(self, row: int) -> str:
        """File and line of a row."""
        return f"{self.source}:{self.lines[row]}"

    @cached_property
    def fingerprint(self) -> str:
        """Of sequences and labels, in their order."""
        digest = hashlib.sha256(self.codes.tobytes())
        digest.update(self.offsets.tobytes())
        digest.update(np.ascontiguousarray(self.labels).tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class TablePart:
    """Some rows of a table, in the table's order."""

    table: LabelledTable
    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> Labels:
        """Labels of its rows, or of their bases end to end."""
        if self.table.per_base:
            return np.concatenate([self.table.label(row) for row in self.rows.tolist()])
        chosen: Labels = self.table.labels[self.rows]
        return chosen

    @cached_property
    def starts(self) -> Rows:
        """Where the bases of each row begin, all put end to end, (R,)."""
        starts: Rows = np.cumsum(self.lengths) - self.lengths
        return starts

    @property
    def lengths(self) -> Rows:
        """Bases of its sequences."""
        return self.table.lengths[self.rows]

    @property
    def names(self) -> npt.NDArray[np.str_]:
        """Names of its rows."""
        return self.table.names[self.rows]

    @property
    def fingerprint(self) -> str:
        """Of the table and of the rows."""
        return hashlib.sha256(f"{self.table.fingerprint}{self.rows.tolist()}".encode()).hexdigest()[:16]


def whole(table: LabelledTable) -> TablePart:
    """All rows of a table."""
    return TablePart(table, np.arange(len(table), dtype=np.int64))


def fold_numbers(labels: Labels, *, folds: int, seed: int) -> Rows:
    """Which fold each row belongs to, (R,): seeded, and every class spread evenly.

    Args:
        labels: one class of each row; of other tasks rows are dealt without regard to labels.
        folds: their number.
        seed: of the run.
    """
    random = np.random.Generator(np.random.Philox(key=[seed, 0]))
    shuffled = random.permutation(len(labels))
    if labels.ndim == 1 and labels.dtype == np.int64:
        shuffled = shuffled[np.argsort(labels[shuffled], kind="stable")]
    numbers = np.empty(len(labels), dtype=np.int64)
    numbers[shuffled] = np.arange(len(labels)) % folds
    return numbers
