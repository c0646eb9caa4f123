"""Rows of a labelled dataset of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dnalm.errors import DataError

_SPELLINGS = {"val": ("validation", "val", "dev", "valid"), "train": ("train",), "test": ("test",)}


def dataset_rows(source: str, part: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Rows with their numbers from 1.

    Args:
        source: `owner/name`, `owner/name:split`, or `owner/name/config:split`.
        part: `train`, `val` or `test`: the split where none is named.

    Raises:
        DataError: DSET-01, it cannot be read.
    """
    from datasets import get_dataset_split_names, load_dataset

    name, _, split = source.partition(":")
    try:
        if not split:
            offered = get_dataset_split_names(name)
            split = next((word for word in _SPELLINGS[part] if word in offered), part)
        yield from enumerate(load_dataset(name, split=split, streaming=True), start=1)
    except Exception as error:  # the library raises many kinds
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DataError(
            "DSET-01",
            where=source,
            found=f"cannot be read ({first})",
            expected="a file that is there, or a dataset of the hub",
            fix="check the path, the hub id and the network",
        ) from error
