"""The folder a run leaves: config, metrics, checkpoints, plot, summary, model directory."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import yaml

from dnalm.durable import atomic_write
from dnalm.errors import CheckpointError, ConfigError, DataError, DnalmError
from dnalm.lock import OutputLock
from dnalm.paths import OutputName, OutputPath, check_folder, check_name
from dnalm.training.checkpoint import disk_errors

_OF_A_START = re.compile(r"\.lock|\.lock\.json|ranks|\.\d+\.config\.yaml")  # before a run has its config
_COMMAND = re.compile(r"^_target_: dnalm\.commands\.\w+\.(\w+)$", re.MULTILINE)
_CONFIG_BYTES = 1 << 20
_REFUSALS = (ConfigError.exit_code, DataError.exit_code, CheckpointError.exit_code)


class RunLock(OutputLock):
    """Hold a run directory while a block runs.

    Args:
        path: the run directory; made if absent.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path / ".lock", output=path, key="run.name")

    def __enter__(self) -> RunLock:
        """Take the lock.

        Raises:
            CheckpointError: CKPT-12 (another process has it), CKPT-13 (the directory cannot be written).
        """
        with disk_errors(self.output):
            super().__enter__()
        return self


class RunDirectory:
    """`runs/<name>/`, a function of the name and not of the clock.

    Args:
        name: what the run is called; a plain file name.
        dir: the folder; `runs/<name>` if absent.
        replace: move a run that is there to `<folder>.old-<n>` rather than refuse to start.

    Raises:
        ConfigError: CFG-23, the name is no plain file name.
    """

    def __init__(
        self,
        *,
        name: Annotated[str, OutputName(folder="runs", unless="dir")],
        dir: OutputPath | None = None,  # noqa: A002
        replace: bool = False,
    ) -> None:
        if dir is None:
            check_name(name, key="run.name")
        self.name, self.path, self.replace = name, dir or Path("runs") / name, replace
        self.key = "run.name" if dir is None else "run.dir"  # what the folder was chosen by
        self.checkpoints, self.metrics = self.path / "checkpoints", self.path / "metrics.csv"
        self.model = self.path / "model"  # the model directory, in Hugging Face layout
        self.ranks = self.path / "ranks"  # signs of life and reports of the processes
        self._lock: RunLock | None = None
        self._moved: Path | None = None  # where the old run is
        self.undone = False  # whether a refusal has left the folder as it was

    @property
    def as_path(self) -> str:
        """The folder as a value of `tokenizer=` or `model=`, where a slash marks a path."""
        return str(self.path) if "/" in str(self.path) else f"./{self.path}"

    @property
    def another(self) -> str:
        """A word of the command line that puts a run beside this one."""
        return f"{self.key}={self.path if self.key == 'run.dir' else self.name}-2"

    @property
    def begun(self) -> bool:
        """Whether a run lies here already."""
        return self.command is not None

    @property
    def command(self) -> str | None:
        """The function of the command whose run lies here; None where none does."""
        try:
            with (self.path / "config.yaml").open("rb") as file:
                found = _COMMAND.search(file.read(_CONFIG_BYTES).decode(errors="replace"))
        except OSError:
            return None
        return found and found[1]

    @contextmanager
    def opened(self, config: Mapping[str, object], *, resumable: bool) -> Iterator[RunLock]:
        """Claim the folder and hold its lock in the block; nothing is left if `create` was not called.

        Args:
            config: the composed config.
            resumable: whether a run of the same command that lies here may be continued.

        Raises:
            ConfigError: CFG-23, see `claim`.
            CheckpointError: CKPT-12, another process has the lock.
        """
        self.claim(config, resumable=resumable)
        with RunLock(self.path) as lock:
            self.claim(config, resumable=resumable)  # another process may have come first
            with self.undone_if_refused(lock):
                yield lock

    @contextmanager
    def undone_if_refused(self, lock: RunLock) -> Iterator[None]:
        """Leave the folder as it was if the block raises an error that the user has to correct.

        What an earlier start has left is kept, and so is a run that has checkpoints.
        """
        was_taken, self._lock = self._taken, lock
        try:
            yield
        except DnalmError as error:
            is_new = self._moved is not None or not was_taken
            is_refusal = error.exit_code in _REFUSALS and is_new and not self.checkpoints.exists()
            if is_refusal and lock.is_in_place():
                self._undo()
                self.undone = True
            raise
        finally:
            self._lock = None

    def claim(self, config: Mapping[str, object], *, resumable: bool) -> None:
        """Make sure, before any work, that the folder may be used. Nothing is changed.

        Args:
            config: the composed config.
            resumable: whether a run of the same command that lies here may be continued.

        Raises:
            ConfigError: CFG-23, the folder holds something else, or a run that is not to be continued.
        """
        check_folder(self.path, key="run.dir")
        if not self._taken:
            return
        known = self.command
        if known is None:
            raise self._refused("something else, which run.replace does not move either")
        if self.replace and self.path.is_symlink():
            raise self._refused("a link to a run, which run.replace does not move")
        own = _COMMAND.search(f"_target_: {config.get('_target_')}")
        if not self.replace and not (resumable and own and own[1] == known):
            raise self._refused(
                "a run" if not own or own[1] == known else f"a run of another command, {known}"
            )

    def create(self, config: Mapping[str, object]) -> None:
        """Make the folder if it is not there, and write the resolved config into it; move an old run aside.

        Raises:
            ConfigError: CFG-23, it cannot be made.
            CheckpointError: CKPT-12, another process has the run that is to be moved.
        """
        try:
            if self.replace and self.begun:
                self._move_aside()
                self.replace = False
            self.path.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.path / "config.yaml") as beside:
                beside.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                "CFG-23",
                where="run.dir",
                found=f"{self.path} cannot be written: {error.strerror}",
                expected="a folder that may be made",
                fix="choose another, such as run.dir=runs/second",
            ) from error

    def write_summary(self, summary: dict[str, object]) -> Path:
        """Write `summary.json` and return its path."""
        path = self.path / "summary.json"
        with atomic_write(path) as beside:
            beside.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        return path

    def read_summary(self) -> dict[str, object] | None:
        """What `write_summary` has written; None if the run has not come to its end."""
        path = self.path / "summary.json"
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    @property
    def _taken(self) -> bool:
        if not self.path.is_dir():
            return os.path.lexists(self.path)
        return any(not _OF_A_START.fullmatch(entry.name) for entry in self.path.iterdir())

    def _move_aside(self) -> None:
        number = 1
        while os.path.lexists(old := self.path.with_name(f"{self.path.name}.old-{number}")):
            number += 1
        with nullcontext(self._lock) if self._lock else RunLock(self.path) as lock:
            lock.move_folder(old)
        self._moved = old

    def _undo(self) -> None:
        """Remove what was written since the folder was claimed, and put the old run back."""
        for entry in self.path.iterdir():
            if entry.name in (".lock", ".lock.json"):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        for entry in self._moved.iterdir() if self._moved else ():
            entry.rename(self.path / entry.name)
        if self._moved:
            self._moved.rmdir()

    def _refused(self, what: str) -> ConfigError:
        aside = "" if "does not move" in what else ", or move it aside by run.replace=true"
        return ConfigError(
            "CFG-23",
            where="run.dir",
            found=f"{self.path} is there already and holds {what}",
            expected="a folder for a new run",
            fix=f"choose another, such as {self.another}{aside}",
        )
