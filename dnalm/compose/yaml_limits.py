"""What a config file may cost: one that is large, deep or refers to itself is refused before it is built.

A few lines of YAML whose aliases stand for each other keep OmegaConf busy for hours. What is looked at
here are the events of the parser, of which there are no more than the file is long.
"""

from __future__ import annotations

import codecs
from pathlib import Path

import yaml

from dnalm.errors import ConfigError

MOST_BYTES = 1 << 20
DEEPEST = 64
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's where PyYAML was built with it


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
        _check_events(path, text)
    except yaml.YAMLError:
        return


def _check_events(path: Path, text: bytes) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        assert event.start_mark is not None, "parsers of text say where they are"
        where = f"{path}:{event.start_mark.line + 1}"
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
            raise _refused(where, f"{sign}{anchor}", "no anchors or aliases; interpolations ${key} refer")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise _refused(where, f"more than {DEEPEST} levels", "a flatter file")


def _refused(where: str, found: str, expected: str) -> ConfigError:
    return ConfigError(
        "CFG-32", where=where, found=found, expected=expected, fix="mend the file, or leave it out"
    )
