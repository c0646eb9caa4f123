"""`dnalm prepare`: build the store of a genome ahead of training."""

from __future__ import annotations

import json
from pathlib import Path

from dnalm.console import stdout
from dnalm.genome.building import open_or_build
from dnalm.genome.sources import check_source
from dnalm.paths import InputPath


def prepare(*, fasta: InputPath, config: dict[str, object], cache: Path | None = None) -> None:  # noqa: ARG001
    """Build the store, or find it built, and say what is in it.

    Args:
        fasta: FASTA (plain, gzip, bgzip) or UCSC 2bit.
        config: the composed config.
        cache: folder for stores; the user's cache if absent.
    """
    check_source(fasta)
    store = open_or_build(fasta, cache)
    counts = store.base_counts
    known = sum(counts[base] for base in "ACGT")
    summary = {
        "store": str(store.path),
        "source": store.source.name,
        "contigs": len(store.contigs),
        "bases": store.num_bases,
        "base_counts": counts,
        "ambiguous_letters_read_as_n": store.ambiguous_counts,
        "soft_masked": store.num_soft_masked,
        "gc_content": (counts["G"] + counts["C"]) / known if known else None,
        "fingerprint": store.fingerprint,
    }
    path = store.path / "summary.json"
    path.write_text(json.dumps(summary, indent=2) + "\n")
    stdout.print(f"contigs: {len(store.contigs)}, bases: {store.num_bases:,}, in {store.path}")
    stdout.print(f"next: dnalm pretrain data=fasta data.fasta={fasta} experiment=dnabert size=tiny")
    stdout.print(f"summary: {path}")
