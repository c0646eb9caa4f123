"""Resumable output: long work in parts, each a durable file once it is done, by one process or by several.

    <out>.parts/contract.json                        what the results depend on
    <out>.parts/000012.<contract>.<content><ending>  the 13th part, named by the contract's and its own sha256

Where parts begin follows from the input alone. A run that was killed continues with the parts that are
missing; a part holds the same whoever computes it, so the whole is the same to the byte. Parts of another
contract are deleted, and a worker of a killed command that writes one late writes it under a name that is
not read. A part is read only if its content is what its name says.

`opened_output` refuses a file that cannot be written before any work, and locks it; `PartFolder.begin`,
`work_on` and `DoneParts` then do the work.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from dnalm.console import hide_bars
from dnalm.durable import file_sha256, sync, write_text
from dnalm.errors import CheckpointError, ConfigError, DataError, DistributedError
from dnalm.lifetime import worker_pool
from dnalm.lock import OutputLock
from dnalm.paths import BESIDE

State = TypeVar("State")
Part = TypeVar("Part", bound=Sized)
PartIn = TypeVar("PartIn", bound=Sized, contravariant=True)
_OF_ZARR = {"zarr.json", "vectors"}
_CONTRACT_DIGITS, _CONTENT_DIGITS = 12, 16  # of the sha256 in a part's name
_PART = re.compile(r"(?P<number>\d{6,})\.(?P<contract>[0-9a-f]{12})\.(?P<content>[0-9a-f]{16})\.\w+")
_EARLIER_PART = re.compile(r"\d{6,}\.(json|parquet)")  # of a dnalm that named parts by number alone
_UNFINISHED = re.compile(r"\.(contract\.json|\d{6,}\.[0-9a-f]{12})\.\d+")


@dataclass(frozen=True)
class PartFolder:
    """Where the parts of an output lie; small, since every process gets it.

    Attributes:
        out: the output.
        ending: of a part's file name.
        contract: hexadecimal digits that stand for what the parts depend on.
    """

    out: Path
    ending: str
    contract: str

    @property
    def path(self) -> Path:
        """The folder."""
        return parts_path(self.out)

    @classmethod
    def begin(cls, out: Path, ending: str, contract: dict[str, object]) -> PartFolder:
        """Make the folder of an output whose lock is held; parts of another contract are deleted.

        Raises:
            ConfigError: CFG-52, what is there was not made by dnalm.
        """
        text = json.dumps(contract, indent=2, sort_keys=True) + "\n"
        digest = hashlib.sha256(text.encode()).hexdigest()[:_CONTRACT_DIGITS]
        folder = cls(out, ending, digest)
        check_parts(out)
        folder.path.mkdir(parents=True, exist_ok=True)
        for path in {*folder.path.iterdir()} - {*folder.kept().values()}:
            path.unlink(missing_ok=True)
        beside = folder._beside("contract.json")
        write_text(beside, text)
        beside.rename(folder.path / "contract.json")
        sync(folder.path)
        return folder

    def kept(self) -> dict[int, Path]:
        """The files of this contract's parts that are there, by number."""
        found = {}
        for path in sorted(self.path.iterdir()):
            match = _PART.fullmatch(path.name)
            if match and match["contract"] == self.contract and path.name.endswith(self.ending):
                found[int(match["number"])] = path
        return found

    def keep(self, number: int, write: Callable[[Path], None]) -> None:
        """Let `write` make the file of a part; it is whole or absent."""
        beside = self._beside(f"{number:06d}.{self.contract}")
        write(beside)
        sync(beside)
        content = file_sha256(beside)[:_CONTENT_DIGITS]
        beside.rename(self.path / f"{number:06d}.{self.contract}.{content}{self.ending}")
        sync(self.path)

    def _beside(self, name: str) -> Path:
        return self.path / f".{name}.{os.getpid()}"


@dataclass(frozen=True)
class DoneParts:
    """All parts of an output.

    Attributes:
        out: what they are of.
        files: theirs, in order.
        num_items: of all parts together.
    """

    out: Path
    files: tuple[Path, ...]
    num_items: int

    def contents(self) -> Iterator[bytes]:
        """What each file holds, in order.

        Raises:
            CheckpointError: PART-01, a file has changed or is gone.
        """
        for path in self.files:
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                raise _damaged(path, "the part is gone") from None
            if not _is_named_after(path, hashlib.sha256(content).hexdigest()):
                raise _damaged(path, "the part has changed since it was written")
            yield content

    def remove(self) -> None:
        """Once the output is written."""
        remove_parts(self.out)


def parts_path(out: Path) -> Path:
    """The folder of the parts of an output that is under way."""
    return out.with_name(f"{out.name}.parts")


def remove_parts(out: Path) -> None:
    """Delete the parts of an output, and their folder if nothing else is in it."""
    path = parts_path(out)
    for each in path.iterdir() if path.is_dir() else ():
        if _is_ours(each):
            each.unlink(missing_ok=True)
    with suppress(OSError):  # a worker of a killed command has just written into it
        path.rmdir()


def check_parts(out: Path) -> None:
    """Refuse to write where something else than an output's parts lies.

    Raises:
        ConfigError: CFG-52, something else is there.
    """
    path, found = parts_path(out), None
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        found = f"{path} is there already and is no folder"
    elif path.is_dir():
        names = sorted(entry.name for entry in path.iterdir())
        foreign = next((name for name in names if not _is_ours(path / name)), None)
        if foreign is None and not (path / "contract.json").exists():
            foreign = next((name for name in names if not name.startswith(".")), None)
        found = foreign and f"{path} is there already and holds {foreign}, which dnalm did not write"
    if found:
        raise ConfigError(
            "CFG-52",
            where="out",
            found=found,
            expected="no such folder, or one that a killed command has left",
            fix="move it away, or choose another out",
        )


def _is_ours(path: Path) -> bool:
    named = any(form.fullmatch(path.name) for form in (_PART, _EARLIER_PART, _UNFINISHED))
    return (named or path.name == "contract.json") and path.is_file() and not path.is_symlink()


def _is_named_after(path: Path, sha256: str) -> bool:
    match = _PART.fullmatch(path.name)
    return match is not None and sha256.startswith(match["content"])


class PartWork(Protocol[State, PartIn]):
    """What is done with parts; small, since every process gets it."""

    def open(self) -> State:
        """What a process needs to begin, a model as a rule."""

    def do(self, state: State, folder: PartFolder, number: int, part: PartIn) -> None:
        """Compute a part and keep it in the folder."""


def work_on(
    parts: Iterable[Part],
    folder: PartFolder,
    work: PartWork[State, Part],
    *,
    workers: int,
    advance: Callable[[int], None],
    lock: OutputLock,
) -> DoneParts:
    """Compute the parts that are missing.

    Args:
        parts: all of them; those that are done are passed over.
        folder: where they are kept.
        work: what is done with them.
        workers: processes; 1 works in this one.
        advance: called with the number of items done.
        lock: of the output; every process that may write holds it.

    Raises:
        DistributedError: DIST-20, a process was killed.
        CheckpointError: PART-01, a part is gone.
    """
    kept, total, number = folder.kept(), 0, -1
    open_once, running = cache(work.open), deque[tuple[int, Future[None]]]()
    threads, held = max(1, torch.get_num_threads() // workers), lock.descriptor
    pools = worker_pool(workers, _start, threads, held=held) if workers > 1 else nullcontext()
    try:
        with pools as pool:
            for number, part in enumerate(parts):
                total += len(part)
                if number in kept and _is_whole(kept[number]):
                    advance(len(part))
                elif pool is None:
                    work.do(open_once(), folder, number, part)
                    advance(len(part))
                else:
                    if len(running) >= 2 * workers:
                        _finish(running, advance)
                    running.append((len(part), pool.submit(_do, work, folder, number, part)))
            while running:
                _finish(running, advance)
    except BrokenProcessPool:
        raise DistributedError(
            "DIST-20",
            where=str(folder.path),
            found="a process was killed, perhaps for want of memory",
            expected="processes that run to the end",
            fix="run again with fewer workers or batch_tokens, such as workers=1; finished parts are kept",
        ) from None
    files = folder.kept()
    if (gone := next((each for each in range(number + 1) if each not in files), None)) is not None:
        raise _damaged(folder.path / f"{gone:06d}", "the part is gone")
    return DoneParts(folder.out, tuple(files[each] for each in range(number + 1)), total)


def _is_whole(path: Path) -> bool:
    """Whether a part is what its name says; one that is not is deleted, to be computed again."""
    if _is_named_after(path, file_sha256(path)):
        return True
    path.unlink()
    return False


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


def write_summary(out: Path, summary: dict[str, object]) -> Path:
    """Write `<out>.summary.json`, which says what an output is; returns where it is."""
    path = summary_path(out)
    write_text(path, json.dumps(summary, indent=2, default=str) + "\n")
    return path


def summary_path(out: Path) -> Path:
    """What a command says of an output."""
    return out.with_name(f"{out.name}.summary.json")


def _damaged(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        "PART-01",
        where=str(path),
        found=found,
        expected="what was written",
        fix="run again, which computes that part again",
    )


@contextmanager
def opened_output(out: Path, endings: Sequence[str]) -> Iterator[OutputLock]:
    """Refuse a file that cannot be written, else lock it with what is written beside it.

    Args:
        out: the file; its folder is made, and removed again if nothing is written into it.
        endings: of names that are known; the file of one that ends in `.zarr` is a folder.

    If the block raises an error that the user has to correct, nothing of it is left.

    Raises:
        ConfigError: CFG-52, it ends otherwise, or as what is written beside an output, is a folder of others,
            or is in none that may be written.
        CheckpointError: CKPT-12, another process writes it.
    """
    if not out.name.endswith(tuple(endings)):
        raise _refused(f"{out}: a name with no known ending", endings)
    if beside := next((ending for ending in BESIDE if out.name.endswith(ending)), None):
        raise _refused(f"{out}: {beside} is the name of what another output has beside it", endings)
    is_own_zarr = (
        out.suffix == ".zarr"
        and not out.is_symlink()
        and out.with_name(f"{out.name}.index.parquet").is_file()
    )
    if out.is_dir() and not (is_own_zarr and {entry.name for entry in out.iterdir()} <= _OF_ZARR):
        raise _refused(f"{out} is a folder", endings)
    check_parts(out)
    is_new = not parts_path(out).exists()
    with ExitStack() as stack:
        try:
            lock = OutputLock(out.with_name(f".{out.name}.lock"), output=out, key="out")
            stack.enter_context(lock)
        except OSError as error:
            raise _refused(f"{out.parent} cannot be written: {error.strerror}", endings) from error
        try:
            yield lock
        except (ConfigError, DataError, CheckpointError):
            if is_new:
                remove_parts(out)
            raise


def _refused(found: str, endings: Sequence[str]) -> ConfigError:
    return ConfigError(
        "CFG-52",
        where="out",
        found=found,
        expected=f"a file that ends in {' or '.join(endings)}, in a folder that may be written",
        fix=f"choose another, such as out=result{endings[0]}",
    )
