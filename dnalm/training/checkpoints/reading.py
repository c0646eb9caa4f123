"""Trusting a checkpoint: every file is held against the manifest before anything of it is used."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnalm.durable import sha256_of
from dnalm.errors import CheckpointError
from dnalm.models.safetensors_header import check_safetensors
from dnalm.training.checkpoints.inside import NotAFileError, opened_inside, sizes_inside
from dnalm.training.checkpoints.manifest import FORMAT_VERSION, MOST_BYTES, Manifest, NewerVersionError
from dnalm.training.checkpoints.names import MANIFEST_FILE, READABLE, STATE_FILE, step_of

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
