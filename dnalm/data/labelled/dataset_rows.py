"""Rows of a labelled dataset: a folder that the `datasets` library reads, or one of the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dnalm.errors import DataError, listed
from dnalm.genome.dataset_text import saved_rows, saved_splits

_SPELLINGS = {"val": ("validation", "val", "dev", "valid"), "train": ("train",), "test": ("test",)}
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+){1,2}(:[\w.-]+)?", re.ASCII)


def split_name(source: str) -> tuple[Path, str]:
    """A folder or hub id and the split after its colon; a folder may have a colon in its own name."""
    if Path(source).is_dir():
        return Path(source), ""
    name, _, split = source.rpartition(":")
    return (Path(name), split) if name else (Path(source), "")


def is_hub_id(source: str, endings: Container[str]) -> bool:
    """Whether a source reads as `owner/name`, `owner/name/config` or one with `:split`, and not as a file.

    Args:
        source: what is given for a table.
        endings: those of files, which no dataset's name has.
    """
    return bool(_HUB_ID.fullmatch(source)) and Path(source).suffix.lower() not in endings


def dataset_rows(source: str, part: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Rows with their numbers from 1.

    Args:
        source: a folder, of `save_to_disk` or of tables, or `owner/name` or `owner/name/config` of the hub;
            `:split` may follow.
        part: `train`, `val` or `test`: the split where none is named; a saved dataset without splits is read
            whole.

    Raises:
        DataError: DSET-01, it cannot be read.
    """
    path, split = split_name(source)
    try:
        yield from enumerate(_rows(source, path, (split,) if split else _SPELLINGS[part]), start=1)
    except DataError:
        raise
    except Exception as error:  # the library raises many kinds
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        fix = (
            "check the folder, or name a file in it"
            if path.is_dir()
            else "check the path, the id, the network"
        )
        raise _unreadable(source, f"cannot be read ({first})", fix) from error


def _rows(source: str, path: Path, wanted: Sequence[str]) -> Iterable[Mapping[str, Any]]:
    """The rows of the first split of these names that is there."""
    from datasets import get_dataset_split_names, load_dataset

    saved = saved_splits(path)
    if saved == []:
        return saved_rows(path, None)
    name, config = str(path), None
    if not path.is_dir():
        name, config = "/".join(path.parts[:2]), next(iter(path.parts[2:]), None)
    offered = saved or get_dataset_split_names(name, config)
    split = next((word for word in wanted if word in offered), None)
    if split is None:
        found = f"no split {' or '.join(wanted)}; there are {listed(offered)}"
        raise _unreadable(source, found, f"name one, as in {path}:{offered[0]}")
    if saved:
        return saved_rows(path, split)
    rows: Iterable[Mapping[str, Any]] = load_dataset(name, config, split=split, streaming=True)
    return rows


def _unreadable(source: str, found: str, fix: str) -> DataError:
    expected = "a file or folder that is there, or a dataset of the hub"
    return DataError("DSET-01", where=source, found=found, expected=expected, fix=fix)
