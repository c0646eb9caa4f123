"""Lines of GFF3 and GTF, checked one by one and converted to 0-based half-open intervals.

Codes of errors: GFF-01 columns, 02 start > end, 03 start 0, 04 the other format's attributes, 05 quotes, 07
phase, 09 unknown contig, 13 past the contig, 14 not a whole number, 15 strand, 16 empty, 17 spaces, 20 to 22
damaged compression, 23 not text, 24 a line too long. Policies: comments, directives, blank lines
and UCSC's `track` and `browser` lines are skipped; lines from a `>` on are sequence, until one has columns
again, as in files put end to end (GFF-06); `%09` and the like are decoded in names, and a `%` without two
hexadecimal digits stands for itself (GFF-11); a CDS without phase is counted, as many tools leave it out
(GFF-07), and so are attributes without a value (GFF-04). On a contig that a line declares circular a feature
may end past the contig, and continues at its start.

Formats: https://github.com/The-Sequence-Ontology/Specifications/blob/master/gff3.md (1.26);
https://mblab.wustl.edu/GTF22.html.

Column 9 of GFF3 and GTF, and telling the two apart.

What cannot be read of an attribute that ties nothing together, such as a semicolon inside a Note, is counted;
it is an error where an ID or a Parent, a gene_id or a transcript_id may be damaged. A GTF line whose whole
column is one word, as AUGUSTUS and BRAKER write genes and transcripts, has that word as its own id.

The features of a GFF file as intervals named by their types.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import unquote

from dnalm.errors import DataError
from dnalm.genome.bed import IntervalTable, OtherContigs, TableBuilder
from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.store import Contig, GenomeStore
from dnalm.genome.text import GFF, Line, OnRead, read_lines

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


_CIRCULAR = re.compile(r"(?:^|;)\s*is_circular=true\s*(?:;|$)", re.IGNORECASE)
_NAMES = {  # of accessions of the Sequence Ontology, which GFF3 allows in column 3
    "SO:0000704": "gene", "SO:0000336": "pseudogene", "SO:0000673": "transcript", "SO:0000234": "mRNA",
    "SO:0000253": "tRNA", "SO:0000252": "rRNA", "SO:0000655": "ncRNA", "SO:0000276": "miRNA",
    "SO:0000274": "snRNA", "SO:0000275": "snoRNA", "SO:0001877": "lncRNA", "SO:0000147": "exon",
    "SO:0000316": "CDS", "SO:0000188": "intron", "SO:0000203": "UTR", "SO:0000204": "five_prime_UTR",
    "SO:0000205": "three_prime_UTR", "SO:0000318": "start_codon", "SO:0000319": "stop_codon",
}  # fmt: skip
_DIRECTIVE = re.compile(r"##sequence-region\s+(\S+)\s+(\d+)\s+(\d+)")


@dataclass(frozen=True, slots=True)
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

    def names(self, key: str) -> list[str]:
        """The comma-separated names of an attribute such as Parent, decoded; empty if there is none."""
        text = self.attributes.get(key, "")
        return [unquote(name) for name in text.split(",") if name]


class GffReader:
    """Iterates over the features of a file, and afterwards knows what it skipped.

    Args:
        path: GFF3 or GTF, plain, gzip or bgzip.
        store: the genome it annotates; contig names may be aliases.
        other_contigs: whether a contig that the genome lacks is an error or skipped and counted.
        on_read: called with every piece of the file, which is read twice, for progress.

    Raises:
        DataError: GFF-01 to GFF-23, naming the line.
    """

    def __init__(
        self,
        path: Path,
        store: GenomeStore,
        *,
        other_contigs: OtherContigs = "error",
        on_read: OnRead | None = None,
    ) -> None:
        self.path, self._on_read = Path(path), on_read
        self._skips_others = other_contigs == "skip"
        self._regions: dict[str, tuple[Line, int, int]] = {}
        self._has_version = False
        self._reset()
        first = ""
        names: dict[str, None] = {}
        circles: dict[str, str] = {}
        for line in self._data_lines():
            columns = line.text.split("\t", 9)
            name = unquote(columns[0])
            names[name] = None
            if len(columns) > 8:
                first = first or (columns[8] if tells_format(columns[8]) else "")
                if columns[3] == "1" and _CIRCULAR.search(columns[8]):
                    circles[name] = columns[4]
        self.format: GffFormat = infer_format(self.path, self._has_version, first)
        self.aliases = ContigAliases(store, [*names, *self._regions])
        self._check_regions()
        found = ((self.aliases.find(name), end) for name, end in circles.items())
        self.circular = frozenset(
            contig.name for contig, end in found if contig and end == str(contig.length)
        )

    @property
    def declared_contigs(self) -> list[str]:
        """Contigs of the genome that the file names, in features or in `##sequence-region`."""
        return list(self.aliases.table.values())

    def __iter__(self) -> Iterator[GffFeature]:
        self._reset()
        num_features = 0
        columns: list[str] = []
        for line in self._data_lines():
            columns = line.text.split("\t")
            feature = self._feature(line, columns)
            if feature:
                num_features += 1
                yield feature
        if not num_features and not self.num_skipped:
            found, fix = "the file has no records", "give another file"
            raise Line(self.path, 1, "").error("GFF-16", found, "at least one line of a GFF or GTF file", fix)
        if not num_features:
            raise self.aliases.error("GFF-09", str(self.path), unquote(columns[0]))

    def _reset(self) -> None:
        self.num_skipped = self.num_without_phase = self.num_latin = self.num_unread = 0
        self._sequence: Line | None = None

    def notes(self) -> list[str]:
        """Sentences about what was skipped or is missing."""
        notes = []
        if self.num_skipped:
            contigs = len(self.aliases.unknown)
            notes.append(
                f"GFF-09 {self.path}: {self.num_skipped} features on {contigs} other contigs skipped"
            )
        if self.num_without_phase:
            notes.append(f"GFF-07 {self.path}: {self.num_without_phase} CDS lines have no phase")
        if self.num_unread:
            notes.append(f"GFF-04 {self.path}: {self.num_unread} attributes without a value passed over")
        if self._sequence:
            notes.append(f"GFF-06 {self.path}:{self._sequence.number}: sequence, not read")
        if self.num_latin:
            notes.append(f"GFF-23 {self.path}: {self.num_latin} lines are not UTF-8, read as Latin-1")
        return notes

    def _data_lines(self) -> Iterator[Line]:
        in_sequence = False
        for line in read_lines(self.path, GFF, self._on_read):
            text = line.text
            if text.startswith(">"):
                in_sequence, self._sequence = True, self._sequence or line
            elif in_sequence and "\t" not in text:
                continue
            elif "\t" not in text and text.split(maxsplit=1)[:1] in (["track"], ["browser"]):
                continue  # of UCSC's custom tracks
            elif text.startswith("#"):
                self._has_version |= is_version_3(text)
                region = _DIRECTIVE.match(text)
                if region:
                    self._regions[unquote(region[1])] = line, int(region[2]), int(region[3])
            elif text.strip():
                in_sequence = False
                self.num_latin += not line.is_utf8
                yield line

    def _check_regions(self) -> None:
        for name, (line, _, end) in self._regions.items():
            contig = self.aliases.find(name)
            if contig and end > contig.length:
                raise _past_end(line, "region", end, name, contig)

    def _feature(self, line: Line, columns: list[str]) -> GffFeature | None:
        _check_columns(line, columns)
        start, end = _position(line, columns[3]), _position(line, columns[4])
        if start == 0:
            fix = "add 1 to starts if the file is 0-based"
            raise line.error("GFF-03", "start 0", "positions of GFF and GTF count from 1", fix)
        if start > end:
            fix = "swap them; the strand stands in column 7"
            raise line.error("GFF-02", f"start {start} is above end {end}", "start <= end", fix)
        if columns[6] not in ("+", "-", ".", "?"):
            found = f"strand {columns[6]!r} in column 7"
            raise line.error("GFF-15", found, "+, -, . or ?", "correct column 7")
        self._check_phase(line, columns)
        kind = sys.intern(_NAMES.get(columns[2], columns[2]))
        attributes = read_attributes(line, columns[8], form=self.format, kind=kind)
        self.num_unread += attributes.num_unread
        name = unquote(columns[0])
        contig = self.aliases.find(name)
        if contig is None:
            if not (self._skips_others and self.aliases.is_unknown(name)):
                raise self.aliases.error("GFF-09", f"{line.path}:{line.number}", name)
            self.num_skipped += 1
            return None
        if contig.name in self.circular and start > contig.length:
            start, end = start - contig.length, end - contig.length
        is_across = contig.name in self.circular and start <= contig.length and end < start + contig.length
        if end > contig.length and not is_across:
            raise _past_end(line, "end", end, name, contig)
        strand = columns[6].replace("?", ".")
        return GffFeature(line, kind, contig, start - 1, end, strand, attributes.values)

    def _check_phase(self, line: Line, columns: list[str]) -> None:
        if columns[7] not in ("0", "1", "2", "."):
            found = f"phase {columns[7]!r} in column 8"
            raise line.error("GFF-07", found, "0, 1 or 2 of a CDS, . of others", "correct column 8")
        self.num_without_phase += columns[2] == "CDS" and columns[7] == "."


def _check_columns(line: Line, columns: list[str]) -> None:
    if len(columns) == 9:
        return
    if len(columns) < 3 and len(line.text.split()) >= 8:
        found = "the columns are separated by spaces"
        raise line.error("GFF-17", found, "9 columns separated by tabs", "replace the spaces by tabs")
    found = f"the line has {len(columns)} column{'s' if len(columns) > 1 else ''}"
    fix = "complete the line; an empty column is a dot"
    raise line.error("GFF-01", found, "9 columns separated by tabs", fix)


def _position(line: Line, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        rule = "a whole number in plain digits, from 1"
        raise line.error("GFF-14", f"{text!r} is not a position", rule, f"correct {text!r}")
    return int(text)


def _past_end(line: Line, what: str, end: int, name: str, contig: Contig) -> DataError:
    found = f"{what} {end} is past the end of `{name}`"
    fix = "check that the file was made for this assembly"
    return line.error("GFF-13", found, f"at most {contig.length}", fix)


_SUFFIXES = {".gff", ".gff2", ".gff3", ".gtf"}
_COMPRESSED = (".gz", ".bgz")
_BIOTYPES = ("gene_biotype", "gene_type", "biotype")  # of NCBI, GENCODE, Ensembl


def is_gff(path: Path) -> bool:
    """Whether a file is GFF3 or GTF by its name."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[:-1] if suffixes and suffixes[-1] in _COMPRESSED else suffixes
    return bool(last) and last[-1] in _SUFFIXES


def read_gff_table(
    path: Path,
    store: GenomeStore,
    *,
    other_contigs: OtherContigs = "error",
    on_read: OnRead | None = None,
) -> IntervalTable:
    """Read a file of features.

    Args:
        path: GFF3 or GTF.
        store: the genome it annotates; contig names may be aliases.
        other_contigs: whether a contig that the genome lacks is an error or skipped and counted.
        on_read: called with every piece of the file, which is read twice, for progress.

    Returns:
        A feature a row, named by its `feature_type`; two rows for one that crosses the origin of a circular
        contig.

    Raises:
        DataError: GFF-01 to GFF-23, naming the line.
    """
    reader = GffReader(path, store, other_contigs=other_contigs, on_read=on_read)
    builder = TableBuilder(path)
    for feature in reader:
        offset = feature.contig.offset
        for start, end in feature.pieces:
            builder.add(offset + start, offset + end, feature.line.number, name=feature_type(feature))
    return builder.finish(reader.aliases, reader.notes())


def feature_type(feature: GffFeature) -> str:
    """Column 3, but `pseudogene` of a gene that says so only in its attributes, as older RefSeq files do."""
    if feature.kind != "gene":
        return feature.kind
    told = [feature.attributes.get(key, "") for key in _BIOTYPES]
    is_pseudo = feature.attributes.get("pseudo") == "true" or any(
        kind.endswith("pseudogene") for kind in told
    )
    return "pseudogene" if is_pseudo else "gene"
