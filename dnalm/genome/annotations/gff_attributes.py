"""Column 9 of GFF3 and GTF, and telling the two apart."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from dnalm.genome.text import Line

GffFormat = Literal["gff3", "gtf"]
_GTF_ATTRIBUTE = re.compile(r"""\s*([^\s"=;]+)\s+(?:"([^"]*)"|([^\s";]+))\s*(?:;|$)""")
_GTF_START = re.compile(r"""\s*[^\s"=;]+\s+("[^"]*"|[^\s";=]+)\s*(;|$)""")


def infer_format(path: Path, has_version: bool, attributes: str) -> GffFormat:
    """Tell the format by suffix; of a plain .gff by its directive or first attributes."""
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if ".gtf" in suffixes or ".gff2" in suffixes:
        return "gtf"
    if ".gff3" in suffixes or has_version:
        return "gff3"
    return "gtf" if _GTF_START.match(attributes) else "gff3"


def read_attributes(line: Line, text: str, kind: GffFormat) -> dict[str, str]:
    """Read a line's attributes; of a key that GTF repeats, the first.

    Raises:
        DataError: GFF-04, GFF-05.
    """
    if text in ("", "."):
        return {}
    return _read_gtf(line, text) if kind == "gtf" else _read_gff3(line, text)


def _read_gff3(line: Line, text: str) -> dict[str, str]:
    """Values keep their commas encoded until `GffFeature.names` splits them."""
    attributes = {}
    for part in text.split(";"):
        key, equals, value = part.strip().partition("=")
        if equals:
            attributes[key] = value
        elif key:
            is_gtf = _GTF_START.match(part)
            found = "the attributes are those of GTF" if is_gtf else f"attribute {key!r} has no value"
            fix = "give the file the suffix .gtf" if is_gtf else "write it as key=value"
            raise line.error("GFF-04", found, "key=value, as GFF3 has", fix)
    return attributes


def _read_gtf(line: Line, text: str) -> dict[str, str]:
    if text.count('"') % 2:
        raise line.error("GFF-05", "a quote is not closed", "values in pairs of quotes", "close the quote")
    attributes: dict[str, str] = {}
    place = 0
    while place < len(text.rstrip()):
        match = _GTF_ATTRIBUTE.match(text, place)
        if match is None:
            is_gff3 = "=" in text[place:].split('"')[0]
            rest = text[place:].strip()[:30]
            found = "the attributes are those of GFF3" if is_gff3 else f"attribute {rest!r} cannot be read"
            fix = "give the file the suffix .gff3" if is_gff3 else 'write it as key "value";'
            raise line.error("GFF-04", found, 'key "value"; as GTF has', fix)
        attributes.setdefault(match[1], match[2] if match[2] is not None else match[3])
        place = match.end()
    return attributes
