"""Leakage: what of a test set is in the training set, as it is, on the other strand, or nearly so.

Near duplicates share half of their k-mers or more, on either strand. They are looked for by MinHash:
each sequence has a signature of fixed size, those that agree in a band of it are compared k-mer by k-mer, so
that memory grows with the number of sequences alone. What is counted is certain; a pair that shares just half
is found with a probability of 0.98, one that shares two thirds practically always.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from dnalm.data.labelled import LabelledTable, Part
from dnalm.evaluation.benchmark.benchmark import PARTS, PreparedTask
from dnalm.evaluation.classical import kmers
from dnalm.genome.alphabet import bases, reverse_complement
from dnalm.tables import replace_text

K, BANDS, ROWS = 12, 32, 3
SHARED = 0.5
_MOST_COMPARED = 64  # of one sequence
_SEED = 1
IN_TRAINING = -1  # instead of the cluster of a test row whose sequence the training set has
Hashes = npt.NDArray[np.uint32]


def clusters_of(task: PreparedTask) -> npt.NDArray[np.int64]:
    """The cluster of each row of the test set, (R,): rows of one sequence or its reverse complement are one.

    Rows whose sequence the training set has, on either strand, are `IN_TRAINING`. It is kept beside the
    tables in the cache.
    """
    path = task.folder / "test_clusters.json"
    try:
        return np.array(json.loads(path.read_text()), np.int64)
    except (OSError, ValueError):
        clusters = find_clusters(task.read("train"), task.read("test"))
        replace_text(path, json.dumps(clusters.tolist()) + "\n")
        return clusters


def find_clusters(train: LabelledTable, test: LabelledTable) -> npt.NDArray[np.int64]:
    """As `clusters_of`, of two tables."""
    known = {_either_strand(train, row) for row in range(len(train))}
    numbers: dict[bytes, int] = dict.fromkeys(known, IN_TRAINING)
    return np.array(
        [numbers.setdefault(_either_strand(test, row), row) for row in range(len(test))], np.int64
    )


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
        near: further rows that share half of their k-mers or more with one there.
        other_label: of the exact and the reverse ones, those that have another label there.
    """

    part: Part
    other: Part
    rows: int
    exact: int
    distinct: int
    reverse: int
    near: int
    other_label: int


def leakage_of(task: PreparedTask) -> list[Leakage]:
    """Leakage between the parts of a task; it is looked for once, and kept beside the tables in the cache."""
    path = task.folder / f"leakage-{K}-{BANDS}-{ROWS}-{SHARED}.json"
    try:
        return [Leakage(**each) for each in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError):
        found = find_leakage({part: task.read(part) for part in PARTS})
        replace_text(path, json.dumps([asdict(each) for each in found]) + "\n")
        return found


def find_leakage(tables: Mapping[Part, LabelledTable]) -> list[Leakage]:
    """Compare every two parts, which come in the order of training, validation and test set."""
    signatures = {part: signatures_of(table) for part, table in tables.items()}
    return [_between(part, other, tables, signatures) for other, part in itertools.combinations(tables, 2)]


def _between(
    part: Part, other: Part, tables: Mapping[Part, LabelledTable], signatures: Mapping[Part, Hashes]
) -> Leakage:
    table, there = tables[part], tables[other]
    labels: dict[bytes, set[float]] = {}
    for row in range(len(there)):
        labels.setdefault(sequence_digest(there, row), set()).add(float(there.labels[row]))
    exact = reverse = conflicts = 0
    rest, known = [], set()
    for row in range(len(table)):
        same, turned = sequence_digest(table, row), sequence_digest(table, row, reverse=True)
        exact += same in labels
        known |= {same} & labels.keys()
        reverse += same not in labels and turned in labels
        if (found := labels.get(same) or labels.get(turned)) is None:
            rest.append(row)
        else:
            conflicts += float(table.labels[row]) not in found
    near = sum(
        any(shared_kmers(table, row, there, int(each)) >= SHARED for each in candidates)
        for row, candidates in _candidates(signatures[part], np.array(rest, np.int64), signatures[other])
    )
    return Leakage(
        part=part,
        other=other,
        rows=len(table),
        exact=exact,
        distinct=len(known),
        reverse=reverse,
        near=near,
        other_label=conflicts,
    )


def sequence_digest(table: LabelledTable, row: int, *, reverse: bool = False) -> bytes:
    """16 bytes that are the same of the same bases, in either case; of the other strand if `reverse`."""
    codes = bases(table.sequence(row))
    return hashlib.blake2b(
        (reverse_complement(codes) if reverse else codes).tobytes(), digest_size=16
    ).digest()


def canonical_kmers(table: LabelledTable, row: int) -> npt.NDArray[np.uint64]:
    """The set of k-mers of a sequence, of each and its reverse complement the smaller, sorted."""
    codes = table.sequence(row)
    forward, backward = kmers(codes, K), kmers(reverse_complement(codes), K)[::-1]
    return np.unique(np.minimum(forward, backward)).astype(np.uint64)


def shared_kmers(table: LabelledTable, row: int, other: LabelledTable, other_row: int) -> float:
    """The k-mers that two sequences share, of all that either has (Jaccard)."""
    first, second = canonical_kmers(table, row), canonical_kmers(other, other_row)
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / max(len(first) + len(second) - shared, 1)


def signatures_of(table: LabelledTable) -> Hashes:
    """MinHash signatures, (R, BANDS * ROWS); of a sequence without k-mers the largest number everywhere.

    Source: Broder 1997, On the resemblance and containment of documents.
    """
    rng = np.random.default_rng(_SEED)
    size = BANDS * ROWS
    factors = rng.integers(1, 2**63, size=size, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    offsets = rng.integers(0, 2**63, size=size, dtype=np.uint64)
    found = np.full((len(table), size), np.iinfo(np.uint32).max, np.uint32)
    for row in range(len(table)):
        numbers = canonical_kmers(table, row)
        if len(numbers):
            hashed = (numbers[:, None] * factors + offsets) >> np.uint64(32)
            found[row] = hashed.min(axis=0)
    return found


def _candidates(
    signatures: Hashes, rows: npt.NDArray[np.int64], others: Hashes
) -> Iterator[tuple[int, Sequence[int]]]:
    """Rows with those of the others that agree with them in a band, as many as are compared."""
    empty = np.iinfo(np.uint32).max
    found: dict[int, set[int]] = {}
    for band in range(BANDS):
        columns = slice(band * ROWS, (band + 1) * ROWS)
        keys, there = _keys(signatures[rows, columns]), _keys(others[:, columns])
        order = np.argsort(there, kind="stable")
        low = np.searchsorted(there, keys, "left", sorter=order)
        high = np.searchsorted(there, keys, "right", sorter=order)
        for place in np.flatnonzero((high > low) & (signatures[rows, band * ROWS] != empty)):
            seen = found.setdefault(int(rows[place]), set())
            seen.update(order[low[place] : min(high[place], low[place] + _MOST_COMPARED)].tolist())
    for row, seen in found.items():
        yield row, sorted(seen)[:_MOST_COMPARED]


def _keys(band: Hashes) -> npt.NDArray[np.uint64]:
    """One number of each row of a band."""
    keys = np.zeros(len(band), np.uint64)
    for column in band.T:
        keys = (keys ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    return keys
