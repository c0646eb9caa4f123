"""The file that a command is told to write: refused before any work where it cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dnalm.errors import ConfigError


def check_out(out: Path, endings: Sequence[str]) -> None:
    """Hold a file's name against what can be written, and make its folder.

    Args:
        out: the file.
        endings: of names that are known; the file of one that ends in `.zarr` is a folder.

    Raises:
        ConfigError: CFG-52, it ends otherwise, is a folder where a file belongs, or is in none that may be.
    """
    found = None
    if not out.name.endswith(tuple(endings)):
        found = f"{out}: a name that does not tell its form"
    elif out.is_dir() and out.suffix != ".zarr":
        found = f"{out} is a folder"
    else:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            found = f"{out.parent} cannot be made: {error.strerror}"
    if found:
        raise ConfigError(
            "CFG-52",
            where="out",
            found=found,
            expected=f"a file that ends in {' or '.join(endings)}, in a folder that may be written",
            fix="choose another",
        )
