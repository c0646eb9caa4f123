"""A run that is started again goes on, and says from where."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dnalm.cli import main
from dnalm.training.checkpoint import open_checkpoint
from tests.conftest import random_sequence


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("going_on")
    (made / "genome.fa").write_text(f">chr1\n{random_sequence(20_000)}\n>chr2\n{random_sequence(4_000, 1)}\n")
    assert train(made, "first") == 0
    return made


def train(folder: Path, run: str, *words: str) -> int:
    given = [
        "experiment=dnabert", "size=tiny", "debug=fast", "data=fasta", f"data.fasta={folder}/genome.fa",
        f"data.cache={folder}/cache", f"run.dir={folder}/{run}", "model.hidden_size=16", "model.num_heads=2",
        "steps=6", "trainer.validate_every=4", "trainer.keep_checkpoints=9", *words,
    ]  # fmt: skip
    later = {word.partition("=")[0]: word for word in given}  # of a key the last
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *later.values()])
    return int(ended.value.code or 0)


def test_a_checkpoint_has_the_figures_of_its_own_step_alone(folder: Path) -> None:
    states = {path.name: open_checkpoint(path).state for path in (folder / "first/checkpoints").iterdir()}
    assert sorted(states) == ["step-00000002", "step-00000004", "step-00000006"]
    assert not states["step-00000002"]["metrics"]
    assert "val_bits_per_base" in states["step-00000004"]["metrics"]
    assert not states["step-00000006"]["metrics"], "validated only after it was saved"
    assert [states[name]["samples"] for name in sorted(states)] == [8, 16, 24]


def test_a_longer_run_is_the_same_whether_it_was_extended_or_not(folder: Path) -> None:
    """The schedule is that of the longer run only after the extension, so the learning rate is held still."""
    still = ("schedule.warmup_steps=0", "schedule.floor=1.0")
    assert train(folder, "short", *still) == 0
    assert train(folder, "short", *still, "steps=10") == 0
    assert train(folder, "long", *still, "steps=10") == 0
    short, long = ((folder / name / "model/model.safetensors").read_bytes() for name in ("short", "long"))
    assert short == long
    texts = [(folder / name / "metrics.csv").read_text().splitlines() for name in ("short", "long")]
    assert set(texts[1]) <= set(texts[0]), "beside them the short run's last validation"


def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder / "first", folder / "damaged")
    (folder / "damaged/summary.json").unlink()
    file = next((folder / "damaged/checkpoints/step-00000006").glob("*.safetensors"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert train(folder, "damaged") == 0
    message = capsys.readouterr().out.replace("\n", "")
    assert "damaged after step 4 (16 samples), from checkpoints/step-00000004" in message
    assert "rejected CKPT-02" in message
    first, again = ((folder / name / "model/model.safetensors").read_bytes() for name in ("first", "damaged"))
    assert first == again


def test_with_no_good_checkpoint_nothing_is_begun_in_silence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder / "first", folder / "hopeless")
    for path in (folder / "hopeless/checkpoints").glob("*/MANIFEST.json"):
        path.unlink()
    assert train(folder, "hopeless") == 4
    assert "CKPT-11" in capsys.readouterr().err


def test_a_checkpoint_elsewhere_can_begin_a_new_run(folder: Path) -> None:
    source = folder / "first/checkpoints/step-00000004"
    assert train(folder, "from", f"resume={source}") == 0
    summary = json.loads((folder / "from/summary.json").read_text())
    assert summary["steps"] == 6
    first, other = ((folder / name / "model/model.safetensors").read_bytes() for name in ("first", "from"))
    assert first == other


WSD = ("schedule=wsd", "schedule.warmup_steps=1", "trainer.checkpoint_every=3")


def test_a_decay_branches_from_the_stable_part_of_another_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the bits of a run that was planned so; the checkpoint where a decay begins stays."""
    kept = ("trainer.keep_checkpoints=1", "trainer.keep_best=0")
    assert train(folder, "stable", *WSD, *kept, "steps=14", "schedule.decay_steps=6") == 0
    steps = sorted(int(path.name[-8:]) for path in (folder / "stable/checkpoints").iterdir())
    assert steps == [8, 14]
    planned = (*WSD, "steps=12", "schedule.decay_steps=4")
    stable = f"resume={folder}/stable/checkpoints/step-00000008"
    assert train(folder, "planned", *planned) == 0
    assert train(folder, "branched", *planned, stable) == 0
    whole, branch = (
        (folder / name / "model/model.safetensors").read_bytes() for name in ("planned", "branched")
    )
    assert whole == branch
    capsys.readouterr()
    decayed = f"resume={folder}/stable/checkpoints/step-00000014"
    for name, words, found in (
        ("decayed", ("steps=20", "schedule.decay_steps=4", decayed), "last step took 0.0871 of the peak"),
        ("early", ("steps=12", "schedule.decay_steps=9", stable), "set steps=17 schedule.decay_steps=9"),
        ("linear", ("steps=12", f"resume={folder}/first/checkpoints/step-00000006"), "CKPT-16"),
    ):
        assert train(folder, name, *WSD, *words) == 4
        assert found in " ".join(capsys.readouterr().err.split())
        assert not (folder / name).exists()
