"""The folder a run leaves: config, metrics, checkpoints, plot, summary, model directory."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from dnalm.errors import ConfigError

_OF_A_START = (".lock", ".lock.json", "ranks")  # what a start leaves that has not come to a run


class RunDirectory:
    """`runs/<name>/`, a function of the name and not of the clock.

    Args:
        name: what the run is called.
        dir: the folder; `runs/<name>` if absent.
        replace: move a run that is there to `<folder>.old-<n>` rather than refuse to start.
    """

    def __init__(self, *, name: str, dir: Path | None = None, replace: bool = False) -> None:  # noqa: A002
        self.name, self.path, self.replace = name, dir or Path("runs") / name, replace

    @property
    def as_path(self) -> str:
        """The folder as a value of `tokenizer=` or `model=`, which tell a path by its slash."""
        return str(self.path) if "/" in str(self.path) else f"./{self.path}"

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints go."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The model directory, in Hugging Face layout."""
        return self.path / "model"

    @property
    def ranks(self) -> Path:
        """Signs of life and reports of the processes."""
        return self.path / "ranks"

    @property
    def metrics(self) -> Path:
        """What was logged."""
        return self.path / "metrics.csv"

    @property
    def begun(self) -> bool:
        """Whether a run lies here already."""
        return (self.path / "config.yaml").is_file()

    def claim(self, *, goes_on: bool) -> None:
        """Make sure, before any work, that the folder may be used; move an old run aside if that is wanted.

        Args:
            goes_on: whether a run that lies here may be continued.

        Raises:
            ConfigError: CFG-23, the folder holds something else, or a run that is not to be continued.
        """
        if not self._taken:
            return
        if self.replace:
            self._move_aside()
        elif not (goes_on and self.begun):
            what = "a run" if self.begun else "something else"
            raise ConfigError(
                "CFG-23",
                where="run.dir",
                found=f"{self.path} is there already and holds {what}",
                expected="a folder for a new run",
                fix="choose another run.dir or run.name, or move it aside by run.replace=true",
            )

    def create(self, config: dict[str, object]) -> None:
        """Make the folder if it is not there, and write the resolved config into it.

        Raises:
            ConfigError: it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        except OSError as error:
            raise ConfigError(
                "CFG-23",
                where="run.dir",
                found=f"{self.path} cannot be written: {error.strerror}",
                expected="a folder that may be made",
                fix="choose another run.dir",
            ) from error

    def write_summary(self, summary: dict[str, object]) -> Path:
        """Write `summary.json` and return its path."""
        path = self.path / "summary.json"
        path.write_text(json.dumps(summary, indent=2) + "\n")
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
            return self.path.exists()
        return any(entry.name not in _OF_A_START for entry in self.path.iterdir())

    def _move_aside(self) -> None:
        number = 1
        while (old := self.path.with_name(f"{self.path.name}.old-{number}")).exists():
            number += 1
        self.path.rename(old)
