"""`dnalm tokenizer inspect`: how a tokenizer reads genomes, in figures and as a picture."""

from __future__ import annotations

from dnalm.console import stdout
from dnalm.data import Corpus
from dnalm.evaluation.tokenizer_plot import plot_tokens
from dnalm.tables import table_writer
from dnalm.tokenizers import BpeRecipe, Tokenizer
from dnalm.tokenizers.statistics import TokenStatistics, count_tokens
from dnalm.training import RunDirectory

_NAMED = 5


def inspect_tokenizer(
    *, run: RunDirectory, data: Corpus, tokenizer: Tokenizer | BpeRecipe, config: dict[str, object]
) -> None:
    """Encode every contig and leave counts, figures and a plot.

    Args:
        run: the folder to leave.
        data: the genomes.
        tokenizer: what to look at; a recipe is learned on the training parts, as `pretrain` does.
        config: the composed config.
    """
    with run.opened(config, resumable=False):
        data.prepare(tracks=())
        genomes = data.genomes(tracks=())
        if isinstance(tokenizer, BpeRecipe):
            tokenizer = tokenizer.open_or_train([genome.training_text() for genome in genomes], data.cache)
        statistics = count_tokens(tokenizer, [genome.whole_text() for genome in genomes])
        run.create(config)
        words = tokenizer.vocabulary()
        with table_writer(run.path / "tokens.csv", ["id", "token", "count"]) as write:
            for row in zip(range(len(words)), words, statistics.counts.tolist(), strict=True):
                write(row)
        names = ", ".join(genome.name for genome in genomes)
        picture = run.path / "tokens.png"
        plot_tokens(statistics, tokenizer, f"{statistics.num_tokens:,} tokens of {names}", picture)
        path = run.write_summary(_summary(statistics, words) | {"fingerprint": tokenizer.fingerprint})
        stdout.print(_sentences(statistics, words))
        stdout.print(f"plot: {picture}")
        stdout.print(f"counts of all {len(words):,} ids: {run.path / 'tokens.csv'}")
        stdout.print("next: dnalm pretrain size=tiny with the same tokenizer and data")
        stdout.print(f"summary: {path}")


def _summary(statistics: TokenStatistics, words: list[str]) -> dict[str, object]:
    top = statistics.most_frequent(20)
    return {
        "vocab_size": len(words),
        "bases": statistics.num_bases,
        "tokens": statistics.num_tokens,
        "known_tokens": statistics.num_known,
        "tokens_per_kb": statistics.tokens_per_kb,
        "mean_length_bp": statistics.mean_length,
        "tokens_by_length_bp": {str(n): int(c) for n, c in enumerate(statistics.lengths) if c},
        "unknown_share": statistics.unknown_share,
        "entropy_bits": statistics.entropy_bits,
        "balance": statistics.balance,
        "ids_that_spell_bases": len(statistics.words),
        "unused_ids": statistics.num_unused,
        "most_frequent": {words[i]: int(statistics.counts[i]) for i in top},
    }


def _sentences(statistics: TokenStatistics, words: list[str]) -> str:
    top = statistics.most_frequent(_NAMED)
    frequent = ", ".join(f"{words[i]} {100 * statistics.counts[i] / statistics.num_known:.2f} %" for i in top)
    return "\n".join(
        [
            f"{statistics.num_known:,} tokens that tell bases, of {statistics.num_bases:,} bases with N: "
            f"{statistics.tokens_per_kb:.1f} tokens a kb, {statistics.mean_length:.2f} bases a token",
            f"unknown: {100 * statistics.unknown_share:.4f} % of the tokens, which stand for N",
            f"balance: {statistics.balance:.3f} of the entropy of equally frequent ids "
            f"({statistics.entropy_bits:.2f} bits); {statistics.num_unused:,} of "
            f"{len(statistics.words):,} ids never occur",
            f"most frequent: {frequent}",
        ]
    )
