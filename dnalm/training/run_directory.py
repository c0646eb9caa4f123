"""The folder a run leaves: config, metrics, checkpoints, plot, summary, model directory."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from dnalm.errors import ConfigError


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

    def refuse_if_taken(self) -> None:
        """Check, before any work, that the folder is free or may be moved aside.

        Raises:
            ConfigError: the folder holds something already.
        """
        if self._taken and not self.replace:
            raise ConfigError(
                "CFG-23",
                where="run.dir",
                found=f"{self.path} is there already",
                expected="a folder for a new run",
                fix="choose another run.dir or run.name, or move the old run aside by run.replace=true",
            )

    def create(self, config: dict[str, object]) -> None:
        """Make the folder and write the resolved config into it.

        Raises:
            ConfigError: the folder holds something already, or cannot be made.
        """
        self.refuse_if_taken()
        if self._taken:
            self._move_aside()
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

    @property
    def _taken(self) -> bool:
        return self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir()))

    def _move_aside(self) -> None:
        number = 1
        while (old := self.path.with_name(f"{self.path.name}.old-{number}")).exists():
            number += 1
        self.path.rename(old)
