"""Trusting a checkpoint: every file is held against the manifest before anything of it is used.

`MANIFEST.json` of a checkpoint: which files it has, with the size and the checksum of each.

It is written last, and a text is one only if it is, byte for byte, what `to_json` spells, so no damage to it
can go unseen: it is another manifest then, and does not fit the files, or none.

Looking into a stranger's folder without being led out of it: no link is followed, only files opened.

What things are called in a folder of checkpoints, so that a name says all that a later process must know.

`step-00001234` is a checkpoint; `.step-00001234.tmp-<host>-<pid>-<birth>` one that is being written by that
process, and `.step-00001234.pruned-<host>-<pid>-<birth>` one that it is removing.

The state beside the tensors: plain JSON types with finite numbers, which read back as they were.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from dnalm.durable import FileSum, sha256_of
from dnalm.errors import CheckpointError, NumericsError
from dnalm.lock import Process
from dnalm.models.weights import check_safetensors

_MOST_ENTRIES = 50_000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class NotAFileError(ValueError):
    """Something in the folder is neither a file nor a folder of files."""


def files_inside(folder: Path) -> dict[str, os.stat_result]:
    """Files of a folder and of those in it, by names such as `a.json` and `sub/b.json`.

    Raises:
        NotAFileError: a link, a device, a pipe, a folder two levels down, or too many entries.
        OSError: it cannot be read.
    """
    files: dict[str, os.stat_result] = {}
    descriptor = os.open(folder, _FOLDER)
    try:
        for name, status in _entries(descriptor):
            if not stat.S_ISDIR(status.st_mode):
                files[name] = status
                continue
            below = os.open(name, _FOLDER, dir_fd=descriptor)
            try:
                files |= {f"{name}/{inner}": status for inner, status in _entries(below)}
            finally:
                os.close(below)
    finally:
        os.close(descriptor)
    for name, status in files.items():
        _check_kind(name, status)
    return files


def sizes_inside(folder: Path) -> dict[str, int]:
    """Sizes in bytes of the same files; raises the same."""
    return {name: status.st_size for name, status in files_inside(folder).items()}


@contextmanager
def opened_inside(folder: Path, name: str) -> Iterator[FileIO]:
    """Open a file by its name in the folder.

    Raises:
        NotAFileError: it is something else.
        OSError: it cannot be read.
    """
    *parents, last = name.split("/")
    descriptor = os.open(folder, _FOLDER)
    for parent in parents:
        above = descriptor
        try:
            descriptor = os.open(parent, _FOLDER, dir_fd=above)
        finally:
            os.close(above)
    try:  # a pipe that nobody writes to would keep a plain open waiting
        file = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    with os.fdopen(file, "rb", buffering=0) as stream:
        _check_kind(name, os.fstat(stream.fileno()))
        assert isinstance(stream, FileIO)
        yield stream


def _entries(descriptor: int) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(descriptor) as entries:
        for number, entry in enumerate(entries):
            if number >= _MOST_ENTRIES:
                raise NotAFileError(f"more than {_MOST_ENTRIES:,} entries")
            yield entry.name, entry.stat(follow_symlinks=False)


def _check_kind(name: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotAFileError(f"{name} is {_kind(status.st_mode)}")


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a link"
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a folder below a folder" if stat.S_ISDIR(mode) else "a device"


WRITING, REMOVING = "tmp", "pruned"
STATE_FILE, MANIFEST_FILE = "state.json", "MANIFEST.json"
READABLE = (".safetensors", ".json", ".yaml")  # formats that cannot run anything when they are read
_STEP = re.compile(r"step-(\d{8,})")
_HIDDEN = re.compile(r"\.step-\d{8,}\.(?:tmp|pruned)-(?P<host>.+)-(?P<pid>\d+)-(?P<birth>[0-9a-z]+)")
_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_FILE = re.compile(rf"(?:{_PART}/)?{_PART}")


def step_name(step: int) -> str:
    """The folder of a step; sorts as steps do."""
    return f"step-{step:08d}"


def step_of(name: str) -> int | None:
    """The step whose folder has the name, if it is one."""
    found = _STEP.fullmatch(name)
    step = int(found[1]) if found else None
    return step if step is not None and step_name(step) == name else None


def hidden_name(name: str, kind: str, process: Process) -> str:
    """What a checkpoint is called while a process writes or removes it."""
    return f".{name}.{kind}-{process.host}-{process.pid}-{process.birth}"


def writer_of(name: str) -> Process | None:
    """The process that wrote or removed what has a hidden name, if it is one."""
    found = _HIDDEN.fullmatch(name)
    return Process(found["host"], int(found["pid"]), found["birth"]) if found else None


def is_file_name(name: str) -> bool:
    """Whether a file of a checkpoint may have the name: not hidden, not outside, at most one folder below."""
    return _FILE.fullmatch(name) is not None


FORMAT, FORMAT_VERSION = "dnalm checkpoint", 1
MOST_BYTES = 4 << 20  # some 25,000 files
_SHA256 = re.compile(r"[0-9a-f]{64}")


class NewerVersionError(ValueError):
    """The manifest is of a later dnalm."""


@dataclass(frozen=True)
class Manifest:
    """The files of a checkpoint, without the manifest itself."""

    files: tuple[FileSum, ...]

    @property
    def num_bytes(self) -> int:
        """Of all files."""
        return sum(entry.num_bytes for entry in self.files)

    def to_json(self) -> str:
        """Spell it, sorted by name."""
        files = {entry.name: {"bytes": entry.num_bytes, "sha256": entry.sha256} for entry in self.files}
        fields = {"format": FORMAT, "version": FORMAT_VERSION, "files": files}
        return json.dumps(fields, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what `to_json` wrote.

        Raises:
            NewerVersionError: it is of a later version.
            ValueError: it is not what `to_json` wrote, or names a file as no file of a checkpoint is.
        """
        try:
            fields = json.loads(text)
        except RecursionError as error:
            raise ValueError("not JSON of any use: too deep") from error
        version = fields.get("version") if isinstance(fields, dict) else None
        if isinstance(version, int) and version > FORMAT_VERSION and fields.get("format") == FORMAT:
            raise NewerVersionError(f"format version {version}")
        try:
            manifest = cls(tuple(_entry(name, **entry) for name, entry in fields["files"].items()))
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not the fields of a manifest ({error})") from error
        if all(entry.name != STATE_FILE for entry in manifest.files):
            raise ValueError(f"no {STATE_FILE} in it")
        if manifest.to_json() != text:
            raise ValueError("changed after it was written")
        return manifest


def _entry(name: str, *, bytes: int, sha256: str) -> FileSum:  # noqa: A002
    if not is_file_name(name):
        raise ValueError(f"a file called {name[:80]!r}")
    if type(bytes) is not int or bytes < 0 or not _SHA256.fullmatch(sha256):
        raise ValueError(f"no size and checksum of {name}")
    return FileSum(name, bytes, sha256)


_MOST_STATE_BYTES = 64 << 20
# How a pickle of protocol 2 to 5, and a zip archive as torch.save writes it, begin; a safetensors file whose
# header is, say, 0x280 bytes long begins with 80 02 as well, but goes on with zeros and a brace.
_PICKLE = re.compile(rb"\x80[\x02-\x05](?!.\x00{5}\{)|PK\x03\x04", re.DOTALL)
_FIX = "resume from another checkpoint, or copy this one again from where it is whole"


@dataclass(frozen=True)
class Checkpoint:
    """A folder that has been verified.

    Attributes:
        path: the folder.
        step: optimizer steps that are done.
        state: what `state.json` says.
        files: names and sizes in bytes, without the manifest.
    """

    path: Path
    step: int
    state: Mapping[str, Any]
    files: Mapping[str, int]

    @property
    def num_bytes(self) -> int:
        """Of all files."""
        return sum(self.files.values())


@dataclass(frozen=True)
class Rejected:
    """A folder that is not trusted, and why."""

    path: Path
    error: CheckpointError

    @property
    def code(self) -> str:
        """Short name of the case."""
        return self.error.code

    def __str__(self) -> str:
        return str(self.error)


def open_checkpoint(path: Path, *, verify: bool = True) -> Checkpoint:
    """Read a checkpoint that is asked for by its path.

    Args:
        path: the folder; links on the way to it are followed, in it they are not.
        verify: read every byte; without, sizes only, if it has just been verified.

    Raises:
        CheckpointError: CKPT-01 to 06 and 09.
    """
    return read_checkpoint(path.resolve(), verify=verify)


def read_checkpoint(path: Path, *, verify: bool = True) -> Checkpoint:
    """The same of a path with no link at its end.

    Raises:
        CheckpointError: CKPT-01 to 06 and 09.
    """
    try:
        return _read(path, verify=verify)
    except NotAFileError as error:
        raise refused("CKPT-04", path, str(error), "files of its own only") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def first_bytes_are_a_pickles(path: Path, name: str) -> bool:
    """Whether a file can be one that runs code when it is unpickled."""
    with opened_inside(path, name) as file:
        return _PICKLE.match(file.read(9)) is not None


def refused(code: str, where: Path, found: str, expected: str, fix: str = _FIX) -> CheckpointError:
    """The error of a checkpoint that is not trusted."""
    return CheckpointError(code, where=str(where), found=found, expected=expected, fix=fix)


def check_kinds(path: Path, names: Mapping[str, int]) -> None:
    """Refuse what may run code when it is read.

    Raises:
        CheckpointError: CKPT-09.
    """
    for name in names:
        if not name.endswith(READABLE):
            found = "a kind of file that is never read here"
        elif first_bytes_are_a_pickles(path, name):
            found = "a pickle or an archive of pickles, which was not opened"
        else:
            continue
        raise refused("CKPT-09", path / name, found, f"only {', '.join(READABLE)} files")


def _read(path: Path, *, verify: bool) -> Checkpoint:
    manifest = _manifest(path)
    sizes = sizes_inside(path)
    del sizes[MANIFEST_FILE]
    check_kinds(path, sizes)
    _compare_sizes(path, manifest, sizes)
    for entry in manifest.files if verify else ():
        with opened_inside(path, entry.name) as file:
            found = sha256_of(file)
        if found != entry.sha256:
            raise refused("CKPT-02", path / entry.name, f"sha256 {found}", f"{entry.sha256} by its manifest")
        if entry.name.endswith(".safetensors"):
            check_safetensors(path / entry.name)
    state = _state(path)
    return Checkpoint(path, state["step"], state, sizes)


def _manifest(path: Path) -> Manifest:
    where, expected = path / MANIFEST_FILE, "the manifest that dnalm wrote"
    try:
        with opened_inside(path, MANIFEST_FILE) as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError as error:
        found = "no manifest" if path.exists() else "no such folder"
        raise refused("CKPT-01", where, found, "a checkpoint that was written to its end") from error
    except NotADirectoryError as error:
        found = f"{path.name} is a link or a file"
        raise refused("CKPT-01", where, found, "a folder that dnalm has written") from error
    if len(content) > MOST_BYTES:
        raise refused("CKPT-05", where, f"more than {MOST_BYTES:,} bytes", expected)
    try:
        return Manifest.from_json(content.decode())
    except NewerVersionError as error:
        fix = "resume with the newer dnalm, or from another checkpoint"
        raise refused("CKPT-06", where, str(error), f"at most version {FORMAT_VERSION}", fix) from error
    except ValueError as error:
        raise refused("CKPT-05", where, str(error), expected) from error


def _compare_sizes(path: Path, manifest: Manifest, sizes: Mapping[str, int]) -> None:
    listed = {entry.name for entry in manifest.files}
    for names, what in ((listed - sizes.keys(), "no such file"), (sizes.keys() - listed, "a file too many")):
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise refused("CKPT-04", path / min(names), what + more, "the files of its manifest")
    for entry in manifest.files:
        if sizes[entry.name] != entry.num_bytes:
            found = f"{sizes[entry.name]:,} bytes"
            raise refused("CKPT-03", path / entry.name, found, f"{entry.num_bytes:,} by its manifest")


def _state(path: Path) -> dict[str, Any]:
    where, expected = path / STATE_FILE, "the state of the step that the folder is named by"
    with opened_inside(path, STATE_FILE) as file:
        content = file.read(_MOST_STATE_BYTES)
    try:
        state: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise refused("CKPT-05", where, f"not JSON: {error}", expected) from error
    step = state.get("step") if isinstance(state, dict) else None
    if type(step) is not int or step_of(path.name) not in (None, step):
        raise refused("CKPT-05", where, f"step {step}", expected)
    return dict(state)


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    name = Path(str(error.filename)).name if isinstance(error.filename, str) else ""
    why = "is a link" if error.errno == errno.ELOOP else f"cannot be read ({error.strerror})"
    fix = "give yourself the right to read it, or resume from another checkpoint"
    return refused("CKPT-04", path / name, why, "readable files", fix)


def spell_state(state: Mapping[str, Any]) -> str:
    """The text of `state.json`.

    Raises:
        TypeError: something in it is no dict with names, list, text, number, truth value or None.
        NumericsError: CKPT-08, a number is not finite.
    """
    _check_plain(dict(state), "state")
    return json.dumps(state, indent=1, sort_keys=True) + "\n"


def _check_plain(value: object, where: str) -> None:
    if type(value) is dict:
        for name, part in value.items():
            if type(name) is not str:
                raise TypeError(f"{where} has the name {name!r}, and JSON has only texts as names")
            _check_plain(part, f"{where}.{name}")
    elif type(value) is list:
        for number, part in enumerate(value):
            _check_plain(part, f"{where}[{number}]")
    elif type(value) is float:
        if not math.isfinite(value):
            raise _not_finite(where, str(value))
    elif value is not None and type(value) not in (str, int, bool):
        raise TypeError(f"{where} is a {type(value).__name__}, which JSON does not have")


def _not_finite(where: str, found: str) -> NumericsError:
    return NumericsError(
        "CKPT-08",
        where=where,
        found=found,
        expected="finite values only",
        fix="resume from the newest checkpoint with a lower learning rate, or look at the data of this step",
    )
