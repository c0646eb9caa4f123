"""A file of variants to a scored file: survey, parts, output; `durable_parts` tells what a kill leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dnalm.console import progress_bar
from dnalm.evaluation.durable_parts import DoneParts, PartFolder, work_on
from dnalm.evaluation.variants.output import Scored, write_output
from dnalm.evaluation.variants.parts import ScoringWork, parts_of, read_part
from dnalm.evaluation.variants.plan import ScoringPlan
from dnalm.genome.store import GenomeStore
from dnalm.genome.variants import Survey, judge, read_records
from dnalm.lock import OutputLock


def score_file(
    variants: Path,
    out: Path,
    *,
    plan: ScoringPlan,
    store: GenomeStore,
    found: Survey,
    names: tuple[str, ...],
    max_allele_bp: int,
    workers: int,
    lock: OutputLock,
) -> tuple[DoneParts, str | None]:
    """Score a surveyed file and write the output, whose lock is held.

    Returns:
        The parts, which the caller removes when it needs them no more, and why a VCF has no index.
    """
    contract = plan.contract(
        genome=store.fingerprint, variants_sha256=found.sha256, max_allele_bp=max_allele_bp
    )
    folder = PartFolder.begin(out, ".json", contract)
    judged = (
        [judge(record, found.aliases, store, max_allele_bp=max_allele_bp) for record in records]
        for records in parts_of(read_records(variants, found.form))
    )
    with progress_bar("Scoring", total=found.num_records, unit="variants") as advance:
        done = work_on(judged, folder, ScoringWork(plan, store), workers=workers, advance=advance, lock=lock)
    scored = scored_records(variants, found, done)
    longest_bp = found.longest_bp if found.is_sorted else None
    return done, write_output(out, found.form, names, scored, longest_bp=longest_bp)


def scored_records(variants: Path, found: Survey, done: DoneParts) -> Iterator[Scored]:
    """Every record with its results, in order."""
    parts = parts_of(read_records(variants, found.form))
    for records, content in zip(parts, done.contents(), strict=True):
        yield from zip(records, read_part(content), strict=True)
