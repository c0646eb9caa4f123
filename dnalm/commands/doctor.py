"""`dnalm doctor`: whether a run can start, and whether it will be what was meant, before its hours are spent.

It takes the words of `dnalm pretrain`, `dnalm doctor finetune` those of `dnalm finetune`, and prints a line
for each thing that it looks at: PASS, WARN or FAIL, what was found, and what to do. Last it takes three real
steps and saves them in a temporary folder, and says how long the run will take at that speed.

The exit code is 0 if no line is a FAIL; else that of the first: 3 where data are to be changed, 2 where the
config, the machine or the model is. Nothing of it stays but what the run itself would leave in the cache:
genome stores, tracks, a vocabulary that is learned.
"""

from __future__ import annotations

import json as as_json
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from dnalm.commands.plan import read_recipe
from dnalm.compose import check_paths, read_config
from dnalm.compose.check import build, check, convert, is_default, parameters_of
from dnalm.compose.neighbours import RESERVED
from dnalm.compose.targets import ROOTS, resolve
from dnalm.console import stderr, stdout
from dnalm.errors import ConfigError, DnalmError
from dnalm.evaluation.doctor import finetuning, pretraining
from dnalm.evaluation.doctor.examination import Check, Finding, examine, failed_by, passed
from dnalm.evaluation.doctor.machine import versions
from dnalm.evaluation.doctor.recipe import Reference
from dnalm.evaluation.doctor.subject import Subject
from dnalm.limits import AS_WRITTEN

AsWritten = Annotated[Any, AS_WRITTEN]
_OF_PATHS = ("CFG-20", "CFG-55", "FASTA-28")  # codes of what `paths` reports
_OWN = ("chosen", "json")  # keys that the run itself has not
_GIVEN = frozenset({"config"})
_COSTS = {
    "model",
    "tokenizer",
    "windows",
    "masking",
    "batch",
    "trainer",
    "steps",
}  # what a run's cost follows from


@dataclass(kw_only=True, eq=False)
class _Doctor(ABC):
    """What both commands share."""

    command: ClassVar[str]  # whose run is examined

    config: dict[str, Any] | ConfigError
    chosen: AsWritten = None
    json: bool = False

    def train(self) -> None:
        """Examine and print; the program calls a root that is a class by this name.

        Raises:
            SystemExit: a line is a FAIL.
        """
        with _temporary_folder(self.config) as folder:
            found = examine(self._checks(folder), prints=not self.json)
        if self.json:
            print(as_json.dumps(found.figures(), indent=2))
        else:
            console = stderr if stdout.quiet and found.exit_code else stdout
            console.print(found.sentence())
        if found.exit_code:
            raise SystemExit(found.exit_code)

    def _checks(self, folder: Path) -> Sequence[Check]:
        """All checks; of a config that does not compose, what can be said without it."""
        if isinstance(self.config, ConfigError):
            refused = failed_by(self.config)
            return [Check("config", lambda: [refused]), Check("versions", versions)]
        given = {name: value for name, value in self.config.items() if value is not None}
        config = {name: value for name, value in given.items() if name not in _OWN}
        config["_target_"] = ROOTS[self.command]
        subject = self.subject(config, folder)
        path_faults: list[DnalmError] = []
        return [
            Check("config", lambda: self._read(subject, path_faults)),
            Check("paths", lambda: _paths(subject, path_faults)),
            *self.further(subject),
        ]

    @abstractmethod
    def subject(self, config: dict[str, Any], folder: Path) -> Any:  # noqa: ANN401 -- a Subject of its command
        """What is examined, nothing of it read yet."""

    @abstractmethod
    def further(self, subject: Any) -> Sequence[Check]:  # noqa: ANN401
        """The checks once the config is read."""

    @abstractmethod
    def complete(self, subject: Any) -> None:  # noqa: ANN401
        """Fill in what follows from the parts that were accepted.

        Raises:
            ConfigError: they do not fit together.
        """

    def _read(self, subject: Subject[Any], path_faults: list[DnalmError]) -> Iterator[Finding]:
        """Check and build each part by itself: no mistake hides another, and those of paths go aside."""
        config = dict(subject.config)
        root = resolve(config["_target_"], key="", command=self.command)
        faults = 0
        for name, value in config.items():
            parameter = parameters_of(root).get(name)
            if name in RESERVED or parameter is None or is_default(value, parameter):
                continue
            try:
                check(
                    {"_target_": config["_target_"], name: value},
                    given=_GIVEN,
                    command=self.command,
                    whole=False,
                )
                subject.parts[name] = convert(
                    value, parameter.annotation, key=name, visit=lambda node, _, key: build(node, key=key)
                )
            except DnalmError as error:
                faults += 1
                if error.code in _OF_PATHS:
                    path_faults.append(error)
                else:
                    yield failed_by(error)
        if not faults:
            check(config, given=_GIVEN, command=self.command)
        self.complete(subject)
        if len(path_faults) == faults:
            yield passed(f"composed, and its {len(subject.parts)} parts are accepted")


@dataclass(kw_only=True, eq=False)
class DoctorCommand(_Doctor):
    """Say whether a pretraining can start, and what speaks against it.

    Args:
        experiment: name of the published model the config follows.
        data: as of `dnalm pretrain`, as all that follows it but `json`.
        tokenizer: likewise.
        windows: likewise.
        masking: likewise.
        model: likewise.
        batch: likewise.
        steps: likewise.
        trainer: likewise.
        optim: likewise.
        schedule: likewise.
        logger: likewise; it is not tried.
        run: likewise; nothing is written there.
        seed: likewise.
        resume: likewise.
        resume_allow: likewise.
        embedding_init: likewise.
        objectives: likewise.
        weighting: likewise.
        inputs: likewise.
        chosen: the options whose recipe the run is compared with; the config fills it in.
        json: print JSON.
    """

    command = "pretrain"

    experiment: AsWritten = None
    data: AsWritten = None
    tokenizer: AsWritten = None
    windows: AsWritten = None
    masking: AsWritten = None
    model: AsWritten = None
    batch: AsWritten = None
    steps: AsWritten = None
    trainer: AsWritten = None
    optim: AsWritten = None
    schedule: AsWritten = None
    logger: AsWritten = None
    run: AsWritten = None
    seed: AsWritten = None
    resume: AsWritten = None
    resume_allow: AsWritten = None
    embedding_init: AsWritten = None
    objectives: AsWritten = None
    weighting: AsWritten = None
    inputs: AsWritten = None

    def subject(self, config: dict[str, Any], folder: Path) -> pretraining.PretrainingSubject:
        """A pretraining."""
        return pretraining.PretrainingSubject(config=config, make=pretraining.Trial, folder=folder)

    def further(self, subject: pretraining.PretrainingSubject) -> Sequence[Check]:
        """See `dnalm.evaluation.doctor.pretraining`."""
        return pretraining.checks(subject)

    def complete(self, subject: pretraining.PretrainingSubject) -> None:
        """The recipe it follows, and what the run costs."""
        recipe = _recipe(self.command, self.chosen)
        if recipe is not None:
            samples = recipe["batch"]["global_size"]
            subject.reference = Reference(
                name=_words(self.chosen),
                lr=recipe["optim"].get("lr"),
                of_step=samples * recipe["windows"]["max_tokens"],
                samples=samples,
            )
        if subject.parts.keys() >= _COSTS:
            try:
                subject.recipe = read_recipe(subject.config)
            except ConfigError as error:
                if error.code != "PLAN-02":  # a model that is loaded
                    raise


@dataclass(kw_only=True, eq=False)
class FinetuneDoctorCommand(_Doctor):
    """Say whether a fine-tuning can start, and what speaks against it.

    Args:
        model: as of `dnalm finetune`, as all that follows it but `json`.
        task: likewise.
        tuning: likewise.
        data: likewise.
        tokenizer: likewise.
        sequences: likewise.
        epochs: likewise.
        steps: likewise.
        batch: likewise.
        trainer: likewise.
        optim: likewise.
        schedule: likewise.
        logger: likewise; it is not tried.
        run: likewise; nothing is written there.
        seed: likewise.
        resume: likewise.
        resume_allow: likewise.
        chosen: the options whose recipe the run is compared with; the config fills it in.
        json: print JSON.
    """

    command = "finetune"

    model: AsWritten = None
    task: AsWritten = None
    tuning: AsWritten = None
    data: AsWritten = None
    tokenizer: AsWritten = None
    sequences: AsWritten = None
    epochs: AsWritten = None
    steps: AsWritten = None
    batch: AsWritten = None
    trainer: AsWritten = None
    optim: AsWritten = None
    schedule: AsWritten = None
    logger: AsWritten = None
    run: AsWritten = None
    seed: AsWritten = None
    resume: AsWritten = None
    resume_allow: AsWritten = None

    def subject(self, config: dict[str, Any], folder: Path) -> finetuning.FinetuningSubject:
        """A fine-tuning."""
        return finetuning.FinetuningSubject(config=config, make=finetuning.Trial, folder=folder)

    def further(self, subject: finetuning.FinetuningSubject) -> Sequence[Check]:
        """See `dnalm.evaluation.doctor.finetuning`."""
        return finetuning.checks(subject)

    def complete(self, subject: finetuning.FinetuningSubject) -> None:
        """The recipe it follows."""
        recipe = _recipe(self.command, self.chosen)
        if recipe is not None:
            size = recipe["batch"]["global_size"]
            subject.reference = Reference(
                name=_words(self.chosen), lr=recipe["optim"].get("lr"), of_step=size, samples=size
            )


def _paths(subject: Subject[Any], faults: Sequence[DnalmError]) -> Iterator[Finding]:
    """Whether inputs are there, and no output lies on one."""
    for fault in faults:
        yield failed_by(fault)
    if faults:
        return
    check_paths(dict(subject.config))
    yield passed("all inputs are there, and no output lies on one")


def _recipe(command: str, chosen: Mapping[str, str]) -> dict[str, Any] | None:
    """The config of the chosen options alone; None where they state no size of a step."""
    try:
        found = read_config(command, [f"{group}={option}" for group, option in chosen.items()])
        return found if isinstance(found["batch"]["global_size"], int) else None
    except (ConfigError, KeyError):  # of a folder of the user's own, or without a batch
        return None


def _words(chosen: Mapping[str, str]) -> str:
    return " ".join(f"{group}={option}" for group, option in chosen.items())


@contextmanager
def _temporary_folder(config: dict[str, Any] | ConfigError) -> Iterator[Path]:
    """A folder on the disk that the run will use, which is removed; elsewhere if that cannot be written."""
    run = {} if isinstance(config, ConfigError) else config.get("run") or {}
    path = Path(str(run.get("dir") or "runs")).absolute()
    above = next(each for each in (path, *path.parents) if each.is_dir())
    place = above if os.access(above, os.W_OK | os.X_OK) else None
    with tempfile.TemporaryDirectory(prefix=".dnalm-doctor-", dir=place) as folder:
        yield Path(folder)
