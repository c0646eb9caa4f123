"""One line of a species manifest: its cells checked one by one, and what they mean together."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from dnalm.errors import DataError
from dnalm.genome.remote_file import Checksum, RemoteFile, check_name, parse_checksum

SpeciesSplit = Literal["train", "validation", "test"]
ABSENT = "-"


@dataclass(frozen=True)
class SpeciesEntry:
    """One genome of a corpus; exactly one of `path` and `remote` is given.

    Attributes:
        name: safe as a folder's name.
        path: of a local file or store; where it was written relative, it starts at the manifest's
            folder. Need not exist.
        remote: the file to download.
        checksum: of the local file, as `md5:…` or `sha256:…`, if known.
        weight: share relative to the others', > 0; None in all entries or in none.
        split: what the whole genome is for; None where the run divides it.
        taxon: its group.
        line: in the manifest, from 1.
    """

    name: str
    path: Path | None
    remote: RemoteFile | None
    checksum: str | None
    weight: float | None
    split: SpeciesSplit | None
    taxon: str | None
    line: int


@dataclass(frozen=True)
class Place:
    """A line of a file, or the file where `line` is None."""

    path: Path
    line: int | None

    def error(self, code: str, found: str, expected: str, fix: str) -> DataError:
        """An error that says where it is."""
        where = str(self.path) if self.line is None else f"{self.path}:{self.line}"
        return DataError(code, where=where, found=found, expected=expected, fix=fix)

    def refused(self, code: str, error: ValueError, fix: str) -> DataError:
        """An error from one that says `what is found; what is expected`."""
        found, _, expected = str(error).partition("; ")
        return self.error(code, found, expected, fix)


def read_entry(place: Place, cells: Mapping[str, str]) -> SpeciesEntry:
    """Check a row.

    Args:
        place: where it is.
        cells: text by column.

    Raises:
        DataError: MANI-07, 09 to 12 or 14; see `read_species_manifest`.
    """
    value = {name: None if cell in ("", ABSENT) else cell for name, cell in cells.items()}
    try:
        name = check_name(cells["name"])
    except ValueError as error:
        raise place.refused("MANI-07", error, "rename the genome") from error
    local, url, checksum = value["path"], value["url"], value["checksum"]
    if (local is None) == (url is None):
        found = f"{'neither' if local is None else 'both'} of path and url is given"
        raise place.error("MANI-09", found, "one of both", "write - in the column that is not meant")
    assert place.line is not None, "a row has a line"
    return SpeciesEntry(
        name=name,
        path=None if local is None else place.path.parent / local,
        remote=None if url is None else _remote(place, url, checksum),
        checksum=None if checksum is None or local is None else str(_checksum(place, checksum)),
        weight=_weight(place, value["weight"]),
        split=_split(place, value["split"]),
        taxon=value["taxon"],
        line=place.line,
    )


def _remote(place: Place, url: str, checksum: str | None) -> RemoteFile:
    if checksum is None:
        expected = "md5:…, sha256:… or the address of a list that names the file"
        fix = "take it from where the file is published, such as NCBI's md5checksums.txt"
        raise place.error("MANI-11", "a url without checksum", expected, fix)
    listed = "://" in checksum
    known = None if listed else _checksum(place, checksum)
    try:
        return RemoteFile(url, known, checksum if listed else None)
    except ValueError as error:
        fix = "correct the address, or download the file yourself and name it as path"
        raise place.refused("MANI-10", error, fix) from error


def _checksum(place: Place, text: str) -> Checksum:
    try:
        return parse_checksum(text)
    except ValueError as error:
        raise place.refused("MANI-11", error, "correct the checksum") from error


def _weight(place: Place, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        fix = "correct it, or write - in every line to weigh genomes by length"
        raise place.error("MANI-12", f"weight is {text}", "a number above 0", fix)
    return weight


def _split(place: Place, text: str | None) -> SpeciesSplit | None:
    known = get_args(SpeciesSplit)
    if text is not None and text not in known:
        nearest = difflib.get_close_matches(text, known, n=1)
        fix = f"did you mean {nearest[0]}?" if nearest else "write - to let the run divide the genome"
        raise place.error("MANI-14", f"split is {text}", f"{', '.join(known)} or -", fix)
    return cast("SpeciesSplit | None", text)
