"""Activations are kept where they fit the memory of a GPU, whose bytes a stand-in says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dnalm.compose import read_config, run_command
from dnalm.data import BatchPlan
from dnalm.models import EncoderConfig
from dnalm.models.memory import RESERVED, SPARE, Machine, PackSize, count_memory
from dnalm.training import TrainerRecipe
from dnalm.training.capacity import CPU_TOKENS, decide, fit_tokens
from dnalm.training.distributed import Ranks
from dnalm.training.finetuning import Finetuning
from dnalm.training.run import Run
from tests.conftest import random_sequence

GIB = 2**30
SMALL = EncoderConfig(vocab_size=4101)
PACK = PackSize.of([512] * 32, predicted=2458)
SetMemory = Callable[[int], None]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SetMemory:
    """Say that each of this machine's eight GPUs has so many bytes."""
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)

    def have(total: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=total)
        )

    return have


def published(experiment: str) -> EncoderConfig:
    """The encoder of an experiment, of its tokenizer's number of ids."""
    found = read_config("pretrain", [f"experiment={experiment}"])["model"]
    assert isinstance(found, dict)
    names = {each.name for each in fields(EncoderConfig)}
    return EncoderConfig(vocab_size=4107, mask_id=2, **{n: value for n, value in found.items() if n in names})


@pytest.mark.parametrize("trainer", ["auto", "gpu", "ddp", "fsdp", "slurm", "cpu"])
def test_every_choice_of_trainer_leaves_it_to_the_figures(trainer: str) -> None:
    found = read_config("pretrain", [f"trainer={trainer}"])["trainer"]
    assert isinstance(found, dict)
    recipe = TrainerRecipe(**{name: value for name, value in found.items() if name != "_target_"})
    assert recipe.activation_checkpointing == "auto"


def test_a_byte_decides(gpu: SetMemory) -> None:
    """The need is what `count_memory` says, which tests/models/test_memory.py holds to autograd."""
    needed = count_memory(SMALL, PACK, Machine()).total
    least = RESERVED + -(-needed // (1 - SPARE))  # what is left of it after the reserve and the spare
    for total, recomputes in ((int(least) + 2, False), (int(least) - 2, True)):
        gpu(total)
        found = decide(TrainerRecipe(), SMALL, PACK, passes=1)
        assert found.kept == needed
        assert found.recomputes == recomputes
        assert found.available == int((total - RESERVED) * (1 - SPARE))


@given(gibibytes=st.integers(3, 200), sequences=st.integers(1, 400))
def test_what_fits_a_gpu_fits_a_larger_one_and_recomputing_needs_less(gibibytes: int, sequences: int) -> None:
    pack = PackSize.of([512] * sequences, predicted=77 * sequences)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        found = []
        for total in (gibibytes * GIB, 2 * gibibytes * GIB):
            properties = SimpleNamespace(total_memory=total)
            patch.setattr(torch.cuda, "get_device_properties", lambda _, p=properties: p)
            found.append(decide(TrainerRecipe(), SMALL, pack, passes=1))
    assert not (found[1].recomputes and not found[0].recomputes)
    for each in found:
        assert each.available is not None
        assert each.recomputes == (each.kept > each.available)
        assert each.needed < each.kept if each.recomputes else each.needed == each.kept


def test_published_sizes_on_gpus_of_80_gb(gpu: SetMemory) -> None:
    """NT v2 500M keeps 16,384 tokens a micro-batch; NT v1 2.5B, of 40 GB by Adam alone, keeps less whole."""
    gpu(80 * 10**9)
    windows = PackSize.of([2048] * 8, predicted=2457)
    assert not decide(TrainerRecipe(), published("nt_v2_500m"), windows, passes=1).recomputes
    large = published("nt_v1_2b5")
    assert decide(TrainerRecipe(), large, PackSize.of([1000] * 32, predicted=4800), passes=1).recomputes
    assert not decide(TrainerRecipe(), large, PackSize.of([1000] * 2, predicted=300), passes=1).recomputes


def test_sharding_makes_room(gpu: SetMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight ranks of a machine; two machines of eight hold as much each, eight machines of one share all."""
    gpu(80 * 10**9)
    pack = PackSize.of([1000] * 8, predicted=1200)

    def needed(strategy: str, *, world: int, on_each: int, passes: int = 1) -> int:
        for name, number in (("RANK", 0), ("LOCAL_RANK", 0), ("WORLD_SIZE", world)):
            monkeypatch.setenv(name, str(number))
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(on_each))
        recipe = TrainerRecipe(strategy=strategy, num_nodes=world // on_each)  # type: ignore[arg-type]
        return decide(recipe, published("nt_v2_500m"), pack, passes=passes).needed

    assert needed("fsdp", world=8, on_each=8) < needed("ddp", world=8, on_each=8)
    assert needed("fsdp", world=16, on_each=8) == needed("fsdp", world=8, on_each=8)
    assert needed("fsdp", world=8, on_each=1) == needed("fsdp", world=8, on_each=8)
    assert Ranks(world_size=16, local_world_size=8).sharing == 8
    whole = count_memory(published("nt_v2_500m"), pack, Machine())
    held = needed("fsdp", world=8, on_each=8, passes=4) - needed("fsdp", world=8, on_each=8)
    assert held == whole.weights + whole.gradients, "they stay whole between micro-batches"
    alike = needed("exact", world=2, on_each=2, passes=4) - needed("ddp", world=2, on_each=2)
    assert alike == whole.gradients * (3 + 2)


def test_what_is_said_and_written_of_it(gpu: SetMemory) -> None:
    gpu(8 * GIB)
    kept = decide(TrainerRecipe(), SMALL, PackSize.of([512] * 4, predicted=307), passes=1)
    assert kept.sentence() == (
        f"activations are kept: a step of 2,048 tokens a micro-batch needs {kept.kept / 1e9:.1f} GB "
        "of 5.8 GB that the GPU has for them"
    )
    again = decide(TrainerRecipe(), SMALL, PACK, passes=1)
    assert str(again.sentence()).startswith(
        f"activations are computed again: a step of 16,384 tokens a micro-batch would need "
        f"{again.kept / 1e9:.1f} GB of 5.8 GB that the GPU has for them, and needs "
        f"{again.needed / 1e9:.1f} GB so"
    )
    assert not str(again.sentence()).endswith("smaller micro-batches")
    assert str(replace(again, needed=8 * 10**9).sentence()).endswith("use smaller micro-batches")
    assert again.figures() == {
        "activation_checkpointing": True,
        "micro_batch_tokens": 16_384,
        "memory_counted": again.needed,
        "memory_available": again.available,
    }


@pytest.mark.parametrize("asked", [True, False])
def test_what_the_config_says_is_done_whatever_fits(asked: bool, gpu: SetMemory) -> None:
    gpu(3 * GIB if not asked else 800 * GIB)
    found = decide(TrainerRecipe(activation_checkpointing=asked), SMALL, PACK, passes=1)
    assert (found.recomputes, found.sentence()) == (asked, None)


def test_a_cpu_keeps_them_and_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = decide(TrainerRecipe(), SMALL, PackSize.of([512] * 100_000, predicted=None), passes=1)
    assert (found.recomputes, found.available, found.sentence()) == (False, None, None)


def words_of(folder: Path) -> dict[str, list[str]]:
    """Command lines of small runs on random sequences."""
    genome, table = folder / "genome.fa", folder / "table.csv"
    genome.write_text(f">chr1\n{random_sequence(20_000)}\n>chr2\n{random_sequence(2_000, 1)}\n")
    rows = [f"{random_sequence(30, row)},{row % 2}" for row in range(8)]
    table.write_text("\n".join(["sequence,label", *rows]))
    tables = [f"task.{part}={table}" for part in ("train", "val", "test")]
    return {
        "pretrain": [
            "size=tiny",
            "data=fasta",
            f"data.fasta={genome}",
            f"data.cache={folder}",
            f"run.dir={folder}/run",
        ],
        "finetune": ["model=tiny", *tables, f"run.dir={folder}/run"],
    }


def windows(number: int) -> PackSize:
    """Of 512 tokens, 15 % of them predicted."""
    return PackSize.of([512] * number, predicted=77 * number)


@pytest.mark.parametrize(
    ("total", "global_size", "most"),
    [
        (500 * GIB, 2000, 65_536 // 512),  # the cap
        (500 * GIB, 40, 40),  # a step
        (24 * GIB, 2000, None),
        (6 * GIB, 2000, None),
    ],
)
def test_auto_takes_as_many_tokens_as_fit(
    total: int, global_size: int, most: int | None, gpu: SetMemory
) -> None:
    gpu(total)
    plan = BatchPlan(global_size=global_size, micro_tokens="auto", num_workers=3)
    fitted = fit_tokens(TrainerRecipe(), SMALL, windows, plan, decides=True)
    assert (fitted.micro_tokens, fitted.num_workers) == (512 * fitted.most, 3)
    found = decide(TrainerRecipe(), SMALL, windows(fitted.most), passes=1)
    assert not found.recomputes
    if most is None:
        assert decide(TrainerRecipe(), SMALL, windows(fitted.most + 1), passes=1).recomputes
    else:
        assert fitted.most == most


def test_auto_computes_activations_again_only_where_no_window_fits_otherwise(gpu: SetMemory) -> None:
    plan, large = BatchPlan(global_size=64, micro_tokens="auto"), published("nt_v1_2b5")
    one = count_memory(large, windows(1), Machine()).total
    gpu(int((one - 2**20) / (1 - SPARE) + RESERVED))
    most = fit_tokens(TrainerRecipe(), large, windows, plan, decides=True).most
    assert decide(TrainerRecipe(), large, windows(1), passes=64).recomputes
    assert count_memory(large, windows(most), Machine(recomputes=True)).total <= one - 2**20
    assert most > 1
    gpu(4 * GIB)  # nothing fits: the run says so, and tries
    assert fit_tokens(TrainerRecipe(), large, windows, plan, decides=True).most == 1
    assert str(decide(TrainerRecipe(), large, windows(1), passes=64).sentence()).endswith(
        "that is too much still: use smaller micro-batches"
    )


def test_a_cpu_takes_a_constant_and_one_that_starts_others_leaves_it_to_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plan = BatchPlan(global_size=64, micro_tokens="auto")
    assert fit_tokens(TrainerRecipe(), SMALL, windows, plan, decides=False) is plan
    assert fit_tokens(TrainerRecipe(), SMALL, windows, plan, decides=True).micro_tokens == CPU_TOKENS
    long = PackSize.of([CPU_TOKENS + 1], predicted=1)
    assert fit_tokens(TrainerRecipe(), SMALL, lambda _: long, plan, decides=True).most == 1


@pytest.mark.parametrize(("total", "recomputes"), [(80 * GIB, False), (2 * GIB, True)])
def test_a_run_is_built_so(
    total: int, recomputes: bool, gpu: SetMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of a pretraining and of a fine-tuning, as they are just before they go to the GPU."""
    gpu(total)
    for kind in (Run, Finetuning):
        monkeypatch.setattr(kind, "train", lambda run: run)
    for command, words in words_of(tmp_path).items():
        config = read_config(command, words)
        run = run_command(config, command=command, given={"config": config})
        module = run.build(run.prepare())
        assert run.capacity.recomputes == recomputes
        module.plan.parallel(module.model, (), None)
        assert isinstance(module.model.encoder.blocks[0].forward, partial) == recomputes


def test_a_run_by_tokens_says_how_many_samples_a_pass_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 32 windows of 62 + 2 tokens, 3 fit 200 tokens; of 8 sequences of 30 - 6 + 1 + 2, 7."""
    for kind in (Run, Finetuning):
        monkeypatch.setattr(kind, "train", lambda run: run)
    for command, words in words_of(tmp_path).items():
        config = read_config(command, [*words, "batch.micro_size=null", "batch.micro_tokens=200"])
        run = run_command(config, command=command, given={"config": config})
        data = run.prepare()
        run.build(data)
        most, passes = {"pretrain": (3, 11), "finetune": (7, 5)}[command]
        assert (run.batch.most, run.batch.accumulation(1)) == (most, passes)
        assert data.batch is run.batch
        assert (
            run.capacity.figures()["micro_batch_tokens"] == most * {"pretrain": 64, "finetune": 27}[command]
        )
