"""Files of variants: their form, their records checked one by one, and which alleles can be scored.

Three forms are recognised by their first lines, never by name. `vcf` has a line of VCF's column names, QUAL,
FILTER and INFO among them; `table` a row that names chrom, pos, ref and alt in any order and case, as PLINK's
.pvar does; `five` data at once, in the columns CHROM POS ID REF ALT that VCF begins with. Columns of the last
two are separated by tabs, commas, semicolons or bars, and may be quoted. Lines that begin with `##`, or with
`#` and a space, may stand above all of them; a VCF without `##fileformat` is read as one of 4.3.

Positions become 0-based here and nowhere else. What is malformed raises with file and line (VCF-01 to 23);
what is well-formed but cannot be scored has a `Reason`.

pysam (htslib) writes our output's index but does not read the input: of the malformed files in
tests/genome/variants it reads 8 of 25 as sound (empty REF, letters in alleles, QUAL, columns, Latin-1), names
no line of the others, and refuses 13 of 14 sound ones (tables, five columns, no `##fileformat`, blank lines).
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
from dnalm.genome.text import VCF, Line, read_lines
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
_FIXED_COLUMNS = ("CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO")
_FIVE = {"chrom": 0, "pos": 1, "id": 2, "ref": 3, "alt": 4}
_NAMES = {
    "chrom": ("chrom", "#chrom", "chr", "chromosome", "contig"),
    "pos": ("pos", "position"),
    "ref": ("ref", "reference"),
    "alt": ("alt", "alternate"),
    "id": ("id", "name", "rsid"),
}
_DELIMITERS = ("\t", ",", ";", "|")
_LENGTH = re.compile(r"##contig=<(?:.*,)?length=(\d{1,18})[,>]")
_INFO = re.compile(r"##INFO=<ID=([^,>]+),Number=([^,>]+)")
_BASES = frozenset("ACGT")
_IUPAC = _BASES | frozenset("NRYSWKMBDHV")
_WITH_POINT = re.compile(r"(?<=\d)\.0+$")
_MOST_ALTS = 10_000  # of a record; the catalogues of all known genomes have some hundreds
_MISMATCH_LIMIT = 0.001
_JUDGED_FROM = 1000  # records


@dataclass(frozen=True, kw_only=True)
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
    places: dict[str, int] = field(default_factory=lambda: dict(_FIVE))
    counts: dict[str, str] = field(default_factory=dict)
    delimiter: str = "\t"


def find_form(path: Path) -> Form:
    """Read the beginning of a file.

    Raises:
        DataError: VCF-01, the file is empty or has no header that can be read.
    """
    header: list[str] = []
    is_vcf = False
    for line in read_lines(path, VCF):
        text = line.text
        if text.startswith(("##", "# ")):
            header.append(text)
            is_vcf |= text.startswith("##fileformat")
        elif text.upper().split()[:1] == ["#CHROM"] and (is_vcf or {*_FIXED_COLUMNS[5:]} <= {*text.split()}):
            return _vcf_form(line, header)
        elif text.strip() and is_vcf:
            raise _fault("VCF-01", line, "the `#CHROM` line is missing", "it ends a VCF's header")
        elif text.strip():
            return _other_form(line)
    found = "the `#CHROM` line is missing" if header else "the file is empty"
    raise _fault("VCF-01", Line(path, len(header) + 1, ""), found, "variants with their columns")


def _fault(code: str, line: Line, found: str, expected: str) -> DataError:
    return line.error(code, found, expected, _FIXES[code])


def _vcf_form(line: Line, header: list[str]) -> Form:
    names = line.text
    columns = tuple(names.removeprefix("#").split("\t" if "\t" in names else None))  # pasted ones have spaces
    if columns[:8] != _FIXED_COLUMNS:
        found = f"the header names the columns {', '.join(name[:20] for name in columns[:8])}"
        raise _fault("VCF-01", line, found, ", ".join(_FIXED_COLUMNS))
    samples = columns[9:]
    if len(set(samples)) < len(samples):
        twice = next(name for name in samples if samples.count(name) > 1)
        raise _fault("VCF-19", line, f"sample `{twice}` occurs twice", "one column for each sample")
    kept = [text for text in header if text.startswith("##")]
    if not (header and header[0].startswith("##fileformat=VCF")):
        kept = ["##fileformat=VCFv4.3", *(text for text in kept if not text.startswith("##fileformat"))]
    return Form(
        kind="vcf",
        header=(*kept, "#" + "\t".join(columns)),
        num_lines=line.number,
        columns=columns,
        counts={match[1]: match[2] for text in kept if (match := _INFO.match(text))},
    )


def _other_form(line: Line) -> Form:
    """The form of a file without VCF's header, by its first line."""
    text = line.text
    for delimiter in _DELIMITERS:
        fields = _split(text, delimiter, strict=False)
        lower = [name.strip().lower() for name in fields]
        places = {
            key: next(lower.index(name) for name in names if name in lower)
            for key, names in _NAMES.items()
            if any(name in lower for name in names)
        }
        if {"chrom", "pos", "ref", "alt"} <= set(places):
            return Form(
                kind="table",
                header=(text,),
                num_lines=line.number,
                columns=tuple(fields),
                places=places,
                delimiter=delimiter,
            )
        if len(fields) >= 5 and fields[1].lstrip("-").isdigit():
            extra = (f"column{place}" for place in range(6, len(fields) + 1))
            columns = (*_FIXED_COLUMNS[:5], *extra)
            return Form(
                kind="five", header=(), num_lines=line.number - 1, columns=columns, delimiter=delimiter
            )
    count = len(text.split("\t"))
    if count == 1 and len(text.split()) >= 4:
        raise _spaced(line)
    found = f"no `##fileformat` line, and the first line has {count} columns: {text[:60]!r}"
    raise _fault("VCF-01", line, found, "a header, or five columns CHROM POS ID REF ALT")


def _spaced(line: Line) -> DataError:
    return _fault("VCF-14", line, "fields are separated by spaces", "fields separated by tabs")


def _split(line: str, delimiter: str, *, strict: bool) -> list[str]:
    if '"' not in line:
        return line.split(delimiter)
    (fields,) = csv.reader([line], delimiter=delimiter, strict=strict)
    return [text.replace("\t", " ") for text in fields]


@dataclass(frozen=True, slots=True, kw_only=True)
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
    for line in read_lines(path, VCF):
        if line.number > form.num_lines and line.text.strip() and not line.text.startswith("#"):
            yield _record(line, form)


def _record(line: Line, form: Form) -> Record:
    fields, is_table = _fields(line, form), form.kind == "table"
    chrom, pos, ref, alt = (fields[form.places[key]].strip() for key in ("chrom", "pos", "ref", "alt"))
    if is_table:
        pos = _WITH_POINT.sub("", pos)  # as pandas writes whole numbers of a column with gaps
    if not (pos.isascii() and pos.isdigit()):
        raise _fault("VCF-03", line, f"POS `{pos}` is not a positive integer", "a whole number from 1")
    if is_table and ref == "-":
        ref = ""
    elif ref in ("", "."):
        raise _fault("VCF-08", line, "REF is empty", "at least one base")
    elif not set(ref.upper()) <= _IUPAC:
        raise _illegal(line, "REF", ref)
    if form.kind == "vcf" and fields[5] != ".":
        try:
            float(fields[5])
        except ValueError:
            found = f"QUAL `{fields[5]}` is not a number"
            raise _fault("VCF-16", line, found, "a number or `.`") from None
    alts = alt.split(",", _MOST_ALTS)
    if len(alts) > _MOST_ALTS:
        raise _fault("VCF-22", line, f"more than {_MOST_ALTS:,} ALTs", "an ALT for each allele")
    return Record(
        line=line.number,
        contig=chrom,
        start=int(pos) - 1,
        ref=ref.upper(),
        alts=tuple(_alt(line, alt.strip(), is_table=is_table) for alt in alts),
        fields=fields,
    )


def _fields(line: Line, form: Form) -> tuple[str, ...]:
    """The columns of a line, without the quotes that a table may have around them."""
    if form.kind == "vcf":
        fields = line.text.split("\t")
    else:
        try:
            fields = _split(line.text, form.delimiter, strict=True)
        except csv.Error as error:
            found = f"the quotes cannot be read ({error})"
            raise _fault("VCF-02", line, found, "quotes in pairs around a column") from error
    have, wanted = len(fields), len(form.columns)
    if have == 1 < wanted and len(fields[0].split()) >= 4:
        raise _spaced(line)
    if have != wanted:
        code, expected = "VCF-02", f"{wanted}, as the first line"
        if form.kind == "vcf":
            is_cut = have < len(_FIXED_COLUMNS)
            code = "VCF-02" if is_cut else "VCF-19"
            expected = f"at least 8, and {wanted} by the header" if is_cut else f"{wanted}, as the header has"
        raise _fault(code, line, f"line {line.number} has {have} columns", expected)
    return tuple(map(unharmed, fields)) if form.kind == "table" else tuple(fields)


def _illegal(line: Line, column: str, text: str) -> DataError:
    found = f"{column} `{text[:40].upper()}` has illegal letters"
    return _fault("VCF-09", line, found, "A, C, G, T, N")


def _alt(line: Line, text: str, *, is_table: bool) -> str:
    alt = text.upper()
    if alt == "-" and is_table:
        return ""
    if not alt or alt[0] == "." or alt[-1] == "." or any(mark in alt for mark in "<>[]*"):
        return text or "."  # symbolic, a breakend, or none
    if not set(alt) <= _IUPAC:
        raise _illegal(line, "ALT", alt)
    return alt


def num_values(form: Form, name: str, num_alts: int) -> int | None:
    """How many values an INFO field is declared to have where that depends on the ALTs."""
    return {"A": num_alts, "R": num_alts + 1}.get(form.counts.get(name, ""))


def miscounted(record: Record, form: Form) -> list[str]:
    """INFO fields that are to have a value for each ALT, or for each allele, and have another number."""
    names = []
    for entry in record.fields[7].split(";"):
        name, _, value = entry.partition("=")
        per = num_values(form, name, len(record.alts))
        if per is not None and value not in ("", ".") and value.count(",") + 1 != per:
            names.append(name)
    return names


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


@dataclass(frozen=True, slots=True, kw_only=True)
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
    if record.start < 0 or (contig is not None and _is_telomere(record, contig)):
        return [Reason.TELOMERE] * len(record.alts)
    if contig is None:
        return [Reason.NO_CONTIG] * len(record.alts)
    if len(record.ref) > max_allele_bp:
        return [Reason.TOO_LONG] * len(record.alts)
    end = record.start + len(record.ref)
    whole = _compare(record.ref, to_text(bases(store.fetch(contig.name, record.start, end))))
    if whole is not None:
        return [whole] * len(record.alts)
    return [_judge_alt(record, contig.name, alt, max_allele_bp) for alt in record.alts]


def _is_telomere(record: Record, contig: Contig) -> bool:
    """Whether a record lies one base past its contig, which is how VCF names the telomere there."""
    return record.start == contig.length and record.ref == "N"


def _compare(ref: str, truth: str) -> Reason | None:
    known = [(letter, base) for letter, base in zip(ref, truth, strict=True) if base != "N"]
    if any(letter != base for letter, base in known if letter in _BASES):
        return Reason.MISMATCH
    if "N" in truth:
        return Reason.REFERENCE_N
    return None if set(ref) <= _BASES else Reason.AMBIGUOUS


def _judge_alt(record: Record, contig: str, alt: str, max_allele_bp: int) -> Allele | Reason:
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
    start, ref, alt = trim(record.start, record.ref, alt)
    return Allele(contig=contig, start=start, ref=ref, alt=alt)


@dataclass(frozen=True, kw_only=True)
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
    contigs = {name: aliases.find(name) for name in first_line}
    for name, contig in contigs.items():
        if contig is None and not (aliases.is_unknown(name) and other_contigs == "skip"):
            raise aliases.error("VCF-07", f"{path}:{first_line[name]}", name)
    counts = _Counts(path, form, mismatch)
    for record in read_records(path, form):
        _check_end(path, record, contigs[record.contig])
        counts.add(record, judge(record, aliases, store, max_allele_bp=max_allele_bp))
    counts.check_mismatches()
    declared = (int(match[1]) for line in form.header if (match := _LENGTH.match(line)))
    lengths = (contig.length for contig in contigs.values() if contig)
    return Survey(
        form=form,
        aliases=aliases,
        num_records=counts.records,
        num_alleles=counts.alleles,
        reasons=dict(sorted(counts.reasons.items())),
        undeclared=dict(sorted(counts.undeclared.items())),
        miscounted=dict(sorted(counts.miscounted.items())),
        is_sorted=counts.is_sorted,
        longest_bp=max([counts.end_bp, *lengths, *declared], default=0),
        sha256=file_sha256(path),
    )


def _check_end(path: Path, record: Record, contig: Contig | None) -> None:
    if contig is None or _is_telomere(record, contig):
        return
    if record.start + len(record.ref) > contig.length:
        found = f"POS {record.start + 1} with a REF of {len(record.ref)} bases exceeds its contig"
        expected = f"at most {contig.length}, the length of {contig.name}"
        raise _fault("VCF-05", Line(path, record.line, ""), found, expected)


class _Counts:
    """Of the records so far."""

    def __init__(self, path: Path, form: Form, mismatch: str) -> None:
        self._path, self._form, self._mismatch = path, form, mismatch
        self.records = self.alleles = self.end_bp = 0
        self.reasons, self.undeclared, self.miscounted = Counter[str](), Counter[str](), Counter[str]()
        self.is_sorted = True
        self._compared = self._mismatched = 0
        self._first_mismatch: Record | None = None
        self._earlier, self._last = set[str](), ("", -1)

    def add(self, record: Record, judged: Sequence[Allele | Reason]) -> None:
        self.records += 1
        self.alleles += len(judged)
        self.reasons.update(str(entry) for entry in judged if isinstance(entry, Reason))
        self._note_order(record)
        if self._form.kind == "vcf":
            names = {entry.partition("=")[0] for entry in record.fields[7].split(";")} - {".", ""}
            self.undeclared.update(names - self._form.counts.keys())
            self.miscounted.update(set(miscounted(record, self._form)))
        self._compared += not {Reason.NO_CONTIG, Reason.TELOMERE, Reason.TOO_LONG} & set(judged)
        if Reason.MISMATCH in judged:
            self._mismatched += 1
            self._first_mismatch = self._first_mismatch or record
        if self._compared >= _JUDGED_FROM:
            self.check_mismatches()

    def _note_order(self, record: Record) -> None:
        contig, start = self._last
        self.end_bp = max(self.end_bp, record.start + len(record.ref))
        if record.contig != contig:
            self.is_sorted &= record.contig not in self._earlier
            self._earlier.add(record.contig)
        elif record.start < start:
            self.is_sorted = False
        self._last = (record.contig, record.start)

    def check_mismatches(self) -> None:
        """Stop at a file of another genome build."""
        first = self._first_mismatch
        if self._mismatch == "flag" or not first or self._mismatched <= _MISMATCH_LIMIT * self._compared:
            return
        raise DataError(
            "VCF-10",
            where=f"{self._path}:{first.line}",
            found=f"REF of {first.contig}:{first.start + 1} is not the reference's, and "
            f"{self._mismatched} of {self._compared} records so far differ from it",
            expected=f"at most {_MISMATCH_LIMIT:.1%}; this looks like another genome build",
            fix="give the reference that the file was made for, or set mismatch=flag",
        )
