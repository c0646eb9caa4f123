"""Published results: the CSVs of `experiments/published/`, transcribed.

Lines that begin with `#` say where the numbers are from; one of them, `# scale: 100`, what they were
multiplied by, and `# recipe: nt_paper` by which recipe of `recipes.tsv` the models were fine-tuned. Columns:
`task`, then one for each model; an empty cell was not published.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass

from dnalm.errors import ConfigError
from dnalm.paths import published_folder


@dataclass(frozen=True, kw_only=True)
class Published:
    """One number of a paper.

    Attributes:
        task: of the benchmark.
        model: as the paper calls it.
        value: of the metric, on our scale.
        source: the file, whose head names the paper.
        recipe: by which the model was fine-tuned, as `recipes.tsv` names it; empty if that is not known.
    """

    task: str
    model: str
    value: float
    source: str
    recipe: str = ""


def read_published(names: Sequence[str]) -> list[Published]:
    """Read tables of published results.

    Args:
        names: files of `experiments/published/`.

    Raises:
        ConfigError: BENCH-08, there is no such file, or a cell is no number.
    """
    found, text = [], ""
    for name in names:
        try:
            lines = (published_folder() / name).read_text(encoding="utf-8").splitlines()
            notes = [line for line in lines if line.startswith("#")]
            scale, recipe = float(_noted("# scale:", notes) or 1), _noted("# recipe:", notes)
            for row in csv.DictReader(line for line in lines if line and not line.startswith("#")):
                for model, text in row.items():
                    if model != "task" and text:
                        found.append(
                            Published(
                                task=row["task"],
                                model=model,
                                value=float(text) / scale,
                                source=name,
                                recipe=recipe,
                            )
                        )
        except (OSError, ValueError) as error:
            what, expected = f"a cell {text!r}", "a number, or nothing"
            if isinstance(error, OSError):
                what, expected = f"it cannot be read: {error.strerror}", "a file there"
            raise ConfigError(
                "BENCH-08",
                where=f"benchmark.published: {name}",
                found=what,
                expected=expected,
                fix=f"put it into {published_folder()}",
            ) from error
    return found


def _noted(key: str, notes: Sequence[str]) -> str:
    """What a line of the head says; empty where there is none."""
    return next((line.removeprefix(key).strip() for line in notes if line.startswith(key)), "")
