"""A sweep goes on whatever its jobs do, and may itself be killed at any time."""

import csv
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dnalm.errors import CheckpointError, ConfigError
from dnalm.lock import Lock
from dnalm.sweeps import Axis, Grid, Job, Ledger, LocalLauncher, SweepFolder, run_sweep
from tests.sweeps.tiny_jobs import BAD, make_job, sweep

ROOT = Path(__file__).resolve().parents[2]


def rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "table.csv").open(newline="") as file:
        return {row["job"]: row for row in csv.DictReader(file)}


def statuses(folder: Path) -> dict[str, str]:
    return {job: row["status"] for job, row in rows(folder).items()}


def times_run(folder: Path) -> dict[str, int]:
    return {path.stem: len(path.read_text()) for path in folder.glob("*.runs")}


def start(folder: Path, whats: str, numbers: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tests.sweeps.tiny_jobs", str(folder), whats, str(numbers)]
    return subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(file: Path, text: str = "") -> None:
    while not file.exists() or text not in file.read_text():
        time.sleep(0.01)


@pytest.fixture(scope="module")
def ordeal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good jobs between each bad one and the next, side by side by two."""
    folder = tmp_path_factory.mktemp("sweep")
    whats = [name for bad in BAD for name in (bad, f"good_after_{bad}")]
    assert sweep(folder, [*whats, "unknown"], numbers=2, parallel=2, timeout_s=2.0) == 1
    return folder


@pytest.mark.parametrize("bad", BAD)
def test_a_job_that_ends_badly_is_distinguished_and_the_others_go_on(ordeal: Path, bad: str) -> None:
    found = statuses(ordeal)
    assert [found[f"{bad}-{number}"] for number in (0, 1)] == [BAD[bad][1]] * 2
    assert [found[f"good_after_{bad}-{number}"] for number in (0, 1)] == ["done"] * 2


def test_a_config_error_is_recorded_and_never_started(ordeal: Path) -> None:
    row = rows(ordeal)["unknown-0"]
    assert (row["status"], row["exit_code"], row["error"]) == ("config", "", "CFG-99 what: unknown")
    assert not Path(row["log"]).exists()


def test_the_table_has_exit_code_log_and_metrics_of_each(ordeal: Path) -> None:
    table = rows(ordeal)
    assert all(Path(row["log"]).is_file() for job, row in table.items() if not job.startswith("unknown"))
    codes = {bad: table[f"{bad}-0"]["exit_code"] for bad in BAD}
    assert codes == {
        "raises": "1", "exits_0": "0", "exits_3": "3", "interrupts": "-2", "quits": "7", "is_killed": "-9",
        "segfaults": "-11", "eats_memory": "1", "is_refused": "2", "hangs": "-9",
    }  # fmt: skip
    assert table["raises-0"]["error"] == "ValueError: x"
    assert table["exits_3-0"]["error"] == "exit code 3"
    assert table["segfaults-0"]["error"] == "SIGSEGV"
    assert table["exits_0-0"]["error"] == "exit code 0, but no summary.json was left"
    assert table["good_after_hangs-0"]["val_bits_per_base"] == "1.5"
    assert table["good_after_hangs-0"]["name"] == "'=1+1"


def test_a_rerun_executes_only_what_is_not_done(ordeal: Path) -> None:
    before = times_run(ordeal)
    done = {job for job, status in statuses(ordeal).items() if status == "done"}
    lines = (ordeal / "sweep.jsonl").read_text().count("\n")
    whats = [name for bad in ("raises", "exits_3") for name in (bad, f"good_after_{bad}")]
    assert sweep(ordeal, whats, numbers=2) == 1
    assert times_run(ordeal) == before == dict.fromkeys(done, 1)
    assert (ordeal / "sweep.jsonl").read_text().count("\n") == lines + 2 * 4  # begun and ended, four jobs


def test_side_by_side_equals_one_after_the_other(ordeal: Path, tmp_path: Path) -> None:
    whats = [name for bad in BAD for name in (bad, f"good_after_{bad}")]
    sweep(tmp_path, [*whats, "unknown"], numbers=2, timeout_s=2.0)
    kept = ("what", "number", "status", "exit_code", "val_bits_per_base", "error")
    alone, beside = (
        {job: {name: row[name] for name in kept} for job, row in rows(folder).items()}
        for folder in (tmp_path, ordeal)
    )
    assert alone == beside


def test_exit_codes_of_a_sweep(tmp_path: Path) -> None:
    assert sweep(tmp_path / "good", ["good"], numbers=2) == 0
    assert sweep(tmp_path / "good", ["good"], numbers=3) == 0
    assert times_run(tmp_path / "good") == {"good-0": 1, "good-1": 1, "good-2": 1}
    assert sweep(tmp_path / "bad", ["raises", "good"]) == 1
    assert sweep(tmp_path / "refused", ["unknown"], numbers=3) == 2
    assert set(statuses(tmp_path / "refused").values()) == {"config"}


def test_a_summary_of_an_earlier_try_does_not_speak_for_a_later_one(tmp_path: Path) -> None:
    run = tmp_path / "exits_0-0"
    run.mkdir()
    (run / "summary.json").write_text("{}")
    (tmp_path / "sweep.jsonl").touch()  # the folder is a sweep's
    assert sweep(tmp_path, ["exits_0"]) == 1
    assert statuses(tmp_path) == {"exits_0-0": "failed"}


@pytest.mark.parametrize("seed", range(6))
def test_a_sweep_killed_at_any_time_continues_and_repeats_no_finished_job(tmp_path: Path, seed: int) -> None:
    chance, kills = random.Random(seed), 0
    while True:
        process = start(tmp_path, "slow,good,exits_3", 4)
        if kills == 3:
            break
        kills += 1
        while not (tmp_path / "sweep.jsonl").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 0.4))
        process.kill()
        process.communicate()
        if (tmp_path / "table.csv").exists():
            assert all(None not in row.values() for row in rows(tmp_path).values())
    out, errors = process.communicate()
    assert process.returncode == 1, errors
    found = statuses(tmp_path)
    assert [found[f"{what}-{number}"] for what in ("slow", "good", "exits_3") for number in range(4)] == (
        ["done"] * 8 + ["failed"] * 4
    )
    assert set(times_run(tmp_path).values()) == {1}, "each finished once, also those whose sweep was killed"
    assert "12 jobs: 8 done, 4 failed" in out


def test_the_job_of_a_killed_sweep_is_waited_for_and_not_run_beside_itself(tmp_path: Path) -> None:
    process = start(tmp_path, "slow", 1)
    wait_for(tmp_path / "slow-0.log")
    process.kill()
    process.communicate()
    wait_until_free(tmp_path)
    assert sweep(tmp_path, ["slow"]) == 0
    assert times_run(tmp_path) == {"slow-0": 1}


def wait_until_free(folder: Path) -> None:
    """A job that is just being started holds the sweep's lock until it becomes another program."""
    lock, until = Lock(folder / ".lock"), time.monotonic() + 10
    while not lock.acquire():
        assert time.monotonic() < until, "the lock outlives the sweep"
        time.sleep(0.02)
    lock.release()


def test_a_job_that_ends_between_the_start_of_a_sweep_and_its_turn_is_not_run_again(tmp_path: Path) -> None:
    """It ran while the sweep looked what is missing, and had ended when a place for it was free."""
    job = make_job(tmp_path, {"what": "good", "number": "0"})
    places = SweepFolder(dir=tmp_path).places(job)
    places.run.mkdir(parents=True)
    places.summary.write_text("{}")
    told: list[str] = []
    run = LocalLauncher().start(job, places, handle="", started=told.append)
    ended = run.poll()
    assert ended is not None
    assert (ended.status, told) == ("done", [])
    assert places.summary.exists()
    anew = LocalLauncher().start(job, places, handle=None, started=told.append)
    assert not places.summary.exists(), "nobody has said that it ran"
    while (ended := anew.poll()) is None:
        time.sleep(0.01)
    assert (ended.status, told) == ("done", [""])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_passed_on_to_the_jobs_and_the_table_is_written(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = start(tmp_path, "hangs,good", 1)
    wait_for(tmp_path / "sweep.jsonl", '"status": "done"')
    process.send_signal(number)
    process.communicate()
    assert process.returncode == code
    assert statuses(tmp_path) == {"hangs-0": "interrupted", "good-0": "done"}


def test_nothing_of_a_stopped_job_is_left_wherever_it_went(tmp_path: Path) -> None:
    # The child sits in a session of its own, as the ranks of a launcher do.
    code = (
        "import subprocess, sys, time\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "child = subprocess.Popen(sleep, start_new_session=True)\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    job = Job("job", {"a": "1"}, (sys.executable, "-c", code))
    place = SweepFolder(dir=tmp_path / "sweep", timeout_s=1.5, grace_s=0.0)
    run_sweep(
        sweep=place, launcher=LocalLauncher(), hparams_search=Grid(), name="", axes=[Axis("a", ("1",))],
        make_job=lambda _, __: job, check=lambda _: "",
    )  # fmt: skip
    child = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_one_sweep_a_folder(tmp_path: Path) -> None:
    with SweepFolder(dir=tmp_path).opened(), pytest.raises(CheckpointError) as caught:
        sweep(tmp_path, ["good"])
    assert re.fullmatch(
        rf"CKPT-12 {tmp_path}: process {os.getpid()} on \S+ has been writing to it since \S+ \S+ UTC; "
        r"one process at a time\. Fix: wait for it or stop it, or choose another sweep\.dir\.",
        str(caught.value),
    )


def test_a_folder_that_cannot_be_made_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        ConfigError, match=r"SWEEP-03 sweep\.dir: .*file/x cannot be written: Not a directory"
    ):
        sweep(tmp_path / "file/x", ["good"])


def test_a_reader_finds_a_whole_table_at_any_moment(tmp_path: Path) -> None:
    ended, seen = threading.Event(), []

    def read() -> None:
        while not ended.is_set():
            if (tmp_path / "table.md").exists():  # written last
                seen.append(len(rows(tmp_path)))
                lines = (tmp_path / "table.md").read_text().splitlines()
                assert len({line.count(" | ") for line in lines}) == 1

    reader = threading.Thread(target=read)
    reader.start()
    try:
        sweep(tmp_path, ["good"], numbers=20, parallel=2)
    finally:
        ended.set()
        reader.join()
    assert set(seen) == {20}


def test_every_state_of_the_ledger_can_be_gone_on_from(tmp_path: Path) -> None:
    sweep(tmp_path / "first", ["good", "exits_3"], numbers=2)
    lines = (tmp_path / "first/sweep.jsonl").read_bytes()
    for cut in range(0, len(lines), 97):
        path = tmp_path / "cut.jsonl"
        path.write_bytes(lines[:cut])
        ledger = Ledger(path)
        assert path.read_bytes() == lines[: lines[:cut].rfind(b"\n") + 1]
        assert all(record.status in ("running", "done", "failed") for record in ledger.last.values())
