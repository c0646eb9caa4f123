"""Small files that strangers send, read within limits and checked against the checksums beside them.

`dnalm.yaml` of a model directory lists the sha256 of every other file under `files`, and its first line has
that of the rest of its own text. All files of the directory are read by these functions, or after
`check_sum`, so that a flipped bit is an error and never another number. A directory without `files`, such as
a published one or one of an earlier version, is read unchecked.
"""

from __future__ import annotations

import codecs
import functools
import hashlib
import json
import math
import re
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from dnalm.durable import file_sha256
from dnalm.errors import CheckpointError, shown
from dnalm.limits import first_repeated

PROVENANCE_FILE = "dnalm.yaml"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)
MOST_BYTES = 1 << 20
DEEPEST = 64
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's where PyYAML was built with it
_OWN_SUM = re.compile(r"# sha256 of the lines below: ([0-9a-f]{64})\n")
_ON_PURPOSE = (
    "if you changed the directory on purpose, delete the first line and the `files:` block of "
    f"{PROVENANCE_FILE}"
)
_WORTH_SAYING = 1.0  # seconds of hashing


class SmallFileError(ValueError):
    """A file that is not worth reading.

    Attributes:
        found: what is there.
        expected: the rule that it breaks.
        line: where, from 1, in YAML that has anchors, is nested too deep or is no text; else None.
    """

    def __init__(self, found: str, expected: str, line: int | None = None) -> None:
        super().__init__(f"{found}; {expected}")
        self.found, self.expected, self.line = found, expected, line


class _UniqueKeys(_LOADER):  # type: ignore[misc,valid-type]
    """PyYAML's safe loader, but for a key that is given twice, of which it keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        _require_each_once([key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _require_each_once([key for key, _ in pairs])
    return dict(pairs)


def _require_each_once(keys: list[str]) -> None:
    if (twice := first_repeated(keys)) is not None:
        raise ValueError(f"the key {shown(twice)} is given twice")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def require_file(path: Path) -> int:
    """The size in bytes of a regular file; links are followed.

    Raises:
        FileNotFoundError: there is nothing of this name.
        SmallFileError: it is a folder, a pipe or a device, whose reading might never end.
    """
    status = path.stat()
    if stat.S_ISREG(status.st_mode):
        return status.st_size
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    raise SmallFileError(kinds.get(stat.S_IFMT(status.st_mode), "a device"), "a regular file")


def read_bytes(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """The content of a small file, held against its checksum where its folder has one.

    Raises:
        FileNotFoundError: it is not there.
        SmallFileError: it is no regular file, or larger.
        CheckpointError: CKPT-03, its checksum is another.
    """
    if (size := require_file(path)) > most_bytes:
        raise SmallFileError(f"{size:,} bytes", f"at most {most_bytes:,}")
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    check_sum(path, content)
    return content


def read_limited(path: Path) -> bytes:
    """The content of a file of at most 1 MiB, whatever it is a file of.

    Raises:
        SmallFileError: it is larger.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise SmallFileError(f"more than {MOST_BYTES:,} bytes", "a smaller file")
    return content


def read_small(path: Path, kind: Literal["json", "yaml"], most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """A mapping in JSON or YAML: not large, not deep, each key once, JSON's numbers finite.

    Raises:
        FileNotFoundError: it is not there.
        SmallFileError: it is anything else.
        CheckpointError: CKPT-03, its checksum is not that which `dnalm.yaml` beside it lists.
    """
    return parse_small(read_bytes(path, most_bytes), kind)


def parse_small(content: bytes, kind: Literal["json", "yaml"]) -> dict[str, Any]:
    """The mapping that the content of a file is; see `read_small`.

    Raises:
        SmallFileError: it is none within these limits.
    """
    name, expected = ("JSON", "a JSON object") if kind == "json" else ("YAML", "a mapping in plain YAML")
    try:
        text = content.decode("utf-8")
        if kind == "yaml":
            check_yaml_events(content)
            found = yaml.load(text, _UniqueKeys)
        else:
            found = json.loads(text, object_pairs_hook=_each_key_once, parse_constant=_refuse_constant)
    except SmallFileError:
        raise
    except RecursionError as error:
        raise SmallFileError("nested too deep", f"at most {DEEPEST} levels") from error
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise SmallFileError(f"not {name}: {' '.join(str(error).split())}", expected) from error
    if not isinstance(found, dict):
        nothing = "null" if kind == "json" else "nothing"
        raise SmallFileError(nothing if found is None else f"a {name} {type(found).__name__}", expected)
    if not all(isinstance(key, str) for key in found):
        raise SmallFileError("keys that are no text", expected)
    if kind == "json":
        _check_values(found)
    return found


def _check_values(found: dict[str, Any]) -> None:
    """Walk what JSON has, a level at a time, and refuse depth and infinities such as 1e999."""
    level: list[Any] = [found]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for value in level:
            below += value.values() if isinstance(value, dict) else value
        if any(isinstance(value, float) and math.isinf(value) for value in below):
            raise SmallFileError("a number that is not finite", "finite numbers")
        level = [value for value in below if isinstance(value, dict | list)]
        if not level:
            return
    raise SmallFileError("nested too deep", f"at most {DEEPEST} levels")


def check_yaml_events(content: bytes) -> None:
    """Refuse anchors and depth by the parser's events, of which there are no more than the text is long.

    Raises:
        SmallFileError: it has anchors or aliases, or more than 64 levels.
        yaml.YAMLError: it is no YAML.
    """
    depth = 0
    for event in _yaml_events(content):
        assert event.start_mark is not None, "parsers of text say where they are"
        line = event.start_mark.line + 1
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
            raise SmallFileError(
                f"{sign}{anchor}", "no anchors or aliases; interpolations ${key} refer", line
            )
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise SmallFileError(f"more than {DEEPEST} levels", "a flatter file", line)


def _yaml_events(content: bytes) -> Iterator[yaml.Event]:
    """The parser's events; depths at which libyaml of PyYAML 6.0.4 gives up are refused as others are."""
    try:
        yield from yaml.parse(content, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        if "nesting depth" not in (error.problem or "") or error.problem_mark is None:
            raise
        line = error.problem_mark.line + 1
        raise SmallFileError(f"more than {DEEPEST} levels", "a flatter file", line) from error


def check_yaml_text(content: bytes) -> None:
    """As `check_yaml_events`, and refuse what is no UTF-8 without a byte order mark.

    Raises:
        SmallFileError: it is beyond these limits.
        yaml.YAMLError: it is no YAML.
    """
    if content.startswith(codecs.BOM_UTF8):  # which hides the line "# @package" from Hydra
        raise SmallFileError("a byte order mark", "text in UTF-8 without one", 1)
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SmallFileError(f"a byte {content[error.start]:#04x}", "text in UTF-8", line) from error
    check_yaml_events(content)


def check_sum(path: Path, content: bytes | None = None) -> None:
    """Check a file of a model directory by its checksum, once a process as long as the file stays as it is.

    Args:
        path: the file.
        content: all of it, if it was read already.

    Raises:
        CheckpointError: CKPT-03, it is another than `dnalm.yaml` beside it lists, or is not listed there.
    """
    if path.name == PROVENANCE_FILE:
        return
    files: dict[str, str] | None = read_provenance(path.parent).get("files")
    if files is None:
        return
    if path.name not in files:
        raise CheckpointError(
            "CKPT-03",
            where=str(path),
            found=f"a file that {PROVENANCE_FILE} beside it does not list",
            expected=f"the files of the model as it was written: {', '.join(files)}",
            fix=f"move it away; {_ON_PURPOSE}",
        )
    found = sha256_once(path) if content is None else hashlib.sha256(content).hexdigest()
    if found != files[path.name]:
        raise _changed(path, found, files[path.name])


def _changed(path: Path, found: str, expected: str) -> CheckpointError:
    listed = "by its first line" if path.name == PROVENANCE_FILE else f"by {PROVENANCE_FILE}"
    return CheckpointError(
        "CKPT-03",
        where=str(path),
        found=f"sha256 {found}",
        expected=f"sha256 {expected} {listed}",
        fix=f"copy the file again; {_ON_PURPOSE}",
    )


def sha256_once(path: Path) -> str:
    """A file's checksum, in hex, computed once a process as long as it stays as it is."""
    return _sha256(path, *_state(path))


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, *state: int) -> str:  # noqa: ARG001 -- of the cache's key
    began = time.monotonic()
    found = file_sha256(path)
    if (seconds := time.monotonic() - began) > _WORTH_SAYING:
        from dnalm.console import stderr  # which takes long to import

        gigabytes = path.stat().st_size / 1e9
        stderr.print(f"checksum of {path.name} ({gigabytes:.1f} GB) taken in {seconds:.0f} s")
    return found


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


def read_provenance(folder: Path) -> dict[str, Any]:
    """What `dnalm.yaml` of a model directory says; nothing where there is none.

    Raises:
        CheckpointError: CKPT-03, it was changed since it was written; CKPT-05, it cannot be used.
    """
    path = folder / PROVENANCE_FILE
    try:
        return _provenance(path, *_state(path))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        found = f"cannot be read ({error.strerror})"
        raise refused_provenance(folder, found, "a readable file") from error


@functools.lru_cache(maxsize=64)
def _provenance(path: Path, *state: int) -> dict[str, Any]:  # noqa: ARG001 -- of the cache's key
    folder = path.parent
    try:
        require_file(path)
        content = read_limited(path)
        own = _OWN_SUM.match(content[:128].decode("ascii", "replace"))
        if own:
            found = hashlib.sha256(content[own.end() :]).hexdigest()
            if found != own[1]:
                raise _changed(path, found, own[1])
        provenance = parse_small(content, "yaml")
    except SmallFileError as error:
        raise refused_provenance(folder, error.found, error.expected) from error
    files = provenance.get("files")
    if files is None:
        return provenance
    sums = files.values() if isinstance(files, dict) else [None]
    if not all(isinstance(each, str) and re.fullmatch("[0-9a-f]{64}", each) for each in sums):
        raise refused_provenance(folder, f"files is {shown(files)}", "names of files and their sha256")
    if own is None:
        raise refused_provenance(
            folder, "no checksum in the first line, though it lists files", "both or none"
        )
    return provenance


def window_tokens(folder: Path) -> int | None:
    """Longest sequence that a model was trained on, special tokens not counted; None if that is unknown.

    Raises:
        CheckpointError: CKPT-05, what `dnalm.yaml` says is no number of tokens.
    """
    found = read_provenance(folder).get("window_tokens")
    if found is not None and (
        isinstance(found, bool) or not isinstance(found, int) or not 0 < found < 1 << 40
    ):
        raise refused_provenance(folder, f"window_tokens is {shown(found)}", "a number of tokens, or null")
    return found


def provenance_text(provenance: Mapping[str, object]) -> str:
    """The text of `dnalm.yaml`, with its own checksum in the first line."""
    text = yaml.dump(dict(provenance), Dumper=_NoAliases, sort_keys=False)
    return f"# sha256 of the lines below: {hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def refused_provenance(folder: Path, found: str, expected: str) -> CheckpointError:
    """The error of a `dnalm.yaml` that says something impossible."""
    return CheckpointError(
        "CKPT-05",
        where=str(folder / PROVENANCE_FILE),
        found=found,
        expected=expected,
        fix="copy the directory again from where the model was trained",
    )


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 -- of none
        return True
