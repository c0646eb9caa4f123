"""`dnalm <command> -m …`: from the words of the command line to a sweep; and jobs on composed configs.

A job of `-m` is a command line. A composed job (of `dnalm tokenizer select`) has a whole config of its own,
written beside its run directory, since parts of it are not words of the command line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dnalm.compose import build, read_config, read_resolved, run_command, with_defaults
from dnalm.compose.check import check
from dnalm.compose.neighbours import root_of
from dnalm.errors import ConfigError
from dnalm.grants import key_of, program
from dnalm.paths import quoted
from dnalm.sweeps.launchers import Launcher
from dnalm.sweeps.results import Job, Ledger, SweepFolder, assign, job_id, program_job, short_hash
from dnalm.sweeps.search import Axis, read_axes
from dnalm.sweeps.sweep import Runner
from dnalm.tables import replace_text

_OWN = ("sweep", "launcher", "hparams_search")  # first parts of the keys that a job does not see
_SET_HERE = ("run.dir", "run.replace")  # what the sweep sets for each job itself


@dataclass(frozen=True, kw_only=True)
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
        """The sentence that says what is wrong with a job's config, or nothing."""
        words = [*self.shared, *assign(job.overrides)]
        return what_is_wrong(self.command, words, self.config_dir, makes_run=True)

    def text(self) -> str:
        """The settings of the sweep, defaults written out, and the jobs known beforehand, as YAML."""
        known = build(self.settings["hparams_search"]).known(self.axes, [])
        jobs = [" ".join([*self.shared, *assign(overrides)]) for overrides in known]
        content = {**with_defaults(self.settings, command="sweep"), "jobs": jobs}
        return yaml.safe_dump(content, sort_keys=False, width=1000)

    def run(self) -> int:
        """Run the sweep, and write its page if a job has begun; the exit code of the program."""
        words = [*self.shared, *(f"{axis.key}={axis.values or axis.interval}" for axis in self.axes)]
        name = f"{self.command.replace(' ', '_')}-{short_hash(self.command, words)}"
        given = {
            "name": name,
            "axes": self.axes,
            "make_job": self.make_job,
            "check": self.wrong_with,
        }
        code: int = run_command(self.settings, command="sweep", given=given)
        folder = Path(self.settings["sweep"].get("dir") or Path("sweeps") / name)
        if any(folder.glob("*/config.yaml")):  # else no job has begun, and none needs what pages need
            report = read_config("report", [f"runs=[{quoted(str(folder))}]"])
            run_command(report, command="report", given={"config": report})
        return code


def read_sweep(command: str, words: Sequence[str], *, config_dir: Path | None = None) -> Plan:
    """Read the words of `dnalm <command> -m`.

    Args:
        command: what each job runs.
        words: `key=value` as typed, those of the sweep among them.
        config_dir: a folder of the user's own configs.

    Raises:
        ConfigError: the settings of the sweep or its axes cannot be read.
    """
    own = [word for word in words if root_of(word) in _OWN]
    axes, shared = read_axes([word for word in words if root_of(word) not in _OWN])
    if set_here := [key for key in [*(axis.key for axis in axes), *shared] if key_of(key) in _SET_HERE]:
        raise ConfigError(
            "SWEEP-04",
            where=set_here[0].partition("=")[0],
            found="a key that the sweep gives each job itself",
            expected="a folder of the whole sweep",
            fix="leave it out; sweep.dir=… is where the runs go",
        )
    settings = read_config("sweep", own, extra_folder=config_dir)
    check(settings, given=frozenset({"name", "axes", "make_job", "check"}), command="sweep")
    return Plan(command=command, settings=settings, axes=axes, shared=shared, config_dir=config_dir)


def what_is_wrong(
    command: str, words: Sequence[str], config_dir: Path | None = None, *, makes_run: bool = False
) -> str:
    """Compose and check the config of a job; the sentence that says what is wrong, or nothing.

    Args:
        command: what the job runs.
        words: its `key=value`.
        config_dir: a folder of the user's own configs.
        makes_run: refuse a command that makes no run directory.
    """
    try:
        config = read_config(command.replace(" ", "_"), words, extra_folder=config_dir)
        if makes_run and not isinstance(config.get("run"), dict):
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


def composed_job(
    command: str,
    words: Sequence[str],
    folder: Path,
    overrides: Mapping[str, str],
    *,
    parts: Mapping[str, object],
    config_dir: Path | None = None,
) -> Job:
    """A job that runs a command of dnalm on a config of its own, which is written beside its run directory.

    Its id is a hash of all of that config, so the same config is the same job.

    Args:
        command: the command, such as `pretrain`.
        words: its groups and keys, as typed.
        folder: where the job's run directory is made.
        overrides: what distinguishes it from other jobs, for its name and the table.
        parts: parts of the config, by key, in place of what the words compose.
        config_dir: a folder of the user's own configs.

    Raises:
        ConfigError: the words cannot be read.
    """
    config = {**read_config(command.replace(" ", "_"), words, extra_folder=config_dir), **parts}
    run = {name: value for name, value in config["run"].items() if name not in ("dir", "name")}
    name = job_id(command, [json.dumps({**config, "run": run}, sort_keys=True, default=str)], overrides)
    config["run"] = {**run, "name": name, "dir": str(folder / name)}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    replace_text(path, yaml.safe_dump(config, sort_keys=False))
    return Job(name, overrides, (*program(command), "--config", str(path)))


def wrong_with(job: Job) -> str:
    """The sentence that says what is wrong with a composed job's config, or nothing."""
    try:
        words = job.command[job.command.index("dnalm") + 1 : -2]
        command = " ".join(word for word in words if "=" not in word)
        check(read_resolved(Path(job.command[-1]), []), given=frozenset({"config"}), command=command)
    except ConfigError as error:
        return str(error)
    return ""


def run_jobs(folder: SweepFolder, ledger: Ledger, launcher: Launcher, jobs: Sequence[Job]) -> int | None:
    """Run the composed jobs that are not done; returns the signal that ended this, if one did."""
    return Runner(folder, ledger, launcher, wrong_with).run(jobs, lambda: None)


def as_words(settings: Mapping[str, object], prefix: str = "") -> list[str]:
    """Nested settings as words of the command line: `{optim: {lr: 0.1}}` as `optim.lr=0.1`."""
    words: list[str] = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            words += as_words(value, f"{prefix}{key}.")
        else:
            words.append(f"{prefix}{key}={value if isinstance(value, str) else json.dumps(value)}")
    return words
