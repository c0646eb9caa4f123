"""Jobs whose config is composed here and handed over as a file, so that parts of it may be given ready."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from dnalm.compose import check, read_config, read_resolved
from dnalm.errors import ConfigError
from dnalm.grants import program
from dnalm.sweeps.folder import SweepFolder
from dnalm.sweeps.job import Job, job_id
from dnalm.sweeps.ledger import Ledger
from dnalm.sweeps.local import Launcher
from dnalm.sweeps.runner import Runner
from dnalm.tables import replace_text


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

    Its id follows from all of that config, so a job that is asked for again is known.

    Args:
        command: the command, such as `pretrain`.
        words: its groups and keys, as typed.
        folder: where the job's run directory is made.
        overrides: what tells it from other jobs, for its name and the table.
        parts: parts of the config, by key, in place of what the words compose.
        config_dir: a folder of the user's own configs.

    Raises:
        ConfigError: the words cannot be read.
    """
    composed = read_config(command.replace(" ", "_"), words, extra_folder=config_dir)
    config = {**composed, **parts}
    run = {name: value for name, value in config["run"].items() if name not in ("dir", "name")}
    content = json.dumps({**config, "run": run}, sort_keys=True, default=str)
    name = job_id(command, [content], overrides)
    config["run"] = {**run, "name": name, "dir": str(folder / name)}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    replace_text(path, yaml.safe_dump(config, sort_keys=False))
    return Job(name, overrides, (*program(command), "--config", str(path)))


def run_jobs(folder: SweepFolder, ledger: Ledger, launcher: Launcher, jobs: Sequence[Job]) -> int | None:
    """Run those of some jobs that are not done; the signal that ended this, if one did."""
    return Runner(folder, ledger, launcher, wrong_with).run(jobs, lambda: None)


def wrong_with(job: Job) -> str:
    """The sentence that says what is wrong with a job's config, or nothing."""
    try:
        words = job.command[job.command.index("dnalm") + 1 : -2]
        command = " ".join(word for word in words if "=" not in word)
        check(read_resolved(Path(job.command[-1]), []), given=frozenset({"config"}), command=command)
    except ConfigError as error:
        return str(error)
    return ""


def as_words(settings: Mapping[str, object], prefix: str = "") -> list[str]:
    """Nested settings as words of the command line: `{optim: {lr: 0.1}}` as `optim.lr=0.1`."""
    words: list[str] = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            words += as_words(value, f"{prefix}{key}.")
        else:
            words.append(f"{prefix}{key}={value if isinstance(value, str) else json.dumps(value)}")
    return words
