"""Download and build many genomes and their tracks, several at a time; one that fails stops no other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from dnalm.console import hide_bars, progress_bar, stderr
from dnalm.errors import DataError, DnalmError
from dnalm.genome.download import Patience, RemoteFile, download
from dnalm.genome.store import open_or_build
from dnalm.genome.track_recipes import TrackRecipe
from dnalm.lifetime import worker_pool


@dataclass(frozen=True)
class GenomePlan:
    """What is to be on disk of a genome.

    Attributes:
        path: its file; where there is a `remote`, the place it is downloaded to.
        remote: the file of another host.
        tracks: what is known of its bases, by name.
    """

    path: Path
    remote: RemoteFile | None = None
    tracks: Mapping[str, TrackRecipe] = field(default_factory=dict)

    @property
    def host(self) -> str | None:
        """Of the remote file."""
        return None if self.remote is None else urlsplit(self.remote.url).netloc


@dataclass(frozen=True)
class _Faults:
    """What went wrong with one genome, as text, for it must travel between processes."""

    messages: tuple[str, ...] = ()
    unreached: bool = False


def prepare_genomes(
    plans: Mapping[str, GenomePlan],
    cache: Path | None,
    *,
    workers: int,
    patience: Patience = Patience(),  # noqa: B008 -- a frozen value
) -> None:
    """Download and build what is not there, verify what is; each is whole or absent, so a rerun resumes.

    A host that was not reached is tried once for each further genome, and not waited for.

    Args:
        plans: the genomes by name.
        cache: folder for stores, and for tracks below it; the user's cache if absent.
        workers: processes at a time; 1 builds in this one.
        patience: how often a download is tried.

    Raises:
        DataError: DATA-02, with every genome that failed and why.
    """
    faults: dict[str, str] = {}
    unreached: set[str | None] = set()
    with progress_bar("Preparing genomes", total=len(plans)) as advance:

        def patience_for(name: str) -> Patience:
            return replace(patience, attempts=1) if plans[name].host in unreached else patience

        def note(name: str, found: _Faults) -> None:
            if found.unreached:
                unreached.add(plans[name].host)
            if found.messages:
                faults[name] = "; ".join(found.messages)
                stderr.print(f"{name}: {faults[name]}")
            advance(1)

        if workers == 1:
            for name, plan in plans.items():
                note(name, _prepare(plan, cache, patience_for(name)))
        else:
            _side_by_side(plans, cache, workers, patience_for, note)
    if faults:
        messages = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
        raise DataError(
            "DATA-02",
            where="data.genomes",
            found=f"{len(faults)} of {len(plans)} genomes failed: {messages}",
            expected="genomes that can be read",
            fix="correct these or leave them out; the others are prepared and stay so",
        )


def _side_by_side(
    plans: Mapping[str, GenomePlan],
    cache: Path | None,
    workers: int,
    patience_for: Callable[[str], Patience],
    note: Callable[[str, _Faults], None],
) -> None:
    """Hand out a genome where a process is free, and not before, for hosts are learned of meanwhile."""
    left, running = deque(plans), dict[Future[_Faults], str]()
    with worker_pool(workers, hide_bars) as pool:
        while left or running:
            while left and len(running) < workers:
                name = left.popleft()
                try:
                    running[pool.submit(_prepare, plans[name], cache, patience_for(name))] = name
                except BrokenProcessPool:
                    note(name, _KILLED)
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                try:
                    found = done.result()
                except BrokenProcessPool:
                    found = _KILLED
                note(running.pop(done), found)


_KILLED = _Faults(("a process was killed, perhaps for want of memory; run again with fewer prepare_workers",))


def _prepare(plan: GenomePlan, cache: Path | None, patience: Patience) -> _Faults:
    """Download and build one genome and its tracks; a track that fails stops no other."""
    try:
        if plan.remote is not None:
            download(plan.remote, plan.path.parent, patience=patience)
        store = open_or_build(plan.path, cache)
    except DnalmError as error:
        return _Faults((str(error),), unreached=error.code == "FETCH-01")
    messages = []
    for name, recipe in plan.tracks.items():
        try:
            recipe.prepare(store, track_cache(cache))
        except DnalmError as error:
            messages.append(f"track {name}: {error}")
    return _Faults(tuple(messages))


def track_cache(cache: Path | None) -> Path | None:
    """The folder of tracks beside the stores of a cache; None of the user's cache, which has its own."""
    return None if cache is None else cache / "tracks"
