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
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from dnalm.errors import DataError
from dnalm.genome.annotations.gff_attributes import (
    GffFormat,
    infer_format,
    is_version_3,
    read_attributes,
    tells_format,
)
from dnalm.genome.annotations.interval_table import OtherContigs
from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.manifest import Contig
from dnalm.genome.store import GenomeStore
from dnalm.genome.text import GFF, Line, OnRead, read_lines

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
