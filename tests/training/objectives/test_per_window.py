"""An objective whose targets are windows: the same however a step is cut, and beside one on tokens."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 -- its usual name

from dnalm.cli import main
from dnalm.data.batch import collate, is_known
from dnalm.training import MultiObjectiveTraining
from dnalm.training.objectives import Goals, MaskedTokens, RegionClass, make_tasks
from tests.training.fitting import plan_of, trainer_of
from tests.training.test_masked_lm import GLOBAL, TOKENIZER, network
from tests.training.test_multi_objective import LR, datamodule

GOALS = {"mlm": MaskedTokens(), "region": RegionClass(), "kind": RegionClass(per="window")}


def made(folder: Path, micro: int) -> tuple[MultiObjectiveTraining, object]:
    goals = Goals(GOALS)
    data = datamodule(folder, micro=micro, targets=goals.targets)
    data.prepare_data()
    data.setup("fit")
    model = network()
    module = MultiObjectiveTraining(
        model,
        plan=plan_of(TOKENIZER, global_batch=GLOBAL, lr=LR),
        tasks=make_tasks(goals.on_tracks, data, model.encoder),
        masked_tokens=goals.masked_tokens,
        weights=goals.weights,
    )
    return module, data


@pytest.mark.parametrize("micro", [16, 4, 1])
def test_an_update_is_that_of_the_mean_over_the_windows_of_the_step(micro: int, tmp_path: Path) -> None:
    module, data = made(tmp_path, micro)
    reference, _ = made(tmp_path, micro)
    batch = collate([data.training_samples()[index] for index in range(GLOBAL)])
    trainer = trainer_of(tmp_path / "run", data.batch, steps=1)
    trainer.fit(module, datamodule=data)
    hidden = reference.encode(batch)
    bounds = batch.cu_lengths.tolist()
    means = torch.stack([hidden[a:b].mean(dim=0) for a, b in pairwise(bounds)])
    windows = batch.tracks["region of windows"]
    assert windows.shape == (GLOBAL,)
    assert int(is_known(windows).sum()) > 0
    heads = reference.tasks
    loss = (
        F.cross_entropy(reference.model.predict(hidden, batch.targets_M), batch.labels_M)
        + F.cross_entropy(heads["region"].head(hidden), batch.tracks["region"], ignore_index=-1)
        + F.cross_entropy(heads["kind"].head(means), windows, ignore_index=-1)
    )
    loss.backward()
    pairs = zip(module.named_parameters(), reference.parameters(), strict=True)
    for (name, weight), before in pairs:
        assert before.grad is not None, name
        assert torch.allclose(weight, before - LR * before.grad, rtol=1e-4, atol=1e-6), name
    assert module.scores["kind"].num_targets < module.scores["region"].num_targets


def test_a_run_may_learn_windows_by_config_alone(tmp_path: Path) -> None:
    words = ["experiment=logo_multitask", "size=tiny", "debug=fast", "data=demo", f"run.dir={tmp_path}/run"]
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *words, "objectives.chromatin.per=window", "objectives.conservation.per=window"])
    assert ended.value.code == 0
    with (tmp_path / "run/metrics.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert 0 <= float(last["val_chromatin_auroc"]) <= 1
    assert float(last["val_conservation_loss"]) >= 0
