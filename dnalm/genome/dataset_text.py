"""A Hugging Face dataset of sequences as a FASTA file in the cache, a record for each row.

Hub datasets and local Parquet, CSV, JSON or Arrow files are read by the `datasets` library, which the table's
users know; from there on the sequences are judged and stored as those of any FASTA file. Rows are streamed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import platformdirs

from dnalm.console import progress_bar
from dnalm.durable import DISK_FULL, errno_of
from dnalm.errors import DataError, listed, shown
from dnalm.genome.atomic_folder import locked

_FORMATS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".arrow": "arrow",
}
_EVERY = 1000  # rows between updates of the bar


def dataset_fasta(source: str, *, column: str, part: str, revision: str | None, cache: Path | None) -> Path:
    """The FASTA file of a dataset, written on first use; its records are `row0`, `row1` and so on.

    Args:
        source: a local file, or `owner/name` on the Hugging Face hub.
        column: the one that holds sequences.
        part: which split of the dataset, such as `train`.
        revision: the hub's branch, tag or commit.
        cache: folder to keep it in; the user's cache if absent.

    Raises:
        DataError: DSET-01 (not readable), 02 (no such column), 03 (a row without a sequence).
    """
    folder = (cache or platformdirs.user_cache_path("dnalm")) / "datasets"
    local = Path(source)
    name = str(local.resolve()) if local.exists() else source
    identity: list[str | int | None] = [name, column, part, revision]
    for file in [local] if local.is_file() else sorted(path for path in local.rglob("*") if path.is_file()):
        identity += [*([] if file == local else [str(file)]), file.stat().st_size, file.stat().st_mtime_ns]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]
    target = folder / f"{local.stem[:60]}-{digest}.fa"
    with locked(target):
        if not target.exists():
            beside = target.with_suffix(f".{os.getpid()}.part")
            try:
                _write(_rows(source, part, revision), column, beside, source)
                beside.replace(target)
            finally:
                beside.unlink(missing_ok=True)
    return target


def saved_splits(folder: Path) -> list[str] | None:
    """The splits of a folder of `save_to_disk`, none where it has none; None of any other folder."""
    if (folder / "dataset_dict.json").is_file():
        splits: list[str] = json.loads((folder / "dataset_dict.json").read_text())["splits"]
        return splits
    return [] if (folder / "state.json").is_file() else None


def saved_rows(folder: Path, split: str | None) -> Iterable[Mapping[str, Any]]:
    """The rows of such a folder, mapped from disk; those of one split where it has splits."""
    from datasets import load_from_disk

    rows: Iterable[Mapping[str, Any]] = load_from_disk(str(folder / split if split else folder)).with_format(
        None
    )
    return rows


def _rows(source: str, part: str, revision: str | None) -> Iterable[Mapping[str, Any]]:
    from datasets import load_dataset

    kind = _FORMATS.get(Path(source).suffix) if Path(source).is_file() else None
    files = None if kind is None else {part: source}
    try:
        splits = saved_splits(Path(source))
        if splits is not None:
            return saved_rows(Path(source), part if splits else None)
        rows: Iterable[Mapping[str, Any]] = load_dataset(
            kind or source,
            data_files=files,
            split=part,
            revision=revision if kind is None else None,
            streaming=True,
        )
        return rows
    except Exception as error:  # the library raises many kinds
        raise _error(
            "DSET-01", source, f"cannot be read ({_first_line(error)})", "a dataset's file or hub id"
        ) from error


def _write(rows: Iterable[Mapping[str, Any]], column: str, target: Path, source: str) -> None:
    number = -1
    with target.open("w", encoding="utf-8") as file, progress_bar(f"Reading {source}", total=None) as advance:
        try:
            for number, row in enumerate(rows):
                if column not in row:
                    found = f"no column {column!r}; it has {listed(row)}"
                    raise _error(
                        "DSET-02", source, found, "the column that holds sequences", "set data.column"
                    )
                sequence = row[column]
                if not isinstance(sequence, str) or not sequence:
                    found = f"row {number} has {shown(sequence)} in column {column!r}"
                    raise _error("DSET-03", source, found, "a sequence in every row", "drop such rows")
                file.write(f">row{number}\n{sequence}\n")
                if number % _EVERY == 0:
                    advance(_EVERY)
        except DataError:
            raise
        except Exception as error:  # reading continues while rows are drawn
            if errno_of(error) in DISK_FULL:
                raise
            raise _error(
                "DSET-01", source, f"breaks off after row {number} ({_first_line(error)})", "a whole dataset"
            ) from error
    if number < 0:
        raise _error("DSET-03", source, "no rows", "a row for each sequence", "name another split of it")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _error(
    code: str, where: str, found: str, expected: str, fix: str = "check the path, the hub id and the network"
) -> DataError:
    return DataError(code, where=where, found=found, expected=expected, fix=fix)
