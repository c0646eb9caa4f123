"""What a config file may cost: one that is large, deep or refers to itself is refused before it is built.

A few lines of YAML whose aliases stand for each other keep OmegaConf busy for hours. What is looked at
here are the events of the parser, of which there are no more than the file is long.
"""

from __future__ import annotations

import codecs
from pathlib import Path

import yaml

from dnalm.errors import ConfigError
from dnalm.small_files import MOST_BYTES, YamlLimitError, check_yaml_events


def check_yaml(path: Path) -> None:
    """Refuse a file that is not worth reading; mistakes of grammar are told by whoever reads it.

    Args:
        path: a regular file.

    Raises:
        ConfigError: CFG-32, the file is too large, is no text in UTF-8, has anchors, or is nested too deep.
    """
    with path.open("rb") as file:
        text = file.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise _refused(str(path), f"more than {MOST_BYTES:,} bytes", "a smaller file")
    if text.startswith(codecs.BOM_UTF8):  # which hides the line "# @package" from Hydra
        raise _refused(f"{path}:1", "a byte order mark", "text in UTF-8 without one")
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        raise _refused(f"{path}:{line}", f"a byte {text[error.start]:#04x}", "text in UTF-8") from error
    try:
        check_yaml_events(text)
    except YamlLimitError as error:
        raise _refused(f"{path}:{error.line}", error.found, error.expected) from error
    except yaml.YAMLError:
        return


def _refused(where: str, found: str, expected: str) -> ConfigError:
    return ConfigError(
        "CFG-32", where=where, found=found, expected=expected, fix="mend the file, or leave it out"
    )
