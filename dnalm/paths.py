"""Where `conf/` and published results are, and marks for path arguments, read when a config is checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import dnalm


class MustExist:
    """A path argument that names an input: it must be there before anything is built."""


InputPath = Annotated[Path, MustExist()]


def config_folder() -> Path:
    """Where `conf/` is: inside the installed package, or beside it in a checkout."""
    package = Path(dnalm.__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def published_folder() -> Path:
    """Where `experiments/published/` is: inside the installed package, or beside it in a checkout."""
    package = Path(dnalm.__file__).parent
    inside = package / "published"
    return inside if inside.is_dir() else package.parent / "experiments/published"
