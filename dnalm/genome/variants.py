"""The lines of a file of variants, checked one by one: this is where positions become 0-based.

What is malformed raises with file and line; what is well-formed but cannot be scored is left to
`alleles.judge`, which gives a reason.

Which form a file of variants has: told by its first lines, never by its name.

`vcf` has a line of VCF's column names, QUAL, FILTER and INFO among them; `table` a row that names chrom,
pos, ref and alt in any order and case, as PLINK's .pvar does; `five` data at once, in the columns CHROM POS
ID REF ALT that VCF begins with. Columns of the last two are separated by tabs, commas, semicolons or bars,
and may be quoted. Lines that begin with `##`, or with `#` and a space, may stand above all of them; a VCF
without `##fileformat` is read as one of 4.3.

What can be wrong with a file of variants, as sentences with file and line.

The first pass over a file of variants: everything that can be wrong with it, before any scoring.

From a record to the alleles that can be scored, each with the reason where it cannot.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

from dnalm.durable import file_sha256
from dnalm.errors import DataError
from dnalm.genome.alphabet import bases, to_text
from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.store import Contig, GenomeStore
from dnalm.genome.text import VCF, read_lines
from dnalm.tables import unharmed

_FIXES = {
    "VCF-01": "give a VCF, five tab columns CHROM POS ID REF ALT, or a table with these in its header",
    "VCF-02": "copy the file again, or remove the line",
    "VCF-03": "write positions as whole numbers from 1",
    "VCF-05": "give the genome build that the file was made for",
    "VCF-08": "write the reference bases, or remove the line",
    "VCF-09": "write alleles in the letters A, C, G, T, N",
    "VCF-14": "separate the columns by tabs",
    "VCF-16": "write a number or `.`",
    "VCF-22": "split the record, or remove it",
    "VCF-19": "make the columns of the line those of the header",
}


def fault(code: str, path: Path, line: int, found: str, expected: str) -> DataError:
    """The error of a line, with the advice that belongs to its code."""
    return DataError(code, where=f"{path}:{line}", found=found, expected=expected, fix=_FIXES[code])


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


_BASES = frozenset("ACGT")


class Reason(StrEnum):
    """Why an allele is not scored."""

    SYMBOLIC = "symbolic"
    BREAKEND = "breakend"
    SPANNING = "spanning_deletion"
    MISSING = "missing_alt"
    SAME = "alt_is_ref"
    AMBIGUOUS = "ambiguous_base"
    TOO_LONG = "too_long"
    TELOMERE = "telomere"
    NO_CONTIG = "no_contig"
    MISMATCH = "ref_mismatch"
    REFERENCE_N = "reference_n"


@dataclass(frozen=True, slots=True)
class Allele:
    """A REF and an ALT in place, what they share at both ends taken off.

    Attributes:
        contig: as the genome calls it.
        start: 0-based first base that differs.
        ref: bases that are replaced; empty for an insertion.
        alt: bases that replace them; empty for a deletion.
    """

    contig: str
    start: int
    ref: str
    alt: str


def trim(start: int, ref: str, alt: str) -> tuple[int, str, str]:
    """Take off what two alleles share, first at the end, then at the beginning; see `Allele`."""
    while ref and alt and ref[-1] == alt[-1]:
        ref, alt = ref[:-1], alt[:-1]
    while ref and alt and ref[0] == alt[0]:
        start, ref, alt = start + 1, ref[1:], alt[1:]
    return start, ref, alt


def at_telomere(record: Record, contig: Contig) -> bool:
    """Whether a record lies one base past its contig, which is how VCF names the telomere there."""
    return record.start == contig.length and record.ref == "N"


def judge(
    record: Record, aliases: ContigAliases, store: GenomeStore, *, max_allele_bp: int
) -> list[Allele | Reason]:
    """One entry for each ALT, in order.

    Args:
        record: a line whose REF, if its contig is known, lies within the contig.
        aliases: the contigs of the file.
        store: the genome.
        max_allele_bp: bases of the longest REF or ALT that is scored.
    """
    contig = aliases.find(record.contig)
    whole: Reason | None = None
    if record.start < 0:
        whole = Reason.TELOMERE
    elif contig is None:
        whole = Reason.NO_CONTIG
    elif at_telomere(record, contig):
        whole = Reason.TELOMERE
    elif len(record.ref) > max_allele_bp:
        whole = Reason.TOO_LONG
    else:
        end = record.start + len(record.ref)
        whole = _compare(record.ref, to_text(bases(store.fetch(contig.name, record.start, end))))
    if whole is not None or contig is None:
        return [whole or Reason.NO_CONTIG] * len(record.alts)
    return [_of_alt(record, contig.name, alt, max_allele_bp) for alt in record.alts]


def _compare(ref: str, truth: str) -> Reason | None:
    known = [(letter, base) for letter, base in zip(ref, truth, strict=True) if base != "N"]
    if any(letter != base for letter, base in known if letter in _BASES):
        return Reason.MISMATCH
    if "N" in truth:
        return Reason.REFERENCE_N
    return None if set(ref) <= _BASES else Reason.AMBIGUOUS


def _of_alt(record: Record, contig: str, alt: str, max_allele_bp: int) -> Allele | Reason:
    if alt == "*":
        return Reason.SPANNING
    if alt == ".":
        return Reason.MISSING
    if "<" in alt:
        return Reason.SYMBOLIC
    if not alt.isalpha() and alt:
        return Reason.BREAKEND
    if alt == record.ref:
        return Reason.SAME
    if len(alt) > max_allele_bp:
        return Reason.TOO_LONG
    if not set(alt) <= _BASES:
        return Reason.AMBIGUOUS
    return Allele(contig, *trim(record.start, record.ref, alt))


MISMATCH_LIMIT = 0.001
_JUDGED_FROM = 1000  # records


@dataclass(frozen=True)
class Survey:
    """What a file of variants holds.

    Attributes:
        form: how its lines are read.
        aliases: its contigs among the genome's.
        num_records: its lines of data.
        num_alleles: their ALTs.
        reasons: how many ALTs cannot be scored, by reason.
        undeclared: INFO fields that the header lacks, by name, and in how many records.
        miscounted: INFO fields with more or fewer values than alleles, by name, and in how many records; they
            are copied as they are.
        is_sorted: whether each contig is one run of ascending positions, as an index needs.
        longest_bp: of contigs in the file and in its header, as far as the end of any record.
        sha256: of the file.
    """

    form: Form
    aliases: ContigAliases
    num_records: int
    num_alleles: int
    reasons: dict[str, int]
    undeclared: dict[str, int]
    miscounted: dict[str, int]
    is_sorted: bool
    longest_bp: int
    sha256: str


def survey(
    path: Path,
    store: GenomeStore,
    *,
    max_allele_bp: int,
    mismatch: Literal["stop", "flag"],
    other_contigs: Literal["stop", "skip"],
) -> Survey:
    """Read the file twice, in bounded memory: for the names of its contigs, then for everything else.

    Args:
        path: the file.
        store: the genome.
        max_allele_bp: bases of the longest REF or ALT that is scored.
        mismatch: whether more than 0.1 % of REFs that are not the genome's stop the work.
        other_contigs: what to do with contigs that the genome lacks.

    Raises:
        DataError: VCF-01 to VCF-23; a line is malformed, or lies on an unknown contig or past its end, or
            too many REFs differ from the genome.
    """
    form = find_form(path)
    first_line: dict[str, int] = {}
    for record in read_records(path, form):
        first_line.setdefault(record.contig, record.line)
    aliases = ContigAliases(store, first_line)
    for name, line in first_line.items():
        if aliases.find(name) is None and not (aliases.is_unknown(name) and other_contigs == "skip"):
            raise aliases.error("VCF-07", f"{path}:{line}", name)
    tally = _Tally(path, mismatch)
    for record in read_records(path, form):
        _check_end(path, record, aliases)
        tally.add(record, judge(record, aliases, store, max_allele_bp=max_allele_bp), form)
    tally.check(at_end=True)
    lengths = [contig.length for name in first_line if (contig := aliases.find(name)) is not None]
    return Survey(
        form,
        aliases,
        tally.records,
        sum(tally.reasons.values()),
        {str(key): number for key, number in sorted(tally.reasons.items()) if key},
        dict(sorted(tally.undeclared.items())),
        dict(sorted(tally.miscounted.items())),
        tally.is_sorted,
        max([tally.end_bp, *lengths, *form.contig_lengths()], default=0),
        file_sha256(path),
    )


class _Tally:
    """Counts of the records so far."""

    def __init__(self, path: Path, mismatch: str) -> None:
        self.path, self.mismatch = path, mismatch
        self.records = self.compared = self.mismatched = self.end_bp = 0
        self.first: Record | None = None
        self.reasons: Counter[str] = Counter()
        self.undeclared: Counter[str] = Counter()
        self.miscounted: Counter[str] = Counter()
        self.is_sorted, self.done, self.last = True, set[str](), ("", -1)

    def add(self, record: Record, judged: Sequence[Allele | Reason], form: Form) -> None:
        self.records += 1
        self.reasons.update(str(entry) if isinstance(entry, Reason) else "" for entry in judged)
        self.compared += not {Reason.NO_CONTIG, Reason.TELOMERE, Reason.TOO_LONG} & set(judged)
        if Reason.MISMATCH in judged:
            self.mismatched += 1
            self.first = self.first or record
        self._follow(record)
        if form.kind == "vcf":
            names = {entry.partition("=")[0] for entry in record.fields[7].split(";")} - {".", ""}
            self.undeclared.update(names - form.counts.keys())
            self.miscounted.update(set(miscounted(record, form)))
        self.check(at_end=False)

    def _follow(self, record: Record) -> None:
        contig, start = self.last
        self.end_bp = max(self.end_bp, record.start + len(record.ref))
        if record.contig != contig:
            self.is_sorted = self.is_sorted and record.contig not in self.done
            self.done.add(contig)
        elif record.start < start:
            self.is_sorted = False
        self.last = (record.contig, record.start)

    def check(self, *, at_end: bool) -> None:
        if self.mismatch == "flag" or not self.first or (self.compared < _JUDGED_FROM and not at_end):
            return
        if self.mismatched > MISMATCH_LIMIT * self.compared:
            raise DataError(
                "VCF-10",
                where=f"{self.path}:{self.first.line}",
                found=f"REF of {self.first.contig}:{self.first.start + 1} is not the reference's, and "
                f"{self.mismatched} of {self.compared} records so far differ from it",
                expected=f"at most {MISMATCH_LIMIT:.1%}; this looks like another genome build",
                fix="give the reference that the file was made for, or go on with mismatch=flag",
            )


def _check_end(path: Path, record: Record, aliases: ContigAliases) -> None:
    contig = aliases.find(record.contig)
    if (
        contig is not None
        and record.start + len(record.ref) > contig.length
        and not at_telomere(record, contig)
    ):
        found = f"POS {record.start + 1} with a REF of {len(record.ref)} bases exceeds its contig"
        raise fault(
            "VCF-05", path, record.line, found, f"at most {contig.length}, the length of {contig.name}"
        )
