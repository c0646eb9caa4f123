"""From a record to the alleles that can be scored, each with the reason where it cannot."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dnalm.genome.alphabet import bases, to_text
from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.manifest import Contig
from dnalm.genome.store import GenomeStore
from dnalm.genome.variants.records import Record

_DNA = frozenset("ACGT")


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
    if any(letter != base for letter, base in known if letter in _DNA):
        return Reason.MISMATCH
    if "N" in truth:
        return Reason.REFERENCE_N
    return None if set(ref) <= _DNA else Reason.AMBIGUOUS


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
    if not set(alt) <= _DNA:
        return Reason.AMBIGUOUS
    return Allele(contig, *trim(record.start, record.ref, alt))
