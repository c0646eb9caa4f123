"""Lines of GFF3 and GTF, checked one by one and converted to 0-based half-open intervals.

Codes of errors: GFF-01 columns, 02 start > end, 03 start 0, 04 the other format's attributes, 05 quotes, 07
phase, 09 unknown contig, 13 past the contig, 14 not a whole number, 15 strand, 16 empty, 17 spaces, 20 to 22
damaged compression, 23 not text, 24 a line too long. Policies: comments, directives, blank lines
and UCSC's `track` and `browser` lines are skipped; lines from a `>` on are sequence, until one has columns
again, as in files put end to end (GFF-06); `%09` and the like are decoded in names, and a `%` without two
hexadecimal digits stands for itself (GFF-11); a CDS without phase is counted, as many tools leave it out
(GFF-07). On a contig that a line declares circular a feature may end past the contig, and continues at its
start.

What cannot be read of an attribute that ties nothing together, such as a semicolon inside a Note, is counted;
it is an error where an ID or a Parent, a gene_id or a transcript_id may be damaged (GFF-04). A GTF line whose
whole column is one word, as AUGUSTUS and BRAKER write genes and transcripts, has that word as its own id.

Formats: https://github.com/The-Sequence-Ontology/Specifications/blob/master/gff3.md (1.26);
https://mblab.wustl.edu/GTF22.html.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from dnalm.errors import DataError
from dnalm.genome.bed import AnnotationReader, IntervalTable, OtherContigs
from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.store import Contig, GenomeStore
from dnalm.genome.text import GFF, Line, OnRead, read_lines

_SUFFIXES = {".gff", ".gff2", ".gff3", ".gtf"}
_COMPRESSED = (".gz", ".bgz")
_BIOTYPES = ("gene_biotype", "gene_type", "biotype")  # of NCBI, GENCODE, Ensembl
_NAMES = {  # of accessions of the Sequence Ontology, which GFF3 allows in column 3
    "SO:0000704": "gene", "SO:0000336": "pseudogene", "SO:0000673": "transcript", "SO:0000234": "mRNA",
    "SO:0000253": "tRNA", "SO:0000252": "rRNA", "SO:0000655": "ncRNA", "SO:0000276": "miRNA",
    "SO:0000274": "snRNA", "SO:0000275": "snoRNA", "SO:0001877": "lncRNA", "SO:0000147": "exon",
    "SO:0000316": "CDS", "SO:0000188": "intron", "SO:0000203": "UTR", "SO:0000204": "five_prime_UTR",
    "SO:0000205": "three_prime_UTR", "SO:0000318": "start_codon", "SO:0000319": "stop_codon",
}  # fmt: skip
_VERSION = re.compile(r"##gff-version\s+3\b")
_REGION = re.compile(r"##sequence-region\s+(\S+)\s+(\d+)\s+(\d+)")
_CIRCULAR = re.compile(r"(?:^|;)\s*is_circular=true\s*(?:;|$)", re.IGNORECASE)
_GFF3_TIES, _GTF_TIES = ("ID", "Parent"), ("gene_id", "transcript_id")
_GTF_ATTRIBUTE = re.compile(r"""\s*([^\s"=;]+)\s+(?:"([^"]*)"|([^\s";]+))\s*(?:;[;\s]*|$)""")
_GTF_START = re.compile(r"""\s*[^\s"=;]+\s+("[^"]*"|[^\s";=]+)\s*(;|$)""")
_GTF_PART = re.compile(r"""(?:[^";]|"[^"]*")*;?[;\s]*""")
_BARE_WORD = re.compile(r"""[^\s";=]+""")


@dataclass(frozen=True, slots=True, kw_only=True)
class GffFeature:
    """A feature of a line.

    Attributes:
        kind: column 3, as written.
        contig, start, end: 0-based and half-open, in the contig's coordinates; the end is past the contig's
            where the feature crosses the origin of a circular one.
        strand: `+`, `-`, or `.` where there is none or it is unknown (`?`).
        attributes: column 9, decoded.
    """

    line: Line
    kind: str
    contig: Contig
    start: int
    end: int
    strand: str
    attributes: dict[str, str]

    @property
    def pieces(self) -> list[tuple[int, int]]:
        """Its intervals within the contig: two where it crosses the origin."""
        length = self.contig.length
        if self.end <= length:
            return [(self.start, self.end)]
        return [(self.start, length), (0, self.end - length)]

    @property
    def type(self) -> str:
        """`kind`, but `pseudogene` of a gene that is one only by its attributes, as in older RefSeq files."""
        is_pseudo = self.attributes.get("pseudo") == "true" or any(
            self.attributes.get(key, "").endswith("pseudogene") for key in _BIOTYPES
        )
        return "pseudogene" if self.kind == "gene" and is_pseudo else self.kind

    def names(self, key: str) -> list[str]:
        """The comma-separated names of an attribute such as Parent, decoded; empty if there is none."""
        text = self.attributes.get(key, "")
        return [unquote(name) for name in text.split(",") if name]


def is_gff(path: Path) -> bool:
    """Whether a file is GFF3 or GTF by its name."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[:-1] if suffixes and suffixes[-1] in _COMPRESSED else suffixes
    return bool(last) and last[-1] in _SUFFIXES


def rank(kind: str) -> int:
    """What a type is to a transcript: 2 one itself, 1 a gene, 0 neither."""
    lower = kind.lower()
    if lower.endswith(("rna", "transcript", "gene_segment")):
        return 2
    return 1 if lower.endswith("gene") else 0


def read_gff_table(
    path: Path,
    store: GenomeStore,
    *,
    other_contigs: OtherContigs = "error",
    on_read: OnRead | None = None,
) -> IntervalTable:
    """Read a file of features; arguments as of `AnnotationReader`.

    Returns:
        A feature a row, named by its type; two rows for one that crosses the origin of a circular contig.
    """
    reader = GffReader(path, store, other_contigs=other_contigs, on_read=on_read)
    rows = (
        (feature.contig.offset + start, feature.contig.offset + end, feature.line.number, feature.type, 0.0)
        for feature in reader
        for start, end in feature.pieces
    )
    return reader.table(rows)


class GffReader(AnnotationReader[GffFeature]):
    """Iterates over the features of GFF3 or GTF (GFF-01 to GFF-24).

    The format is inferred from the suffix; of a plain .gff, from its directive or its first attributes.
    """

    text_format, contig_code, nouns = GFF, "GFF-09", ("records", "features")

    def _survey(self, store: GenomeStore) -> None:
        self._regions: dict[str, tuple[Line, int]] = {}  # ends of contigs, by `##sequence-region`
        self._has_version = False
        first = ""  # column 9 that shows which format it is of: neither empty nor a bare word
        names: dict[str, None] = {}
        circles: dict[str, str] = {}
        for _, columns in self._data_lines():
            name = unquote(columns[0])
            names[name] = None
            if len(columns) > 8:
                if not first and columns[8] not in ("", ".") and not _bare_word(columns[8]):
                    first = columns[8]
                if columns[3] == "1" and _CIRCULAR.search(columns[8]):
                    circles[name] = columns[4]
        suffixes = {suffix.lower() for suffix in self.path.suffixes}
        is_gtf = bool(suffixes & {".gtf", ".gff2"})
        if not is_gtf and ".gff3" not in suffixes and not self._has_version:
            is_gtf = bool(_GTF_START.match(first))
        self.format: Literal["gff3", "gtf"] = "gtf" if is_gtf else "gff3"
        self.aliases = ContigAliases(store, [*names, *self._regions])
        for name, (line, end) in self._regions.items():
            contig = self.aliases.find(name)
            if contig and end > contig.length:
                raise _past_end(line, "region", end, name, contig)
        found = ((self.aliases.find(name), end) for name, end in circles.items())
        self.circular = frozenset(
            contig.name for contig, end in found if contig and end == str(contig.length)
        )

    def notes(self) -> list[str]:
        """Sentences about what was skipped or is missing."""
        notes = super().notes()
        if self._num_without_phase:
            notes.append(f"GFF-07 {self.path}: {self._num_without_phase} CDS lines have no phase")
        if self._num_unread:
            notes.append(f"GFF-04 {self.path}: {self._num_unread} attributes without a value passed over")
        if self._sequence:
            notes.append(f"GFF-06 {self.path}:{self._sequence.number}: sequence, not read")
        return notes

    def _data_lines(self) -> Iterator[tuple[Line, list[str]]]:
        self._num_without_phase = self._num_unread = 0
        self._sequence: Line | None = None
        in_sequence = False
        for line in read_lines(self.path, self.text_format, self._on_read):
            text = line.text
            if text.startswith(">"):
                in_sequence, self._sequence = True, self._sequence or line
            elif in_sequence and "\t" not in text:
                continue
            elif "\t" not in text and text.split(maxsplit=1)[:1] in (["track"], ["browser"]):
                continue  # of UCSC's custom tracks
            elif text.startswith("#"):
                self._has_version |= bool(_VERSION.match(text))
                region = _REGION.match(text)
                if region:
                    self._regions[unquote(region[1])] = line, int(region[3])
            elif text.strip():
                in_sequence = False
                yield line, text.split("\t")

    def _row(self, line: Line, columns: list[str]) -> GffFeature | None:
        _check_columns(line, columns)
        start, end = int(columns[3]), int(columns[4])
        kind = sys.intern(_NAMES.get(columns[2], columns[2]))
        self._num_without_phase += columns[2] == "CDS" and columns[7] == "."
        attributes = self._attributes(line, columns[8], kind)
        name = unquote(columns[0])
        contig = self._find_contig(line, name)
        if contig is None:
            return None
        if contig.name in self.circular and start > contig.length:
            start, end = start - contig.length, end - contig.length
        is_across = contig.name in self.circular and start <= contig.length and end < start + contig.length
        if end > contig.length and not is_across:
            raise _past_end(line, "end", end, name, contig)
        return GffFeature(
            line=line,
            kind=kind,
            contig=contig,
            start=start - 1,
            end=end,
            strand=columns[6].replace("?", "."),
            attributes=attributes,
        )

    def _attributes(self, line: Line, text: str, kind: str) -> dict[str, str]:
        if text in ("", "."):
            return {}
        if self.format == "gff3":
            values, num_unread = _read_gff3(line, text)
        elif word := _bare_word(text):
            return {_GTF_TIES[0] if rank(kind) == 1 else _GTF_TIES[1]: word}
        else:
            values, num_unread = _read_gtf(line, text)
        self._num_unread += num_unread
        return values


def _check_columns(line: Line, columns: list[str]) -> None:
    """Check all columns but the attributes, and the contig's name."""
    if len(columns) != 9:
        if len(columns) < 3 and len(line.text.split()) >= 8:
            found = "the columns are separated by spaces"
            raise line.error("GFF-17", found, "9 columns separated by tabs", "replace the spaces by tabs")
        found = f"the line has {len(columns)} column{'s' if len(columns) > 1 else ''}"
        fix = "complete the line; an empty column is a dot"
        raise line.error("GFF-01", found, "9 columns separated by tabs", fix)
    for text in columns[3:5]:
        if not (text.isascii() and text.isdecimal() and len(text) <= 10):
            rule = "a whole number in plain digits, from 1"
            raise line.error("GFF-14", f"{text!r} is not a position", rule, f"correct {text!r}")
    start, end = int(columns[3]), int(columns[4])
    if start == 0:
        fix = "add 1 to starts if the file is 0-based"
        raise line.error("GFF-03", "start 0", "positions of GFF and GTF count from 1", fix)
    if start > end:
        fix = "swap them; the strand is column 7"
        raise line.error("GFF-02", f"start {start} is above end {end}", "start <= end", fix)
    if columns[6] not in ("+", "-", ".", "?"):
        raise line.error("GFF-15", f"strand {columns[6]!r} in column 7", "+, -, . or ?", "correct column 7")
    if columns[7] not in ("0", "1", "2", "."):
        found = f"phase {columns[7]!r} in column 8"
        raise line.error("GFF-07", found, "0, 1 or 2 of a CDS, . of others", "correct column 8")


def _past_end(line: Line, what: str, end: int, name: str, contig: Contig) -> DataError:
    found = f"{what} {end} is past the end of `{name}`"
    fix = "check that the file was made for this assembly"
    return line.error("GFF-13", found, f"at most {contig.length}", fix)


def _bare_word(text: str) -> str:
    word = text.strip("; ")
    return word if _BARE_WORD.fullmatch(word) else ""


def _read_gff3(line: Line, text: str) -> tuple[dict[str, str], int]:
    """Values by key, and how many attributes could not be read; several Parents are one list.

    Values keep their commas encoded until `GffFeature.names` splits them.
    """
    values: dict[str, str] = {}
    num_unread, last = 0, ""
    for part in text.split(";"):
        key, equals, value = (word.strip() for word in part.partition("="))
        if equals:
            if key in _GFF3_TIES and value != values.get(key, value):
                if key == "ID":
                    found = f"ID is `{values[key]}` and `{value}`"
                    fix = "write a semicolon inside a value as %3B"
                    raise line.error("GFF-04", found, "one ID", fix)
                value = f"{values[key]},{value}"
            values[key], last = value, key
        elif key:
            hurt = next((tie for tie in (last, key) if tie in _GFF3_TIES), None)
            if hurt:
                found = f"{key!r} has no value, so that {hurt} may be cut short"
                fix = "write a semicolon inside a value as %3B, and what has no value after the others"
                raise line.error("GFF-04", found, "key=value, as GFF3 has", fix)
            num_unread += 1
    if num_unread and not values and _GTF_START.match(text):
        fix = "give the file the suffix .gtf"
        raise line.error("GFF-04", "the attributes are those of GTF", "key=value, as GFF3 has", fix)
    return values, num_unread


def _read_gtf(line: Line, text: str) -> tuple[dict[str, str], int]:
    """Values by key, and how many attributes could not be read; of a repeated key the first counts."""
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
        match = _GTF_PART.match(text, place)
        assert match is not None, "it matches the empty text"
        part, place = match[0].strip("; "), match.end()
        if part.lstrip().startswith("#"):
            break  # a comment, as GTF 2.2 allows
        if part:
            is_gff3 = not values and "=" in part.split('"')[0]
            if is_gff3 or any(key in part for key in _GTF_TIES):
                found = (
                    "the attributes are those of GFF3"
                    if is_gff3
                    else f"attribute {part[:30]!r} cannot be read"
                )
                fix = "give the file the suffix .gff3" if is_gff3 else 'write it as key "value";'
                raise line.error("GFF-04", found, 'key "value"; as GTF has', fix)
            num_unread += 1
    return values, num_unread
