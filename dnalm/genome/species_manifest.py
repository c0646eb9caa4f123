"""The manifest of a multi-species corpus: a tab-separated table, one genome a line.

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

CRLF and a byte-order mark are accepted, and gzip.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path

from dnalm.genome.species_fields import ABSENT, Place, SpeciesEntry, SpeciesSplit, read_entry
from dnalm.genome.text import SPECIES, read_lines
from dnalm.tables import replace_text

__all__ = ["COLUMNS", "SpeciesEntry", "SpeciesSplit", "read_species_manifest", "write_species_manifest"]

COLUMNS = ("name", "path", "url", "checksum", "weight", "split", "taxon")
_HEADER = f"a header line with the columns {', '.join(COLUMNS)}, separated by tabs"


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
    rows = _rows(path)
    number, header = next(rows, (1, []))
    _check_header(Place(path, number), header)
    entries: list[SpeciesEntry] = []
    lines: dict[str, int] = {}
    for number, cells in rows:
        place = Place(path, number)
        if len(cells) != len(header):
            fix = "separate cells by single tabs, and write - where there is no value"
            raise place.error("MANI-06", f"{len(cells)} cells", f"{len(header)}, as in the header", fix)
        entry = read_entry(place, dict(zip(header, cells, strict=True)))
        first = lines.setdefault(entry.name.casefold(), number)
        if first != number:
            found = f"{entry.name} is on line {first} too"
            raise place.error("MANI-08", found, "names that differ in more than case", "rename one of them")
        entries.append(entry)
    if not entries:
        fix = "fill the manifest; the comments of a template say how"
        raise Place(path, number).error("MANI-15", "no genomes", "a line for each, after the header", fix)
    _check_all_weighted(path, entries)
    return tuple(entries)


def write_species_manifest(path: Path, entries: Iterable[SpeciesEntry]) -> None:
    """Write what `read_species_manifest` reads; a file that is there is replaced at once."""
    lines = ["\t".join(COLUMNS)]
    for entry in entries:
        url = checksum = None
        if entry.remote is not None:
            url, checksum = entry.remote.url, entry.remote.checksum or entry.remote.checksum_url
        cells = (
            entry.name,
            entry.path,
            url,
            checksum or entry.checksum,
            entry.weight,
            entry.split,
            entry.taxon,
        )
        lines.append("\t".join(ABSENT if cell is None else str(cell) for cell in cells))
    replace_text(path, "\n".join(lines) + "\n")


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of the lines that hold any."""
    for _, number, line, _ in read_lines(path, SPECIES):
        if line.strip() and not line.startswith("#"):
            yield number, [cell.strip() for cell in line.split("\t")]


def _check_header(place: Place, header: list[str]) -> None:
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


def _check_all_weighted(path: Path, entries: list[SpeciesEntry]) -> None:
    without = [entry for entry in entries if entry.weight is None]
    if 0 < len(without) < len(entries):
        found = f"{without[0].name} has no weight, and others have"
        fix = "weigh every genome, or write - for all to weigh them by length"
        raise Place(path, without[0].line).error("MANI-13", found, "weights for all or for none", fix)
