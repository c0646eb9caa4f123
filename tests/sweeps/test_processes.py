"""What a job finds in its environment."""

import os
from pathlib import Path

import pytest

from dnalm.sweeps.launchers import job_environment
from dnalm.training.launcher import rank_environment

THREADS = "OMP_NUM_THREADS"


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for name in (THREADS, "DNALM_JOB_THREADS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("parallel", "threads"), [(2, "4"), (3, "2"), (8, "1"), (20, "1")])
def test_jobs_side_by_side_share_the_cores(parallel: int, threads: str) -> None:
    assert job_environment(Path("run"), parallel=parallel)[THREADS] == threads


def test_a_job_alone_and_one_whose_threads_are_given_are_left_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert THREADS not in job_environment(Path("run"), parallel=1)
    monkeypatch.setenv(THREADS, "5")
    assert job_environment(Path("run"), parallel=2)[THREADS] == "5"
    assert rank_environment(0, 2, port=1, start=None)[THREADS] == "5"


def test_the_ranks_of_a_job_and_the_jobs_of_a_job_share_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rank_environment(0, 2, port=1, start=None)[THREADS] == "4"
    for name, value in job_environment(Path("run"), parallel=2).items():
        monkeypatch.setenv(name, value)
    assert rank_environment(0, 2, port=1, start=None)[THREADS] == "2"
    assert job_environment(Path("run"), parallel=2)[THREADS] == "2"


def test_a_job_is_no_rank_of_the_process_that_starts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "SLURM_NTASKS", "DNALM_START"):
        monkeypatch.setenv(name, "1")
    found = job_environment(Path("run"), parallel=1)
    assert not {"RANK", "WORLD_SIZE", "SLURM_NTASKS", "DNALM_START"} & found.keys()
    assert found["DNALM_SWEEP_JOB"] == str(Path("run").resolve())
