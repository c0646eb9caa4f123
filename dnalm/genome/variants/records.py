"""The lines of a file of variants, checked one by one: this is where positions become 0-based.

What is malformed raises with file and line; what is well-formed but cannot be scored is left to
`alleles.judge`, which gives a reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dnalm.genome.text import VCF, read_lines
from dnalm.genome.variants.faults import fault
from dnalm.genome.variants.form import Form

_DNA = frozenset("ACGTN")
_IUPAC = _DNA | frozenset("RYSWKMBDHV")


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
        DataError: VCF-02 to VCF-20, a line is malformed.
    """
    for _, number, line, _ in read_lines(path, VCF):
        if number <= len(form.header) or not line.strip():
            continue
        if line.startswith("#"):
            continue
        yield _record(path, form, number, line)


def _record(path: Path, form: Form, number: int, line: str) -> Record:
    fields = tuple(line.split("\t"))
    if len(fields) != len(form.columns):
        raise _wrong_columns(path, form, number, fields)
    place = form.places
    text = fields[place["pos"]].strip()
    if not (text.isascii() and text.isdigit()):
        raise fault(
            "VCF-03", path, number, f"POS `{text}` is not a positive integer", "a whole number from 1"
        )
    ref = _letters(path, form, number, fields[place["ref"]])
    if form.kind == "vcf":
        _check_qual(path, number, fields[5])
    alts = tuple(fields[place["alt"]].split(","))
    alts = tuple(_alt(path, number, alt.strip(), is_table=form.kind == "table") for alt in alts)
    if form.kind == "vcf":
        _check_info(path, form, number, fields[7], len(alts))
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


def _check_info(path: Path, form: Form, number: int, text: str, num_alts: int) -> None:
    """Values of the fields that are declared to have one for each ALT, or for each allele."""
    for entry in text.split(";"):
        name, is_value, value = entry.partition("=")
        per = {"A": num_alts, "R": num_alts + 1}.get(form.counts.get(name, ""))
        if per is None or not is_value or value == ".":
            continue
        found = value.count(",") + 1
        if found != per:
            values = (
                f"{found} value{'s' if found > 1 else ''} for {num_alts} ALT{'s' if num_alts > 1 else ''}"
            )
            rule = f"{per}, for its Number is {form.counts[name]}"
            raise fault("VCF-17", path, number, f"INFO {name}: {values}", rule)


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
