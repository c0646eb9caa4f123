"""Marks for path arguments, read when a config is checked, before any work starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated


class MustExist:
    """A path argument that names an input: it must be there before anything is built."""


InputPath = Annotated[Path, MustExist()]
