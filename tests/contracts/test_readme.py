"""What the README shows works, and the numbers it gives are recomputed."""

import shlex
from pathlib import Path

import pytest

from dnalm import grants
from dnalm.cli import COMMANDS
from dnalm.compose import build, check, read_config
from dnalm.compose.config import options
from dnalm.models import count_parameters
from dnalm.sweeps.command_line import read_sweep

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text()


def command_lines() -> list[str]:
    """Lines of bash blocks that call dnalm, without their comments."""
    blocks = TEXT.split("```bash\n")[1:]
    lines = [line for block in blocks for line in block.split("```")[0].splitlines()]
    return [
        line.removeprefix(".venv/bin/")
        for line in lines
        if line.removeprefix(".venv/bin/").startswith("dnalm ")
    ]


def test_there_are_commands() -> None:
    assert len(command_lines()) >= 4


@pytest.mark.parametrize("line", command_lines())
def test_every_command_composes_and_checks(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_configs/experiment").mkdir(parents=True)
    (tmp_path / "my_configs/experiment/mine.yaml").write_text("# @package _global_\ndefaults:\n  - dnabert\n")
    files = ("sacCer3.fa.gz", "hg38.2bit", "runs/bpe/tokenizer.json", "dnabert2/tokenizer.json")
    files = (*files, "genes.gff3", "liver.bed", "phylop.bw", "variants.vcf.gz", "sequences.fa", "peaks.bed")
    files = (*files, *(f"{genome}.gff3.gz" for genome in ("sacCer3", "SK1", "Sarb")))
    files = (
        *files,
        *(f"runs/{run}/{name}" for run in ("mine", "seed2") for name in ("config.yaml", "model/config.json")),
        "train.csv",
        "dev.csv",
        "test.csv",
        "peaks.bed",
        "sequences.fa",
        "jaspar.meme",
    )
    for name in (*files, "my_species.tsv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    _, *words = shlex.split(line, comments=True)
    command = next(name for name in COMMANDS if words[: len(name.split())] == name.split())
    words = words[len(command.split()) :]
    extra = None
    if "--config-dir" in words:
        place = words.index("--config-dir")
        extra = Path(words[place + 1])
        del words[place : place + 2]
    if "-m" in words:
        words.remove("-m")
        plan = read_sweep(command, words, config_dir=extra)
        jobs = build(plan.settings["hparams_search"]).known(plan.axes, [])
        assert [plan.wrong_with(plan.make_job(tmp_path, overrides)) for overrides in jobs] == [""] * len(jobs)
        return
    config = read_config(command.replace(" ", "_"), words, extra_folder=extra)
    check(config, given=frozenset({"config"}), command=command)


def test_a_component_of_ones_own_is_built_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = TEXT.split("## Your own components")[1].split("\n## ")[0]
    python, yaml, console = (
        section.split(f"```{kind}\n")[1].split("```")[0] for kind in ("python", "yaml", "console")
    )
    (tmp_path / "my_pkg").mkdir()
    (tmp_path / "my_pkg/__init__.py").write_text(python)
    (tmp_path / "schedule").mkdir()
    (tmp_path / "schedule/cosine.yaml").write_text(yaml)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(grants, "current", grants.Grants())
    _, _, command, *words = shlex.split(console.replace("\\\n", " "))
    place = words.index("--config-dir")
    del words[place : place + 2]
    config = read_config(command, grants.take_grants([*words, "data=demo"]), extra_folder=tmp_path)
    check(config, given=frozenset({"config"}), command=command)
    schedule = build(config["schedule"])(total_steps=10**6)
    assert [round(schedule(step), 6) for step in (500_000, 10**6)] == [0.55, 0.1]
    assert type(build(config["trainer"]).callbacks[0]).__name__ == "SayHello"


@pytest.mark.parametrize("experiment", options("experiment"))
def test_parameters_in_the_table_are_those_of_the_model(experiment: str) -> None:
    config = read_config("pretrain", [f"experiment={experiment}"])
    node = {name: value for name, value in config["model"].items() if not name.startswith("_")}
    vocabulary = build(config["tokenizer"]).vocab_size
    assert f" {count_parameters({**node, 'vocab_size': vocabulary, 'mask_id': 2}):,}" in TEXT


def test_every_experiment_stands_in_the_table() -> None:
    for name in options("experiment"):
        assert f"`{name}`" in TEXT or f"`{name.removeprefix('dnabert')}`" in TEXT


@pytest.mark.parametrize("target", ["demo", "test", "check"])
def test_make_has_the_targets_that_are_named(target: str) -> None:
    assert f"make {target}" in TEXT
    assert f"\n{target}: " in (ROOT / "Makefile").read_text()
