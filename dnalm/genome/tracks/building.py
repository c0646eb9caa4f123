"""Preparing a track: once for a genome, its files and its recipe; atomic, and by one process only.

A track lies in a cache under a name that has a hash of its source files (path, size, time of change), the
genome's fingerprint and the recipe with its arguments, so that any change of these makes another track.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from dnalm.console import progress_bar, stderr
from dnalm.durable import FileSum, file_sha256, write_text
from dnalm.errors import DataError
from dnalm.genome.atomic_folder import build_folder, locked
from dnalm.genome.manifest import MANIFEST_FILE
from dnalm.genome.store import GenomeStore
from dnalm.genome.tracks.manifest import (
    TRACK_VERSION,
    Encoding,
    TrackKind,
    TrackManifest,
    TrackStatistics,
    track_error,
)
from dnalm.genome.tracks.store import TrackStore

_READING_RULES = 2  # raised where the same annotation file gives another track, so that no old one is read


@dataclass(frozen=True)
class TrackContent:
    """What writing a track's arrays found out."""

    kind: TrackKind
    encoding: Encoding
    names: tuple[str, ...]
    files: tuple[Path, ...]
    statistics: TrackStatistics
    aliases: Mapping[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class TrackPlan:
    """A track that is yet to be made.

    Args:
        recipe: name of the class and its arguments, of JSON's types; part of the track's identity.
        sources: the files it is made from.
        needed_bytes: about how much disk making it takes.
        write: writes the arrays into an empty folder.
    """

    recipe: dict[str, Any]
    sources: tuple[Path, ...]
    needed_bytes: int
    write: Callable[[Path], TrackContent]


def prepare_track(
    plan: TrackPlan, store: GenomeStore, cache: Path | None = None, *, verify: bool = True
) -> TrackStore:
    """The track of a plan, made on first use.

    Args:
        plan: what to make.
        store: its genome.
        cache: folder of tracks; the user's cache if not given.
        verify: compare the checksums of a track that is there, which reads every byte.

    Raises:
        DataError: a source is unusable; STORE-09 to 11, the cache cannot be written; TRACK-11, a source is
            missing; TRACK-12, it changed meanwhile; TRACK-01 to 06, what lies in the cache is damaged.
    """
    cache = Path(cache) if cache else platformdirs.user_cache_path("dnalm") / "tracks"
    target = cache / _track_name(plan, store)
    if not target.exists():
        with locked(target):
            if not target.exists():
                build_folder(
                    target,
                    lambda folder: _write(plan, store, folder),
                    needed_bytes=plan.needed_bytes,
                    space="space for the arrays of a track",
                )
                track = TrackStore.open(target, store, verify=False)
                for note in track.manifest.notes:
                    stderr.print(note)
                return track
    return TrackStore.open(target, store, verify=verify)


@contextmanager
def reading(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Show a bar while a text file is read twice; yields what to call with every piece of it."""
    size = path.stat().st_size if path.is_file() else 0
    with progress_bar(f"Reading {path.name}", total=2 * size, in_bytes=True) as advance:
        yield lambda piece: advance(len(piece))


def to_recipe(name: str, arguments: Mapping[str, object]) -> dict[str, Any]:
    """A recipe's identity in JSON's types; paths are named by their files, which are identified apart."""

    def plain(value: object) -> object:
        if isinstance(value, Path):
            return value.name
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

    return {"recipe": name, **{key: plain(value) for key, value in arguments.items()}}


def _identities(sources: Iterable[Path]) -> list[tuple[str, int, int]]:
    found = []
    for source in sources:
        try:
            status = source.stat()
        except OSError as error:
            found_text = f"the file cannot be read ({error.strerror})"
            raise track_error(
                "TRACK-11", source, found_text, "a readable annotation file", "check the path"
            ) from error
        found.append((str(source.resolve()), status.st_size, status.st_mtime_ns))
    return found


def _track_name(plan: TrackPlan, store: GenomeStore) -> str:
    identity = [TRACK_VERSION, _READING_RULES, store.fingerprint, plan.recipe, _identities(plan.sources)]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=False).encode()).hexdigest()[:12]
    stem = plan.sources[0].name.split(".")[0][:60]
    return f"{plan.recipe['recipe']}-{stem}-{digest}"


def _write(plan: TrackPlan, store: GenomeStore, folder: Path) -> None:
    before = _identities(plan.sources)
    content = plan.write(folder)
    sources = tuple(FileSum(path.name, path.stat().st_size, file_sha256(path)) for path in plan.sources)
    if _identities(plan.sources) != before:
        raise _changed(plan.sources)
    for path in content.files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    manifest = TrackManifest(
        kind=content.kind,
        encoding=content.encoding,
        names=content.names,
        genome=store.fingerprint,
        genome_name=store.source.name,
        recipe=plan.recipe,
        sources=sources,
        aliases=dict(content.aliases),
        notes=content.notes,
        files=tuple(FileSum(path.name, path.stat().st_size, file_sha256(path)) for path in content.files),
        statistics=content.statistics,
    )
    write_text(folder / MANIFEST_FILE, manifest.to_json())


def _changed(sources: tuple[Path, ...]) -> DataError:
    found = "a source file changed while it was read"
    fix = "wait until it is written, then try again"
    return track_error("TRACK-12", sources[0], found, "files at rest", fix)
