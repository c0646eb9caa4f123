"""No command writes over what it reads: all outputs are held against all inputs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dnalm.compose import check_paths, read_config
from dnalm.compose.check import check
from dnalm.errors import ConfigError
from dnalm.paths import Output, check_outputs


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Inputs as users have them: a run with its model, a genome, tables."""
    for name in ("runs/mine/model/config.json", "runs/mine/predictions.parquet", "data/genome.fa"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("input")
    for name in ("in.parquet", "v.tsv", "calls.vcf.gz", "train.csv", "known.meme", "regions.bed"):
        (tmp_path / name).write_text("input")
    os.link(tmp_path / "in.parquet", tmp_path / "hard.parquet")
    (tmp_path / "soft.parquet").symlink_to("in.parquet")
    (tmp_path / "linked").symlink_to("data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


EMBED = "embed model=runs/mine input=in.parquet"
SCORE = "score model=runs/mine variants=v.tsv reference=data/genome.fa"
INTERPRET = (
    "interpret what=motifs model=runs/mine input=regions.bed reference=data/genome.fa known=known.meme"
)
FINETUNE = "finetune model=runs/mine task.train=train.csv"


def paths_of(line: str) -> None:
    command, *words = line.split()
    config = read_config(command, words)
    check(config, given=frozenset({"config"}), command=command.replace("_", " "))
    check_paths(config)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"{EMBED} out=in.parquet", "out: in.parquet is input=in.parquet"),
        (f"{EMBED} out=./data/../in.parquet", "out: data/../in.parquet is input=in.parquet"),
        (f"{EMBED} out=hard.parquet", "out: hard.parquet is input=in.parquet"),
        (f"{EMBED} out=soft.parquet", "out: soft.parquet is input=in.parquet"),
        (f"{EMBED} out=runs/mine/predictions.parquet", "would replace a file in model.source=runs/mine"),
        (f"{SCORE} out=v.tsv", "out: v.tsv is variants=v.tsv"),
        (f"{SCORE} labels=l.tsv.summary.json out=l.tsv", "needs l.tsv.summary.json, which is labels="),
        (f"{SCORE} labels=v.tsv out=v.tsv", "out: v.tsv is variants=v.tsv"),
        (f"{INTERPRET} run.dir=data", "run.dir: data holds reference=data/genome.fa"),
        (f"{INTERPRET} run.dir=linked", "run.dir: linked holds reference=data/genome.fa"),
        (f"{INTERPRET} run.dir=known.meme", "run.dir: known.meme is known=known.meme"),
        (f"{INTERPRET} run.name=mine", "run.name: runs/mine is model.source=runs/mine"),
        (f"{FINETUNE} run.name=mine", "run.name: runs/mine is model.source=runs/mine"),
        (f"{FINETUNE} run.dir=runs/mine run.replace=true", "run.dir: runs/mine is model.source=runs/mine"),
        (f"{FINETUNE} run.dir=runs", "run.dir: runs holds model.source=runs/mine"),
        (f"{FINETUNE} run.dir=train.csv", "run.dir: train.csv is task.train=train.csv"),
        ("export model=runs/mine run.dir=runs/mine", "run.dir: runs/mine is model.source=runs/mine"),
        ("export model=runs/mine/model run.name=mine", "runs/mine holds model.source=runs/mine/model"),
        ("pretrain data=fasta data.fasta=data/genome.fa run.dir=data", "run.dir: data holds data.fasta="),
        ("prepare data=fasta data.fasta=data/genome.fa data.cache=data/genome.fa", "data.cache: data/genome"),
        ("benchmark models=[runs/mine] sweep.dir=runs/mine", "sweep.dir: runs/mine is models[0]=runs/mine"),
        ("tokenizer_train data=fasta data.fasta=data/genome.fa run.dir=.", None),
        (f"{EMBED} out=in.zarr cache=''", "cache: ''; expected"),
        (f"{FINETUNE} run.dir=''", "run.dir: ''; expected"),
    ],
)  # fmt: skip
def test_an_output_that_is_or_holds_an_input_is_refused(line: str, found: str | None) -> None:
    (Path() / "l.tsv.summary.json").write_text("labels")
    expected = (found or "run.dir: . holds data.fasta=data/genome.fa").replace("; expected", "")
    with pytest.raises(ConfigError) as caught:
        paths_of(line)
    assert caught.value.code == "CFG-55"
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        f"{EMBED} out=runs/mine/vectors.parquet",
        f"{EMBED} out=new/vectors.npy cache=data",
        f"{FINETUNE} run.dir=runs/mine/finetuned",
        f"{FINETUNE} run.dir=runs/other",
        "export model=runs/mine run.dir=runs/mine/hf",
        "finetune model=owner/name task.train=train.csv run.dir=owner/name",
        "benchmark models=[runs/mine,tiny] sweep.dir=runs/sweep",
    ],
)
def test_an_output_beside_or_below_an_input_is_fine(line: str) -> None:
    paths_of(line)


def test_what_an_earlier_command_wrote_into_a_run_is_replaced() -> None:
    for name in ("vectors.parquet", "vectors.parquet.summary.json"):
        (Path("runs/mine") / name).touch()
    paths_of(f"{EMBED} out=runs/mine/vectors.parquet")


def test_the_error_names_key_and_example() -> None:
    with pytest.raises(ConfigError) as caught:
        check_outputs({"out": (Path("in.parquet"), Output("file"))}, {"input": Path("hard.parquet")})
    assert str(caught.value) == (
        "CFG-55 out: in.parquet is input=hard.parquet; an output apart from all inputs. "
        "Fix: choose another, such as out=new-in.parquet."
    )


@pytest.mark.parametrize("command", ["interpret what=motifs", "export", "finetune task.train=train.csv"])
def test_default_folders_differ_by_what_they_are_made_of(command: str) -> None:
    name, *words = command.split()
    more = ["input=regions.bed"] if name == "interpret" else []
    names = {
        read_config(name, [*words, *more, f"model={model}"])["run"]["name"]
        for model in ("runs/mine", "runs/mine/model", "runs/other/model", "owner/name")
    }
    assert len(names) == 4
    assert all(each.startswith(name) and "/" not in each for each in names)


def test_a_missing_key_is_still_what_is_said() -> None:
    config = read_config("interpret", ["what=motifs", "model=runs/mine"])
    with pytest.raises(ConfigError, match=r"CFG-07 input: no value"):
        check(config, given=frozenset({"config"}), command="interpret")
