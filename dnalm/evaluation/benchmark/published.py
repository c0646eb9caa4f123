"""Published results beside ours: the CSVs of `experiments/published/`, transcribed, each with its source.

Lines that begin with `#` say where the numbers are from; one of them, `# scale: 100`, what they were
multiplied by. Columns: `task`, then one for each model; an empty cell was not published.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass

from dnalm.errors import ConfigError
from dnalm.paths import published_folder

_SCALE = "# scale:"


@dataclass(frozen=True)
class Published:
    """One number of a paper.

    Attributes:
        task: of the benchmark.
        model: as the paper calls it.
        value: of the metric, on our scale.
        source: the file, whose head names the paper.
    """

    task: str
    model: str
    value: float
    source: str


def read_published(names: Sequence[str]) -> list[Published]:
    """Read tables of published results.

    Args:
        names: files of `experiments/published/`.

    Raises:
        ConfigError: BENCH-08, there is no such file, or a cell is no number.
    """
    found = []
    for name in names:
        try:
            lines = (published_folder() / name).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise _error(name, f"it cannot be read: {error.strerror}", "a file there") from error
        notes = [line for line in lines if line.startswith("#")]
        scale = next((float(line.removeprefix(_SCALE)) for line in notes if line.startswith(_SCALE)), 1.0)
        for row in csv.DictReader(line for line in lines if line and not line.startswith("#")):
            for model, text in row.items():
                if model != "task" and text:
                    found.append(Published(row["task"], model, _number(name, text) / scale, name))
    return found


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise _error(name, f"a cell {text!r}", "a number, or nothing") from error


def _error(name: str, found: str, expected: str) -> ConfigError:
    return ConfigError(
        "BENCH-08",
        where=f"benchmark.published: {name}",
        found=found,
        expected=expected,
        fix=f"put it into {published_folder()}",
    )
