"""The first pass over a file of variants: everything that can be wrong with it, before any scoring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dnalm.durable import file_sha256
from dnalm.errors import DataError
from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.store import GenomeStore
from dnalm.genome.variants.alleles import Allele, Reason, at_telomere, judge
from dnalm.genome.variants.faults import fault
from dnalm.genome.variants.form import Form, find_form
from dnalm.genome.variants.records import Record, miscounted, read_records

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
