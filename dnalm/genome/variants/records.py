"""The lines of a file of variants, checked one by one: this is where positions become 0-based.

What is malformed raises with file and line; what is well-formed but cannot be scored is left to
`alleles.judge`, which gives a reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dnalm.genome.text import VCF, read_lines
from dnalm.genome.variants.faults import fault
from dnalm.genome.variants.form import Form
from dnalm.tables import unharmed

_DNA = frozenset("ACGTN")
_IUPAC = _DNA | frozenset("RYSWKMBDHV")
_WITH_POINT = re.compile(r"(?<=\d)\.0+$")
_MOST_ALTS = 10_000  # of a record; the catalogues of all known genomes have some hundreds


@dataclass(frozen=True, slots=True)
class Record:
    """One line.

    Attributes:
        line: its number in the file, from 1.
        contig: as the file calls it.
        start: 0-based first base of REF; -1 where POS is 0.
        ref: in upper case; empty where a table writes `-`.
        alts: the same of each allele; symbolic ones as they are.
        fields: the line's columns.
    """

    line: int
    contig: str
    start: int
    ref: str
    alts: tuple[str, ...]
    fields: tuple[str, ...]


def read_records(path: Path, form: Form) -> Iterator[Record]:
    """Stream the records in the order of the file.

    Raises:
        DataError: VCF-02 to VCF-22, a line is malformed.
    """
    for _, number, line, _ in read_lines(path, VCF):
        if number <= form.num_lines or not line.strip() or line.startswith("#"):
            continue
        yield _record(path, form, number, line)


def miscounted(record: Record, form: Form) -> list[str]:
    """INFO fields that are to have a value for each ALT, or for each allele, and have another number."""
    names = []
    for entry in record.fields[7].split(";"):
        name, _, value = entry.partition("=")
        per = num_values(form, name, len(record.alts))
        if per is not None and value not in ("", ".") and value.count(",") + 1 != per:
            names.append(name)
    return names


def num_values(form: Form, name: str, num_alts: int) -> int | None:
    """How many values an INFO field is declared to have where that depends on the ALTs."""
    return {"A": num_alts, "R": num_alts + 1}.get(form.counts.get(name, ""))


def _record(path: Path, form: Form, number: int, line: str) -> Record:
    fields = form.split(path, number, line)
    if form.kind == "table":
        fields = tuple(map(unharmed, fields))
    if len(fields) != len(form.columns):
        raise _wrong_columns(path, form, number, fields)
    place = form.places
    text = fields[place["pos"]].strip()
    if form.kind == "table":
        text = _WITH_POINT.sub("", text)  # as pandas writes whole numbers of a column with gaps
    if not (text.isascii() and text.isdigit()):
        raise fault(
            "VCF-03", path, number, f"POS `{text}` is not a positive integer", "a whole number from 1"
        )
    ref = _letters(path, form, number, fields[place["ref"]])
    if form.kind == "vcf":
        _check_qual(path, number, fields[5])
    texts = fields[place["alt"]].split(",", _MOST_ALTS)
    if len(texts) > _MOST_ALTS:
        raise fault("VCF-22", path, number, f"more than {_MOST_ALTS:,} ALTs", "an ALT for each allele")
    alts = tuple(_alt(path, number, alt.strip(), is_table=form.kind == "table") for alt in texts)
    return Record(number, fields[place["chrom"]].strip(), int(text) - 1, ref, alts, fields)


def _letters(path: Path, form: Form, number: int, text: str) -> str:
    ref = text.strip().upper()
    if ref == "-" and form.kind == "table":
        return ""
    if ref in ("", "."):
        raise fault("VCF-08", path, number, "REF is empty", "at least one base")
    if not set(ref) <= _IUPAC:
        raise fault("VCF-09", path, number, f"REF `{text[:40]}` has illegal letters", "A, C, G, T, N")
    return ref


def _alt(path: Path, number: int, text: str, *, is_table: bool) -> str:
    alt = text.upper()
    if alt == "-" and is_table:
        return ""
    is_symbol = (
        alt in ("", ".", "*") or any(mark in alt for mark in "<>[]*") or alt[0] == "." or alt[-1] == "."
    )
    if is_symbol:
        return text or "."
    if not set(alt) <= _IUPAC:
        raise fault("VCF-09", path, number, f"ALT `{text[:40]}` has illegal letters", "A, C, G, T, N")
    return alt


def _check_qual(path: Path, number: int, text: str) -> None:
    try:
        float("0" if text == "." else text)
    except ValueError:
        raise fault("VCF-16", path, number, f"QUAL `{text}` is not a number", "a number or `.`") from None


def _wrong_columns(path: Path, form: Form, number: int, fields: tuple[str, ...]) -> Exception:
    if len(fields) == 1 and len(fields[0].split()) >= 4:
        return fault("VCF-14", path, number, "fields are separated by spaces", "fields separated by tabs")
    have, wanted = len(fields), len(form.columns)
    if form.kind == "vcf" and have < len(form.columns[:8]):
        found = f"line {number} has {have} columns"
        return fault("VCF-02", path, number, found, f"at least 8, and {wanted} by the header")
    if form.kind != "vcf":
        return fault(
            "VCF-02", path, number, f"line {number} has {have} columns", f"{wanted}, as the first line"
        )
    return fault("VCF-19", path, number, f"line {number} has {have} columns", f"{wanted}, as the header has")
