"""Long work in parts, each a durable file once it is done, by this process or by several.

    <out>.parts/contract.json   what the results depend on
    <out>.parts/000012<ending>  the 13th part

Where parts begin follows from the input alone. A run that was killed goes on with the parts that are missing;
a part holds the same whoever computes it, so the whole is the same to the byte. Parts of another contract are
thrown away.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch

from dnalm.console import hide_bars
from dnalm.durable import sync, write_text
from dnalm.errors import DistributedError
from dnalm.lifetime import worker_pool

State = TypeVar("State")
Part = TypeVar("Part", bound=Sized)
PartIn = TypeVar("PartIn", bound=Sized, contravariant=True)


@dataclass(frozen=True)
class PartFolder:
    """Where the parts of an output lie.

    Attributes:
        path: the folder.
        ending: of a part's file name.
    """

    path: Path
    ending: str

    @classmethod
    def beside(cls, out: Path, ending: str) -> PartFolder:
        """The folder of an output that is under way."""
        return cls(out.with_name(f"{out.name}.parts"), ending)

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
        return self.file(number).is_file()

    def file(self, number: int) -> Path:
        """The file of a part."""
        return self.path / f"{number:06d}{self.ending}"

    def keep(self, number: int, write: Callable[[Path], None]) -> None:
        """Let `write` make the file of a part; it is whole or absent."""
        _durably(self.file(number), write)

    def files(self) -> Iterator[Path]:
        """The files of the parts in order, once all are done."""
        number = 0
        while self.has(number):
            yield self.file(number)
            number += 1

    def remove(self) -> None:
        """Once the output is written."""
        shutil.rmtree(self.path)


class PartWork(Protocol[State, PartIn]):
    """What is done with parts; small, for every process is given it."""

    def open(self) -> State:
        """What a process needs to begin, a model as a rule."""

    def do(self, state: State, folder: PartFolder, number: int, part: PartIn) -> None:
        """Compute a part and keep it in the folder."""


@dataclass(frozen=True)
class _Opened(Generic[State]):
    state: State


def work_on(
    parts: Iterable[Part],
    folder: PartFolder,
    work: PartWork[State, Part],
    *,
    workers: int,
    advance: Callable[[int], None],
) -> int:
    """Compute the parts that are missing.

    Args:
        parts: all of them; those that are done are passed over.
        folder: where they are kept.
        work: what is done with them.
        workers: processes; 1 works in this one.
        advance: called with the number of items done.

    Returns:
        The number of items.

    Raises:
        DistributedError: DIST-20, a process was killed.
    """
    total, opened, running = 0, None, deque[tuple[int, Future[None]]]()
    threads = max(1, torch.get_num_threads() // workers)
    try:
        with worker_pool(workers, _start, threads) if workers > 1 else nullcontext() as pool:
            for number, part in enumerate(parts):
                total += len(part)
                if folder.has(number):
                    advance(len(part))
                elif pool is None:
                    opened = opened or _Opened(work.open())
                    work.do(opened.state, folder, number, part)
                    advance(len(part))
                else:
                    if len(running) >= 2 * workers:
                        _finish(running, advance)
                    running.append((len(part), pool.submit(_do, work, folder, number, part)))
            while running:
                _finish(running, advance)
    except BrokenProcessPool:
        raise _killed(folder) from None
    return total


def _finish(running: deque[tuple[int, Future[None]]], advance: Callable[[int], None]) -> None:
    size, future = running.popleft()
    future.result()
    advance(size)


_states: list[Any] = []  # of a process of the pool


def _start(threads: int) -> None:
    hide_bars()
    torch.set_num_threads(threads)


def _do(work: PartWork[State, Part], folder: PartFolder, number: int, part: Part) -> None:
    if not _states:  # here and not at the start, where an error would only break the pool
        _states.append(work.open())
    work.do(_states[0], folder, number, part)


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
        found="a process was killed, perhaps for want of memory",
        expected="processes that live to the end",
        fix="run again, which goes on from the parts that are done, with fewer workers or batch_tokens",
    )
