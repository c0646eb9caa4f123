"""A job: one command line, run in a process tree of its own, known by what it overrides.

The id is a function of the command and its overrides, so a sweep that is run again knows its jobs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dnalm.grants import program
from dnalm.paths import quoted

_GOES_ON = ("pretrain", "prepare")  # commands that go on with what an earlier try has left; others begin anew
_NAME_LENGTH = 60


@dataclass(frozen=True)
class Job:
    """What is to be run.

    Args:
        id: unique within its sweep; also the name of its run directory.
        overrides: what tells it from other jobs, by key; the table has a column for each.
        command: the program and its arguments.
    """

    id: str
    overrides: Mapping[str, str]
    command: tuple[str, ...]


JobMaker = Callable[[Path, Mapping[str, str]], Job]  # the run directories' parent, overrides -> job


def job_id(command: str, words: Sequence[str], overrides: Mapping[str, str]) -> str:
    """A short readable name and a hash of everything the job is given.

    Args:
        command: the command of the program.
        words: overrides that all jobs share.
        overrides: those of this job, by key.
    """
    parts = (f"{re.split('[./@]', key)[-1]}_{value}" for key, value in overrides.items())
    name = re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(parts)).strip("-.")[:_NAME_LENGTH].rstrip("-.")
    return f"{name or command.replace(' ', '_')}-{short_hash(command, [*words, *assign(overrides)])}"


def short_hash(command: str, words: Sequence[str]) -> str:
    """Eight hexadecimal digits; the order of words counts only where they set the same key."""
    ordered = sorted(words, key=lambda word: word.partition("=")[0].lstrip("+~"))
    return hashlib.sha256("\0".join([command, *ordered]).encode()).hexdigest()[:8]


def assign(overrides: Mapping[str, str]) -> list[str]:
    """Overrides as words of the command line."""
    return [f"{key}={value}" for key, value in overrides.items()]


def program_job(
    command: str, words: Sequence[str], folder: Path, overrides: Mapping[str, str], options: Sequence[str]
) -> Job:
    """A job that runs a command of dnalm.

    Args:
        command: the command, such as `pretrain`.
        words: overrides that all jobs share.
        folder: where the job's run directory is made.
        overrides: those of this job, by key.
        options: options of the program, such as `--config-dir`.
    """
    name = job_id(command, words, overrides)
    where = f"run.dir={quoted(str(folder / name))}"
    again = () if command in _GOES_ON else ("run.replace=true",)
    given = [*words, *assign(overrides), *again, where, *options]
    return Job(name, overrides, (*program(command), *given))
