"""`dnalm prepare`: have genomes and what is known of their bases on disk ahead of training."""

from __future__ import annotations

from dnalm.console import stdout
from dnalm.data import Corpus, Part
from dnalm.errors import ConfigError
from dnalm.genome.store import GenomeStore
from dnalm.limits import Jobs
from dnalm.training import RunDirectory

_NAMED = 20  # genomes that are listed one by one


def prepare(
    *,
    data: Corpus,
    run: RunDirectory,
    config: dict[str, object],
    part: Jobs = 1,
    parts: Jobs = 1,
) -> None:
    """Download, build and verify what is not there; what is, is verified and stays.

    Args:
        data: the genomes, with all the tracks that they were given.
        run: the folder of the summary; the genomes themselves go into the cache.
        config: the composed config.
        part: which part of the genomes, from 1, so that several jobs may share them.
        parts: of how many.

    Raises:
        ConfigError: CFG-18, there is no such part.
        DataError: a genome cannot be prepared; the others are.
    """
    if part > parts:
        raise ConfigError(
            "CFG-18",
            where="part",
            found=f"part={part} of parts={parts}",
            expected=f"a part between 1 and {parts}",
            fix="set part=1 to the number of parts, a different one for each job",
        )
    run.claim(config, resumable=True)  # not locked: jobs of several parts share the folder, stores have locks
    mine = Part(part - 1, parts)
    data.prepare(part=mine)
    stores = data.stores(mine)
    run.create(config)
    path = run.write_summary({"genomes": {name: _figures(store) for name, store in stores.items()}})
    for name, store in list(stores.items())[:_NAMED]:
        stdout.print(f"{name}: {len(store.contigs)} contigs, {store.num_bases:,} bases, in {store.path}")
    if len(stores) > _NAMED:
        stdout.print(f"and {len(stores) - _NAMED} more genomes")
    stdout.print("next: dnalm pretrain size=tiny with the same data")
    stdout.print(f"summary: {path}")


def _figures(store: GenomeStore) -> dict[str, object]:
    counts = store.manifest.base_counts
    known = sum(counts[base] for base in "ACGT")
    return {
        "store": str(store.path),
        "source": store.source.name,
        "contigs": len(store.contigs),
        "bases": store.num_bases,
        "base_counts": counts,
        "ambiguous_letters_read_as_n": store.manifest.ambiguous_counts,
        "soft_masked": store.manifest.num_soft_masked,
        "gc_content": (counts["G"] + counts["C"]) / known if known else None,
        "fingerprint": store.fingerprint,
    }
