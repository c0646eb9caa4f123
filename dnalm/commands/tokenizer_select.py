"""`dnalm tokenizer select`: how many merges a BPE should have, by next-k-mer prediction.

One list of merges is learned on the genomes' training parts. For each number of merges, and for fixed k-mers
end to end, a small model is pretrained, and then fine-tuned to tell the next k bases, for each k. These are
jobs, each in a process of its own; the same command again runs only what is missing or failed.

The folder holds `tokenizer/` (the longest list), `jobs/` (a run directory each), `table.csv`, `table.md`,
`plot.png` and `summary.json`, which has `chosen` (number of merges, null if no count has every accuracy),
`mean_rank` (by number of merges), `accuracy` (by tokenizer and k) and `statuses` (jobs by how they ended).

Source: GROVER (Sanabria et al. 2024), which took the best accuracy across k; here that is the mean rank.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from dnalm.commands.select_jobs import Reading, Rounds, readings
from dnalm.console import stdout
from dnalm.data import Corpus
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
from dnalm.sweeps.composed import run_jobs
from dnalm.sweeps.table import count_statuses
from dnalm.tables import replace_text
from dnalm.tokenizers import BpeRecipe, BpeTokenizer
from dnalm.training import RunDirectory

_NUM_BASES = 4


def select_vocabulary(
    *,
    run: RunDirectory,
    data: Corpus,
    kind: BpeRecipe,
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
        kind: how merges are learned; its size follows from `merges`.
        launcher: starts jobs.
        config: the composed config.
        pretrain: groups and keys of every pretraining, such as `pretrain.steps=500`.
        finetune: those of every fine-tuning, such as `finetune.task.num_train=100000`.
        merges: numbers of merges to choose from.
        kmers: lengths of fixed k-mers to compare with, 1 to 6.
        ks: how many bases are told.
        parallel: jobs side by side.
        config_dir: a folder of the user's own configs, which the jobs see too; `--config-dir` sets it.
    """
    with run.opened(config, resumable=True):
        run.create(config)
        bpe = run.path / "tokenizer"
        bpe.mkdir(exist_ok=True)
        _learn(kind, max(merges, default=1), data).save(bpe)
        compared = readings(merges, kmers)
        folder = SweepFolder(dir=run.path / "jobs", parallel=parallel, metric="score", direction="maximize")
        rounds = Rounds(run.path / "jobs", bpe, config["data"], pretrain, finetune, config_dir)
        with folder.opened() as ledger:
            first = {reading: rounds.first(reading) for reading in compared}
            number = run_jobs(folder, ledger, launcher, list(first.values()))
            second: dict[tuple[Reading, int], Job] = {}
            if number is None:
                ready = [reading for reading in compared if _is_done(ledger, first[reading])]
                second = {
                    (reading, k): rounds.second(first[reading], k)
                    for reading in ready
                    for k in sorted(set(ks))
                }
                number = run_jobs(folder, ledger, launcher, list(second.values()))
        outcomes = [
            _outcome(ledger, reading, k, first[reading], second.get((reading, k)), folder)
            for reading in compared
            for k in sorted(set(ks))
        ]
        jobs = [*first.values(), *second.values()]
        statuses = count_statuses(ledger.last[job.id] for job in jobs if job.id in ledger.last)
        _conclude(run, bpe, outcomes, statuses)
        if number is not None:
            sys.exit(128 + number)
        if set(statuses) != {"done"}:
            sys.exit(1)


def _learn(kind: BpeRecipe, merges: int, data: Corpus) -> BpeTokenizer:
    data.prepare(tracks=())
    recipe = replace(kind, vocab_size=len(kind.special_tokens) + _NUM_BASES + merges)
    return recipe.open_or_train([genome.training_text() for genome in data.genomes(tracks=())], data.cache)


def _is_done(ledger: Ledger, job: Job) -> bool:
    last = ledger.last.get(job.id)
    return last is not None and last.status == "done"


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
    run = str(folder.places(second or first).run)
    return Outcome(reading.name, reading.merges, k, status, accuracy, majority, rows, run)


def _conclude(run: RunDirectory, bpe: Path, outcomes: Sequence[Outcome], statuses: dict[str, int]) -> None:
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
    told = ", ".join(f"{number} {status}" for status, number in statuses.items())
    stdout.print(f"{sum(statuses.values())} jobs: {told}")
    stdout.print(f"table: {run.path / 'table.md'}, {run.path / 'table.csv'}")
    if drawn:
        stdout.print(f"plot: {run.path / 'plot.png'}")
    if chosen is not None:
        stdout.print(f"chosen: {chosen} merges, of mean rank {ranks[chosen]:.2f}")
        stdout.print(f"next: dnalm pretrain {as_typed('tokenizer', str(bpe))} tokenizer.merges={chosen}")
    else:
        stdout.print("next: the same command again runs what is missing or failed")
    stdout.print(f"summary: {path}")
