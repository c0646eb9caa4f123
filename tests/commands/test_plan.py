"""`dnalm plan` and `dnalm models`: what is planned is what is built and measured; what is advised fits."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dnalm.cli import main
from dnalm.commands.models import _TREE
from dnalm.commands.plan import PlanCommand, _settings, read_recipe
from dnalm.commands.pretrain import PretrainCommand
from dnalm.compose import read_config
from dnalm.compose.groups import composed_groups, options
from dnalm.data.windows import TrainingWindows
from dnalm.evaluation.plan import ESTIMATED, LAUNCHES_S, PUBLISHED, Plan, Recipe, count_parts
from dnalm.models import Encoder, MaskedLM, Packed
from dnalm.models.gpus import find_gpu
from dnalm.models.memory import Arithmetic, Machine, count_memory
from dnalm.training import TrainerRecipe
from tests.models import zoo
from tests.models.test_memory import measure

ROOT = Path(__file__).resolve().parents[2]


def recipe(*words: str) -> Recipe:
    return read_recipe(read_config("plan", list(words)))


def plan(*words: str, gpu: str = "H100", gpus: int = 8, utilisation: float | None = None) -> Plan:
    kind = find_gpu(gpu)
    assert kind is not None
    return Plan(recipe=recipe(*words), gpu=kind, gpus=gpus, utilisation=utilisation)


def built(of: Recipe) -> MaskedLM:
    encoder = of.encoder
    return MaskedLM(Encoder(**{field.name: getattr(encoder, field.name) for field in fields(encoder)}))


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


@pytest.mark.parametrize("experiment", options("experiment"))
def test_parameters_by_part_are_those_of_the_built_model(experiment: str) -> None:
    of = recipe(f"experiment={experiment}", "size=tiny")
    model, parts = built(of), count_parts(of.encoder)
    counts = [sum(weight.numel() for weight in part.parameters()) for part in (model, model.encoder)]
    embeddings = sum(weight.numel() for weight in model.encoder.embeddings.parameters())
    assert parts == {
        "embeddings": embeddings,
        "blocks": counts[1] - embeddings,
        "head": counts[0] - counts[1],
    }


@pytest.mark.parametrize("experiment", options("experiment"))
@pytest.mark.parametrize("arithmetic", ["32-true", "bf16-mixed"])
def test_memory_is_near_the_measured_peak_of_a_step_on_this_cpu(
    experiment: str, arithmetic: Arithmetic
) -> None:
    of = recipe(f"experiment={experiment}", "size=tiny")
    model, pack = built(of), of.pack(8)
    found = measure(model, [of.longest] * 8, arithmetic, pack.predicted or 0)
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.step()  # with the gradients of what was measured
    state = [value for each in optimizer.state.values() for value in each.values() if value.numel() > 1]
    there = [*model.parameters(), *(w.grad for w in model.parameters() if w.grad is not None), *state]
    peak = found.peak + sum(tensor.numel() * tensor.element_size() for tensor in there)
    counted = count_memory(of.encoder, pack, Machine(device="cpu", arithmetic=arithmetic))
    assert counted.total == pytest.approx(peak, rel=0.15)
    assert counted.activations + counted.copies + counted.temporary == pytest.approx(found.peak, rel=0.15)


@pytest.mark.parametrize(
    "experiment", ["dnabert", "dnabert2", "grover", "logo", "nt_v1_500m", "nt_v2_50m", "dnalm"]
)
def test_operations_of_a_step_are_within_two_percent_of_those_that_torch_counts(experiment: str) -> None:
    words = ["windows.min_tokens=null", "batch.global_size=4", "model.kernel=eager", "batch.micro_size=4"]
    of = recipe(f"experiment={experiment}", "size=tiny", *words)
    model, packed = built(of), Packed.from_lengths([of.longest] * 4)
    predicted = round(4 * of.windows.max_tokens * of.masking.mean_share(of.steps))
    with FlopCounterMode(display=False) as counter:
        ids = zoo.random_ids(4 * of.longest, model.encoder.vocab_size)
        model(ids, packed, torch.arange(predicted)).sum().backward()
    assert of.step_flops.training == pytest.approx(counter.get_total_flops(), rel=0.02)


@pytest.mark.parametrize("experiment", ["dnabert", "grover", "nt_v2_50m", "dnalm"])
def test_mean_lengths_are_those_of_the_windows_that_are_drawn(experiment: str) -> None:
    of = recipe(f"experiment={experiment}", "size=full")
    shortest, longest = (of._bases(n) for n in (of.windows.shortest, of.windows.max_tokens))
    windows = TrainingWindows(
        np.array([[0, 20_000_000]]), recipe=of.windows, shortest=shortest, longest=longest, seed=1
    )
    lengths = [window.end - window.start for window in (windows[i] for i in range(4_000))]
    assert of.bases == pytest.approx(np.mean(lengths), rel=0.02)
    squares = [(length / of.bases * of.content) ** 2 for length in lengths]
    assert of.squared == pytest.approx(np.mean(squares), rel=0.03)


def test_epochs_of_a_published_recipe_by_hand() -> None:
    """50,000 steps of 1,000 windows of 999 6-mers, 5,994 bases, and <cls>; a corpus of 3.2e9 bases."""
    found = plan("experiment=nt_v1_500m").figures()["recipe"]
    assert found["tokens"] == 50_000 * 1_000 * 1_000
    assert found["bases"] == 50_000 * 1_000 * 5_994
    assert found["epochs"] == 93.65625
    assert recipe("experiment=nt_v1_500m", "data=fasta").corpus_bases is None


def test_time_by_hand() -> None:
    """Operations over rate; without a given utilisation no faster than kernels are launched."""
    measured = plan("experiment=nt_v2_500m", utilisation=0.4)
    assert measured.step_seconds is not None
    flops = measured.recipe.step_flops.training
    assert measured.step_seconds == pytest.approx(flops / (8 * 989.4e12 * 0.4))
    assert measured.hours == pytest.approx(858_307 * flops / (8 * 989.4e12 * 0.4) / 3600)
    assert plan("experiment=nt_v2_500m").reached == pytest.approx(ESTIMATED)
    published = plan("experiment=dnabert")  # 25 micro-batches of 10 windows
    assert published.step_seconds == pytest.approx(25 * 12 * LAUNCHES_S)
    assert published.reached is not None
    assert published.reached < ESTIMATED
    again = plan("experiment=nt_v2_500m", "trainer.activation_checkpointing=true", utilisation=0.4)
    assert again.step_seconds == pytest.approx(measured.step_seconds * 4 / 3)
    assert plan("experiment=dnabert", "trainer.precision=32-true").hours is None


def test_the_largest_micro_batch_fits_and_one_window_more_does_not() -> None:
    found = plan("experiment=nt_v2_500m")
    for way in found.ways:
        most = found.fitting(way)
        assert found.memory(way, most).total <= found.room
        assert most == 64 or found.memory(way, most + 1).total > found.room


@pytest.mark.parametrize(
    ("experiment", "gpu", "gpus"),
    [("nt_v1_2b5", "4090", 8), ("nt_v1_2b5", "L40S", 8), ("nt_v1_500m", "A10", 1), ("nt_v2_500m", "3090", 8)],
)
def test_what_is_advised_fits(experiment: str, gpu: str, gpus: int) -> None:
    words = {"experiment": experiment, "batch.global_size": "1000", "batch.micro_size": "25"}
    words |= {"trainer.activation_checkpointing": "false"}
    found = plan(*(f"{key}={value}" for key, value in words.items()), gpu=gpu, gpus=gpus)
    assert not found.fits
    assert found.advice()
    for advice in found.advice():
        changed = words | dict(word.split("=") for word in advice.split())
        assert plan(*(f"{key}={value}" for key, value in changed.items()), gpu=gpu, gpus=gpus).fits, advice


def test_where_nothing_fits_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = said(capsys, "plan", "experiment=nt_v1_2b5", "gpu=3090")
    assert code == 0
    assert "It does not fit. What does:\n  GPUs with more memory, or more of them with trainer=fsdp" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gpu=v100"], "PLAN-01 gpu: v100; one of B200, H100 PCIe, H100, H200, GH200, A100, "),
        (["gpus=7"], "CFG-19 batch.global_size: 2000 samples; a multiple of 7 ranks. Fix: set "),
        (["experiment=grover", "gpus=8"], "64 samples; a multiple of 8 ranks x batch.micro_size=64. Fix: "),
        (["batch.micro_size=null", "batch.micro_tokens=auto", "gpus=3"], "a multiple of 3 ranks. Fix: set "),
        (["model.num_heads=7"], "CFG-18 hidden_size, num_heads: hidden_size=768 and num_heads=7"),
        (["windows.max_tokens=600"], "CFG-18 windows.max_tokens, model.max_positions: windows of 602"),
        (["trainer.strategy=zero"], "CFG-04 trainer.strategy: 'zero'; one of ddp, fsdp, exact"),
        (["trainer.strateg=ddp"], "CFG-03 trainer.strateg: unknown key"),
        (["utilisation=1.5"], "CFG-04 utilisation: 1.5; "),
        (["model=a/b"], "PLAN-02 model: dnalm.models.Pretrained; a new dnalm.models.Encoder"),
    ],
)
def test_errors(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, errors = said(capsys, "plan", *words)
    assert code == 2
    assert message in errors
    assert errors.count("\n") == 1


def test_the_text_and_json_state_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "experiment=nt_v2_250m", "trainer=fsdp", "gpus=16", "gpu=a100", "utilisation=0.35"]
    _, text, _ = said(capsys, *words)
    _, written, _ = said(capsys, *words, "json=true")
    found: dict[str, Any] = json.loads(written)
    for part in (
        f"{found['parameters']['total']:,}: embeddings {found['parameters']['embeddings']:,}",
        f"{found['time']['hours']:,.1f} hours, {found['time']['gpu_hours']:,.1f} GPU-hours at a",
        f"{found['recipe']['epochs']:.3g} epochs",
        f"the run takes: {found['micro_batch']['chosen']}",
    ):
        assert part in text
    total = found["memory"]["ways"][found["micro_batch"]["chosen"]]["total"]
    assert f"{total / 1e9:.2f}" in text


def test_it_takes_what_pretrain_takes_and_needs_no_lightning() -> None:
    assert {field.name for field in fields(PretrainCommand) if field.init} <= {
        field.name for field in fields(PlanCommand)
    }
    assert composed_groups("plan") == composed_groups("pretrain")
    code = (
        "import sys\nfrom dnalm.cli import main\n"
        "for words in (['plan', 'gpus=8', 'trainer=ddp', 'run.dir=x'], ['models']):\n"
        "    try:\n        main(words)\n    except SystemExit as end:\n        assert not end.code\n"
        "assert not {'lightning', 'transformers', 'matplotlib'} & {*sys.modules}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_settings_that_are_not_given_are_those_of_the_class() -> None:
    defaults = {field.name: field.default for field in fields(TrainerRecipe)}
    found = _settings({"_target_": "dnalm.training.TrainerRecipe"})
    assert found == {name: defaults[name] for name in found}


def test_every_experiment_is_in_the_table_and_in_the_tree(capsys: pytest.CaptureFixture[str]) -> None:
    assert {*PUBLISHED} == {*options("experiment")}
    for name in options("experiment"):
        assert name in _TREE or name == "dnabert_k4"  # dnabert_k3 to dnabert_k5
    _, text, _ = said(capsys, "models", "gpus=8", "gpu=h200")
    for name, count in (("nt_v2_500m", "496,245,771"), ("dnabert", "89,196,549"), ("logo", "1,326,786")):
        assert any(line.split()[:2] == [name, count] for line in text.splitlines())
