"""`dnalm prepare`: have genomes and what is known of their bases on disk ahead of training."""

from __future__ import annotations

from dnalm.console import stdout
from dnalm.data import Corpus, Part
from dnalm.data.token_store import prepare_tokens
from dnalm.errors import ConfigError
from dnalm.genome.store import GenomeStore
from dnalm.limits import Jobs
from dnalm.tokenizers import BpeRecipe, BpeTokenizer, Tokenizer
from dnalm.training import RunDirectory
from dnalm.training.pretraining import learned_tokenizer

_NAMED = 20  # genomes that are listed one by one


def prepare(
    *,
    data: Corpus,
    run: RunDirectory,
    config: dict[str, object],
    tokens: bool = False,
    tokenizer: Tokenizer | BpeRecipe | None = None,
    part: Jobs = 1,
    parts: Jobs = 1,
) -> None:
    """Download, build and verify what is not there; what is, is verified and stays.

    Args:
        data: the genomes, with all the tracks that they were given.
        run: the folder of the summary; the genomes themselves go into the cache.
        config: the composed config.
        tokens: store the genomes' tokens too; pretraining with this tokenizer then reads them, which changes
            no sample and takes less time.
        tokenizer: with `tokens`, the BPE, or how it is learned on the parts of the genomes that train.
        part: which part of the genomes, from 1, so that several jobs may share them.
        parts: of how many.

    Raises:
        ConfigError: CFG-18, there is no such part, or no BPE to encode with.
        DataError: a genome cannot be prepared; the others are.
    """
    if tokens != (tokenizer is not None) or not isinstance(tokenizer, BpeTokenizer | BpeRecipe | None):
        kind = "no tokenizer" if tokenizer is None else type(tokenizer).__name__
        raise ConfigError(
            "CFG-18",
            where="tokens",
            found=f"tokens={str(tokens).lower()} with {kind}",
            expected="tokens=true with a BPE: other tokenizers encode as fast as stored tokens are read",
            fix="set both, as in tokens=true tokenizer=runs/bpe, or neither",
        )
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
    figures = {name: _figures(store) for name, store in stores.items()}
    if tokenizer is not None:
        bpe = learned_tokenizer(tokenizer, data)
        assert isinstance(bpe, BpeTokenizer), "a recipe learns a BPE"
        for name, store in stores.items():
            figures[name]["tokens"] = str(prepare_tokens(store, bpe, data.cache).path)
    run.create(config)
    path = run.write_summary({"genomes": figures})
    for name, store in list(stores.items())[:_NAMED]:
        stdout.print(f"{name}: {len(store.contigs)} contigs, {store.num_bases:,} bases, in {store.path}")
        if tokens:
            stdout.print(f"{name}: tokens in {figures[name]['tokens']}")
    if len(stores) > _NAMED:
        stdout.print(f"and {len(stores) - _NAMED} more genomes")
    stdout.print(f"next: dnalm pretrain size=tiny with the same data{' and tokenizer' if tokens else ''}")
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
