"""Building many stores side by side: each in a process of its own, and one fault stops no other."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from dnalm.console import progress_bar, stderr
from dnalm.errors import DataError, DnalmError
from dnalm.genome.building import open_or_build


def prepare_stores(paths: Mapping[str, Path], cache: Path | None, *, workers: int) -> None:
    """Build what is not there, verify what is; a store is whole or absent, so a rerun goes on from there.

    Args:
        paths: the genomes' files by name.
        cache: folder for stores.
        workers: processes at a time; 1 builds in this one.

    Raises:
        DataError: DATA-02, with every genome that failed and why.
    """
    faults: dict[str, str] = {}
    with progress_bar("Preparing genomes", total=len(paths)) as advance:
        if workers == 1:
            for name, path in paths.items():
                if (fault := _prepare(path, cache)) is not None:
                    faults[name] = fault
                    stderr.print(f"{name}: {fault}", markup=False)
                advance(1)
        else:
            _side_by_side(paths, cache, workers, faults, advance)
    if faults:
        raise DataError(
            "DATA-02",
            where="data.genomes",
            found=f"{len(faults)} of {len(paths)} genomes failed: "
            + "; ".join(f"{name}: {fault}" for name, fault in faults.items()),
            expected="genomes that can be read",
            fix="mend or leave out these; the others are prepared and stay so",
        )


def _side_by_side(
    paths: Mapping[str, Path],
    cache: Path | None,
    workers: int,
    faults: dict[str, str],
    advance: Callable[[int], None],
) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting = {pool.submit(_prepare, path, cache): name for name, path in paths.items()}
        for done in as_completed(waiting):
            name = waiting[done]
            try:
                fault = done.result()
            except BrokenProcessPool:
                fault = (
                    "a process was killed, perhaps for want of memory; run again with fewer prepare_workers"
                )
            if fault is not None:
                faults[name] = fault
                stderr.print(f"{name}: {fault}", markup=False)
            advance(1)


def _prepare(path: Path, cache: Path | None) -> str | None:
    """Build one store; the fault as text, for it must travel between processes."""
    try:
        open_or_build(path, cache)
    except DnalmError as error:
        return str(error)
    return None
