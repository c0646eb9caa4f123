"""Leakage: what of a test set is in the training set, as it is, on the other strand, or by homology.

Homologous are sequences with a common ancestor, and those from places that overlap: `dnalm.genome.homology`
says how they are found. Sequences of less than 30 bases are too short for it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from dnalm.console import stderr
from dnalm.data.labelled import LabelledTable, Part
from dnalm.errors import DataError
from dnalm.evaluation.benchmark.benchmark import PARTS, PreparedTask
from dnalm.genome.alphabet import bases, reverse_complement
from dnalm.genome.homology import RULES, SCORE, Homology
from dnalm.tables import replace_text

IN_TRAINING = -1  # instead of the cluster of a test row whose sequence the training set has


def clusters_of(task: PreparedTask, training: Sequence[Part] = ("train",)) -> npt.NDArray[np.int64]:
    """The cluster of each row of the test set, (R,): rows of one sequence or its reverse complement are one.

    Rows whose sequence one of the parts that train has, on either strand, are `IN_TRAINING`. It is kept
    beside the tables in the cache.
    """
    path = task.folder / f"test_clusters{'_'.join(['', *training[1:]])}.json"
    try:
        return np.array(json.loads(path.read_text()), np.int64)
    except (OSError, ValueError):
        clusters = find_clusters([task.read(part) for part in training], task.read("test"))
        replace_text(path, json.dumps(clusters.tolist()) + "\n")
        return clusters


def find_clusters(training: Sequence[LabelledTable], test: LabelledTable) -> npt.NDArray[np.int64]:
    """As `clusters_of`, of tables."""
    known = {_either_strand(table, row) for table in training for row in range(len(table))}
    numbers: dict[bytes, int] = dict.fromkeys(known, IN_TRAINING)
    return np.array(
        [numbers.setdefault(_either_strand(test, row), row) for row in range(len(test))], np.int64
    )


def drop_homologs(
    task: PreparedTask,
    clusters: npt.NDArray[np.int64],
    leakage: Sequence[Leakage],
    training: Sequence[Part] = ("train",),
) -> npt.NDArray[np.int64]:
    """Clusters in which rows that are homologous to a row of a part that trains are `IN_TRAINING` too.

    Raises:
        DataError: BENCH-09, rows of fewer than two classes are left.
    """
    dropped = clusters.copy()
    for each in leakage:
        if each.part == "test" and each.other in training:
            dropped[list(each.related)] = IN_TRAINING
    left = dropped != IN_TRAINING
    if len(np.unique(np.asarray(task.read("test").labels)[left])) < 2:
        raise DataError(
            "BENCH-09",
            where=f"homology=drop: {task.task.name}",
            found=f"{(~left).sum():,} of {len(left):,} test sequences are homologous to a training sequence",
            expected="two classes among those that are left",
            fix="use homology=report, or choose other tasks",
        )
    return dropped


def _either_strand(table: LabelledTable, row: int) -> bytes:
    """A digest that a sequence and its reverse complement share."""
    return min(sequence_digest(table, row), sequence_digest(table, row, reverse=True))


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """What rows of one part share with another.

    Attributes:
        part: whose rows are counted.
        other: which trains, or chooses.
        rows: of the part.
        exact: rows whose sequence is there.
        distinct: different sequences among these.
        reverse: further rows whose reverse complement is there.
        homologous: further rows that are homologous to one there.
        other_label: of the exact and the reverse ones, those that have another label there.
        related: the rows, from 0, that are there in any of these forms.
    """

    part: Part
    other: Part
    rows: int
    exact: int
    distinct: int
    reverse: int
    homologous: int
    other_label: int
    related: tuple[int, ...]


def leakage_of(task: PreparedTask) -> list[Leakage]:
    """Leakage between the parts of a task; it is looked for once, and kept beside the tables in the cache."""
    path = task.folder / f"leakage-homology-{RULES}.json"
    try:
        found = json.loads(path.read_text())
        return [Leakage(**{**each, "related": tuple(each["related"])}) for each in found]
    except (OSError, ValueError, TypeError, KeyError):
        tables = {part: task.read(part) for part in PARTS}
        lengths = np.concatenate([table.lengths for table in tables.values()])
        if (short := int((lengths < SCORE).sum())) > 0:
            stderr.print(
                f"warning: {task.task.name}: {short:,} of {len(lengths):,} sequences have less than {SCORE} "
                "bases, too few to tell homology from chance; of these only equal ones are counted",
            )
        leakage = find_leakage(tables)
        replace_text(path, json.dumps([asdict(each) for each in leakage]) + "\n")
        return leakage


def find_leakage(tables: Mapping[Part, LabelledTable]) -> list[Leakage]:
    """Compare every two parts, which come in the order of training, validation and test set."""
    joined = np.concatenate([table.codes for table in tables.values()])
    ends = np.cumsum(np.concatenate([[0], *(table.lengths for table in tables.values())]))
    numbers = np.repeat(np.arange(len(tables)), [len(table) for table in tables.values()])
    homologs = Homology(joined, ends).in_earlier_parts(numbers)
    order = list(tables)
    return [
        _between(part, other, tables, homologs[numbers == order.index(part), order.index(other)])
        for other, part in itertools.combinations(tables, 2)
    ]


def _between(
    part: Part,
    other: Part,
    tables: Mapping[Part, LabelledTable],
    homologs: npt.NDArray[np.bool_],
) -> Leakage:
    table, there = tables[part], tables[other]
    labels: dict[bytes, set[float]] = {}
    for row in range(len(there)):
        labels.setdefault(sequence_digest(there, row), set()).add(float(there.labels[row]))
    exact = reverse = conflicts = 0
    equal, known = np.zeros(len(table), np.bool_), set()
    for row in range(len(table)):
        same, turned = sequence_digest(table, row), sequence_digest(table, row, reverse=True)
        exact += same in labels
        known |= {same} & labels.keys()
        reverse += same not in labels and turned in labels
        if (found := labels.get(same) or labels.get(turned)) is not None:
            equal[row] = True
            conflicts += float(table.labels[row]) not in found
    return Leakage(
        part=part,
        other=other,
        rows=len(table),
        exact=exact,
        distinct=len(known),
        reverse=reverse,
        homologous=int((homologs & ~equal).sum()),
        other_label=conflicts,
        related=tuple(np.flatnonzero(homologs | equal).tolist()),
    )


def sequence_digest(table: LabelledTable, row: int, *, reverse: bool = False) -> bytes:
    """16 bytes that are the same of the same bases, in either case; of the other strand if `reverse`."""
    codes = bases(table.sequence(row))
    return hashlib.blake2b(
        (reverse_complement(codes) if reverse else codes).tobytes(), digest_size=16
    ).digest()
