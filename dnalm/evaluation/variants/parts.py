"""The work of a file of variants in parts of fixed size, each a durable file once it is done.

    <out>.parts/contract.json   what the results depend on
    <out>.parts/000012.json     the 13th part: for each record, for each ALT, its numbers or a reason

A run that was killed goes on with the parts that are missing; since a part holds the same records whoever
computes it, in as many processes as there are, the whole is the same to the byte. Parts of another
contract are thrown away.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from dnalm.console import hide_bars
from dnalm.durable import sync, write_text
from dnalm.errors import DistributedError
from dnalm.evaluation.variants.plan import ScoringPlan
from dnalm.evaluation.variants.scorer import Scorer
from dnalm.genome.store import GenomeStore
from dnalm.genome.variants import Allele, Reason, Record
from dnalm.training.launch import die_with_parent

PART_RECORDS = 250
Entry = str | list[float]  # a reason, or the numbers
Judged = list[list[Allele | Reason]]  # of each record, of each ALT
_scorers: list[Scorer] = []  # of this process


@dataclass(frozen=True)
class PartFolder:
    """Where the parts of an output lie."""

    path: Path

    def begin(self, contract: dict[str, object]) -> bool:
        """Make the folder, empty unless it holds parts of the same contract; whether it did."""
        text = json.dumps(contract, indent=2, sort_keys=True) + "\n"
        known = self.path / "contract.json"
        if known.is_file() and known.read_text() == text:
            return True
        if self.path.exists():
            shutil.rmtree(self.path)
        self.path.mkdir(parents=True)
        _write_durably(known, text)
        return False

    def has(self, number: int) -> bool:
        """Whether a part is done."""
        return self._file(number).is_file()

    def write(self, number: int, rows: list[list[Entry]]) -> None:
        """Keep a part; it is whole or absent."""
        _write_durably(self._file(number), json.dumps(rows) + "\n")

    def read(self, number: int) -> list[list[Entry]]:
        """The rows of a part."""
        rows: list[list[Entry]] = json.loads(self._file(number).read_text())
        return rows

    def remove(self) -> None:
        """Once the output is written."""
        shutil.rmtree(self.path)

    def _file(self, number: int) -> Path:
        return self.path / f"{number:06d}.json"


def parts_of(records: Iterable[Record]) -> Iterator[tuple[int, tuple[Record, ...]]]:
    """Cut records into parts, numbered from 0."""
    rest, number = iter(records), 0
    while part := tuple(islice(rest, PART_RECORDS)):
        yield number, part
        number += 1


def score_parts(
    parts: Iterable[tuple[int, Judged]],
    folder: PartFolder,
    *,
    plan: ScoringPlan,
    store: GenomeStore,
    workers: int,
    advance: Callable[[int], None],
) -> None:
    """Score the parts that are missing.

    Args:
        parts: numbered; those that are done are passed over.
        folder: where they are kept.
        plan: how to score.
        store: the genome.
        workers: processes; 1 scores in this one.
        advance: called with the number of records done.

    Raises:
        DistributedError: DIST-20, a process was killed.
    """
    if workers == 1:
        scorer: Scorer | None = None
        for number, judged in parts:
            if not folder.has(number):
                scorer = scorer or Scorer.open(plan, store)
                folder.write(number, _score(scorer, judged))
            advance(len(judged))
        return
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // workers)
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start, initargs=(plan, store, threads)
    ) as pool:
        running: deque[tuple[int, int, Future[list[list[Entry]]]]] = deque()
        for number, judged in parts:
            if folder.has(number):
                advance(len(judged))
                continue
            if len(running) >= 2 * workers:
                _finish(running, folder, advance)
            running.append((number, len(judged), pool.submit(_work, judged)))
        while running:
            _finish(running, folder, advance)


def _finish(
    running: deque[tuple[int, int, Future[list[list[Entry]]]]],
    folder: PartFolder,
    advance: Callable[[int], None],
) -> None:
    number, size, future = running.popleft()
    try:
        rows = future.result()
    except BrokenProcessPool:
        raise DistributedError(
            "DIST-20",
            where=f"part {number}",
            found="a process that scores was killed, perhaps for want of memory",
            expected="processes that live to the end",
            fix="run again, which goes on from the parts that are done, with fewer workers or batch_tokens",
        ) from None
    folder.write(number, rows)
    advance(size)


def _start(plan: ScoringPlan, store: GenomeStore, threads: int) -> None:
    die_with_parent()
    hide_bars()
    torch.set_num_threads(threads)
    _scorers[:] = [Scorer.open(plan, store)]


def _work(judged: Judged) -> list[list[Entry]]:
    return _score(_scorers[0], judged)


def _score(scorer: Scorer, judged: Judged) -> list[list[Entry]]:
    alleles = [entry for entries in judged for entry in entries if isinstance(entry, Allele)]
    scores = iter(scorer.score(alleles))
    return [
        [next(scores) if isinstance(entry, Allele) else str(entry) for entry in entries] for entries in judged
    ]


def _write_durably(path: Path, text: str) -> None:
    beside = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    write_text(beside, text)
    beside.rename(path)
    sync(path.parent)
