"""`dnalm benchmark`: every task of a benchmark with every model and seed, and the tables of it.

The folder holds a run directory and a log for each job, the ledger of the sweep with its own `table.csv`,
the tables of the benchmark, `benchmark.md`, `.csv`, `.tex`, `.html` and `differences.csv`, written anew after
every job, and at the end `leakage.json`, `heatmap.png` and `tasks.png`; of several numbers of labels
`labels.csv` and `labels.png` too. `Work` is the one place where the command line of a job is made.

A recipe with `task.folds` is cross-validated: each fold is a job, which trains on the others, and all are
judged on the published test set.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import PositiveInt

from dnalm import grants
from dnalm.commands.benchmark_variants import ScoreReporter, ScoreWork, all_score_work
from dnalm.console import stderr, stdout
from dnalm.data.labelled import Part
from dnalm.errors import ConfigError
from dnalm.evaluation.benchmark.benchmark import (
    CLASSICAL,
    OURS,
    PARTS,
    WITHOUT_CHANCE,
    Benchmark,
    PreparedTask,
    Recipe,
    check_models,
    check_recipe,
    choose_recipe,
    recipe_family,
    weights_checksum,
)
from dnalm.evaluation.benchmark.label_curves import LabelCurves, plot_curves
from dnalm.evaluation.benchmark.leakage import Leakage, clusters_of, drop_homologs, leakage_of
from dnalm.evaluation.benchmark.pictures import plot_leaderboard, plot_sets
from dnalm.evaluation.benchmark.published import Published, read_published
from dnalm.evaluation.benchmark.report import (
    Comparison,
    Leaderboard,
    Outcome,
    Tuned,
    read_outcome,
    read_validation,
    write_report,
)
from dnalm.evaluation.benchmark.variant_sets import PreparedSet, VariantSuite
from dnalm.evaluation.report import leave_report
from dnalm.grants import program
from dnalm.limits import NOT_EMPTY, Jobs
from dnalm.paths import UNTRAINED, InputName, split_twin
from dnalm.sweeps import (
    Grid,
    Job,
    LocalLauncher,
    Record,
    SlurmLauncher,
    SweepFolder,
    overridden,
    quoted,
    read_axes,
    run_sweep,
)
from dnalm.sweeps.command_line import what_is_wrong
from dnalm.sweeps.results import assign, job_id, short_hash
from dnalm.sweeps.search import Axis
from dnalm.tables import replace_text

# Keys that say where and how fast a network is trained, and not how
_OF_MACHINES = ("trainer", "trainer.accelerator", "trainer.devices", "batch.micro_size", "logger")
_FOLDS = "task.folds="


@dataclass(frozen=True, kw_only=True)
class Work:
    """A task, a model and a seed, or one of the folds of a recipe that is cross-validated.

    Attributes:
        task: prepared.
        model: as it was given.
        seed: of the job, from 1; with folds the number of the fold, from 1.
        checksum: of the model's weights; empty where it has none.
        family: of the model, as `recipes.tsv` names families.
        words: further words of `dnalm finetune`.
        asked: the recipe that is asked for; that of the family if None.
        config_dir: a folder of the user's own configs.
        tuned: values of `tune`, by key, which win over all other words.
        labels: training rows to learn from; None for all.
        is_main: whether these are the most labels that are asked for, whose results the main tables have.
    """

    task: PreparedTask
    model: str
    seed: int
    checksum: str
    family: str
    words: tuple[str, ...]
    asked: str | None = None
    config_dir: Path | None = None
    tuned: Mapping[str, str] = field(default_factory=dict)
    labels: int | None = None
    is_main: bool = True

    @property
    def command(self) -> str:
        """What runs it."""
        return "baseline" if self.model in CLASSICAL else "finetune"

    @property
    def overrides(self) -> dict[str, str]:
        """What distinguishes it from other jobs of the benchmark."""
        run = "fold" if self.folds else "seed"
        few = {} if self.labels is None else {"task.labels": str(self.labels)}
        return {"task": self.task.task.name, "model": self.model, run: str(self.seed), **few, **self.tuned}

    def line(self) -> list[str]:
        """The words of its command line, without the run directory."""
        listed, seed, files = self.task.task, self.seed, {part: self.task.file(part) for part in PARTS}
        chosen = [f"{'baseline' if self.command == 'baseline' else 'model'}={self.model}", *self._words]
        if self.folds:  # of one seed, which divides the rows the same way for all of them
            files, seed = {"train": self.task.whole, "test": files["test"]}, 1
            chosen.append(f"task.fold={self.seed - 1}")
        parts = [f"task.{part}={quoted(str(path))}" for part, path in files.items()]
        about = [f"task.name={listed.name}", f"task.kind={listed.kind}", f"task.metric={listed.metric}"]
        about += [] if self.labels is None else [f"task.labels={self.labels}"]
        return [*chosen, *parts, *about, f"task.num_classes={listed.labels}", f"seed={seed}"]

    @property
    def folds(self) -> int:
        """Into how many parts training and validation rows are cut for cross-validation; 0 for none."""
        given = [word.removeprefix(_FOLDS) for word in self._words if word.startswith(_FOLDS)]
        return int(given[-1]) if given and given[-1].isdecimal() else 0

    @property
    def recipe(self) -> str:
        """By which recipe it is fine-tuned, and what `finetune` and `tune` have changed in it."""
        recipe = self._recipe
        given = [*self.words, *assign(self.tuned)] if self.command == "finetune" else []
        own = [word for word in given if word not in recipe.words]
        changes = [word for word in own if word.partition("=")[0] not in _OF_MACHINES]
        return f"{recipe.name}, but {' '.join(changes)}" if changes else recipe.name

    @cached_property
    def _recipe(self) -> Recipe:
        if self.command == "baseline":
            return Recipe(OURS, ())
        return choose_recipe(self.task.task, self.family, self.asked)

    @cached_property
    def _words(self) -> Sequence[str]:
        """Those of the recipe, with what wins over them."""
        if self.command == "baseline":
            return ()
        return overridden(overridden(self._recipe.words, self.words), assign(self.tuned))

    def job(self, folder: Path) -> Job:
        """As a job of a sweep; another model of the same name is another job."""
        line = self.line()
        name = job_id(self.command, [*line, self.checksum], self.overrides)
        again = ("run.replace=true",) if self.command == "baseline" else ()
        where = f"run.dir={quoted(str(folder / name))}"
        command = (*program(self.command), *line, *again, where, *self._options)
        return Job(name, self.overrides, command)

    def what_is_wrong(self) -> str:
        """The sentence that says what is wrong with its config, or nothing."""
        return what_is_wrong(self.command, self.line(), self.config_dir)

    def made_by(self) -> dict[str, str]:
        """What the job is made of."""
        words = ["dnalm", self.command, *grants.current.words(), *self.line(), *self._options]
        return {
            "model_sha256": self.checksum,
            "data_sha256": self.task.sha256,
            "recipe": self.recipe,
            "folds": str(self.folds or ""),
            "command": " ".join(words),
        }

    @property
    def _options(self) -> tuple[str, ...]:
        return ("--config-dir", str(self.config_dir)) if self.config_dir else ()


def all_work(
    tasks: Sequence[PreparedTask],
    models: Sequence[str],
    seeds: int,
    words: tuple[str, ...],
    config_dir: Path | None = None,
    labels: Sequence[int | Literal["all"]] = ("all",),
    asked: str | None = None,
) -> list[Work]:
    """Every task with every number of labels, every model and every seed, from 1.

    A number that a task does not have is all of its rows. Drawing few of them is chance too. A recipe of
    folds has each of them in place of seeds.
    """
    numbers = {task.task.name: numbers_of_labels(task, labels) for task in tasks}
    checksums = {model: weights_checksum(model) for model in models}
    families = {model: recipe_family(model) for model in models}
    found = []
    asked_for = [(task, number) for task in tasks for number in numbers[task.task.name]]
    for (task, number), model in itertools.product(asked_for, models):
        first = Work(
            task=task,
            model=model,
            seed=1,
            checksum=checksums[model],
            family=families[model],
            words=words,
            asked=asked,
            config_dir=config_dir,
            labels=number,
            is_main=number == numbers[task.task.name][-1],
        )
        if first.folds:
            task.join()
        without_chance = model in WITHOUT_CHANCE and number is None
        runs = first.folds or (1 if without_chance else seeds)
        found += [replace(first, seed=run) for run in range(1, runs + 1)]
    return found


def numbers_of_labels(task: PreparedTask, asked: Sequence[int | Literal["all"]]) -> list[int | None]:
    """Numbers of training rows to learn from, rising; None, all of them, last.

    Raises:
        ConfigError: BENCH-10, there are fewer than classes.
    """
    few = sorted({each for each in asked if each != "all"})
    if few and few[0] < task.task.labels:
        raise ConfigError(
            "BENCH-10",
            where="labels",
            found=f"{few[0]}, and {task.task.name} has {task.task.labels} classes",
            expected="a label of each class at least",
            fix=f"raise it, such as labels=[{10 * task.task.labels},all], or leave the task out: tasks=[…]",
        )
    rows = len(task.read("train")) if few else 0
    kept: list[int | None] = [each for each in few if each < rows]
    return kept if len(kept) == len(few) and "all" not in asked else [*kept, None]


AnyWork = Work | ScoreWork


class JobList(Grid):
    """A sweep of the jobs with these overrides, in this order."""

    def __init__(self, overrides: Iterable[Mapping[str, str]]) -> None:
        self._overrides = list(overrides)

    def known(
        self,
        axes: Sequence[Axis],  # noqa: ARG002 -- the interface of searches
        tried: Sequence[Mapping[str, str]],  # noqa: ARG002
    ) -> list[Mapping[str, str]]:
        """All of them."""
        return self._overrides


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
    benchmark: Benchmark | VariantSuite,
    models: Annotated[tuple[InputName, ...], NOT_EMPTY],
    sweep: BenchmarkFolder,
    launcher: LocalLauncher | SlurmLauncher,
    config_dir: Path | None,
    config: dict[str, object],  # noqa: ARG001 -- every command gets it
    tasks: Annotated[tuple[str, ...], NOT_EMPTY] | None = None,
    seeds: Jobs = 3,
    finetune: tuple[str, ...] = (),
    tune: tuple[str, ...] = (),
    homology: Literal["report", "drop"] = "report",
    labels: Annotated[tuple[PositiveInt | Literal["all"], ...], NOT_EMPTY] = ("all",),
    recipe: str | None = None,
    score: tuple[str, ...] = (),
) -> None:
    """Run all jobs, those that are done excepted, and leave the tables.

    Args:
        benchmark: its tasks or sets of variants, and their data.
        models: runs, model directories, `owner/name` on the hub; `:untrained` after a name is its untrained
            twin; `kmer_logistic`, `cnn`; architectures of `conf/model`, such as `tiny`.
        sweep: the folder, and how many jobs run side by side.
        launcher: starts jobs.
        config: the composed config.
        tasks: names; all if absent, of sets of variants those at hand.
        seeds: how many, from 1; of a model without chance one. A recipe of folds has its folds instead.
        finetune: further words of `dnalm finetune`, which win over the tasks' recipes: `["budget=tiny"]`.
        tune: what is tried for each task and model, as a sweep writes it: `["optim.lr=2e-4,1e-3"]`. Every
            combination is fine-tuned with seed 1, and all seeds have the one with the best metric on the
            validation set. Classical models keep their own settings.
        homology: of test to training sequences: `report` counts such rows; `drop` also leaves them out of
            every figure but those of whole test sets. The jobs are the same.
        labels: numbers of training rows to learn from, such as [10,100,all], each by every model and seed;
            the main tables have the largest, `labels.csv` and `labels.png` all.
        recipe: of fine-tuning, by its name in `recipes.tsv`: `ours`, `nt_notebook`. If absent, or not there
            for its family, a model has the one that was published for its family, or ours.
        score: further words of `dnalm score`, of sets of variants: `["pll_bp=32"]`.
        config_dir: a folder of the user's own configs, which the jobs see too; `--config-dir` sets it.

    Raises:
        ConfigError: BENCH-17, a key has no effect on this benchmark.
    """
    check_models(models)
    of_tasks = {"finetune": finetune, "tune": tune, "recipe": recipe, "homology": homology == "drop"}
    of_tasks["labels"] = labels != ("all",)
    idle = of_tasks if isinstance(benchmark, VariantSuite) else {"score": score}
    if key := next((key for key, is_given in idle.items() if is_given), None):
        raise ConfigError(
            "BENCH-17",
            where=key,
            found=f"{key} of benchmark={benchmark.name}, whose jobs do not read it",
            expected=f"{', '.join(of_tasks)} of tasks, score of sets of variants",
            fix=f"leave {key} out",
        )
    if isinstance(benchmark, VariantSuite):
        sets = benchmark.prepare(benchmark.choose(tasks))
        scoring = all_score_work(benchmark, sets, models, seeds, score, config_dir)
        _score(benchmark, sets, scoring, sweep=sweep, launcher=launcher)
    else:
        candidates, chosen = read_candidates(tune), benchmark.choose(tasks)
        check_recipe(recipe, chosen)
        prepared = benchmark.prepare(chosen)
        tuning = all_work(prepared, models, seeds, finetune, config_dir, labels, recipe)
        _fine_tune(benchmark, prepared, tuning, candidates, homology, sweep=sweep, launcher=launcher)


def _fine_tune(
    benchmark: Benchmark,
    prepared: Sequence[PreparedTask],
    work: Sequence[Work],
    candidates: Sequence[Mapping[str, str]],
    homology: Literal["report", "drop"],
    *,
    sweep: BenchmarkFolder,
    launcher: LocalLauncher | SlurmLauncher,
) -> None:
    """Every task with every model and seed."""
    published = read_published(benchmark.published)
    warn_of_recipes(work, published)
    tried = [word for values in candidates for word in assign(values)]
    name, folder = _name(benchmark.name, work, tried, sweep)
    tuned = []
    if candidates:
        tuned = tune_on_validation(work, candidates, sweep=sweep, launcher=launcher, name=name)
        chosen = {(each.task, each.model): each.chosen for each in tuned}
        work = [replace(each, tuned=chosen.get((each.task.task.name, each.model), {})) for each in work]
    leakage = {each.task.name: leakage_of(each) for each in prepared}
    clusters = all_clusters(work, leakage, drop=homology == "drop")
    by_id = {each.job(folder).id: each for each in work}
    models = list(dict.fromkeys(each.model for each in work))
    reporter = sweep.report = Reporter(
        folder, benchmark.name, models, by_id, leakage, clusters, published, tuned
    )
    code = run_work(work, sweep=sweep, launcher=launcher, name=name)
    shared = {task: [asdict(each) for each in found] for task, found in leakage.items()}
    replace_text(folder / "leakage.json", json.dumps(shared, indent=2) + "\n")
    if plot_leaderboard(reporter.leaderboard, folder):
        stdout.print(f"pictures: {folder / 'heatmap.png'}, {folder / 'tasks.png'}")
    if plot_curves(reporter.curves, folder):
        stdout.print(f"curves by labels: {folder / 'labels.png'}, .csv")
    _finish(folder, work, code)


def _score(
    suite: VariantSuite,
    sets: Sequence[PreparedSet],
    work: Sequence[ScoreWork],
    *,
    sweep: BenchmarkFolder,
    launcher: LocalLauncher | SlurmLauncher,
) -> None:
    """Every set of variants with every model, and twins with every seed."""
    name, folder = _name(suite.name, work, (), sweep)
    reporter = sweep.report = ScoreReporter(folder, suite, sets, {each.job(folder).id: each for each in work})
    code = run_work(work, sweep=sweep, launcher=launcher, name=name)
    if plot_sets(reporter.leaderboard, folder):
        stdout.print(f"pictures: {folder / 'variants.png'}, .svg")
    _finish(folder, work, code)


def _name(
    benchmark: str, work: Sequence[AnyWork], tried: Sequence[str], sweep: BenchmarkFolder
) -> tuple[str, Path]:
    """Of the sweep, a function of its jobs and of what is tried; and its folder."""
    words = [word for each in work for word in each.line()]
    name = f"{benchmark}-{short_hash('benchmark', [*words, *tried])}"
    return name, sweep.at(Path("benchmarks") / name)


def _finish(folder: Path, work: Sequence[AnyWork], code: int) -> None:
    """Leave the page, and say where everything is."""
    leave_report(folder)
    stdout.print(f"benchmark: {folder / 'benchmark.md'}, .csv, .tex, .html")
    if alone := models_without_twin(work):
        stdout.print(
            f"no untrained twin is beside {', '.join(alone)}, so nothing shows what pretraining adds: add "
            f"{','.join(each + UNTRAINED for each in alone)} to models"
        )
    if code:
        sys.exit(code)


def all_clusters(
    work: Sequence[Work], leakage: Mapping[str, Sequence[Leakage]], *, drop: bool
) -> dict[str, npt.NDArray[np.int64]]:
    """Clusters of each test set by task; where a recipe has folds, validation rows train as well.

    Raises:
        DataError: BENCH-09, without homologs too few rows are left.
    """
    found = {}
    for task in {each.task.task.name: each.task for each in work}.values():
        has_folds = any(each.folds for each in work if each.task is task)
        training: tuple[Part, ...] = ("train", "val") if has_folds else ("train",)
        clusters = clusters_of(task, training)
        if drop:
            clusters = drop_homologs(task, clusters, leakage[task.task.name], training)
        found[task.task.name] = clusters
    return found


def run_work(
    work: Sequence[AnyWork], *, sweep: SweepFolder, launcher: LocalLauncher | SlurmLauncher, name: str
) -> int:
    """Run the jobs that are not done; the exit code of `run_sweep`."""
    by_id = {each.job(sweep.folder).id: each for each in work}
    return run_sweep(
        sweep=sweep,
        launcher=launcher,
        hparams_search=JobList([each.overrides for each in work]),
        name=name,
        axes=[],
        make_job=job_maker(work),
        check=lambda job: by_id[job.id].what_is_wrong(),
    )


def read_candidates(tune: Sequence[str]) -> list[Mapping[str, str]]:
    """All combinations of the values to be tried; none where nothing is.

    Raises:
        ConfigError: SWEEP-01, a word has no values; SWEEP-02, there are too many combinations.
    """
    axes, fixed = read_axes(tune)
    if fixed:
        raise ConfigError(
            "SWEEP-01",
            where=f"tune: {fixed[0]}",
            found="one value, of which nothing can be chosen",
            expected="values to be tried, such as optim.lr=2e-4,5e-4,1e-3",
            fix=f"give several, or move it to finetune: 'finetune=[\"{fixed[0]}\"]'",
        )
    return Grid().known(axes, tried=[]) if axes else []


def tune_on_validation(
    work: Sequence[Work],
    candidates: Sequence[Mapping[str, str]],
    *,
    sweep: BenchmarkFolder,
    launcher: LocalLauncher | SlurmLauncher,
    name: str,
) -> list[Tuned]:
    """Fine-tune every model on every task with all candidates and seed 1, and choose on the validation set.

    A candidate that failed (that diverged, say) is not chosen; a task and model of which all failed have no
    choice, and their jobs keep the words of the recipe.

    Raises:
        SystemExit: it was interrupted, or none of the candidates is a config that can be built.
    """
    trials = [
        replace(each, tuned=values)
        for each in work
        if each.seed == 1 and each.command == "finetune" and each.is_main
        for values in candidates
    ]
    stdout.print(f"tuning: {len(trials)} jobs of seed 1, judged on the validation sets")
    last: dict[str, Record] = {}
    sweep.report = last.update
    code = run_work(trials, sweep=sweep, launcher=launcher, name=name)
    if code not in (0, 1):
        sys.exit(code)
    found: dict[tuple[str, str], list[tuple[Mapping[str, str], float]]] = {}
    for each in trials:
        record = last[each.job(sweep.folder).id]
        is_done = record.status == "done"  # one that has diverged leaves figures too
        value = read_validation(Path(record.run), each.task.task.metric) if is_done else math.nan
        found.setdefault((each.task.task.name, each.model), []).append((each.tuned, value))
    return [
        Tuned(task=task, model=model, tried=tried)
        for (task, model), tried in found.items()
        if any(math.isfinite(value) for _, value in tried)
    ]


def job_maker(work: Sequence[AnyWork]) -> Callable[[Path, Mapping[str, str]], Job]:
    """Makes jobs of overrides; of those that only an earlier call in the folder had, one without a name."""
    by_overrides = {tuple(each.overrides.items()): each for each in work}

    def make(folder: Path, overrides: Mapping[str, str]) -> Job:
        asked = by_overrides.get(tuple(overrides.items()))
        return asked.job(folder) if asked else Job("", overrides, ())

    return make


def models_without_twin(work: Sequence[AnyWork]) -> list[str]:
    """The pretrained models whose untrained twin is not in the table."""
    checksums = {each.model: each.checksum for each in work}
    return [
        model
        for model, checksum in checksums.items()
        if checksum and not split_twin(model)[1] and model + UNTRAINED not in checksums
    ]


def warn_of_recipes(work: Sequence[Work], published: Sequence[Published]) -> None:
    """Name the models that stand beside published numbers and are not fine-tuned as those were."""
    of_papers = {each.recipe for each in published if each.recipe}
    found: dict[str, str] = {}
    for each in work:
        if each.checksum and each.recipe not in of_papers:
            found[each.model] = each.recipe
    if of_papers and found:
        stderr.print(
            f"warning: published numbers are by the recipe {', '.join(sorted(of_papers))}; not so "
            f"{', '.join(f'{model} ({recipe})' for model, recipe in found.items())}: no difference is shown"
        )


class Reporter:
    """Writes the tables of what jobs have left; a finished job is read once.

    Args:
        folder: where.
        name: of the benchmark.
        models: in the order of the table.
        work: jobs by id.
        leakage: between the parts of each task.
        clusters: of the rows of each task's test set, as `Comparison` takes them.
        published: results of papers.
        tuned: what was chosen on validation sets.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        models: Sequence[str],
        work: Mapping[str, Work],
        leakage: Mapping[str, Sequence[Leakage]],
        clusters: Mapping[str, npt.NDArray[np.int64]],
        published: Sequence[Published] = (),
        tuned: Sequence[Tuned] = (),
    ) -> None:
        self._folder, self._name, self._work, self._leakage = folder, name, work, leakage
        self._published, self._tuned = published, tuned
        tasks = {each.task.task.name: each.task.task for each in work.values()}
        self._comparison = Comparison(list(tasks.values()), models, clusters)
        self._read: dict[str, Outcome] = {}

    def __call__(self, last: Mapping[str, Record]) -> None:
        """Write the tables after these last events of the jobs."""
        failures = {}
        for name, work in self._work.items():
            record, task = last.get(name), work.task.task
            if record is None or record.status == "running":
                continue
            if record.status != "done":
                if not work.is_main:
                    continue  # the table of the sweep says so
                failures[task.name, work.model] = f"{record.status}: {record.error}"
            elif name not in self._read:
                run, made_by = Path(record.run), work.made_by()
                outcome = read_outcome(run, task, model=work.model, seed=work.seed, made_by=made_by)
                if outcome is not None:
                    self._read[name] = outcome
        write_report(
            self._folder,
            self._name,
            self.leaderboard,
            self._published,
            failures,
            self._leakage,
            self._tuned,
            self.curves.sheet(),
        )
        self.curves.write(self._folder)

    @property
    def leaderboard(self) -> Leaderboard:
        """After the jobs that are done, with the most labels."""
        main = [outcome for name, outcome in self._read.items() if self._work[name].is_main]
        return self._comparison.leaderboard(main)

    @property
    def curves(self) -> LabelCurves:
        """By the number of labels, after the jobs that are done; folds differ by a row, which is no curve."""
        found = [outcome for name, outcome in self._read.items() if not self._work[name].folds]
        return LabelCurves.of(self._comparison, found)
