"""`dnalm tokenizer`: learn a vocabulary, look at how a tokenizer reads genomes, choose a number of merges.

`train` learns a BPE vocabulary on one's own genomes. `inspect` shows how a tokenizer reads genomes, in
figures and as a picture. `select` chooses how many merges a BPE has, by next-k-mer prediction: one list
of merges is learned on the genomes' training parts; for each number of merges, and for fixed k-mers end
to end, a small model is pretrained, and then fine-tuned to predict the next k bases, for each k. These
are two rounds of jobs, each in a process of its own; the same command again runs only what is missing or
failed.

The folder of `select` holds `tokenizer/` (the longest list), `jobs/` (a run directory each), `table.csv`,
`table.md`, `plot.png` and `summary.json`, which has `chosen` (number of merges, null if no count has
every accuracy), `mean_rank` (by number of merges), `accuracy` (by tokenizer and k) and `statuses` (jobs
by how they ended).

Source: GROVER (Sanabria et al. 2024), which took the best accuracy across k; here that is the mean rank.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from dnalm.console import stdout
from dnalm.data import Corpus
from dnalm.evaluation.plots import plot_tokens
from dnalm.evaluation.vocabulary_choice import (
    Outcome,
    choose,
    mean_ranks,
    outcomes_csv,
    outcomes_markdown,
    plot_choice,
)
from dnalm.limits import EACH_ONCE, Jobs, KmerLength, Vocabulary
from dnalm.paths import as_typed
from dnalm.sweeps import Job, Ledger, LocalLauncher, SlurmLauncher, SweepFolder
from dnalm.sweeps.command_line import as_words, composed_job, run_jobs
from dnalm.sweeps.results import count_statuses
from dnalm.tables import replace_text, table_writer
from dnalm.tokenizers import BpeRecipe, Tokenizer
from dnalm.tokenizers.statistics import TokenStatistics, count_tokens
from dnalm.training import RunDirectory, peak_memory_bytes


def train_tokenizer(
    *,
    run: RunDirectory,
    data: Corpus,
    bpe: BpeRecipe,
    config: dict[str, object],
    vocab_size: int | None = None,
) -> None:
    """Learn on every contig of the genomes, and leave a folder that `tokenizer=files` and transformers read.

    Args:
        run: the folder to leave.
        data: the genomes.
        bpe: the recipe.
        config: the composed config.
        vocab_size: ids of the vocabulary; the recipe's own if absent.
    """
    began = time.perf_counter()
    with run.opened(config, resumable=False):
        recipe = bpe if vocab_size is None else replace(bpe, vocab_size=vocab_size)
        data.prepare(tracks=())
        tokenizer, samples = recipe.train([genome.whole_text() for genome in data.genomes(tracks=())])
        run.create(config)
        tokenizer.save(run.path)
        read = {sample.source.name: sample.num_bases for sample in samples}
        summary = {
            "vocab_size": tokenizer.vocab_size,
            "merges": tokenizer.num_merges,
            "longest_token_bp": tokenizer.token_bases.shape[1],
            "bases_read": read,
            "bases_given": {sample.source.name: sample.source.store.num_bases for sample in samples},
            "fingerprint": tokenizer.fingerprint,
            "seconds": round(time.perf_counter() - began, 1),
            "peak_memory": peak_memory_bytes(),
        }
        path = run.write_summary(summary)
        shares = ", ".join(f"{bases:,} of {name}" for name, bases in read.items())
        stdout.print(
            f"{tokenizer.vocab_size:,} ids, {tokenizer.num_merges:,} merges, learned from bases: {shares}"
        )
        stdout.print(f"tokenizer: {run.path}")
        stdout.print(f"next: dnalm tokenizer inspect {as_typed('tokenizer', run.as_path)}")
        stdout.print(f"summary: {path}")


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
    top = statistics.most_frequent(5)
    frequent = ", ".join(f"{words[i]} {100 * statistics.counts[i] / statistics.num_known:.2f} %" for i in top)
    return "\n".join(
        [
            f"{statistics.num_known:,} tokens that spell bases, of {statistics.num_bases:,} bases with N: "
            f"{statistics.tokens_per_kb:.1f} tokens a kb, {statistics.mean_length:.2f} bases a token",
            f"unknown: {100 * statistics.unknown_share:.4f} % of the tokens, which stand for N",
            f"balance: {statistics.balance:.3f} of the entropy of equally frequent ids "
            f"({statistics.entropy_bits:.2f} bits); {statistics.num_unused:,} of "
            f"{len(statistics.words):,} ids never occur",
            f"most frequent: {frequent}",
        ]
    )


@dataclass(frozen=True)
class Reading:
    """A way to read DNA that is compared.

    Attributes:
        merges: of the BPE; None for a fixed length.
        kmer: bases of every token; None for a BPE.
    """

    merges: int | None = None
    kmer: int | None = None

    @property
    def name(self) -> str:
        """As in the table."""
        return f"{self.merges} merges" if self.merges is not None else f"{self.kmer}-mers"

    def tokenizer(self, bpe: Path) -> dict[str, object]:
        """The config of its tokenizer; `bpe` is the folder of the BPE with all merges."""
        if self.merges is None:
            return {"_target_": "dnalm.tokenizers.LogoTokenizer", "k": self.kmer}
        return {"_target_": "dnalm.tokenizers.load_tokenizer", "path": str(bpe), "merges": self.merges}


@dataclass(frozen=True, kw_only=True)
class _JobMaker:
    """Makes the jobs of both rounds, in a folder, from what all of a round have in common."""

    folder: Path
    bpe: Path
    data: object
    pretrain: Mapping[str, object]
    finetune: Mapping[str, object]
    config_dir: Path | None

    def pretraining(self, reading: Reading) -> Job:
        parts = {"data": self.data, "tokenizer": reading.tokenizer(self.bpe)}
        overrides = {"tokenizer": reading.name}
        return self._job("pretrain", as_words(self.pretrain), overrides, parts)

    def finetuning(self, pretraining: Job, k: int) -> Job:
        source = str(self.folder / pretraining.id)
        parts = {"data": self.data, "model": {"_target_": "dnalm.models.Pretrained", "source": source}}
        words = ["task=next_kmer", f"task.k={k}", *as_words(self.finetune)]
        return self._job("finetune", words, {**pretraining.overrides, "k": str(k)}, parts)

    def _job(
        self, command: str, words: Sequence[str], overrides: Mapping[str, str], parts: Mapping[str, object]
    ) -> Job:
        return composed_job(command, words, self.folder, overrides, parts=parts, config_dir=self.config_dir)


def readings(merges: Sequence[int], kmers: Sequence[int]) -> list[Reading]:
    """All that are compared, the merges ascending."""
    return [Reading(merges=n) for n in sorted(set(merges))] + [Reading(kmer=k) for k in sorted(set(kmers))]


_NUM_BASES = 4


def select_vocabulary(
    *,
    run: RunDirectory,
    data: Corpus,
    bpe: BpeRecipe,
    launcher: LocalLauncher | SlurmLauncher,
    config_dir: Path | None,
    config: dict[str, object],
    pretrain: dict[str, object],
    finetune: dict[str, object],
    merges: Annotated[tuple[Vocabulary, ...], EACH_ONCE] = (100, 200, 400, 600, 800, 1000, 2000, 5000),
    kmers: Annotated[tuple[KmerLength, ...], EACH_ONCE] = (4, 5, 6),
    ks: Annotated[tuple[KmerLength, ...], EACH_ONCE] = (2, 3, 4, 5, 6),
    parallel: Jobs = 1,
) -> None:
    """Run the jobs, and leave table, plot and choice; exit code 1 if a job failed.

    Args:
        run: the folder to leave.
        data: the genomes.
        bpe: how merges are learned; its size follows from `merges`.
        launcher: starts jobs.
        config: the composed config.
        pretrain: groups and keys of every pretraining, such as `pretrain.steps=500`.
        finetune: those of every fine-tuning, such as `finetune.task.num_train=100000`.
        merges: numbers of merges to choose from.
        kmers: lengths of fixed k-mers to compare with, 1 to 6.
        ks: how many next bases are predicted.
        parallel: jobs side by side.
        config_dir: a folder of the user's own configs, which the jobs see too; `--config-dir` sets it.
    """
    with run.opened(config, resumable=True):
        run.create(config)
        tokenizer = run.path / "tokenizer"
        tokenizer.mkdir(exist_ok=True)
        data.prepare(tracks=())
        texts = [genome.training_text() for genome in data.genomes(tracks=())]
        vocab_size = len(bpe.special_tokens) + _NUM_BASES + max(merges, default=1)
        replace(bpe, vocab_size=vocab_size).open_or_train(texts, data.cache).save(tokenizer)
        folder = SweepFolder(dir=run.path / "jobs", parallel=parallel, metric="score", direction="maximize")
        make = _JobMaker(
            folder=run.path / "jobs",
            bpe=tokenizer,
            data=config["data"],
            pretrain=pretrain,
            finetune=finetune,
            config_dir=config_dir,
        )
        with folder.opened() as ledger:
            first = {reading: make.pretraining(reading) for reading in readings(merges, kmers)}
            number = run_jobs(folder, ledger, launcher, list(first.values()))
            second: dict[tuple[Reading, int], Job] = {}
            if number is None:
                second = {
                    (reading, k): make.finetuning(job, k)
                    for reading, job in first.items()
                    for k in sorted(set(ks))
                    if job.id in ledger.last and ledger.last[job.id].status == "done"
                }
                number = run_jobs(folder, ledger, launcher, list(second.values()))
        outcomes = [
            _outcome(ledger, reading, k, job, second.get((reading, k)), folder)
            for reading, job in first.items()
            for k in sorted(set(ks))
        ]
        jobs = [*first.values(), *second.values()]
        statuses = count_statuses(ledger.last[job.id] for job in jobs if job.id in ledger.last)
        _conclude(run, tokenizer, outcomes, statuses)
        if number is not None or set(statuses) != {"done"}:
            sys.exit(1 if number is None else 128 + number)


def _outcome(
    ledger: Ledger, reading: Reading, k: int, first: Job, second: Job | None, folder: SweepFolder
) -> Outcome:
    """What is known of a tokenizer and k; of a job that never came up, how its pretraining ended."""
    record = ledger.last.get((second or first).id)
    status = record.status if record else "waiting"
    accuracy = majority = None
    rows = 0
    if second is not None and record is not None and status == "done":
        accuracy, majority = record.number("score"), record.number("majority")
        rows = json.loads(folder.places(second).summary.read_text())["rows"]["test"]
    return Outcome(
        tokenizer=reading.name,
        merges=reading.merges,
        k=k,
        status=status,
        accuracy=accuracy,
        majority=majority,
        rows=rows,
        run=str(folder.places(second or first).run),
    )


def _conclude(run: RunDirectory, bpe: Path, outcomes: Sequence[Outcome], statuses: dict[str, int]) -> None:
    """Leave the tables and the picture, and print what was chosen."""
    ranks = mean_ranks(outcomes)
    chosen = choose(ranks)
    replace_text(run.path / "table.csv", outcomes_csv(outcomes))
    replace_text(run.path / "table.md", outcomes_markdown(outcomes))
    drawn = plot_choice(outcomes, run.path / "plot.png")
    accuracy: dict[str, dict[str, float | None]] = {}
    for each in outcomes:
        accuracy.setdefault(each.tokenizer, {})[str(each.k)] = each.accuracy
    path = run.write_summary(
        {"chosen": chosen, "mean_rank": ranks, "accuracy": accuracy, "statuses": statuses}
    )
    counts = ", ".join(f"{number} {status}" for status, number in statuses.items())
    stdout.print(f"{sum(statuses.values())} jobs: {counts}")
    stdout.print(f"table: {run.path / 'table.md'}, {run.path / 'table.csv'}")
    if drawn:
        stdout.print(f"plot: {run.path / 'plot.png'}")
    if chosen is not None:
        stdout.print(f"chosen: {chosen} merges, of mean rank {ranks[chosen]:.2f}")
        stdout.print(f"next: dnalm pretrain {as_typed('tokenizer', str(bpe))} tokenizer.merges={chosen}")
    else:
        stdout.print("next: the same command again runs what is missing or failed")
    stdout.print(f"summary: {path}")
