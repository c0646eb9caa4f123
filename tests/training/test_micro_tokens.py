"""Micro-batches by tokens: how a step is divided changes neither what it reads nor what it learns."""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from dnalm.data import BatchPlan
from dnalm.data.batch import Batch, PackPlan, Packs
from dnalm.data.module import GenomeData
from dnalm.errors import ConfigError
from dnalm.training import Throughput, TrainerRecipe
from tests.training.fitting import trainer_of
from tests.training.test_masked_lm import GLOBAL, datamodule, fit, module_of, network

LONGEST = 62  # tokens of a window, two special ones included
PLAN = PackPlan.of(BatchPlan(global_size=GLOBAL, micro_tokens=4 * LONGEST + 5), longest=LONGEST)
PASSES = 4


def by_tokens(folder: Path, *, workers: int = 0) -> GenomeData:
    data = datamodule(folder, micro=GLOBAL)
    data.batch = replace(PLAN, num_workers=workers)
    return data


def steps(data: GenomeData, folder: Path, number: int) -> list[list[Batch]]:
    """The packs of the first steps of a process that runs alone."""
    data.trainer = trainer_of(folder / "loader", PLAN, steps=1)
    data.prepare_data()
    data.setup("fit")
    loader = data.train_dataloader()
    assert isinstance(loader, Packs)
    packs = iter(loader)
    return [list(islice(packs, PASSES)) for _ in range(number)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_step_reads_its_samples_once_in_packs_of_about_one_size(workers: int, tmp_path: Path) -> None:
    for number, step in enumerate(steps(by_tokens(tmp_path, workers=workers), tmp_path, 3)):
        samples = [sample for pack in step for sample in pack.samples]
        assert sorted(samples) == list(range(GLOBAL * number, GLOBAL * (number + 1)))
        assert all(list(pack.samples) == sorted(pack.samples) for pack in step)
        sizes = [len(pack.ids_N) for pack in step]
        assert max(sizes) <= 4 * LONGEST
        assert max(sizes) - min(sizes) < LONGEST // 2, "contiguous packs differ by up to 4 windows"
        assert {len(pack.samples) for pack in step} == {GLOBAL // PASSES}


def test_samples_and_masks_are_those_of_any_other_division(tmp_path: Path) -> None:
    other = datamodule(tmp_path, micro=GLOBAL)
    other.trainer = trainer_of(tmp_path / "other", other.batch, steps=1)
    other.prepare_data()
    other.setup("fit")
    (whole,) = islice(other.train_dataloader(), 1)
    starts = whole.cu_lengths.tolist()
    ids = {sample: whole.ids_N[starts[n] : starts[n + 1]] for n, sample in enumerate(whole.samples)}
    (step,) = steps(by_tokens(tmp_path), tmp_path, 1)
    for pack in step:
        assert torch.equal(pack.ids_N, torch.cat([ids[sample] for sample in pack.samples]))
    assert sum(len(pack.labels_M) for pack in step) == len(whole.labels_M)
    assert sum(pack.num_pairs for pack in step) == whole.num_pairs


def test_the_weights_after_a_step_are_those_of_one_pass(tmp_path: Path) -> None:
    expected, _ = fit(tmp_path, "whole", micro=GLOBAL, steps=2)
    model = network()
    trainer = trainer_of(tmp_path / "dealt", PLAN, steps=2)
    trainer.fit(module_of(model), datamodule=by_tokens(tmp_path))
    assert (trainer.accumulate_grad_batches, trainer.global_step) == (PASSES, 2)
    for (name, ours), theirs in zip(model.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5, msg=name)


def test_sums_in_one_order_for_any_number_of_ranks_need_micro_batches_of_samples() -> None:
    plan = BatchPlan(global_size=GLOBAL, micro_tokens="auto")
    TrainerRecipe().check(plan)
    with pytest.raises(
        ConfigError, match=r"CFG-18 trainer\.strategy, batch\.micro_tokens: exact, and micro-"
    ):
        TrainerRecipe(strategy="exact").check(plan)
    with pytest.raises(ConfigError, match=r"CFG-19 batch\.global_size: 16 samples; a multiple of 3 ranks"):
        TrainerRecipe(devices=3, accelerator="cpu").check(plan)


def test_packs_that_are_filled_up_teach_the_same_and_count_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for device in ("cuda", "cpu"):
        monkeypatch.setattr(GenomeData, "filled_devices", (device,))
        model, counted = network(), Throughput()
        trainer = trainer_of(tmp_path / device, PLAN, steps=2, throughput=counted)
        trainer.fit(module_of(model), datamodule=by_tokens(tmp_path))
        with (tmp_path / device / "metrics.csv").open(newline="") as file:
            losses = [float(row["train_loss"]) for row in csv.DictReader(file) if row["train_loss"]]
        counts = {n: value for n, value in counted.counts().items() if n not in ("seconds", "waited_s")}
        found.append((losses, counts, dict(model.named_parameters())))
    (losses, counts, weights), (filled_losses, filled_counts, filled_weights) = found
    assert len(losses) == 2
    assert filled_counts == counts
    assert filled_losses == pytest.approx(losses, rel=1e-6)
    torch.testing.assert_close(filled_weights, weights, atol=1e-6, rtol=1e-5)
