"""The SLURM launcher, on submitit's local executor: the same verdicts as on this machine."""

import csv
from pathlib import Path

import pytest

from dnalm.errors import ConfigError
from dnalm.sweeps import Axis, Grid, SlurmLauncher, SweepFolder, run_sweep
from tests.sweeps.tiny_jobs import check, make_job


def test_jobs_are_submitted_and_judged(tmp_path: Path) -> None:
    code = run_sweep(
        sweep=SweepFolder(dir=tmp_path, parallel=3),
        launcher=SlurmLauncher(minutes=2, cluster="local"),
        hparams_search=Grid(),
        name="unused",
        axes=[Axis("what", ("good", "exits_3", "is_killed")), Axis("number", ("0",))],
        make_job=make_job,
        check=check,
    )
    assert code == 1
    with (tmp_path / "table.csv").open(newline="") as file:
        found = {row["what"]: (row["status"], row["exit_code"]) for row in csv.DictReader(file)}
    assert found == {"good": ("done", "0"), "exits_3": ("failed", "3"), "is_killed": ("killed", "-9")}
    assert '"handle": "slurm:' in (tmp_path / "sweep.jsonl").read_text()


def test_without_slurm_one_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match=r"SWEEP-05 launcher: no SLURM here: .*use launcher=local"):
        run_sweep(
            sweep=SweepFolder(dir=tmp_path),
            launcher=SlurmLauncher(minutes=2),
            hparams_search=Grid(),
            name="unused",
            axes=[Axis("what", ("good",)), Axis("number", ("0",))],
            make_job=make_job,
            check=check,
        )
