"""A sweep from its axes to its table, whatever its jobs run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dnalm.console import stdout
from dnalm.errors import ConfigError
from dnalm.sweeps.results import Job, JobMaker, Record, SweepFolder, count_statuses
from dnalm.sweeps.runner import Checker, LocalLauncher, Runner
from dnalm.sweeps.search import Axis, Grid, OptunaSearch, Trial
from dnalm.sweeps.slurm import SlurmLauncher
from dnalm.tables import readable


def run_sweep(
    *,
    sweep: SweepFolder,
    launcher: LocalLauncher | SlurmLauncher,
    hparams_search: Grid | OptunaSearch,
    name: str,
    axes: Sequence[Axis],
    make_job: JobMaker,
    check: Checker,
) -> int:
    """Run the jobs of a sweep, those that are done already excepted, and leave its tables and plot.

    Args:
        sweep: the folder.
        launcher: starts jobs.
        hparams_search: chooses them.
        name: of the folder, where none was chosen.
        axes: what varies.
        make_job: a job from its overrides.
        check: composes a job's config, and says what is wrong with it.

    Returns:
        The exit code: 0 if every job is done, 2 if none has a config that can be built, 128 and its
        number after a signal, 1 otherwise.
    """
    folder = sweep.at(Path("sweeps") / name)
    with sweep.opened() as ledger:
        tried = [
            record.overrides
            for record in ledger.last.values()
            if make_job(folder, record.overrides).id == record.job
        ]
        runner = Runner(sweep, ledger, launcher, check)
        known = [make_job(folder, overrides) for overrides in hparams_search.known(axes, tried)]

        def following() -> Job | None:
            trials = [_trial(job, ledger.last.get(job.id), sweep.metric) for job in runner.jobs.values()]
            overrides = hparams_search.following(axes, trials, sweep.direction)
            return None if overrides is None else make_job(folder, overrides)

        number = runner.run(known, following)
        records = {job.id: record for job in runner.jobs.values() if (record := ledger.last.get(job.id))}
        _conclude(sweep, folder, list(ledger.last.values()), records, len(runner.jobs))
    if number is not None:
        return 128 + number
    statuses = {record.status for record in records.values()}
    return 0 if statuses <= {"done"} else ConfigError.exit_code if _all_refused(records) else 1


def _all_refused(records: Mapping[str, Record]) -> bool:
    """Whether no job was even started."""
    return all(record.status == "config" and record.exit_code is None for record in records.values())


def _trial(job: Job, record: Record | None, metric: str) -> Trial:
    return Trial(job.overrides, record.number(metric) if record else None)


def _conclude(
    sweep: SweepFolder,
    folder: Path,
    everything: Sequence[Record],
    records: Mapping[str, Record],
    num_jobs: int,
) -> None:
    """Say how many jobs ended how, which is the best, and where the tables are."""
    from dnalm.sweeps.results import plot_sweep

    counts = count_statuses(records.values())
    if num_jobs > len(records):
        counts["waiting"] = num_jobs - len(records)
    told = ", ".join(f"{number} {status}" for status, number in counts.items())
    stdout.print(f"{num_jobs} jobs: {told}")
    if best := _best(sweep, records.values()):
        stdout.print(f"best {sweep.metric}: {readable(best.number(sweep.metric))} in {best.run}")
    stdout.print(f"table: {folder / 'table.md'}, {folder / 'table.csv'}")
    if plot_sweep(everything, sweep.metric, folder / "plot.png"):
        stdout.print(f"plot: {folder / 'plot.png'}")
    again = "more values with the same sweep.dir run only what is new"
    if set(counts) != {"done"}:
        again = "the same command again runs what is missing or failed"
    stdout.print(f"next: {again}")
    summary = {"jobs": num_jobs, "statuses": counts, "metric": sweep.metric, "best": best and best.job}
    stdout.print(f"summary: {sweep.write_summary(summary)}")


def _best(sweep: SweepFolder, records: Iterable[Record]) -> Record | None:
    scored = [(value, record) for record in records if (value := record.number(sweep.metric)) is not None]
    choose = min if sweep.direction == "minimize" else max
    return choose(scored, key=lambda pair: pair[0])[1] if scored else None
