"""`dnalm score`: what a model thinks of variants: VCF in, VCF out; or tables."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from dnalm.console import stdout
from dnalm.evaluation.inference import Device, Precision
from dnalm.evaluation.parts import opened_output, write_summary
from dnalm.evaluation.variants.motif_changes import write_ranked
from dnalm.evaluation.variants.output import ENDINGS, output_kind, score_file, scored_records
from dnalm.evaluation.variants.ranking import Labels, rank
from dnalm.evaluation.variants.scoring import ScoreName, Scorer, ScoringPlan
from dnalm.genome.meme import read_meme
from dnalm.genome.store import GenomeStore, open_or_build
from dnalm.genome.variants import Survey, survey
from dnalm.limits import EACH_ONCE, Processes, Tokens, WindowBases
from dnalm.models import Pretrained
from dnalm.paths import CachePath, InputName, InputPath, OutputFile
from dnalm.tokenizers import Tokenizer
from dnalm.training import peak_memory_bytes


def score(
    *,
    model: Pretrained,
    variants: InputPath,
    reference: InputPath,
    out: OutputFile,
    config: dict[str, object],
    score: list[ScoreName] = ["llr"],  # noqa: B006 -- read only
    layers: Annotated[list[int], EACH_ONCE] = [],  # noqa: B006 -- read only
    window_bp: WindowBases | None = None,
    pll_bp: WindowBases = 64,
    max_allele_bp: WindowBases = 50,
    mismatch: Literal["stop", "flag"] = "stop",
    other_contigs: Literal["stop", "skip"] = "stop",
    labels: InputName | None = None,
    group: str | None = None,
    motifs: InputPath | None = None,
    tokenizer: Tokenizer | None = None,
    cache: CachePath | None = None,
    batch_tokens: Tokens = 2048,
    workers: Processes = 1,
    device: Device = "auto",
    precision: Precision = "float32",
) -> None:
    """Survey the file, score what is not yet scored, write the output and its summary.

    Args:
        model: a run, a model directory or a published model.
        variants: VCF (plain, gzip, bgzip), five tab columns without a header, or a table with one.
        reference: FASTA, 2bit or store.
        out: ends in .vcf.gz, .tsv or .parquet.
        config: the composed config.
        score: llr, pll, distance, embedding, prediction (of a fine-tuned model); several in one pass.
        layers: of distance and embedding, 0 the embeddings; the last if absent.
        window_bp: bases around a variant; those of the model's training windows if absent.
        pll_bp: bases around a variant whose pseudo-likelihood is summed.
        max_allele_bp: longer alleles are not scored.
        mismatch: whether more than 0.1 % of REFs that are not the reference's stop the work.
        other_contigs: what to do with contigs that the reference lacks.
        labels: a column or INFO field of 0 and 1, or of values; or a file of chrom, pos, ref, alt, label.
        group: a column or INFO field of alleles that are not independent, such as the element of an assay.
        motifs: known motifs (MEME): `<out>.ranked.tsv` says which of them the 1,000 largest lose and gain.
        tokenizer: bases to ids; that of the model's folder if absent.
        cache: folder of stores; the user's cache if absent.
        batch_tokens: tokens of a batch.
        workers: processes.
        device: where to compute.
        precision: of matrix products; `bfloat16` is faster where the processor has it.

    Raises:
        DataError, CheckpointError, ConfigError: an input, the model or a choice cannot be used.
    """
    began, known = time.monotonic(), read_meme(motifs) if motifs else None
    plan = ScoringPlan(
        model=model.local(),
        title=model.title,
        tokenizer=tokenizer,
        scores=tuple(score),
        layers=tuple(layers),
        window_bp=window_bp,
        pll_bp=pll_bp,
        max_allele_bp=max_allele_bp,
        batch_tokens=batch_tokens,
        device=device,
        precision=precision,
    )
    with opened_output(out, ENDINGS) as lock:
        store = open_or_build(reference, cache)
        scorer = Scorer.open(plan, store)
        found = _surveyed(variants, out, store, plan, mismatch=mismatch, other_contigs=other_contigs)
        truth = Labels.find(labels, group, variants, found, store) if labels else None
        done, no_index = score_file(
            variants, out, plan=plan, store=store, found=found, names=scorer.names, workers=workers, lock=lock
        )
        records = partial(scored_records, variants, found, done)
        figures = rank(records(), truth, scorer.names) if truth else []
        if known is not None:
            write_ranked(out, records(), known, plan=plan, names=scorer.names, found=found, store=store)
        _report(out, plan.title, found, store, scorer, figures, no_index, config, time.monotonic() - began)
        done.remove()


def _surveyed(
    variants: Path,
    out: Path,
    store: GenomeStore,
    plan: ScoringPlan,
    *,
    mismatch: Literal["stop", "flag"],
    other_contigs: Literal["stop", "skip"],
) -> Survey:
    """What the file holds; refused if `out` cannot hold it."""
    found = survey(
        variants, store, max_allele_bp=plan.max_allele_bp, mismatch=mismatch, other_contigs=other_contigs
    )
    output_kind(out, found.form)
    return found


def _report(
    out: Path,
    title: str,
    found: Survey,
    store: GenomeStore,
    scorer: Scorer,
    figures: list[dict[str, object]],
    no_index: str | None,
    config: dict[str, object],
    seconds: float,
) -> None:
    skipped = sum(found.reasons.values())
    summary: dict[str, object] = {
        "out": str(out),
        "model": title,
        "reference": store.fingerprint,
        "variants_sha256": found.sha256,
        "records": found.num_records,
        "alleles": found.num_alleles,
        "scored": found.num_alleles - skipped,
        "skipped": found.reasons,
        "undeclared_info": found.undeclared,
        "miscounted_info": found.miscounted,
        "sorted": found.is_sorted,
        "no_index": no_index,
        "scores": list(scorer.names),
        "parameters": scorer.num_parameters,
        "seconds": round(seconds, 1),
        "peak_memory": peak_memory_bytes(),
        "evaluation": figures,
        "config": config,
    }
    path = write_summary(out, summary)
    reasons = ", ".join(f"{number} {reason}" for reason, number in found.reasons.items())
    rest = f", {skipped} not ({reasons})" if skipped else ""
    stdout.print(f"{found.num_alleles - skipped:,} alleles scored{rest}: {out}")
    if found.undeclared:
        stdout.print(f"INFO fields that the header does not declare: {', '.join(found.undeclared)}")
    if found.miscounted:
        named = ", ".join(f"{name} in {number} records" for name, number in found.miscounted.items())
        stdout.print(f"INFO fields with another number of values than alleles, copied as they are: {named}")
    if no_index:
        stdout.print(f"no index beside {out}: {no_index}")
    for row in figures:
        stdout.print("  ".join(f"{key}={value}" for key, value in row.items()))
    stdout.print(f"summary: {path}")
