"""The manifest of a multi-species corpus: a tab-separated table, one genome a line; and their download.

The first line that is neither blank nor a comment (`#`) names the columns, in any order; `-` or
nothing says that a value is absent.

| column | value |
|---|---|
| name | of the genome: letters, digits, `.`, `_`, `-`; unique, whatever the case |
| path | of FASTA, 2bit or a store; a relative one starts at the manifest's folder |
| url | http or https, instead of a path |
| checksum | `md5:…`, `sha256:…`, or the address of a list that names the file; needed with a url |
| weight | share relative to the others', above 0; for all of them or for none (then by length) |
| split | `train`, `validation` or `test`: the whole genome; absent: the run divides it |
| taxon | a group, for reports |

CRLF and a byte-order mark are accepted, and gzip. A genome whose download fails does not stop the others.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args
from urllib.parse import urlsplit

from dnalm.console import stderr
from dnalm.errors import DataError
from dnalm.genome.download import (
    Checksum,
    Patience,
    RemoteFile,
    check_name,
    download,
    parse_checksum,
)
from dnalm.genome.store import check_source
from dnalm.genome.text import SPECIES, Line, read_lines
from dnalm.tables import replace_text

SpeciesSplit = Literal["train", "validation", "test"]
ABSENT = "-"
COLUMNS = ("name", "path", "url", "checksum", "weight", "split", "taxon")
_HEADER = f"a header line with the columns {', '.join(COLUMNS)}, separated by tabs"
_HOPELESS = ("FETCH-07", "FETCH-08", "FETCH-09")  # the folder is at fault, so every genome would fail


@dataclass(frozen=True, kw_only=True)
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


def read_species_manifest(path: Path) -> tuple[SpeciesEntry, ...]:
    """Read and check a manifest; files named in it are not looked at.

    Args:
        path: the table.

    Raises:
        DataError: the first fault, with its line: MANI-01 not readable, 02 not text in UTF-8, 03 no header,
            04 another delimiter, 05 columns, 06 cells in a row, 07 a name, 08 a name twice, 09 neither
            or both of path and url, 10 an address, 11 a checksum, 12 a weight, 13 weights for some
            only, 14 a split, 15 no genomes.
    """
    rows = (
        (line, [cell.strip() for cell in line.text.split("\t")])
        for line in read_lines(path, SPECIES)
        if line.text.strip() and not line.text.startswith("#")
    )
    place, header = next(rows, (Line(path, 1, ""), []))
    _check_header(place, header)
    entries: list[SpeciesEntry] = []
    lines: dict[str, int] = {}
    for place, cells in rows:
        if len(cells) != len(header):
            fix = "separate cells by single tabs, and write - where there is no value"
            raise place.error("MANI-06", f"{len(cells)} cells", f"{len(header)}, as in the header", fix)
        entry = _read_entry(place, dict(zip(header, cells, strict=True)))
        first = lines.setdefault(entry.name.casefold(), entry.line)
        if first != entry.line:
            found = f"{entry.name} is on line {first} too"
            raise place.error("MANI-08", found, "names that differ in more than case", "rename one of them")
        entries.append(entry)
    if not entries:
        fix = "fill the manifest; the comments of a template say how"
        raise place.error("MANI-15", "no genomes", "a line for each, after the header", fix)
    without = [entry for entry in entries if entry.weight is None]
    if 0 < len(without) < len(entries):
        found = f"{without[0].name} has no weight, and others have"
        fix = "weigh every genome, or write - for all to weigh them by length"
        raise Line(path, without[0].line, "").error("MANI-13", found, "weights for all or for none", fix)
    return tuple(entries)


def write_species_manifest(path: Path, entries: Iterable[SpeciesEntry]) -> None:
    """Write what `read_species_manifest` reads; a file that is there is replaced at once."""
    rows: list[tuple[object, ...]] = [COLUMNS]
    for entry in entries:
        url, checksum = None, entry.checksum
        if (remote := entry.remote) is not None:
            url, checksum = remote.url, str(remote.checksum or remote.checksum_url or ABSENT)
        rows.append((entry.name, entry.path, url, checksum, entry.weight, entry.split, entry.taxon))
    lines = ["\t".join(ABSENT if cell is None else str(cell) for cell in row) for row in rows]
    replace_text(path, "\n".join(lines) + "\n")


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
            outcome = _download(entry, folder, once if host in unreached else patience)
        except DataError as error:
            if error.code in _HOPELESS:
                raise
            if error.code == "FETCH-01":
                unreached.add(host)
            outcome = Outcome(entry, error=error)
            stderr.print(f"{entry.name} ({number} of {len(entries)}) failed: {error}")
        outcomes.append(outcome)
    return outcomes


def _download(entry: SpeciesEntry, folder: Path, patience: Patience) -> Outcome:
    if entry.remote is not None:
        got = download(entry.remote, folder / entry.name, patience=patience)
        check_source(got.path)
        local = replace(entry, path=got.path, remote=None, checksum=str(got.checksum))
        return Outcome(local, got.is_new)
    assert entry.path is not None, "an entry has one of both"
    path = entry.path.absolute()
    check_source(path)
    if entry.checksum is not None and not path.is_dir():  # a store has checksums of its own
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
    return Outcome(replace(entry, path=path))


def _check_header(place: Line, header: list[str]) -> None:
    others = [sign for sign in (";", ",") if len(header) == 1 and sign in header[0]]
    if others:
        fix = "save the table tab-separated (TSV)"
        raise place.error("MANI-04", f"columns separated by {others[0]!r}", "tabs", fix)
    missing = [name for name in COLUMNS if name not in header]
    if len(missing) == len(COLUMNS):
        raise place.error("MANI-03", "no header", _HEADER, "copy the header from a template")
    for name in header:
        if header.count(name) > 1:
            raise place.error("MANI-05", f"column {name!r} twice", _HEADER, "remove one of them")
        if name not in COLUMNS:
            nearest = difflib.get_close_matches(name, missing, n=1)
            fix = f"did you mean {nearest[0]}?" if nearest else "remove it; remarks go into # lines"
            raise place.error("MANI-05", f"unknown column {name!r}", _HEADER, fix)
    if missing:
        fix = "add it, with - where there is no value"
        raise place.error("MANI-05", f"no column {missing[0]!r}", _HEADER, fix)


def _read_entry(place: Line, cells: Mapping[str, str]) -> SpeciesEntry:
    """Check a row, given as text by column; MANI-07, 09 to 12 and 14."""
    value = {name: None if cell in ("", ABSENT) else cell for name, cell in cells.items()}
    try:
        name = check_name(cells["name"])
    except ValueError as error:
        raise _refused(place, "MANI-07", error, "rename the genome") from error
    local, url, checksum = value["path"], value["url"], value["checksum"]
    if (local is None) == (url is None):
        found = f"{'neither' if local is None else 'both'} of path and url is given"
        raise place.error("MANI-09", found, "one of both", "write - in the column that is not meant")
    return SpeciesEntry(
        name=name,
        path=None if local is None else place.path.parent / local,
        remote=None if url is None else _remote(place, url, checksum),
        checksum=None if checksum is None or local is None else str(_checksum(place, checksum)),
        weight=_weight(place, value["weight"]),
        split=_split(place, value["split"]),
        taxon=value["taxon"],
        line=place.number,
    )


def _remote(place: Line, url: str, checksum: str | None) -> RemoteFile:
    if checksum is None:
        expected = "md5:…, sha256:… or the address of a list that names the file"
        fix = "take it from where the file is published, such as NCBI's md5checksums.txt"
        raise place.error("MANI-11", "a url without checksum", expected, fix)
    listed = "://" in checksum
    known = None if listed else _checksum(place, checksum)
    try:
        return RemoteFile(url=url, checksum=known, checksum_url=checksum if listed else None)
    except ValueError as error:
        fix = "correct the address, or download the file yourself and name it as path"
        raise _refused(place, "MANI-10", error, fix) from error


def _checksum(place: Line, text: str) -> Checksum:
    try:
        return parse_checksum(text)
    except ValueError as error:
        raise _refused(place, "MANI-11", error, "correct the checksum") from error


def _weight(place: Line, text: str | None) -> float | None:
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


def _split(place: Line, text: str | None) -> SpeciesSplit | None:
    known = get_args(SpeciesSplit)
    if text is not None and text not in known:
        nearest = difflib.get_close_matches(text, known, n=1)
        fix = f"did you mean {nearest[0]}?" if nearest else "write - to let the run divide the genome"
        raise place.error("MANI-14", f"split is {text}", f"{', '.join(known)} or -", fix)
    return cast("SpeciesSplit | None", text)


def _refused(place: Line, code: str, error: ValueError, fix: str) -> DataError:
    """An error from one that says `what is found; what is expected`."""
    found, _, expected = str(error).partition("; ")
    return place.error(code, found, expected, fix)
