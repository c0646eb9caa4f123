"""`dnalm <command> -m …`: from the words of the command line to a sweep of that command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dnalm.compose import build, check, read_config, run_command, with_defaults
from dnalm.errors import ConfigError
from dnalm.sweeps.axes import Axis, read_axes
from dnalm.sweeps.job import Job, assign, program_job, short_hash

_OWN = ("sweep", "launcher", "hparams_search")  # first parts of the keys that a job does not see
_SET_HERE = ("run.dir", "run.replace")  # what the sweep gives each job itself
_GIVEN = frozenset({"name", "axes", "make_job", "check"})


@dataclass(frozen=True)
class Plan:
    """A command line of a sweep, read and checked.

    Args:
        command: what each job runs.
        settings: the sweep's own config.
        axes: what varies.
        shared: overrides that all jobs have.
        config_dir: a folder of the user's own configs.
    """

    command: str
    settings: dict[str, Any]
    axes: Sequence[Axis]
    shared: Sequence[str]
    config_dir: Path | None

    def make_job(self, folder: Path, overrides: Mapping[str, str]) -> Job:
        """The job that runs the command with these overrides."""
        options = ["--config-dir", str(self.config_dir)] if self.config_dir else []
        return program_job(self.command, self.shared, folder, overrides, options)

    def wrong_with(self, job: Job) -> str:
        """Compose and check a job's config; the sentence that says what is wrong, or nothing."""
        return what_is_wrong(self.command, [*self.shared, *assign(job.overrides)], self.config_dir)

    def text(self) -> str:
        """The settings of the sweep, defaults written out, and the jobs known beforehand, as YAML."""
        search = build(self.settings["hparams_search"])
        jobs = [[*self.shared, *assign(overrides)] for overrides in search.known(self.axes, [])]
        content = {
            **with_defaults(self.settings, command="sweep"),
            "jobs": [" ".join(words) for words in jobs],
        }
        return yaml.safe_dump(content, sort_keys=False, width=1000)

    def run(self) -> int:
        """Run the sweep; the exit code of the program."""
        words = [*self.shared, *(f"{axis.key}={axis.values or axis.interval}" for axis in self.axes)]
        given = {
            "name": f"{self.command.replace(' ', '_')}-{short_hash(self.command, words)}",
            "axes": self.axes,
            "make_job": self.make_job,
            "check": self.wrong_with,
        }
        code: int = run_command(self.settings, command="sweep", given=given)
        return code


def what_is_wrong(command: str, words: Sequence[str], config_dir: Path | None = None) -> str:
    """Compose and check the config of a job; the sentence that says what is wrong, or nothing.

    Args:
        command: what the job runs.
        words: its `key=value`.
        config_dir: a folder of the user's own configs.
    """
    try:
        config = read_config(command.replace(" ", "_"), words, extra_folder=config_dir)
        if not isinstance(config.get("run"), dict):
            raise ConfigError(
                "SWEEP-06",
                where="-m",
                found=f"{command} makes no run directory",
                expected="a command whose jobs each leave one",
                fix="run it for one value at a time",
            )
        check(config, given=frozenset({"config"}), command=command)
    except ConfigError as error:
        return str(error)
    return ""


def read_sweep(command: str, words: Sequence[str], *, config_dir: Path | None = None) -> Plan:
    """Read the words of `dnalm <command> -m`.

    Args:
        command: what each job runs.
        words: `key=value` as typed, those of the sweep among them.
        config_dir: a folder of the user's own configs.

    Raises:
        ConfigError: the settings of the sweep or its axes cannot be read.
    """
    own = [word for word in words if _first_part(word) in _OWN]
    axes, shared = read_axes([word for word in words if _first_part(word) not in _OWN])
    for key in [*(axis.key for axis in axes), *(word.partition("=")[0] for word in shared)]:
        if key.lstrip("+~") in _SET_HERE:
            raise ConfigError(
                "SWEEP-04",
                where=key,
                found="a key that the sweep gives each job itself",
                expected="a folder of the whole sweep",
                fix="leave it out; sweep.dir=… is where the runs go",
            )
    settings = read_config("sweep", own, extra_folder=config_dir)
    check(settings, given=_GIVEN, command="sweep")
    return Plan(command, settings, axes, shared, config_dir)


def _first_part(word: str) -> str:
    return word.lstrip("+~").partition("=")[0].partition(".")[0].partition("@")[0]
