"""What things are called in a folder of checkpoints, so that a name says all that a later process must know.

`step-00001234` is a checkpoint; `.step-00001234.tmp-<host>-<pid>-<birth>` one that is being written by that
process, and `.step-00001234.pruned-<host>-<pid>-<birth>` one that it is removing.
"""

from __future__ import annotations

import re

from dnalm.lock import Process

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
