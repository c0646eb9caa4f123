"""Scoring a file in parts of fixed size; see `durable_parts` for what a kill leaves.

A part is JSON: for each record, for each ALT, its numbers or a reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from dnalm.durable import write_text
from dnalm.evaluation.durable_parts import PartFolder
from dnalm.evaluation.variants.plan import ScoringPlan
from dnalm.evaluation.variants.scorer import Scorer
from dnalm.genome.store import GenomeStore
from dnalm.genome.variants import Allele, Reason, Record

PART_RECORDS = 250
Entry = str | list[float]  # a reason, or the numbers
Judged = list[list[Allele | Reason]]  # of each record, of each ALT


@dataclass(frozen=True)
class ScoringWork:
    """Scores the alleles of a part.

    Attributes:
        plan: how.
        store: the genome.
    """

    plan: ScoringPlan
    store: GenomeStore

    def open(self) -> Scorer:
        """Load the model."""
        return Scorer.open(self.plan, self.store)

    def do(self, state: Scorer, folder: PartFolder, number: int, part: Judged) -> None:
        """Score a part, and keep its rows in the folder."""
        alleles = [entry for entries in part for entry in entries if isinstance(entry, Allele)]
        scores = iter(state.score(alleles))
        rows = [
            [next(scores) if isinstance(entry, Allele) else str(entry) for entry in entries]
            for entries in part
        ]
        folder.keep(number, lambda beside: write_text(beside, json.dumps(rows) + "\n"))


def read_part(content: bytes) -> list[list[Entry]]:
    """The rows of a part's file."""
    rows: list[list[Entry]] = json.loads(content)
    return rows


def parts_of(records: Iterable[Record]) -> Iterator[tuple[Record, ...]]:
    """Cut records into parts."""
    rest = iter(records)
    while part := tuple(islice(rest, PART_RECORDS)):
        yield part
