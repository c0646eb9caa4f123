"""The work on a file of sequences in parts, each a durable Parquet file once it is done.

    <out>.parts/contract.json    what the vectors depend on
    <out>.parts/000012.parquet   the rows of the 13th part

Where parts begin follows from the input alone, and so do the batches within one. A run that was killed goes
on with the parts that are missing, and the whole is the same to the byte. Parts of another contract are
thrown away.
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from dnalm.console import hide_bars
from dnalm.durable import sync, write_text
from dnalm.errors import DistributedError
from dnalm.evaluation.embedding.inputs import NamedSequence
from dnalm.evaluation.embedding.reader import SequenceReader
from dnalm.evaluation.embedding.recipe import EmbeddingRecipe
from dnalm.evaluation.embedding.rows import rows_of, schema_of
from dnalm.models import Pretrained, check_vocabulary
from dnalm.tokenizers import Tokenizer, load_tokenizer
from dnalm.training.launch import die_with_parent
from dnalm.training.model_directory import window_tokens

PART_SEQUENCES, PART_BP = 1024, 1 << 17
Part = list[NamedSequence]


@dataclass(frozen=True)
class EmbeddingPlan:
    """All that a process needs to embed.

    Attributes:
        model: where it is.
        recipe: what is read off the model.
        tokenizer: what its ids mean; that of the model's folder if absent.
        keep: columns of the input that go along.
        device: `cuda`, `cpu`, or the first of them that is there.
    """

    model: Pretrained
    recipe: EmbeddingRecipe
    tokenizer: Tokenizer | None = None
    keep: tuple[str, ...] = ()
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def open(self) -> SequenceReader:
        """Load the model.

        Raises:
            CheckpointError: it cannot be read, or the tokenizer is not its own.
            ConfigError: the recipe does not fit it.
        """
        folder = self.model.folder()
        network, tokenizer = self.model.load(), self.tokenizer or load_tokenizer(folder)
        check_vocabulary(network, tokenizer.vocab_size, where=self.model.source)
        has_cuda = torch.cuda.is_available()
        device = ("cuda" if has_cuda else "cpu") if self.device == "auto" else self.device
        trained = window_tokens(folder) if self.recipe.max_tokens is None else None
        recipe = replace(self.recipe, max_tokens=trained) if trained else self.recipe
        return SequenceReader(network.encoder.to(device), tokenizer, recipe)


@dataclass(frozen=True)
class PartFolder:
    """Where the parts of an output lie."""

    path: Path

    def begin(self, contract: dict[str, object]) -> None:
        """Make the folder, empty unless it holds parts of the same contract."""
        text = json.dumps(contract, indent=2, sort_keys=True) + "\n"
        known = self.path / "contract.json"
        if known.is_file() and known.read_text() == text:
            return
        if self.path.exists():
            shutil.rmtree(self.path)
        self.path.mkdir(parents=True)
        _durably(known, lambda beside: write_text(beside, text))

    def has(self, number: int) -> bool:
        """Whether a part is done."""
        return self._file(number).is_file()

    def write(self, number: int, rows: pa.Table) -> None:
        """Keep a part; it is whole or absent."""
        _durably(self._file(number), lambda beside: pq.write_table(rows, beside))

    def read(self) -> Iterator[pa.Table]:
        """The parts in order, once all are done."""
        number = 0
        while self.has(number):
            yield pq.read_table(self._file(number))
            number += 1

    @property
    def num_rows(self) -> int:
        """Of all parts."""
        return sum(pq.read_metadata(path).num_rows for path in self.path.glob("*.parquet"))

    def remove(self) -> None:
        """Once the output is written."""
        shutil.rmtree(self.path)

    def _file(self, number: int) -> Path:
        return self.path / f"{number:06d}.parquet"


def parts_of(sequences: Iterable[NamedSequence]) -> Iterator[Part]:
    """Cut the input into parts of a bounded number of sequences and, but for a single one, of bases."""
    part, num_bases = Part(), 0
    for sequence in sequences:
        if part and (len(part) == PART_SEQUENCES or num_bases + len(sequence.codes) > PART_BP):
            yield part
            part, num_bases = [], 0
        part.append(sequence)
        num_bases += len(sequence.codes)
    if part:
        yield part


def embed_parts(
    parts: Iterable[Part],
    folder: PartFolder,
    plan: EmbeddingPlan,
    reader: SequenceReader,
    *,
    workers: int,
    advance: Callable[[int], None],
) -> int:
    """Compute the parts that are missing.

    Args:
        parts: all of them; those that are done are passed over.
        folder: where they are kept.
        plan: how to embed.
        reader: the plan opened, for work in this process.
        workers: processes; 1 works in this one.
        advance: called with the number of sequences done.

    Returns:
        The number of sequences.

    Raises:
        DistributedError: DIST-20, a process was killed.
    """
    total, running = 0, deque[tuple[int, Future[None]]]()
    pool = _pool(plan, workers) if workers > 1 else None
    try:
        for number, part in enumerate(parts):
            total += len(part)
            if folder.has(number):
                advance(len(part))
            elif pool is None:
                _embed(reader, plan, folder, number, part)
                advance(len(part))
            else:
                if len(running) >= 2 * workers:
                    _finish(running, advance)
                running.append((len(part), pool.submit(_work, plan, folder, number, part)))
        while running:
            _finish(running, advance)
    except BrokenProcessPool:
        raise _killed(folder) from None
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    return total


def _pool(plan: EmbeddingPlan, workers: int) -> ProcessPoolExecutor:
    threads = max(1, torch.get_num_threads() // workers)
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(plan, threads))


def _finish(running: deque[tuple[int, Future[None]]], advance: Callable[[int], None]) -> None:
    size, future = running.popleft()
    future.result()
    advance(size)


_readers: list[SequenceReader] = []  # of a process of the pool


def _start(plan: EmbeddingPlan, threads: int) -> None:
    die_with_parent()
    hide_bars()
    torch.set_num_threads(threads)
    _readers[:] = [plan.open()]


def _work(plan: EmbeddingPlan, folder: PartFolder, number: int, part: Part) -> None:
    _embed(_readers[0], plan, folder, number, part)


def _embed(reader: SequenceReader, plan: EmbeddingPlan, folder: PartFolder, number: int, part: Part) -> None:
    states = reader.read([item.codes for item in part], where=[item.where for item in part])
    schema = schema_of(plan.recipe, reader.encoder.hidden_size, plan.keep)
    folder.write(number, rows_of(part, states, plan.recipe, schema))


def _durably(path: Path, write: Callable[[Path], None]) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    write(beside)
    sync(beside)
    beside.rename(path)
    sync(path.parent)


def _killed(folder: PartFolder) -> DistributedError:
    return DistributedError(
        "DIST-20",
        where=str(folder.path),
        found="a process that embeds was killed, perhaps for want of memory",
        expected="processes that live to the end",
        fix="run again, which goes on from the parts that are done, with fewer workers or batch_tokens",
    )
