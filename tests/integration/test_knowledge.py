"""LOGO with annotations as inputs end to end through the program, in miniature, on the simulated clade."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from dnalm.cli import main
from dnalm.models import Packed, load_pretrained
from dnalm.simulation.simulate import KNOWLEDGE
from tests.integration.test_multitask import on_clade
from tests.integration.test_pretrain import program

CHANNELS = tuple(f"knowledge/gff/{kind}" for kind in KNOWLEDGE)
WIDTH = 16  # embedding_size of the miniature


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def run(cache: Path) -> Path:
    folder = cache / "runs/knowledge"
    program("pretrain", *on_clade(cache, "logo_knowledge"), f"run.dir={folder}")
    return folder


@pytest.fixture(scope="module")
def plain(cache: Path) -> Path:
    folder = cache / "runs/plain"
    program("pretrain", *on_clade(cache, "logo"), f"run.dir={folder}")
    return folder


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(words)
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return ended.value.code, error.strip().splitlines()[-1]


def test_the_model_has_two_rows_a_channel_and_their_names(run: Path, plain: Path) -> None:
    ours, theirs = (load_file(folder / "model/model.safetensors") for folder in (run, plain))
    assert ours.keys() - theirs.keys() == {"encoder.embeddings.annotation.weight"}
    assert ours["encoder.embeddings.annotation.weight"].shape == (2 * len(CHANNELS), WIDTH)
    assert load_pretrained(run / "model").encoder.annotations == CHANNELS
    assert load_pretrained(plain / "model").encoder.annotations == ()
    assert yaml.safe_load((run / "model/dnalm.yaml").read_text())["config"]["inputs"] == ["knowledge"]


def test_the_rows_were_trained_and_validated_with(run: Path, cache: Path, tmp_path: Path) -> None:
    """Rows have moved from where they begin, which a learning rate of 0 leaves them at."""
    words = [*on_clade(cache, "logo_knowledge"), "optim.lr=0.0", f"run.dir={tmp_path}/still"]
    program("pretrain", *words)
    weights = [load_file(folder / "model/model.safetensors") for folder in (run, tmp_path / "still")]
    moved, still = (state["encoder.embeddings.annotation.weight"] for state in weights)
    assert (moved != still).any(dim=1).sum() > len(CHANNELS)  # every absent row, and some that are present
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (run, tmp_path / "still")]
    assert all(math.isfinite(summary["val_bits_per_base"]) for summary in summaries)


def test_a_model_that_reads_no_annotations_takes_all_for_unknown(run: Path) -> None:
    model = load_pretrained(run / "model").eval()
    ids, packed = torch.arange(20, 30), Packed.from_lengths([10])
    unknown = torch.full((10, len(CHANNELS)), -1, dtype=torch.int8)
    with torch.no_grad():
        untold, told = model(ids, packed, torch.arange(10)), model(ids, packed, torch.arange(10), unknown)
    assert torch.equal(untold, told)


def test_it_says_what_it_was_given_and_what_to_do_next(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*on_clade(cache, "logo"), "inputs=[knowledge]", "batch.num_workers=1", f"run.dir={tmp_path}/run"]
    program("pretrain", *words)
    lines = capsys.readouterr().out.splitlines()
    assert f"inputs beside tokens: {', '.join(CHANNELS)}" in lines
    assert any(line.startswith("track knowledge: ") and "gff/gene" in line for line in lines)
    assert lines[-2] == f"next: dnalm finetune model={tmp_path}/run task=demo_promoter budget=tiny"
    assert (tmp_path / "run/tracks.png").exists()


def test_files_of_ones_own_give_the_same_run(run: Path, cache: Path, tmp_path: Path) -> None:
    (clade,) = (path.parent for path in cache.glob("demo/*/clade.json"))
    words = [word for word in on_clade(cache, "logo_knowledge") if not word.startswith("data.")]
    words += ["data=knowledge", f"data.fasta={clade}/demo_a.fa", f"data.cache={cache}"]
    words += [f"data.tracks.knowledge.files={{gff: {clade}/demo_a.gff3}}", f"run.dir={tmp_path}/run"]
    chosen = f"data.tracks.knowledge.classes=[{','.join(KNOWLEDGE)}]"
    program("pretrain", *words, chosen)
    assert (tmp_path / "run/metrics.csv").read_bytes() == (run / "metrics.csv").read_bytes()


def test_inputs_go_with_objectives_on_other_files(cache: Path, tmp_path: Path) -> None:
    words = [*on_clade(cache), "inputs=[knowledge]", "~objectives.region", f"run.dir={tmp_path}/run"]
    program("pretrain", *words)
    figures = json.loads((tmp_path / "run/summary.json").read_text())["objectives"]
    assert set(figures) == {"chromatin", "conservation"}
    assert load_pretrained(tmp_path / "run/model").encoder.annotations == CHANNELS


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["inputs=[region]"],
            2,
            "dnalm: CFG-30 inputs, objectives.region: track 'region', which that objective learns; inputs "
            "that tell nothing of a target, for the model would read the answer off its input (leakage). "
            "Fix: leave region out of inputs, or leave objectives.region out.",
        ),
        (
            ["inputs=[knowledge]"],
            2,
            "dnalm: CFG-30 inputs, objectives.region: track 'knowledge', made from demo_a.gff3 as track "
            "'region' is, which that objective learns; inputs that tell nothing of a target, for the model "
            "would read the answer off its input (leakage). Fix: leave knowledge out of inputs, or leave "
            "objectives.region out.",
        ),
        (
            ["inputs=[conservation]", "~objectives.conservation"],
            2,
            "dnalm: CFG-31 inputs: track 'conservation', which has numbers; tracks of labels or classes, "
            "each of which has an embedding. Fix: leave conservation out, or learn it as an objective.",
        ),
        (
            ["inputs=[knowlege]"],
            3,
            "dnalm: DATA-05 data.tracks: no track 'knowlege'; there are region, chromatin, knowledge, "
            "conservation; every track that an objective learns or that is an input. Fix: give "
            "data.tracks.knowlege, as data=annotated and data=knowledge do, or leave it out.",
        ),
        (
            ["model.annotations=[a]"],
            2,
            "dnalm: CFG-03 model.annotations: a value for an argument that dnalm fills itself; none; Encoder "
            "is given it by the run. Fix: leave it out.",
        ),
    ],
)
def test_what_cannot_be_an_input_is_one_sentence(
    words: list[str], code: int, message: str, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = refusal(["pretrain", *on_clade(cache), *words, f"run.dir={tmp_path}/x"], capsys)
    assert found == (code, message)
    assert not (tmp_path / "x").exists()


def going_on(cache: Path, experiment: str, model: Path) -> list[str]:
    words = [word for word in on_clade(cache, experiment) if not word.startswith(("model.", "size="))]
    words += ["windows.max_tokens=60", "schedule.warmup_steps=1", "optim.lr=0.0"]
    return ["pretrain", *words, f"model={model}", f"tokenizer={model}/model"]


def test_a_run_continues_with_the_same_channels_alone(
    run: Path, plain: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(*going_on(cache, "logo_knowledge", run), f"run.dir={tmp_path}/on")
    weights = "model/model.safetensors"  # a learning rate of 0 leaves the weights as they came
    assert (tmp_path / "on" / weights).read_bytes() == (run / weights).read_bytes()
    channels = ", ".join(CHANNELS)
    rest = (
        "; the same annotation channels in the same order. Fix: set inputs to the tracks that the model was "
        "trained with, named and labelled as there."
    )
    for experiment, model, found in (
        ("logo", run, f"tokens, {channels}, and a run that gives tokens alone"),
        ("logo_knowledge", plain, f"tokens alone, and a run that gives tokens, {channels}"),
    ):
        code, error = refusal([*going_on(cache, experiment, model), f"run.dir={tmp_path}/x"], capsys)
        assert (code, error) == (4, f"dnalm: MODEL-13 {model}: a model whose inputs are {found}{rest}")
        assert not (tmp_path / "x").exists()


def test_export_refuses_what_no_published_layout_can_say(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run / "model", tmp_path / "m")
    words = ["export", f"model={tmp_path}/m", f"run.dir={tmp_path}/x", "layout=published"]
    assert refusal(words, capsys) == (
        4,
        f"dnalm: MODEL-14 {tmp_path}/m: a model whose inputs beside tokens are {', '.join(CHANNELS)}; a "
        "model of tokens alone, for no published layout has annotation inputs. Fix: use layout=standalone, "
        "or export a model trained without inputs.",
    )
    assert not (tmp_path / "x").exists()
