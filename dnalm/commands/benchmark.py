"""`dnalm benchmark`: every task of a benchmark with every model and seed, and the table of it.

The folder holds a run directory and a log for each job, the ledger of the sweep with its own `table.csv`,
the tables of the benchmark, `benchmark.md`, `.csv`, `.tex` and `.html`, written anew after every job, and at
the end `leakage.json`, `heatmap.png` and `tasks.png`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from dnalm.commands.benchmark_jobs import JobList, Work, all_work
from dnalm.console import stderr, stdout
from dnalm.evaluation.benchmark import Benchmark, Judge, Standing, read_outcome, read_published, write_report
from dnalm.evaluation.benchmark.leakage import Leakage, leakage_of
from dnalm.evaluation.benchmark.outcomes import Outcome
from dnalm.evaluation.benchmark.plots import plot_standing
from dnalm.limits import NOT_EMPTY, Jobs
from dnalm.paths import InputName
from dnalm.sweeps import Job, LocalLauncher, Record, SlurmLauncher, SweepFolder, run_sweep
from dnalm.sweeps.job import short_hash
from dnalm.tables import replace_text


class BenchmarkFolder(SweepFolder):
    """A sweep's folder that writes the tables of a benchmark too; see `SweepFolder` for its arguments."""

    report: Callable[[Mapping[str, Record]], None] | None = None

    def write(self, jobs: Sequence[Job], last: Mapping[str, Record]) -> None:
        """Write the tables."""
        super().write(jobs, last)
        if self.report is not None:
            self.report(last)


def benchmark(
    *,
    benchmark: Benchmark,
    models: Annotated[tuple[InputName, ...], NOT_EMPTY],
    sweep: BenchmarkFolder,
    launcher: LocalLauncher | SlurmLauncher,
    config_dir: Path | None,
    config: dict[str, object],  # noqa: ARG001 -- every command is given it
    tasks: Annotated[tuple[str, ...], NOT_EMPTY] | None = None,
    seeds: Jobs = 3,
    finetune: tuple[str, ...] = (),
) -> None:
    """Run all jobs, those that are done excepted, and leave the tables.

    Args:
        benchmark: its tasks and their data.
        models: runs, model directories, `owner/name` on the hub, `random`, `kmer_logistic`, `cnn`.
        sweep: the folder, and how many jobs run side by side.
        launcher: starts jobs.
        config: the composed config.
        tasks: names; all if absent.
        seeds: how many, from 1; of a model without chance one.
        finetune: further words of `dnalm finetune`, which win over the tasks' recipes: `["budget=tiny"]`.
        config_dir: a folder of the user's own configs, which the jobs see too; `--config-dir` sets it.
    """
    prepared = benchmark.prepare(benchmark.choose(tasks))
    work = all_work(prepared, models, seeds, finetune, config_dir)
    if benchmark.published:
        warn_of_recipes(work)
    name = f"{benchmark.name}-{short_hash('benchmark', [word for each in work for word in each.line()])}"
    folder = sweep.at(Path("benchmarks") / name)
    by_overrides = {tuple(each.overrides.values()): each for each in work}
    by_id = {each.job(folder).id: each for each in work}
    leakage = {each.task.name: leakage_of(each) for each in prepared}
    reporter = sweep.report = Reporter(folder, benchmark, models, by_id, leakage)
    code = run_sweep(
        sweep=sweep,
        launcher=launcher,
        hparams_search=JobList([each.overrides for each in work]),
        name=name,
        axes=[],
        make_job=lambda folder, overrides: by_overrides[tuple(overrides.values())].job(folder),
        check=lambda job: by_id[job.id].what_is_wrong(),
    )
    write_leakage(folder / "leakage.json", leakage)
    if plot_standing(reporter.standing, folder):
        stdout.print(f"pictures: {folder / 'heatmap.png'}, {folder / 'tasks.png'}")
    stdout.print(f"benchmark: {folder / 'benchmark.md'}, .csv, .tex, .html")
    if code:
        sys.exit(code)


def warn_of_recipes(work: Sequence[Work]) -> None:
    """Name the models that stand beside published numbers and are not fine-tuned as those were."""
    ours = dict.fromkeys(each.model for each in work if each.is_pretrained and each.recipe == "ours")
    if ours:
        stderr.print(
            f"warning: {', '.join(ours)}: no recipe was published for this family on this benchmark; it has "
            "ours (conf/benchmark/recipes.tsv), so published numbers are of other recipes",
        )


def write_leakage(path: Path, leakage: Mapping[str, Sequence[Leakage]]) -> None:
    """Write what the parts of each task share."""
    content = {task: [asdict(each) for each in found] for task, found in leakage.items()}
    replace_text(path, json.dumps(content, indent=2) + "\n")


class Reporter:
    """Writes the tables of what jobs have left; what it has read of a finished job it remembers.

    Args:
        folder: where.
        benchmark: whose tasks they are.
        models: in the order of the table.
        work: jobs by id.
        leakage: between the parts of each task.
    """

    def __init__(
        self,
        folder: Path,
        benchmark: Benchmark,
        models: Sequence[str],
        work: Mapping[str, Work],
        leakage: Mapping[str, Sequence[Leakage]],
    ) -> None:
        self._folder, self._name, self._work = folder, benchmark.name, work
        tasks = list({each.task.task.name: each.task.task for each in work.values()}.values())
        self._judge = Judge(tasks, models)
        self._leakage = leakage
        self._published = read_published(benchmark.published)
        self._read: dict[str, Outcome] = {}

    def __call__(self, last: Mapping[str, Record]) -> None:
        """Write the tables.

        Args:
            last: the last event of every job.
        """
        failures = {}
        for name, work in self._work.items():
            record = last.get(name)
            if record is None or record.status == "running":
                continue
            if record.status != "done":
                failures[work.task.task.name, work.model] = f"{record.status}: {record.error}"
            elif name not in self._read:
                outcome = read_outcome(
                    Path(record.run),
                    work.task.task,
                    model=work.model,
                    seed=work.seed,
                    made_by=work.made_by(),
                )
                if outcome is not None:
                    self._read[name] = outcome
        write_report(self._folder, self._name, self.standing, self._published, failures, self._leakage)

    @property
    def standing(self) -> Standing:
        """After the jobs that are done."""
        return self._judge.standing(list(self._read.values()))
