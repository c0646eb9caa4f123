"""A checkpoint, or a run that has not come to its end, comes out as a model directory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from dnalm.cli import main
from dnalm.models import MaskedLM, load_pretrained
from tests.conftest import random_sequence


def program(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*words])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "genome.fa").write_text(
        f">chr1\n{random_sequence(20_000)}\n>chr2\n{random_sequence(4_000, 1)}\n"
    )
    words = [
        "experiment=dnabert", "size=tiny", "debug=fast", "data=fasta", f"data.fasta={folder}/genome.fa",
        f"data.cache={folder}/cache", f"run.dir={folder}/run", "model.hidden_size=16", "model.num_heads=2",
    ]  # fmt: skip
    assert program("pretrain", *words) == 0
    return folder / "run"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    model = load_pretrained(folder)
    assert isinstance(model, MaskedLM)
    return model.state_dict()


def test_the_last_checkpoint_is_the_model_that_the_run_has_left(run: Path, tmp_path: Path) -> None:
    checkpoint = run / "checkpoints/step-00000004"
    assert program("export", f"model={checkpoint}", f"run.dir={tmp_path}/x") == 0
    ours, theirs = weights(tmp_path / "x"), weights(run / "model")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    summary = json.loads((tmp_path / "x/summary.json").read_text())
    assert (summary["steps"], summary["source"]) == (4, str(checkpoint))
    assert (tmp_path / "x/vocab.txt").read_bytes() == (run / "model/vocab.txt").read_bytes()


def test_of_a_run_that_was_stopped_the_newest_good_checkpoint_is_meant(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = tmp_path / "stopped"
    shutil.copytree(run, stopped)
    (stopped / "model/model.safetensors").unlink()
    (newest,) = (stopped / "checkpoints/step-00000004").glob("*00001-of-00002.safetensors")
    newest.write_bytes(newest.read_bytes()[:-1])
    assert program("export", f"model={stopped}", f"run.dir={tmp_path}/x") == 0
    assert json.loads((tmp_path / "x/summary.json").read_text())["steps"] == 2
    assert program("pretrain", f"model={stopped}", f"run.dir={tmp_path}/y") != 0
    assert f"dnalm export model={stopped}" in capsys.readouterr().err.replace("\n", " ")


def test_a_checkpoint_alone_does_not_say_what_it_is_of(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run / "checkpoints/step-00000004", tmp_path / "a/b/step-00000004")
    words = [f"model={tmp_path}/a/b/step-00000004", f"run.dir={tmp_path}/x"]
    assert program("export", *words) == 4
    assert "put it back into checkpoints/ of its run" in capsys.readouterr().err.replace("\n", " ")
