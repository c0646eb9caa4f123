"""An objective whose targets are windows: what its head reads, any cut of a step, beside one on tokens."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- its usual name

from dnalm.cli import main
from dnalm.data.batch import Batch, collate, is_known
from dnalm.data.module import GenomeData
from dnalm.data.targets import target_name
from dnalm.training import MultiObjectiveTraining
from dnalm.training import objectives as tasks
from dnalm.training.objectives import MaskedTokens, ObjectiveSet, make_tasks, mean_of_content
from dnalm.training.track_objectives import ChromatinState, Conservation, RegionClass
from tests.training.fitting import plan_of, trainer_of
from tests.training.test_masked_lm import GLOBAL, TOKENIZER, network
from tests.training.test_multi_objective import LR, datamodule

GOALS = {
    "mlm": MaskedTokens(),
    "region": RegionClass(),
    "kind": RegionClass(per="window"),
    "marks": ChromatinState(per="window"),
    "level": Conservation(per="window"),
}
KIND, MARKS, LEVEL = (target_name(track, "window") for track in ("region", "chromatin", "conservation"))


def batch_of(content: list[list[bool]]) -> Batch:
    """Sequences of which only is known which tokens spell bases."""
    lengths = torch.tensor([0, *map(len, content)], dtype=torch.int32)
    return Batch(
        ids_N=torch.zeros(int(lengths.sum()), dtype=torch.int64),
        cu_lengths=lengths.cumsum(0).int(),
        max_length=int(lengths.max()),
        targets_M=torch.zeros(0, dtype=torch.int64),
        labels_M=torch.zeros(0, dtype=torch.int64),
        samples=tuple(range(len(content))),
        content_N=torch.tensor([flag for flags in content for flag in flags]),
        num_content=sum(map(sum, content)),
        num_masked=0,
        num_bases=0,
        num_pairs=0,
    )


def test_a_window_is_the_mean_of_its_tokens_that_spell_bases() -> None:
    batch = batch_of([[False, True, True, False], [True], [False, True]])
    hidden = torch.tensor([[90.0], [1], [3], [90], [5], [90], [7]], requires_grad=True)
    means = mean_of_content(hidden, batch)
    assert means.tolist() == [[2.0], [5.0], [7.0]]
    means.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.squeeze(1).tolist() == [0, 0.5, 0.5, 0, 1, 0, 1]


@given(
    contents=st.lists(st.lists(st.booleans(), max_size=9).map(lambda c: [*c, True]), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_means_of_any_windows_in_any_precision(
    contents: list[list[bool]], seed: int, dtype: torch.dtype
) -> None:
    batch = batch_of(contents)
    random = torch.Generator().manual_seed(seed)
    hidden = torch.randn(len(batch.content_N), 3, generator=random).to(dtype)
    means = mean_of_content(hidden, batch)
    assert means.dtype == dtype
    assert torch.allclose(
        means.float(), naive_means(hidden.float(), batch), atol=0.02 if dtype.itemsize == 2 else 1e-6
    )


def naive_means(hidden_ND: Tensor, batch: Batch) -> Tensor:
    windows = [(hidden_ND[a:b], batch.content_N[a:b]) for a, b in pairwise(batch.cu_lengths.tolist())]
    return torch.stack([hidden[content].mean(dim=0) for hidden, content in windows])


def made(
    folder: Path, micro: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[MultiObjectiveTraining, GenomeData]:
    monkeypatch.setattr(tasks, "BASELINE_WINDOWS", 64)
    goals = ObjectiveSet(GOALS)
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


def losses(module: MultiObjectiveTraining, batch: Batch) -> dict[str, Tensor]:
    """Each objective's mean over a batch, by its definition."""
    hidden = module.encode(batch)
    means = naive_means(hidden, batch)
    heads = {name: task.head(hidden if task.per == "token" else means) for name, task in module.named_tasks()}
    held, level = batch.tracks[MARKS], batch.tracks[LEVEL]
    known, valued = is_known(held), is_known(level)
    track = module.tasks["level"]
    return {
        "mlm": F.cross_entropy(module.model.predict(hidden, batch.targets_M), batch.labels_M),
        "region": F.cross_entropy(heads["region"], batch.tracks["region"], ignore_index=-1),
        "kind": F.cross_entropy(heads["kind"], batch.tracks[KIND], ignore_index=-1),
        "marks": F.binary_cross_entropy_with_logits(heads["marks"][known], held[known].float()),
        "level": F.huber_loss(heads["level"][valued, 0], (level[valued] - track.mean) / track.sd),
    }


@pytest.mark.parametrize("micro", [16, 4, 1])
def test_an_update_is_that_of_the_mean_over_the_windows_of_the_step(
    micro: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, data = made(tmp_path, micro, monkeypatch)
    reference, _ = made(tmp_path, micro, monkeypatch)
    batch = collate([data.training_samples()[index] for index in range(GLOBAL)])
    assert all(batch.tracks[name].shape[0] == GLOBAL for name in (KIND, MARKS, LEVEL))
    assert 0 < int(is_known(batch.tracks[KIND]).sum()) < GLOBAL  # some window has no target
    trainer = trainer_of(tmp_path / "run", data.batch, steps=1)
    trainer.fit(module, datamodule=data)
    expected = losses(reference, batch)
    torch.stack(list(expected.values())).sum().backward()
    for (name, weight), before in zip(module.named_parameters(), reference.parameters(), strict=True):
        assert before.grad is not None, name
        assert torch.allclose(weight, before - LR * before.grad, rtol=1e-4, atol=1e-6), name
    for name in ("region", "kind", "marks", "level"):
        logged = float(trainer.callback_metrics[f"train_{name}_loss"])
        assert logged == pytest.approx(expected[name].item(), rel=1e-4), name


def test_figures_and_baselines_are_those_of_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, data = made(tmp_path, 4, monkeypatch)
    drawn = torch.tensor([int(data.training_samples()[n].tracks[KIND][0]) for n in range(64)])
    counts = torch.bincount(drawn[drawn >= 0], minlength=3) + 0.5
    assert torch.allclose(module.tasks["kind"].baseline, (counts / counts.sum()).log())
    trainer_of(tmp_path / "run", data.batch, steps=1).fit(module, datamodule=data)
    samples = data.validation_samples()
    batch = collate([samples[index] for index in range(len(samples))])
    with torch.no_grad():
        expected = losses(module.eval(), batch)
        chosen = module.tasks["kind"].head(naive_means(module.encode(batch), batch)).argmax(dim=1)
    true = batch.tracks[KIND]
    for name, target in (("kind", KIND), ("marks", MARKS), ("level", LEVEL)):
        scores = module.scores[name]
        assert scores.num_targets == int(is_known(batch.tracks[target]).sum()), name
        assert scores.model["loss"] == pytest.approx(expected[name].item(), rel=1e-4), name
    right = (chosen == true)[true >= 0].double().mean().item()
    assert module.scores["kind"].model["accuracy"] == pytest.approx(right)


def test_a_sample_that_fills_up_validation_has_no_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the first window again, of which there are some."""
    _, data = made(tmp_path, 4, monkeypatch)
    samples = data.validation_samples()
    first, filler = collate([samples[0]]), collate([samples[len(samples)]])
    for name in (KIND, MARKS, LEVEL):
        assert filler.tracks[name].shape == first.tracks[name].shape
        assert (bool(is_known(first.tracks[name]).any()), bool(is_known(filler.tracks[name]).any())) == (
            True,
            False,
        )


@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_a_run_may_learn_windows_by_config_alone(precision: str, tmp_path: Path) -> None:
    words = ["experiment=logo_multitask", "size=tiny", "debug=fast", "data=demo", f"run.dir={tmp_path}/run"]
    per = [f"objectives.{name}.per=window" for name in ("chromatin", "conservation")]
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *words, *per, f"trainer.precision={precision}"])
    assert ended.value.code in (0, None)
    figures = json.loads((tmp_path / "run/summary.json").read_text())["objectives"]
    assert figures["conservation"]["targets"] < figures["region"]["targets"]
    assert math.isfinite(figures["conservation"]["model"]["spearman"])
    assert 0 <= figures["chromatin"]["model"]["auroc"] <= 1
