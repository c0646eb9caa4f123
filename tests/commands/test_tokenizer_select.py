"""`dnalm tokenizer select` with jobs that take milliseconds: rounds, failures, going on, what is left."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from dnalm.cli import main
from dnalm.commands.tokenizer import readings
from dnalm.sweeps import Job
from tests.conftest import random_sequence

ACCURACY = {
    ("10 merges", "1"): 0.3,
    ("10 merges", "2"): 0.1,
    ("20 merges", "1"): 0.4,
    ("20 merges", "2"): 0.2,
}
PROGRAM = """
import json, pathlib
run = pathlib.Path(RUN); run.mkdir(parents=True, exist_ok=True)
with open(run.parent.parent / 'ran', 'a') as file:
    file.write(run.name + '\\n')
if pathlib.Path(run.parent.parent, 'broken').is_file() and FAILS:
    raise SystemExit('it is broken')
(run / 'summary.json').write_text(json.dumps(SUMMARY))
"""


def fake_job(
    command: str,
    words: Sequence[str],  # noqa: ARG001
    folder: Path,
    overrides: Mapping[str, str],
    *,
    parts: Mapping[str, object],  # noqa: ARG001
    config_dir: Path | None,  # noqa: ARG001
) -> Job:
    """A job that leaves a summary; those of pretraining on 20 merges fail while a file `broken` is there."""
    name = "-".join([command, *(value.replace(" ", "_") for value in overrides.values())])
    fails = command == "pretrain" and overrides["tokenizer"] == "20 merges"
    score = ACCURACY.get((overrides["tokenizer"], overrides.get("k", "")), 0.25)
    summary = {"score": score, "majority": 0.2, "rows": {"test": 100}}
    code = f"RUN = {str(folder / name)!r}; FAILS = {fails}; SUMMARY = {summary}\n{PROGRAM}"
    return Job(name, overrides, (sys.executable, "-S", "-E", "-c", code))


@pytest.fixture(autouse=True)
def _fake_jobs_and_a_genome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dnalm.commands.tokenizer.composed_job", fake_job)
    monkeypatch.setattr("dnalm.sweeps.command_line.wrong_with", lambda job: "")  # noqa: ARG005
    Path("genome.fa").write_text(f">chr1\n{random_sequence(3000)}\n>chr2\n{random_sequence(300, 1)}\n")


def select(*words: str) -> int:
    given = ["data=fasta", "data.fasta=genome.fa", "data.cache=cache", "run.dir=out"]
    asked = ["merges=[20,10]", "kmers=[3]", "ks=[1,2]"]
    with pytest.raises(SystemExit) as ended:
        main(["tokenizer", "select", *given, *(words or asked)])
    return int(ended.value.code or 0)


def ran() -> list[str]:
    return Path("out/ran").read_text().split()


def summary() -> dict[str, object]:
    found: dict[str, object] = json.loads(Path("out/summary.json").read_text())
    return found


def test_all_models_are_pretrained_before_any_is_fine_tuned_and_the_best_is_chosen() -> None:
    assert select() == 0
    names = [reading.name.replace(" ", "_") for reading in readings([20, 10], [3])]
    assert names == ["10_merges", "20_merges", "3-mers"]
    tasks = [f"finetune-{name}-{k}" for name in names for k in (1, 2)]
    assert ran() == [*(f"pretrain-{name}" for name in names), *tasks]
    assert summary() == {
        "chosen": 20,
        "mean_rank": {"10": 2.0, "20": 1.0},
        "accuracy": {
            "10 merges": {"1": 0.3, "2": 0.1},
            "20 merges": {"1": 0.4, "2": 0.2},
            "3-mers": {"1": 0.25, "2": 0.25},
        },
        "statuses": {"done": 9},
    }  # fmt: skip
    assert {"table.csv", "table.md", "plot.png", "config.yaml"} <= {
        path.name for path in Path("out").iterdir()
    }
    assert "| 20 merges | 40.00 ± 4.90 | 20.00 ± 4.00 | 1.00 |" in Path("out/table.md").read_text()


def test_the_same_command_again_runs_nothing_and_leaves_the_same() -> None:
    assert select() == 0
    before, table = ran(), Path("out/table.csv").read_text()
    assert select() == 0
    assert ran() == before
    assert Path("out/table.csv").read_text() == table


def test_more_merges_run_only_what_is_new() -> None:
    assert select("merges=[10]", "kmers=[]", "ks=[1]") == 0
    before = ran()
    assert select("merges=[10,20]", "kmers=[]", "ks=[1]") == 0
    assert ran()[len(before) :] == ["pretrain-20_merges", "finetune-20_merges-1"]


def test_a_model_that_fails_is_left_out_the_others_go_on_and_the_next_try_makes_up_for_it() -> None:
    assert select() == 0
    Path("out/broken").touch()
    Path("out/jobs/pretrain-20_merges/summary.json").unlink()
    for k in (1, 2):
        Path(f"out/jobs/finetune-20_merges-{k}/summary.json").unlink()
    before = ran()
    assert select() == 1
    assert ran()[len(before) :] == ["pretrain-20_merges"]
    with Path("out/table.csv").open(newline="") as file:
        rows = {(row["tokenizer"], row["k"]): row for row in csv.DictReader(file)}
    assert {rows["20 merges", k]["status"] for k in "12"} == {"failed"}
    assert {rows["10 merges", k]["status"] for k in "12"} == {"done"}
    assert (summary()["chosen"], summary()["statuses"]) == (10, {"done": 6, "failed": 1})
    Path("out/broken").unlink()
    assert select() == 0
    assert summary()["chosen"] == 20


def test_the_folder_of_something_else_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    Path("out/mine.txt").touch()
    assert select() == 2
    assert "CFG-23 run.dir: out is there already and holds something else" in capsys.readouterr().err


def test_what_the_bpe_learns_has_as_many_merges_as_are_asked_for() -> None:
    assert select() == 0
    merges = json.loads(Path("out/tokenizer/tokenizer.json").read_text())["model"]["merges"]
    assert len(merges) == 20
