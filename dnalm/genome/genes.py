"""Transcripts of a gene annotation, and what every base of a genome is to its genes.

A part (exon, CDS, UTR, intron, stop codon) belongs to what it names as Parent (GFF3) or transcript_id (GTF).
Without either, as in tables made from GenBank, lines of one contig, strand and locus_tag (or gene) belong
together. What has parts is a transcript, a gene of bacteria too, and so is an RNA that nothing names as its
parent. A gene that has neither is a bare one. Codes of errors about the whole file: GFF-08 Parent not
found, 10 one ID on different features, 12 Parents in a circle, 18 Parent on another contig, 19 a part that
nothing ties to a transcript in GTF, 25 no gene at all.

Where transcripts or genes overlap, the first class of REGION_CLASSES that any of them gives a base wins.
Rules for one transcript:

- CDS: its CDS and stop codon (GTF leaves that out of the CDS), and exon between two parts of the CDS
  (ribosomal slippage).
- UTRs: as the file has them; else what exons have before the first and after the last CDS base, by strand.
- noncoding_exon: exons of a transcript without CDS (ncRNA, tRNA, pseudogene, untranslated variant); the UTR
  of a coding one whose strand is unknown.
- Exons: as the file has them. A file without exons has them in the pieces a transcript is written in, and its
  CDS and UTRs, and reaching from there to the ends of the transcript. An RNA without parts is one exon.
- A gene without transcript or parts, as many pseudogenes are, has an unknown structure: what no transcript
  overlaps of it is missing, and it has no promoter.
- intron: as the file has them, and what lies between exons.
- promoter: `upstream` bases before and `downstream` bases from the first base of a transcript on. None where
  the strand is unknown. Features called promoter are not read, so that the class means one thing.
- intergenic: the rest of a contig that the file names. Other contigs, and bases that are N, are missing.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Literal

import numpy as np

from dnalm.errors import DataError
from dnalm.genome.gff import GffFeature, GffReader, rank
from dnalm.genome.intervals import Intervals, merge, subtract
from dnalm.genome.store import Contig

REGION_CLASSES = (
    "CDS",
    "five_prime_UTR",
    "three_prime_UTR",
    "noncoding_exon",
    "intron",
    "promoter",
    "intergenic",
)
UNKNOWN_REGION = "unknown"  # key of genes without structure in what `find_regions` returns
Part = Literal["exon", "cds", "utr5", "utr3", "utr", "intron"]
_PARTS: dict[str, Part] = {
    "exon": "exon", "cds": "cds", "stop_codon": "cds", "intron": "intron", "utr": "utr",
    "five_prime_utr": "utr5", "5utr": "utr5", "utr5": "utr5", "5'utr": "utr5",
    "three_prime_utr": "utr3", "3utr": "utr3", "utr3": "utr3", "3'utr": "utr3",
}  # fmt: skip
_TIES = ("transcript_id", "locus_tag", "gene_id", "gene", "protein_id", "Name")
_NONE = np.empty((0, 2), dtype=np.int64)


@dataclass(slots=True, kw_only=True)
class Transcript:
    """A transcript in its contig's coordinates, ends past the contig where it crosses the origin of a circle.

    Attributes:
        spans: (S, 2) int64, its own lines; several where a file writes it in pieces, none if it has no line.
        parts: (P, 2) int64 by kind of part, in the order of the file.
        is_bare_gene: it is a gene that has neither parts nor transcripts.
    """

    contig: Contig
    strand: str
    spans: Intervals
    parts: dict[Part, Intervals]
    is_bare_gene: bool = False


def read_transcripts(reader: GffReader) -> Iterator[Transcript]:
    """Read a file to its end and yield its transcripts.

    Memory grows with the number of genes' features (about 0.3 kB each), not with the genome.

    Raises:
        DataError: GFF-01 to GFF-25.
    """
    collector = _Collector(reader)
    for feature in reader:
        collector.add(feature)
    collector.check()
    if not collector.units and not reader.num_skipped:
        raise DataError(
            "GFF-25",
            where=str(reader.path),
            found=f"no gene, transcript, exon or CDS; its types are {', '.join(sorted(collector.kinds)[:5])}",
            expected="genes and their parts",
            fix="give the annotation of genes, whose column 3 names them so",
        )
    for unit in collector.units.values():
        if unit.parts or (unit.rank and not unit.has_children):
            transcript = Transcript(
                contig=unit.contig,
                strand=unit.strand,
                spans=_rows(unit.spans),
                parts={part: _rows(ends) for part, ends in unit.parts.items()},
                is_bare_gene=unit.rank == 1 and not unit.parts,
            )
            if unit.contig.name in reader.circular:
                _join_at_origin(transcript)
            yield transcript


def find_regions(
    transcripts: Iterable[Transcript], *, upstream: int = 1000, downstream: int = 100
) -> dict[str, Intervals]:
    """Flat intervals of every class but intergenic, before priorities are applied.

    Args:
        transcripts: of one genome.
        upstream: bases of a promoter before the transcription start.
        downstream: bases of a promoter from the transcription start on.

    Returns:
        By class and for UNKNOWN_REGION, a canonical (R, 2) set; sets of different classes may overlap.
    """
    found: dict[str, list[Intervals]] = {name: [_NONE] for name in (*REGION_CLASSES[:-1], UNKNOWN_REGION)}
    for transcript in transcripts:
        offset, length = transcript.contig.offset, transcript.contig.length
        if transcript.is_bare_gene:
            regions = {UNKNOWN_REGION: transcript.spans}
        else:
            regions = _split(transcript) | {"promoter": _promoter(transcript, upstream, downstream)}
        for name, intervals in regions.items():
            if len(intervals) and intervals.max() > length:  # past the origin of a circle
                intervals = np.concatenate([intervals.clip(0, length), (intervals - length).clip(0, length)])
            found[name].append(intervals + offset)
    return {name: merge(np.concatenate(parts)) for name, parts in found.items()}


_Key = tuple[object, ...]


@dataclass(slots=True, kw_only=True)
class _Unit:
    """What may turn out to be a transcript, as its lines come in."""

    contig: Contig
    strand: str
    rank: int = 0  # of its own lines: 0 none, 1 gene, 2 transcript
    has_children: bool = False
    spans: array[int] = field(default_factory=lambda: array("q"))
    parts: dict[Part, array[int]] = field(default_factory=dict)

    def add_span(self, feature: GffFeature, rank: int) -> None:
        if rank > self.rank:
            self.rank, self.spans = rank, array("q")
        if rank == self.rank:
            self.spans.extend((feature.start, feature.end))

    def add_part(self, part: Part, feature: GffFeature) -> None:
        self.parts.setdefault(part, array("q")).extend((feature.start, feature.end))


class _Collector:
    """Sorts features into units, and keeps what checks of the whole file need."""

    def __init__(self, reader: GffReader) -> None:
        self._reader = reader
        self.units: dict[_Key, _Unit] = {}
        self.kinds: set[str] = set()
        self._ids: dict[str, tuple[str, str, int]] = {}  # ID: kind, contig, line
        self._first_child: dict[tuple[str, str], GffFeature] = {}  # of every Parent, on every contig
        self._parents_of: dict[str, list[str]] = {}

    def add(self, feature: GffFeature) -> None:
        self.kinds.add(feature.kind)
        lower = feature.kind.lower()
        part = "exon" if lower.endswith("exon") else _PARTS.get(lower)
        if self._reader.format == "gtf":
            self._add_gtf(feature, part, rank(feature.kind))
        else:
            self._add_gff3(feature, part, rank(feature.kind))

    def _add_gff3(self, feature: GffFeature, part: Part | None, rank: int) -> None:
        parents, own = feature.names("Parent"), feature.names("ID")
        if own:
            self._check_id(feature, own[0])
            if parents and part is None:
                self._parents_of.setdefault(own[0], parents)
        for parent in parents:
            self._first_child.setdefault((parent, feature.contig.name), feature)
            self._unit((parent,), feature).has_children = True
            if part:
                self._strand_unit((parent,), feature).add_part(part, feature)
        if part and not parents:
            _check_case(feature)
            self._unit(_tied(feature), feature).add_part(part, feature)
        if rank:
            key = (own[0],) if own else _tied(feature) if not parents else (feature.line.number,)
            unit = self._strand_unit(key, feature)
            unit.contig, unit.strand = feature.contig, feature.strand
            unit.add_span(feature, rank)

    def _add_gtf(self, feature: GffFeature, part: Part | None, rank: int) -> None:
        transcript, gene = feature.attributes.get("transcript_id"), feature.attributes.get("gene_id")
        place = (feature.contig.name, feature.strand)
        if part and not transcript:
            fix = "give it the transcript it belongs to"
            raise feature.line.error("GFF-19", f"a {feature.kind} without transcript_id", "one", fix)
        if rank == 1:  # whatever ids it has: GENCODE once gave genes a transcript_id too
            if gene or transcript:
                self._unit(("gene", gene or transcript, *place), feature).add_span(feature, 1)
            return
        if transcript and gene:
            self._unit(("gene", gene, *place), feature).has_children = True
        if transcript and (part or rank):
            unit = self._unit((transcript, *place), feature)
            if part:
                unit.add_part(part, feature)
            else:
                unit.add_span(feature, rank)
        elif gene and rank:
            self._unit(("gene", gene, *place), feature).add_span(feature, 1)

    def _unit(self, key: _Key, feature: GffFeature) -> _Unit:
        unit = self.units.get(key)
        if unit is None:
            unit = self.units[key] = _Unit(contig=feature.contig, strand=feature.strand)
        return unit

    def _strand_unit(self, key: _Key, feature: GffFeature) -> _Unit:
        """The unit of a key on the feature's strand: no intron lies between trans-spliced parts of both."""
        unit = self._unit(key, feature)
        is_other = {unit.strand, feature.strand} == {"+", "-"}
        return self._unit((*key, feature.strand), feature) if is_other else unit

    def _check_id(self, feature: GffFeature, name: str) -> None:
        mine = feature.kind, feature.contig.name
        known = self._ids.setdefault(name, (*mine, feature.line.number))
        if known[:2] != mine:
            found = f"ID `{name}` of a {mine[0]} on {mine[1]} is that of a {known[0]} on {known[1]}"
            fix = "give one of them another ID"
            raise feature.line.error("GFF-10", f"{found}, line {known[2]}", "one feature for an ID", fix)

    def check(self) -> None:
        """Check that every Parent exists, on the same contig, and that none is its own ancestor."""
        for (parent, _), child in self._first_child.items():
            known = self._ids.get(parent)
            if known is None:
                if self._reader.num_skipped:
                    continue  # the parent may be among the skipped
                fix = "restore the parent's line; files cut by region lose them"
                raise child.line.error("GFF-08", f"Parent `{parent}` not found", "an ID of this file", fix)
            if known[1] != child.contig.name:
                found = f"Parent `{parent}` lies on {known[1]}, its {child.kind} on {child.contig.name}"
                raise child.line.error("GFF-18", found, "both on one contig", "give them separate IDs")
        try:
            TopologicalSorter(self._parents_of).prepare()
        except CycleError as error:
            circle: list[str] = error.args[1][-2::-1]  # from child to parent, each once
            first = min(circle, key=lambda name: self._ids[name][2])
            at = circle.index(first)
            names = " -> ".join([*circle[at:], *circle[:at], first])
            raise DataError(
                "GFF-12",
                where=f"{self._reader.path}:{self._ids[first][2]}",
                found=f"Parents run in a circle: {names}",
                expected="genes at the root",
                fix="correct Parent of one of them",
            ) from None


def _tied(feature: GffFeature) -> _Key:
    """What ties a line without ID and Parent to others."""
    for key in _TIES:
        if key in feature.attributes:
            return (key, feature.attributes[key], feature.contig.name, feature.strand)
    return (feature.line.number,)


def _check_case(feature: GffFeature) -> None:
    """Refuse a part whose `parent` would be passed over, for keys of GFF3 have a case."""
    other = next((key for key in feature.attributes if key.lower() == "parent" and key != "Parent"), None)
    if other:
        found, fix = f"the attribute {other!r}", f"write Parent={feature.attributes[other]}"
        raise feature.line.error("GFF-04", found, "Parent, with a capital P", fix)


def _rows(ends: array[int]) -> Intervals:
    return np.array(ends, dtype=np.int64).reshape(-1, 2)


def _join_at_origin(transcript: Transcript) -> None:
    """Let what lies after the origin of a circle follow what lies before it, if both touch the origin."""
    length = transcript.contig.length
    rows = np.concatenate([transcript.spans, *transcript.parts.values()])
    covered = merge(np.concatenate([rows.clip(0, length), (rows - length).clip(0, length)]))
    if len(covered) < 2 or covered[0, 0] > 0 or covered[-1, 1] < length:
        return
    first = covered[1 + int(np.argmax(covered[1:, 0] - covered[:-1, 1])), 0]  # after the widest gap
    transcript.spans = transcript.spans + length * (transcript.spans[:, :1] < first)
    transcript.parts = {part: of + length * (of[:, :1] < first) for part, of in transcript.parts.items()}


def _split(transcript: Transcript) -> dict[str, Intervals]:
    """Intervals of a transcript by class, promoter left out, in the contig's coordinates."""
    cds, exons = _part(transcript, "cds"), _exons(transcript)
    utr5, utr3 = _part(transcript, "utr5"), _part(transcript, "utr3")
    hull = np.array([[exons[0, 0], exons[-1, 1]]]) if len(exons) else _NONE
    introns = np.concatenate([_part(transcript, "intron"), subtract(hull, exons)])
    regions = {"intron": introns}
    if not len(cds):
        return regions | {"five_prime_UTR": utr5, "three_prime_UTR": utr3, "noncoding_exon": exons}
    first, last = int(cds[0, 0]), int(cds[-1, 1])
    rest = subtract(exons, np.concatenate([cds, utr5, utr3]))
    before, after = _within(rest, 0, first), _within(rest, last, int(exons[-1, 1]))
    regions["CDS"] = merge(np.concatenate([cds, _within(rest, first, last)]))
    if transcript.strand == ".":
        return regions | {"noncoding_exon": np.concatenate([before, after, utr5, utr3])}
    if transcript.strand == "-":
        before, after = after, before
    regions["five_prime_UTR"] = np.concatenate([utr5, before])
    regions["three_prime_UTR"] = np.concatenate([utr3, after])
    return regions


def _promoter(transcript: Transcript, upstream: int, downstream: int) -> Intervals:
    """The (1, 2) promoter of a transcript, clipped to the contig; (0, 2) where the strand is unknown.

    It is not clipped at the end of a circular contig that the transcript crosses.
    """
    if transcript.strand == ".":
        return _NONE
    ends, length = np.concatenate([transcript.spans, *transcript.parts.values()]), transcript.contig.length
    first, last = int(ends.min()), int(ends.max())
    before, after = (upstream, downstream) if transcript.strand == "+" else (downstream, upstream)
    place = first if transcript.strand == "+" else last
    return np.array([[place - before, place + after]]).clip(0, length if last <= length else 2 * length)


def _exons(transcript: Transcript) -> Intervals:
    """Canonical and never empty."""
    written = [_part(transcript, part) for part in ("exon", "cds", "utr5", "utr3", "utr")]
    exons = np.concatenate(written)
    spans = transcript.spans
    if len(written[0]):
        return merge(exons)
    if len(spans) > 1 or not len(exons):
        return subtract(np.concatenate([exons, spans]), _part(transcript, "intron"))
    if len(spans):
        outer = [[spans.min(), exons.min()], [exons.max(), spans.max()]]
        exons = np.concatenate([exons, np.array(outer)])
    return merge(exons)


def _part(transcript: Transcript, part: Part) -> Intervals:
    intervals = transcript.parts.get(part)
    return _NONE if intervals is None else merge(intervals)


def _within(intervals: Intervals, start: int, end: int) -> Intervals:
    return merge(intervals.clip(start, end))
