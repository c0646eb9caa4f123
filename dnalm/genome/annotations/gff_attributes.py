"""Column 9 of GFF3 and GTF, and telling the two apart.

What cannot be read of an attribute that ties nothing together, such as a semicolon inside a Note, is counted;
it is an error where an ID or a Parent, a gene_id or a transcript_id may be damaged. A GTF line whose whole
column is one word, as AUGUSTUS and BRAKER write genes and transcripts, has that word as its own id.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

from dnalm.genome.text import Line

GffFormat = Literal["gff3", "gtf"]
_TIES = {"gff3": ("ID", "Parent"), "gtf": ("gene_id", "transcript_id")}
_GTF_ATTRIBUTE = re.compile(r"""\s*([^\s"=;]+)\s+(?:"([^"]*)"|([^\s";]+))\s*(?:;[;\s]*|$)""")
_GTF_START = re.compile(r"""\s*[^\s"=;]+\s+("[^"]*"|[^\s";=]+)\s*(;|$)""")
_GTF_PART = re.compile(r"""(?:[^";]|"[^"]*")*;?[;\s]*""")
_BARE_WORD = re.compile(r"""[^\s";=]+""")
_VERSION = re.compile(r"##gff-version\s+3\b")
_OTHER_TRANSCRIPTS = ("transcript", "gene_segment")  # besides all that ends in RNA


class Attributes(NamedTuple):
    """Values by key, and how many attributes could not be read."""

    values: dict[str, str]
    num_unread: int = 0


def is_version_3(directive: str) -> bool:
    """Whether a line declares GFF3."""
    return bool(_VERSION.match(directive))


def tells_format(attributes: str) -> bool:
    """Whether a column 9 shows which format it is of: it is neither empty nor a bare word."""
    return attributes not in ("", ".") and not _bare_word(attributes)


def infer_format(path: Path, has_version: bool, attributes: str) -> GffFormat:
    """Tell the format by suffix; of a plain .gff by its directive or first attributes."""
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if ".gtf" in suffixes or ".gff2" in suffixes:
        return "gtf"
    if ".gff3" in suffixes or has_version:
        return "gff3"
    return "gtf" if _GTF_START.match(attributes) else "gff3"


def rank(kind: str) -> int:
    """What a type is to a transcript: 2 one itself, 1 a gene, 0 neither."""
    lower = kind.lower()
    if lower.endswith("rna") or lower.endswith(_OTHER_TRANSCRIPTS):
        return 2
    return 1 if lower.endswith("gene") else 0


def read_attributes(line: Line, text: str, *, form: GffFormat, kind: str) -> Attributes:
    """Read a line's attributes.

    Of a key that GTF repeats the first value counts; several Parents of GFF3 are one list.

    Args:
        line: for errors.
        text: column 9.
        form: of the file.
        kind: column 3.

    Raises:
        DataError: GFF-04, GFF-05.
    """
    if text in ("", "."):
        return Attributes({})
    if form == "gff3":
        return _read_gff3(line, text)
    word = _bare_word(text)
    if word:
        return Attributes({"gene_id" if rank(kind) == 1 else "transcript_id": word})
    return _read_gtf(line, text)


def _bare_word(text: str) -> str:
    word = text.strip("; ")
    return word if _BARE_WORD.fullmatch(word) else ""


def _read_gff3(line: Line, text: str) -> Attributes:
    """Values keep their commas encoded until `GffFeature.names` splits them."""
    values: dict[str, str] = {}
    num_unread, last = 0, ""
    for part in text.split(";"):
        key, equals, value = (word.strip() for word in part.partition("="))
        if equals:
            if key in _TIES["gff3"] and value != values.get(key, value):
                value = _repeated(line, key, values[key], value)
            values[key], last = value, key
        elif key:
            if last in _TIES["gff3"] or key in _TIES["gff3"]:
                hurt = last if last in _TIES["gff3"] else key
                found = f"{key!r} has no value, so that {hurt} may be cut short"
                fix = "write a semicolon inside a value as %3B, and what has no value after the others"
                raise line.error("GFF-04", found, "key=value, as GFF3 has", fix)
            num_unread += 1
    if num_unread and not values and _GTF_START.match(text):
        fix = "give the file the suffix .gtf"
        raise line.error("GFF-04", "the attributes are those of GTF", "key=value, as GFF3 has", fix)
    return Attributes(values, num_unread)


def _repeated(line: Line, key: str, before: str, value: str) -> str:
    if key == "Parent":
        return f"{before},{value}"
    found = f"ID is `{before}` and `{value}`"
    raise line.error("GFF-04", found, "one ID", "write a semicolon inside a value as %3B")


def _read_gtf(line: Line, text: str) -> Attributes:
    if text.count('"') % 2:
        raise line.error("GFF-05", "a quote is not closed", "values in pairs of quotes", "close the quote")
    values: dict[str, str] = {}
    place = num_unread = 0
    while place < len(text):
        match = _GTF_ATTRIBUTE.match(text, place)
        if match:
            values.setdefault(match[1], match[2] if match[2] is not None else match[3])
            place = match.end()
            continue
        part = _GTF_PART.match(text, place)
        assert part is not None, "it matches the empty text"
        if part[0].lstrip().startswith("#"):
            break  # a comment, as GTF 2.2 allows
        if part[0].strip("; "):
            _check_unread(line, part[0].strip("; "), is_first=not values)
            num_unread += 1
        place = part.end()
    return Attributes(values, num_unread)


def _check_unread(line: Line, part: str, *, is_first: bool) -> None:
    is_gff3 = is_first and "=" in part.split('"')[0]
    if not is_gff3 and not any(key in part for key in _TIES["gtf"]):
        return
    found = "the attributes are those of GFF3" if is_gff3 else f"attribute {part[:30]!r} cannot be read"
    fix = "give the file the suffix .gff3" if is_gff3 else 'write it as key "value";'
    raise line.error("GFF-04", found, 'key "value"; as GTF has', fix)
