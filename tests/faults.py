"""Faults that tests put into the program from outside: killed, out of disk, stuck, at a point of its source.

A point is a call of one of the program's functions, which is wrapped. `name[@rank][:hit]=action` says what
happens: at the hit-th passing (1 if absent) of the point, on the process whose `RANK` is the one named or on
any, the process is killed (`kill9`), ends without cleaning up (`exit`), raises (`raise`), finds the disk full
(`enospc`), hangs (`sleep`) or receives SIGTERM (`sigterm`).
"""

from __future__ import annotations

import errno
import importlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_SPEC = re.compile(r"(?P<name>[^@:=]+)(@(?P<rank>\d+))?(:(?P<hit>\d+))?=(?P<action>\w+)")


@dataclass(frozen=True, kw_only=True)
class Point:
    """Before or after a call of a function, or of a method, of those calls that `of` accepts."""

    module: str
    function: str
    after: bool = False
    of: Callable[..., bool] = lambda *_: True


def _of_name(pattern: str) -> Callable[..., bool]:
    """Calls whose first argument is a path of such a name, which must be there if it is to be removed."""
    return lambda path, *_, **__: bool(re.fullmatch(pattern, Path(path).name))


_FOLDER = "dnalm.training.checkpoint"
_HIDDEN, _FINAL = r"\.step-\d+\.tmp-.*", r"step-\d+"
POINTS = {
    "data.sample": Point(module="dnalm.data.samples", function="TrainingSamples.__getitem__"),
    "interpret.region": Point(
        module="dnalm.evaluation.interpretation.studies", function="Reader.check_length"
    ),
    "train.gradients": Point(module="dnalm.training.step", function="StepTraining._scale"),
    "train.step_end": Point(
        module="dnalm.training.checkpointing",
        function="Checkpointing.on_train_batch_end",
        of=lambda self, trainer, *_: trainer.global_step != self._seen,
    ),
    "checkpoint.before_mkdir": Point(module="pathlib", function="Path.mkdir", of=_of_name("checkpoints")),
    "checkpoint.after_mkdir": Point(
        module="pathlib", function="Path.mkdir", after=True, of=_of_name(_HIDDEN)
    ),
    "checkpoint.writing": Point(
        module="tests.training.checkpoint_library", function="write_piece", after=True
    ),
    "checkpoint.after_state": Point(
        module=_FOLDER, function="write_text", after=True, of=_of_name(r"state\.json")
    ),
    "checkpoint.after_manifest": Point(
        module=_FOLDER, function="write_text", after=True, of=_of_name(r"MANIFEST\.json")
    ),
    "checkpoint.before_rename": Point(module="pathlib", function="Path.rename", of=_of_name(_HIDDEN)),
    "checkpoint.after_rename": Point(
        module="pathlib", function="Path.rename", after=True, of=_of_name(_HIDDEN)
    ),
    "checkpoint.before_prune": Point(module=_FOLDER, function="CheckpointFolder._prune"),
    "checkpoint.during_prune": Point(
        module="pathlib", function="Path.rename", after=True, of=_of_name(_FINAL)
    ),
    "checkpoint.after_prune": Point(module=_FOLDER, function="CheckpointFolder._prune", after=True),
}


def install(spec: str, patch: pytest.MonkeyPatch | None = None) -> None:
    """Wrap the function of a point, for as long as the process lives or the patch holds."""
    asked = _SPEC.fullmatch(spec)
    assert asked, spec
    point = POINTS[asked["name"]]
    owner: Any = importlib.import_module(point.module)
    *above, name = point.function.split(".")
    for part in above:
        owner = getattr(owner, part)
    inner, passed = getattr(owner, name), 0

    def pass_by(arguments: tuple[object, ...]) -> None:
        nonlocal passed
        if asked["rank"] in (None, os.environ.get("RANK", "0")) and point.of(*arguments):
            passed += 1
            if passed == int(asked["hit"] or 1):
                _act(asked["action"], asked["name"])

    def wrapped(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 -- whatever it wraps
        if not point.after:
            pass_by(arguments)
        result = inner(*arguments, **named)
        if point.after:
            pass_by(arguments)
        return result

    (patch or pytest.MonkeyPatch()).setattr(owner, name, wrapped)


@contextmanager
def injected(spec: str) -> Iterator[None]:
    """A fault for as long as a block runs in this process."""
    with pytest.MonkeyPatch.context() as patch:
        install(spec, patch)
        yield


def _act(action: str, name: str) -> None:
    match action:
        case "kill9":
            os.kill(os.getpid(), signal.SIGKILL)
        case "sigterm":
            os.kill(os.getpid(), signal.SIGTERM)
        case "exit":
            os._exit(1)
        case "sleep":
            time.sleep(3600)
        case "enospc":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        case "raise":
            raise RuntimeError(f"fault {name}")
        case _:
            raise AssertionError(action)
