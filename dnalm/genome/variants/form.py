"""Which form a file of variants has: told by its first lines, never by its name.

`vcf` has a line of VCF's column names, QUAL, FILTER and INFO among them; `table` a row that names chrom,
pos, ref and alt in any order and case, as PLINK's .pvar does; `five` data at once, in the columns CHROM POS
ID REF ALT that VCF begins with. Columns of the last two are separated by tabs, commas, semicolons or bars,
and may be quoted. Lines that begin with `##`, or with `#` and a space, may stand above all of them; a VCF
without `##fileformat` is read as one of 4.3.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dnalm.genome.text import VCF, read_lines
from dnalm.genome.variants.faults import fault

FIXED_COLUMNS = ("CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO")
_NAMES = {
    "chrom": ("chrom", "#chrom", "chr", "chromosome", "contig"),
    "pos": ("pos", "position"),
    "ref": ("ref", "reference"),
    "alt": ("alt", "alternate"),
    "id": ("id", "name", "rsid"),
}
_FIVE = {"chrom": 0, "pos": 1, "id": 2, "ref": 3, "alt": 4}
_DELIMITERS = ("\t", ",", ";", "|")
_LENGTH = re.compile(r"##contig=<(?:.*,)?length=(\d{1,18})[,>]")
_INFO = re.compile(r"##INFO=<ID=([^,>]+),Number=([^,>]+)")


@dataclass(frozen=True)
class Form:
    """How the lines of a file are to be read.

    Attributes:
        kind: of the file.
        header: its lines before the data, without line ends; of a VCF, `##fileformat` is the first.
        num_lines: lines of the file above the data, blank ones included.
        columns: names of the data's columns.
        places: which column holds `chrom`, `pos`, `ref`, `alt`, and `id` if there is one.
        counts: of a VCF, the declared `Number` of each INFO field.
        delimiter: what separates the columns.
    """

    kind: Literal["vcf", "five", "table"]
    header: tuple[str, ...]
    num_lines: int
    columns: tuple[str, ...]
    places: dict[str, int]
    counts: dict[str, str] = field(default_factory=dict)
    delimiter: str = "\t"

    def split(self, path: Path, number: int, line: str) -> tuple[str, ...]:
        """The columns of a line, without the quotes that a table may have around them.

        Raises:
            DataError: VCF-02, a quote is not closed.
        """
        if self.kind == "vcf":
            return tuple(line.split("\t"))
        try:
            return tuple(_split(line, self.delimiter, strict=True))
        except csv.Error as error:
            rule = "quotes in pairs around a column"
            raise fault("VCF-02", path, number, f"the quotes cannot be read ({error})", rule) from error

    def contig_lengths(self) -> list[int]:
        """What `##contig` lines of the header say, in bases."""
        return [int(match[1]) for line in self.header if (match := _LENGTH.match(line))]


def find_form(path: Path) -> Form:
    """Read the beginning of a file.

    Raises:
        DataError: VCF-01, the file is empty or has no header that can be read.
    """
    header: list[str] = []
    for _, number, line, _ in read_lines(path, VCF):
        if line.startswith(("##", "# ")):
            header.append(line)
        elif line.upper().split()[:1] == ["#CHROM"] and (
            _is_vcf(header) or {*FIXED_COLUMNS[5:]} <= {*line.split()}
        ):
            return _vcf(path, number, (*header, line))
        elif line.strip() and _is_vcf(header):
            raise fault("VCF-01", path, number, "the `#CHROM` line is missing", "it ends the header of a VCF")
        elif line.strip():
            return _bare(path, number, line)
    found = "the `#CHROM` line is missing" if header else "the file is empty"
    raise fault("VCF-01", path, len(header) + 1, found, "variants with their columns")


def _is_vcf(header: list[str]) -> bool:
    return any(line.startswith("##fileformat") for line in header)


def _vcf(path: Path, number: int, header: tuple[str, ...]) -> Form:
    is_spaced = "\t" not in header[-1]  # as of a header that was pasted from a page
    columns = tuple(header[-1].removeprefix("#").split(None if is_spaced else "\t"))
    if columns[:8] != FIXED_COLUMNS:
        found = f"the header names the columns {', '.join(name[:20] for name in columns[:8])}"
        raise fault("VCF-01", path, number, found, f"{', '.join(FIXED_COLUMNS)}")
    if not header[0].startswith("##fileformat=VCF"):
        others = [line for line in header if line.startswith("##") and not line.startswith("##fileformat")]
        header = ("##fileformat=VCFv4.3", *others, header[-1])
    header = tuple(line for line in header if not line.startswith("# "))
    samples = columns[9:]
    if len(set(samples)) < len(samples):
        twice = next(name for name in samples if samples.count(name) > 1)
        raise fault("VCF-19", path, number, f"sample `{twice}` occurs twice", "one column for each sample")
    counts = {match[1]: match[2] for line in header if (match := _INFO.match(line))}
    return Form("vcf", (*header[:-1], "#" + "\t".join(columns)), number, columns, dict(_FIVE), counts)


def _bare(path: Path, number: int, line: str) -> Form:
    """The form of a file without VCF's header, by its first line."""
    for delimiter in _DELIMITERS:
        fields = _split(line, delimiter, strict=False)
        lower = [name.strip().lower() for name in fields]
        places = {
            key: next(lower.index(name) for name in names if name in lower)
            for key, names in _NAMES.items()
            if any(name in lower for name in names)
        }
        if {"chrom", "pos", "ref", "alt"} <= set(places):
            return Form("table", (line,), number, tuple(fields), places, delimiter=delimiter)
        if len(fields) >= 5 and fields[1].lstrip("-").isdigit():
            extra = tuple(f"column{place}" for place in range(6, len(fields) + 1))
            names = (*FIXED_COLUMNS[:5], *extra)
            return Form("five", (), number - 1, names, dict(_FIVE), delimiter=delimiter)
    count = len(line.split("\t"))
    if count == 1 and len(line.split()) >= 4:
        raise fault("VCF-14", path, number, "fields are separated by spaces", "fields separated by tabs")
    found = f"no `##fileformat` line, and the first line has {count} columns: {line[:60]!r}"
    raise fault("VCF-01", path, number, found, "a header, or five columns CHROM POS ID REF ALT")


def _split(line: str, delimiter: str, *, strict: bool) -> list[str]:
    if '"' not in line:
        return line.split(delimiter)
    (fields,) = csv.reader([line], delimiter=delimiter, strict=strict)
    return [text.replace("\t", " ") for text in fields]
