"""`dnalm <command> -m`: what is the sweep's, what is the jobs', and what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dnalm.cli import main
from dnalm.sweeps import Ledger
from dnalm.sweeps.command_line import read_sweep

pytestmark = pytest.mark.usefixtures("forked_programs")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_a_job_sees_none_of_the_keys_of_the_sweep(tmp_path: Path) -> None:
    words = ["size=tiny,small", "sweep.parallel=2", "steps=300", "launcher=local", "hparams_search=grid"]
    plan = read_sweep("pretrain", [*words, "sweep.dir=x"], config_dir=tmp_path)
    job = plan.make_job(Path("x"), {"size": "tiny"})
    given = [
        "steps=300",
        "size=tiny",
        f'run.dir="x/{job.id}"',
        "--config-dir",
        str(tmp_path),
    ]
    assert list(job.command[4:]) == ["pretrain", *given]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep.paralel=2"], "CFG-03 sweep.paralel: unknown key; "),
        (["sweep.parallel=0"], "CFG-04 sweep.parallel: 0; "),
        (
            ["launcher=slum"],
            "CFG-03 launcher: no option 'slum'; one of local, slurm. Fix: did you mean launcher=slurm?",
        ),
        (["launcher=slurm"], "CFG-07 launcher.minutes: no value; "),
        (["run.dir=x", "seed=1,2"], "SWEEP-04 run.dir: a key that the sweep gives each job itself; "),
        (["run.replace=true,false"], "SWEEP-04 run.replace: a key that the sweep gives each job itself; "),
        (["seed=range(2,1)"], "SWEEP-01 seed=range(2,1): no value; "),
    ],
)
def test_a_sweep_that_cannot_be_run_is_refused_in_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, errors = run(capsys, "pretrain", "-m", *words)
    assert (code, errors.count("\n")) == (2, 1)
    assert errors.startswith(f"dnalm: {message}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("word", ["seed=1,2", "seed=range(1,3)", "experiment=dnabert,dnabert2"])
def test_several_values_without_m_are_refused_with_a_hint(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, errors = run(capsys, "pretrain", word)
    assert code == 2
    assert "add -m to run a job for each value" in errors


def test_if_every_config_is_bad_nothing_starts_and_the_exit_code_is_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, errors = run(capsys, "pretrain", "-m", "optim.lrr=1,2", "sweep.dir=bad")
    assert code == 2
    assert errors.count("CFG-03 optim.lrr: unknown key") == 2
    assert {record.status for record in Ledger(tmp_path / "bad/sweep.jsonl").last.values()} == {"config"}
    assert not list(tmp_path.glob("bad/*.log"))


def test_a_command_without_a_run_directory_is_no_job(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, errors = run(capsys, "fetch", "-m", "download=hg19,hg38", "sweep.dir=x")
    assert code == 2
    assert "SWEEP-06 -m: fetch makes no run directory" in errors


def test_cfg_lists_keys_and_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(capsys, "pretrain", "-m", "seed=1,2", "size=tiny", "--cfg")
    assert code == 0
    assert yaml.safe_load(text)["jobs"] == ["size=tiny seed=1", "size=tiny seed=2"]
    assert yaml.safe_load(text)["sweep"]["metric"] == "val_bits_per_base"


@pytest.mark.usefixtures("real_programs")
def test_a_sweep_imports_optuna_and_submitit_only_where_they_are_used() -> None:
    code = (
        "import sys\nfrom dnalm.sweeps.command_line import read_sweep\n"
        "read_sweep('pretrain', ['seed=1,2', 'hparams_search=optuna'])\n"
        "assert not {'optuna', 'submitit', 'torch', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_two_real_jobs_leave_two_runs_and_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "experiment=dnabert_k3", "size=tiny", "debug=fast", "model.hidden_size=16", "model.num_heads=2",
        "model.intermediate_size=32", "optim.lr=1e-3,1e-2", "sweep.dir=sweeps/first",
    ]  # fmt: skip
    code, out, errors = run(capsys, "pretrain", "-m", *words)
    assert code == 0, errors
    assert out.splitlines()[0] == "2 jobs: 2 done"
    folder = tmp_path / "sweeps/first"
    last = Ledger(folder / "sweep.jsonl").last
    for record in last.values():
        summary = json.loads((tmp_path / record.run / "summary.json").read_text())
        assert record.number("val_bits_per_base") == summary["val_bits_per_base"]
        assert (tmp_path / record.run / "model/model.safetensors").exists()
        config = yaml.safe_load((tmp_path / record.run / "config.yaml").read_text())
        assert config["optim"]["lr"] == float(record.overrides["optim.lr"])
        assert not {"sweep", "launcher", "hparams_search"} & set(config)
    assert (folder / "plot.png").exists()
    page = (folder / "report.html").read_text()
    assert all(f'href="{job}/report.html"' in page for job in last)
    assert json.loads((folder / "summary.json").read_text())["best"] in last
    code, out, errors = run(capsys, "pretrain", "-m", *words)
    assert (code, errors) == (0, "")
    assert len((folder / "sweep.jsonl").read_text().splitlines()) == 4
