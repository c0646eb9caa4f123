"""A run's `checkpoints/`: written whole or not at all, verified on disk, and pruned only then.

A checkpoint is a folder `step-00001234` of safetensors files, `state.json` (plain values beside the tensors)
and `MANIFEST.json`, written last, with the size and the SHA-256 of every other file. `begin` makes a hidden
folder, every rank writes its tensors into it (`write_state`), `finish` writes the manifest, brings everything
to disk and renames the folder, so that what is at a final name is complete at every moment. A process that is
killed leaves a hidden folder `.step-00001234.tmp-<host>-<pid>-<birth>` (`.pruned-` if it was removing one),
which `remove_leftovers` of a later start removes.

Every byte is compared with the manifest before a checkpoint is used. Of a stranger's nothing is unpickled, no
link is followed and no size is believed; one's own run folder is trusted otherwise.

Ours and not `torch.distributed.checkpoint` alone, which neither verifies what it reads nor survives a kill
between two files (tests/training/test_checkpoint_*.py). Its readers and writers of safetensors are used:
tensors that two ranks wrote are read on one or on four, sharded or whole, every bit the same.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
import stat
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import Optimizer

from dnalm.console import stderr
from dnalm.durable import DISK_FULL, NOT_WRITABLE, FileSum, file_sha256, sync, write_text
from dnalm.errors import CheckpointError, DnalmError, NumericsError
from dnalm.lock import Process
from dnalm.models.weights import check_safetensors
from dnalm.small_files import SmallFileError, read_small

STATE_FILE, MANIFEST_FILE = "state.json", "MANIFEST.json"
FORMAT, FORMAT_VERSION = "dnalm checkpoint", 1
_READABLE = (".safetensors", ".json", ".yaml")  # formats that cannot run anything when they are read
_MOST_JSON_BYTES = 64 << 20
_STEP = re.compile(r"step-(\d{8}|[1-9]\d{8,})")
_HIDDEN = re.compile(r"\.step-\d{8,}\.(?:tmp|pruned)-(?P<host>.+)-(?P<pid>\d+)-(?P<birth>[0-9a-z]+)")
_FILE = re.compile(r"(?:[\w-][\w.-]*/)?[\w-][\w.-]*", re.ASCII)  # at most one folder below, none hidden
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LEAST_KEPT = 2
_ROOM = 1.2  # of the size of the last checkpoint, as metrics grow and file systems have blocks
_STALE_S = 24 * 3600
_T = TypeVar("_T")


@dataclass(frozen=True)
class Checkpoint:
    """A folder that has been verified.

    Attributes:
        path: the folder.
        step: optimizer steps that are done.
        state: what `state.json` says.
    """

    path: Path
    step: int
    state: Mapping[str, Any]


def open_checkpoint(path: Path, *, verify: bool = True) -> Checkpoint:
    """Read a checkpoint that is asked for by its path.

    Args:
        path: the folder; links on the way to it are followed, in it they are not.
        verify: read every byte; without, sizes only, if it has just been verified.

    Raises:
        CheckpointError: CKPT-01 to 06 and 09.
    """
    return _read(path.resolve(), verify=verify)


def choose(folder: CheckpointFolder) -> tuple[Checkpoint | None, list[CheckpointError]]:
    """The newest good checkpoint, from which a run continues, and what is wrong with newer ones.

    There is no good one only where there has never been a checkpoint.

    Raises:
        CheckpointError: CKPT-11, there are some and none is good.
    """
    found, rejected = folder.newest_good()
    if found is None and rejected:
        reasons = "".join(f"\n  {one}" for one in rejected)
        raise CheckpointError(
            "CKPT-11",
            where=str(folder.path),
            found=f"no valid checkpoint among {len(rejected)}:{reasons}\n",
            expected="a valid one; refusing to restart from step 0 silently",
            fix="copy one again from where it is whole, or begin a new run by run.replace=true or another "
            "run.name",
        )
    return found, rejected


@dataclass(frozen=True)
class Saved:
    """What `finish` did.

    Attributes:
        checkpoint: the good one of the step.
        written: False if it was there already and nothing was replaced.
    """

    checkpoint: Checkpoint
    written: bool


class CheckpointFolder:
    """The checkpoints of one run, written by one process at a time (see `RunLock`).

    Args:
        path: the folder; made when the first checkpoint is.
        keep_last: so many of the newest are kept, and never fewer than two in all.
        keep_best: so many of the best by the metric, too.
        keep_every: and all whose step is a multiple of this.
        keep_step: and that of this step.
        best_metric: its name in the `metrics` of the state; a checkpoint without it takes no part.
        best_mode: whether the lowest or the highest is best.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep_last: int = 3,
        keep_best: int = 1,
        keep_every: int | None = None,
        keep_step: int | None = None,
        best_metric: str = "val_bits_per_base",
        best_mode: Literal["min", "max"] = "min",
    ) -> None:
        self.path = path
        self.keep_last, self.keep_best = keep_last, keep_best
        self.keep_every, self.keep_step = keep_every, keep_step
        self.best_metric, self.best_mode = best_metric, best_mode
        self._verified: dict[Path, tuple[object, Checkpoint]] = {}
        self._begun: int | None = None

    def paths(self) -> list[Path]:
        """Checkpoints, good or bad, newest first."""
        steps = [(step, path) for path in self._entries() if (step := _step_of(path)) is not None]
        return [path for _, path in sorted(steps, reverse=True)]

    def newest_good(self) -> tuple[Checkpoint | None, list[CheckpointError]]:
        """The newest whose every byte is as it was written, and the errors of newer ones, newest first."""
        rejected: list[CheckpointError] = []
        for path in self.paths():
            try:
                return _read(path), rejected
            except CheckpointError as error:
                rejected.append(error)
        return None, rejected

    def best(self) -> Checkpoint | None:
        """The good one with the best figure; None if none has it."""
        good = {found.step: found for found in self._good()}
        ranked = self._ranked({step: found.state for step, found in good.items()})
        return good[ranked[0]] if ranked else None

    def kept(self, states: Mapping[int, Mapping[str, Any]]) -> set[int]:
        """Steps that are kept, never fewer than two, of the good checkpoints by step, with their states."""
        newest = sorted(states, reverse=True)
        kept = {*newest[: self.keep_last], *self._ranked(states)[: self.keep_best]}
        kept |= {step for step in newest if self.keep_every and step % self.keep_every == 0}
        kept |= {step for step in newest if step == self.keep_step}
        others = [step for step in newest if step not in kept]
        return kept | set(others[: max(0, _LEAST_KEPT - len(kept))])

    def _ranked(self, states: Mapping[int, Mapping[str, Any]]) -> list[int]:
        """Steps that have the figure, from the best to the worst, of equals the later first."""
        sign = 1 if self.best_mode == "min" else -1
        scored = {step: state.get("metrics", {}).get(self.best_metric) for step, state in states.items()}
        return [-step for _, step in sorted((sign * s, -step) for step, s in scored.items() if s is not None)]

    def begin(self, step: int) -> Path:
        """Make the hidden folder that the files of a step go into.

        Files are named by letters, digits and . _ - and lie in it or one folder below. If the save that was
        begun before was not finished, what it left is removed and room is made (see `make_room`).

        Raises:
            SaveFailed: CKPT-13 (not writable), CKPT-14 (the disk is full).
        """
        folder = self._writing(step)
        with self._cleaning(step):
            self.path.mkdir(exist_ok=True)  # not the run directory, if that has vanished
            if self._begun is not None:
                self.abandon(self._begun)
                self.make_room()
            self._begun = step
            for newest in self.paths()[:1]:
                needed = int(_ROOM * sum(status.st_size for _, status in _entries_inside(newest)))
                if needed > (free := shutil.disk_usage(self.path).free):
                    found = f"{needed:,} bytes are needed for a checkpoint, {free:,} are free"
                    raise SaveFailed.for_space(self.path, found)
            folder.mkdir()
        return folder

    def finish(self, step: int, state: Mapping[str, Any]) -> Saved:
        """Make a checkpoint of what has been written for a step, and remove those that are not kept.

        Args:
            step: that was begun.
            state: JSON types: contract, versions, metrics; `step` is added.

        Raises:
            SaveFailed: CKPT-13, 14, or how the disk spoilt it; older checkpoints are as they were, but where
                the disk is full only the two newest good ones are left.
            NumericsError: NUM-04, the state holds a number that is not finite.
        """
        target, folder = self.path / f"step-{step:08d}", self._writing(step)
        with self._cleaning(step):
            text = spell_state({**state, "step": step})
            if isinstance(there := self._look_at(target), Checkpoint):
                self.abandon(step)
                return Saved(there, written=False)
            write_text(folder / STATE_FILE, text)
            names = sorted(name for name, _ in _entries_inside(folder))
            manifest = manifest_text([_settle(folder, name) for name in names])
            for inner in {(folder / name).parent for name in names}:
                sync(inner)
            write_text(folder / MANIFEST_FILE, manifest)
            sync(folder)
            self._discard(target)
            folder.rename(target)
            sync(self.path)
            saved = self._look_at(target)
            if isinstance(saved, CheckpointError):
                self._discard(target)
                raise SaveFailed(
                    saved.code,
                    where=saved.where,
                    found=saved.found,
                    expected=saved.expected,
                    fix="look at the disk's state",
                )
            self._begun = None
            self._prune()
        return Saved(saved, written=True)

    def abandon(self, step: int) -> None:
        """Remove the hidden folder of a step."""
        shutil.rmtree(self._writing(step), ignore_errors=True)

    def make_room(self) -> None:
        """Remove all but the two newest good ones, bad ones too; nothing if there are not two."""
        kept = [found.path for found in self._good()][:_LEAST_KEPT]
        for path in reversed(self.paths()) if len(kept) == _LEAST_KEPT else ():
            if path not in kept:
                self._discard(path)

    def remove_leftovers(self) -> list[Path]:
        """Remove what processes that have ended left half written or half removed; call it at a run's start.

        Another machine's process may live: what it left goes when nothing in it has changed for a day.
        """
        removed = []
        with disk_errors(self.path):
            for path in self._entries():
                if (writer := writer_of(path.name)) is None:
                    continue
                changed = max(part.lstat().st_mtime for part in (path, *path.rglob("*")))
                is_stale = not writer.is_here and time.time() - changed > _STALE_S
                if writer == Process.current() or writer.is_gone or is_stale:
                    shutil.rmtree(path, ignore_errors=True)
                    removed.append(path)
        return removed

    def _entries(self) -> list[Path]:
        return sorted(self.path.iterdir()) if self.path.is_dir() else []

    def _writing(self, step: int) -> Path:
        return self.path / hidden_name(f"step-{step:08d}", "tmp", Process.current())

    @contextmanager
    def _cleaning(self, step: int) -> Iterator[None]:
        """Leave nothing of a save that has failed, and room for another."""
        try:
            with disk_errors(self.path):
                yield
        except (DnalmError, TypeError) as error:
            self.abandon(step)
            if isinstance(error, SaveFailed) and error.code == "CKPT-14":
                self.make_room()
            raise

    def _look_at(self, path: Path) -> Checkpoint | CheckpointError:
        """Verify a checkpoint, or remember that it was and has not been touched since."""
        try:
            state = [
                (name, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in _entries_inside(path)
            ]
        except OSError:
            state = None
        if state is None or path not in self._verified or self._verified[path][0] != state:
            try:
                self._verified[path] = state, _read(path)
            except CheckpointError as error:
                return error
        return self._verified[path][1]

    def _good(self) -> list[Checkpoint]:
        """Newest first."""
        return [found for found in map(self._look_at, self.paths()) if isinstance(found, Checkpoint)]

    def _prune(self) -> None:
        """Remove the good ones that are not kept; bad ones stay, to be looked into."""
        good = self._good()
        kept = self.kept({found.step: found.state for found in good})
        for found in reversed(good):
            if found.step not in kept:
                self._discard(found.path)

    def _discard(self, path: Path) -> None:
        """Hide, then remove, so that a kill in between leaves nothing incomplete at a final name."""
        if not path.exists():
            return
        hidden = self.path / hidden_name(path.name, "pruned", Process.current())
        shutil.rmtree(hidden, ignore_errors=True)
        path.rename(hidden)
        self._verified.pop(path, None)
        sync(self.path)
        shutil.rmtree(hidden, ignore_errors=True)


def hidden_name(name: str, kind: Literal["tmp", "pruned"], process: Process) -> str:
    """What a checkpoint is called while a process writes or removes it."""
    return f".{name}.{kind}-{process.host}-{process.pid}-{process.birth}"


def writer_of(name: str) -> Process | None:
    """The process that wrote or removed what has a hidden name, if it is one."""
    found = _HIDDEN.fullmatch(name)
    return Process(found["host"], int(found["pid"]), found["birth"]) if found else None


def _step_of(path: Path) -> int | None:
    found = _STEP.fullmatch(path.name)
    return int(found[1]) if found else None


def _settle(folder: Path, name: str) -> FileSum:
    """Sum a file, bring it to disk, and forget it, so that reading it back reads the disk."""
    path = folder / name
    entry = FileSum(name, path.stat().st_size, file_sha256(path))
    sync(path)
    if hasattr(os, "posix_fadvise"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    return entry


def manifest_text(files: Iterable[FileSum]) -> str:
    """The text of `MANIFEST.json`."""
    entries = {entry.name: {"bytes": entry.num_bytes, "sha256": entry.sha256} for entry in files}
    fields = {"format": FORMAT, "version": FORMAT_VERSION, "files": entries}
    return json.dumps(fields, indent=1, sort_keys=True) + "\n"


def spell_state(state: Mapping[str, Any]) -> str:
    """The text of `state.json`.

    Raises:
        TypeError: something in it is no JSON type.
        NumericsError: NUM-04, a number is not finite.
    """
    _check_finite(state, "state")
    return json.dumps(state, indent=1, sort_keys=True) + "\n"


def _check_finite(value: object, where: str) -> None:
    if isinstance(value, Mapping):
        for name, part in value.items():
            _check_finite(part, f"{where}.{name}")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            _check_finite(part, f"{where}[{number}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise NumericsError(
            "NUM-04",
            where=where,
            found=str(value),
            expected="finite values only",
            fix="resume from the newest checkpoint with a lower learning rate, or look at the data of this "
            "step",
        )


def _read(path: Path, *, verify: bool = True) -> Checkpoint:
    """Hold files against the manifest: which there are, their sizes, then their content."""
    expected = "the state of the step that the folder is named by"
    try:
        sizes = _sizes(path)
        manifest = _manifest(path / MANIFEST_FILE)
        _compare_names(path, manifest, sizes)
        for name, entry in manifest.items():
            if sizes[name] != entry.num_bytes:
                found = f"{sizes[name]:,} bytes"
                raise _refused("CKPT-03", path / name, found, f"{entry.num_bytes:,} by its manifest")
        for name, entry in manifest.items() if verify else ():
            if (found := file_sha256(path / name)) != entry.sha256:
                raise _refused("CKPT-02", path / name, f"sha256 {found}", f"{entry.sha256} by its manifest")
            if name.endswith(".safetensors"):
                check_safetensors(path / name)
        state = _read_json(path / STATE_FILE, expected)
    except OSError as error:
        where = Path(str(error.filename)) if error.filename else path
        found = f"cannot be read ({error.strerror})"
        fix = "give yourself the right to read it, or resume from another checkpoint"
        raise _refused("CKPT-04", where, found, "readable files", fix) from error
    step = state.get("step")
    if type(step) is not int or _step_of(path) not in (None, step):
        raise _refused("CKPT-05", path / STATE_FILE, f"step {step}", expected)
    return Checkpoint(path, step, state)


def _sizes(path: Path) -> dict[str, int]:
    """Files and their sizes in bytes, without the manifest; nothing is opened, no link followed."""
    entries = dict(_entries_inside(path)) if path.is_dir() else {}
    if MANIFEST_FILE not in entries:
        found = "no manifest" if path.exists() else "no such folder"
        raise _refused("CKPT-01", path / MANIFEST_FILE, found, "a checkpoint that was written to its end")
    for name, status in entries.items():
        if not stat.S_ISREG(status.st_mode):
            what = "a link" if stat.S_ISLNK(status.st_mode) else "no regular file"
            raise _refused("CKPT-04", path / name, what, "regular files only")
    return {name: status.st_size for name, status in entries.items() if name != MANIFEST_FILE}


def _manifest(path: Path) -> dict[str, FileSum]:
    """What `manifest_text` has written; of a stranger's, no name leads out of the folder."""
    expected = "the manifest that dnalm wrote"
    fields = _read_json(path, expected)
    version = fields.get("version")
    if isinstance(version, int) and version > FORMAT_VERSION and fields.get("format") == FORMAT:
        fix = "resume with the newer dnalm, or from another checkpoint"
        expected = f"at most version {FORMAT_VERSION}"
        raise _refused("CKPT-06", path, f"format version {version}", expected, fix)
    files = {}
    try:
        for name, entry in fields["files"].items():
            if not _FILE.fullmatch(name):
                raise ValueError(f"a file called {name[:80]!r}")
            num_bytes, sha256 = entry["bytes"], entry["sha256"]
            is_size = type(num_bytes) is int and num_bytes >= 0
            if len(entry) != 2 or not is_size or not _SHA256.fullmatch(sha256):
                raise ValueError(f"no size and checksum of {name}")
            files[name] = FileSum(name, num_bytes, sha256)
        if STATE_FILE not in files:
            raise ValueError(f"no {STATE_FILE} in it")
        if (fields["format"], version) != (FORMAT, FORMAT_VERSION):
            raise KeyError("format")
    except (TypeError, KeyError, AttributeError) as error:
        raise _refused("CKPT-05", path, f"not the fields of a manifest ({error})", expected) from error
    except ValueError as error:
        raise _refused("CKPT-05", path, str(error), expected) from error
    return files


def _compare_names(path: Path, manifest: Mapping[str, FileSum], sizes: Mapping[str, int]) -> None:
    for name in sizes:
        if not name.endswith(_READABLE):
            found, expected = "a kind of file that is never read here", f"only {', '.join(_READABLE)} files"
            raise _refused("CKPT-09", path / name, found, expected)
    for names, what in (
        (manifest.keys() - sizes.keys(), "no such file"),
        (sizes.keys() - manifest.keys(), "a file too many"),
    ):
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise _refused("CKPT-04", path / min(names), what + more, "the files of its manifest")


def _entries_inside(folder: str | Path, below: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """What lies in a folder and in those in it, by names such as `a.json` and `sub/b.json`, sorted."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False) and not below:
            yield from _entries_inside(entry.path, f"{entry.name}/")
        else:
            yield below + entry.name, entry.stat(follow_symlinks=False)


def _read_json(path: Path, expected: str) -> dict[str, Any]:
    try:
        return read_small(path, "json", _MOST_JSON_BYTES)
    except SmallFileError as error:
        raise _refused("CKPT-05", path, error.found, expected) from error


def _refused(
    code: str,
    where: Path,
    found: str,
    expected: str,
    fix: str = "resume from another checkpoint, or copy this one again from where it is whole",
) -> CheckpointError:
    return CheckpointError(code, where=str(where), found=found, expected=expected, fix=fix)


class SaveFailed(CheckpointError):  # noqa: N818
    """A checkpoint was not written, and nothing of it is left at a final name; trying again may help."""

    @classmethod
    def for_space(cls, where: Path, found: str) -> SaveFailed:
        """A save that has failed, or would, for want of space."""
        expected, fix = "space for one more checkpoint", "free space there"
        return cls("CKPT-14", where=str(where), found=found, expected=expected, fix=fix)

    @classmethod
    def by_system(cls, where: Path, error: OSError) -> SaveFailed:
        """The failure that an operating system's error is."""
        reason = error.strerror or str(error)
        if error.errno in DISK_FULL:
            return cls.for_space(where, f"the disk is full ({reason})")
        if error.errno in NOT_WRITABLE:
            code, found, expected = "CKPT-13", f"not writable ({reason})", "a folder that may be written"
            fix = "mount it for writing, or give yourself the right"
        else:
            code, found, expected = "CKPT-14", f"the disk says {reason}", "a disk that works"
            fix = "look at the disk's state"
        return cls(code, where=str(where), found=found, expected=expected, fix=fix)


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn an operating system's error in a block into a failed save.

    Raises:
        SaveFailed: CKPT-13 (not writable) or 14 (the disk is full, or does not work).
    """
    try:
        yield
    except OSError as error:
        raise SaveFailed.by_system(where, error) from error


class SavePolicy:
    """Try twice, then warn and train on; give up after so many saves in a row.

    Args:
        max_failed_saves: in a row, the last of which ends the run.
        warn: called with a sentence for each save that was given up.
    """

    def __init__(
        self, *, max_failed_saves: int = 3, warn: Callable[[str], None] = lambda text: stderr.print(text)
    ) -> None:
        self.max_failed_saves, self.warn, self.failed_in_a_row = max_failed_saves, warn, 0

    def attempt(self, write: Callable[[], _T]) -> _T | None:
        """Write, with one more try; None if both have failed and training may continue.

        Args:
            write: begins, fills and finishes a checkpoint; where ranks do so together, it raises on all of
                them or on none.

        Raises:
            CheckpointError: CKPT-14, as many saves in a row have failed.
        """
        for is_last in (False, True):
            try:
                written = write()
            except SaveFailed as failed:
                if is_last:
                    self._give_up(failed)
            else:
                self.failed_in_a_row = 0
                return written
        return None

    def _give_up(self, failed: SaveFailed) -> None:
        """Warn of a save that has failed twice, or end the run."""
        self.failed_in_a_row += 1
        left = self.max_failed_saves - self.failed_in_a_row
        if left <= 0:
            raise CheckpointError(
                "CKPT-14",
                where=failed.where,
                found=f"{self.failed_in_a_row} saves in a row have failed, the last: {failed.found}",
                expected="a disk that takes a checkpoint",
                fix=f"{failed.fix}, then start the run again: it continues from its newest checkpoint",
            ) from failed
        self.warn(
            f"Not saved: {failed} Training continues; {left} more failed saves in a row would end the run."
        )


# `model.<name>` are weights, `optimizer.state.<name>.<slot>` the optimizer's, whose settings come from the
# config and its learning rate from the step. Every rank writes what it holds: all of a replicated model, a
# shard of a sharded one.
MODEL, OPTIMIZER = "model.", "optimizer."
NETWORK = f"{MODEL}model."  # what a training module has as `model`
_BY_NAME = StateDictOptions(flatten_optimizer_state_dict=True)
_MOST_NAMED = 3  # tensors in a message
_TIED = StateDictOptions(strict=False)  # weights that are tied have one name


def state_tensors(module: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """The tensors themselves; of a sharded module, this rank's shards as DTensors.

    Args:
        module: whose weights are held.
        optimizer: of the module's parameters; its state is made if no step has been taken.
    """
    untied = {name for name, _ in module.named_parameters()} | {name for name, _ in module.named_buffers()}
    held = get_model_state_dict(module)
    weights = {MODEL + name: cast(Tensor, held[name]) for name in held if name in untied}
    slots: Mapping[str, object] = get_optimizer_state_dict(module, optimizer, options=_BY_NAME)
    return {**weights, **{OPTIMIZER + name: slot for name, slot in slots.items() if isinstance(slot, Tensor)}}


def write_state(folder: Path, tensors: Mapping[str, Tensor], group: ProcessGroup | None = None) -> None:
    """Write this rank's part; called on every rank.

    Args:
        folder: on a file system that all ranks see.
        tensors: what `state_tensors` gave.
        group: of the ranks, which wait in it until all have written.
    """
    files = {name: 1 if name.startswith(MODEL) else 2 for name in tensors}
    writer = HuggingFaceStorageWriter(str(folder), fqn_to_index_mapping=files, save_distributed=True)
    with _quietly():
        save(dict(tensors), storage_writer=writer, process_group=group)


def read_state(folder: Path, module: nn.Module, optimizer: Optimizer) -> None:
    """Fill a module and its optimizer; called on every rank.

    Args:
        folder: of any layout.
        module: of the shapes that were saved.
        optimizer: of its parameters.
    """
    tensors = state_tensors(module, optimizer)
    _check_fit(folder, tensors)
    with _quietly():
        load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)))
    set_model_state_dict(module, _named(tensors, MODEL), options=_TIED)
    settings: dict[str, Any] = get_optimizer_state_dict(module, optimizer, options=_BY_NAME)
    state = {**settings, **_named(tensors, OPTIMIZER)}
    set_optimizer_state_dict(module, optimizer, state, options=_BY_NAME)


def read_weights(folder: Path, module: nn.Module) -> None:
    """Fill a network that lies whole in this process with the weights of a checkpoint of any layout."""
    tensors = {NETWORK + name: parameter.detach() for name, parameter in module.named_parameters()}
    _check_fit(folder, tensors, only=NETWORK)
    with _quietly(), torch.no_grad():
        load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)


def _named(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Any]:
    return {name.removeprefix(kind): tensor for name, tensor in tensors.items() if name.startswith(kind)}


def _check_fit(folder: Path, wanted: Mapping[str, Tensor], *, only: str = "") -> None:
    """Refuse a checkpoint of another model or optimizer.

    Raises:
        CheckpointError: CKPT-07, tensors are missing, too many, or of another shape.
    """
    found = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    shapes = {name: tuple(getattr(of, "size", ())) for name, of in found.items() if name.startswith(only)}
    faults = [f"{name} is missing" for name in wanted if name not in shapes]
    faults += [f"{name} is not wanted" for name in shapes if name not in wanted]
    faults += [
        f"{name} has shape {shapes[name]}, not {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in shapes and shapes[name] != tuple(tensor.shape)
    ]
    if faults:
        more = f" and {len(faults) - _MOST_NAMED} more" if len(faults) > _MOST_NAMED else ""
        raise CheckpointError(
            "CKPT-07",
            where=str(folder),
            found=", ".join(faults[:_MOST_NAMED]) + more,
            expected="the weights and the optimizer of this config",
            fix="set model, optim and objectives to those of the run's config.yaml, or start a new run",
        )


@contextmanager
def _quietly() -> Iterator[None]:
    """Without torch's remarks on single processes and on metadata that safetensors do not need.

    What failed on one rank is raised on all, as the same error.
    """
    logger = logging.getLogger("torch.distributed.checkpoint")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            yield
    except CheckpointException as failed:
        error, _ = next(iter(failed.failures.values()))
        raise error from failed
    finally:
        logger.setLevel(level)
