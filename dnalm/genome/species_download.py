"""Have every genome of a manifest on disk; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from dnalm.console import stderr
from dnalm.errors import DataError
from dnalm.genome.download import Download, download
from dnalm.genome.remote_file import parse_checksum
from dnalm.genome.sources import check_source
from dnalm.genome.species_manifest import SpeciesEntry
from dnalm.genome.transfer import Patience

_HOPELESS = ("FETCH-07", "FETCH-08", "FETCH-09")  # the folder is at fault, so every genome would fail


@dataclass(frozen=True)
class Outcome:
    """What became of a genome: the entry with its local path and checksum, or why it is not there."""

    entry: SpeciesEntry
    is_new: bool = False
    error: DataError | None = None


def download_species(entries: Sequence[SpeciesEntry], folder: Path, *, patience: Patience) -> list[Outcome]:
    """Download the genomes one after another, each into a folder of its name.

    A host that was not reached is tried once for each further genome, and not waited for.

    Args:
        entries: the genomes.
        folder: where to.
        patience: how often to try.

    Returns:
        An outcome for each entry, in order.

    Raises:
        DataError: FETCH-07 to 09, the folder cannot be written in.
    """
    outcomes: list[Outcome] = []
    unreached: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        host = urlsplit(entry.remote.url).netloc if entry.remote else ""
        once = replace(patience, attempts=1)
        try:
            outcome = _have(entry, folder, once if host in unreached else patience)
        except DataError as error:
            if error.code in _HOPELESS:
                raise
            if error.code == "FETCH-01":
                unreached.add(host)
            outcome = Outcome(entry, error=error)
            stderr.print(f"{entry.name} ({number} of {len(entries)}) failed: {error}")
        outcomes.append(outcome)
    return outcomes


def _have(entry: SpeciesEntry, folder: Path, patience: Patience) -> Outcome:
    if entry.remote is None:
        assert entry.path is not None, "an entry has one of both"
        path = entry.path.absolute()
        check_source(path)
        _check_local(path, entry)
        return Outcome(replace(entry, path=path))
    got: Download = download(entry.remote, folder / entry.name, patience=patience)
    check_source(got.path)
    local = replace(entry, path=got.path, remote=None, checksum=str(got.checksum))
    return Outcome(local, got.is_new)


def _check_local(path: Path, entry: SpeciesEntry) -> None:
    if entry.checksum is None or path.is_dir():  # a store has checksums of its own
        return
    expected = parse_checksum(entry.checksum)
    found = expected.of(path)
    if found != expected:
        raise DataError(
            "FETCH-05",
            where=str(path),
            found=f"the file that lies here is {found}",
            expected=f"{expected}",
            fix="correct the file or the manifest's checksum",
        )
