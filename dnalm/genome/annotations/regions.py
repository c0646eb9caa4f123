"""What every base of a genome is to its genes, from coding to intergenic.

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

from collections.abc import Iterable

import numpy as np

from dnalm.genome.annotations.genes import Part, Transcript
from dnalm.genome.intervals import Intervals, merge, subtract

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
_NONE = np.empty((0, 2), dtype=np.int64)


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
            found[UNKNOWN_REGION].append(_wrapped(transcript.spans, length) + offset)
            continue
        regions = split_transcript(transcript)
        regions["promoter"] = promoter(transcript, upstream, downstream)
        for name, intervals in regions.items():
            if len(intervals):
                found[name].append(_wrapped(intervals, length) + offset)
    return {name: merge(np.concatenate(parts)) for name, parts in found.items()}


def split_transcript(transcript: Transcript) -> dict[str, Intervals]:
    """Intervals of a transcript by class, promoter left out, in the contig's coordinates."""
    cds, exons = _part(transcript, "cds"), _exons(transcript)
    utr5, utr3 = _part(transcript, "utr5"), _part(transcript, "utr3")
    regions = {"intron": _introns(transcript, exons)}
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


def promoter(transcript: Transcript, upstream: int, downstream: int) -> Intervals:
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


def _wrapped(intervals: Intervals, length: int) -> Intervals:
    """Intervals of a circular contig, what lies past its end put at its start."""
    if not len(intervals) or intervals.max() <= length:
        return intervals
    return np.concatenate([intervals.clip(0, length), (intervals - length).clip(0, length)])


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


def _introns(transcript: Transcript, exons: Intervals) -> Intervals:
    hull = np.array([[exons[0, 0], exons[-1, 1]]]) if len(exons) else _NONE
    return merge(np.concatenate([_part(transcript, "intron"), subtract(hull, exons)]))


def _part(transcript: Transcript, part: Part) -> Intervals:
    intervals = transcript.parts.get(part)
    return _NONE if intervals is None else merge(intervals)


def _within(intervals: Intervals, start: int, end: int) -> Intervals:
    return merge(intervals.clip(start, end))
