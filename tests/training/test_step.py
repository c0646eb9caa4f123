"""A step on any device: what it sends, what it waits for, how it clips, and in which type it sums."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn

from dnalm.training import MaskedLMTraining
from dnalm.training.optim import make_optimizer
from dnalm.training.pretraining import summed_cross_entropy
from tests.training.fitting import plan_of, trainer_of
from tests.training.test_masked_lm import GLOBAL, TOKENIZER, datamodule, global_batch, module_of, network


def adam_module(**options: object) -> MaskedLMTraining:
    """A tiny model, trained by AdamW."""
    plan = plan_of(TOKENIZER, global_batch=GLOBAL, lr=1e-2)
    object.__setattr__(plan, "optimizer", partial(torch.optim.AdamW, lr=1e-2, **options))
    return MaskedLMTraining(network(), plan)


def fit(
    folder: Path, module: MaskedLMTraining, *callbacks: Callback, steps: int = 3, **recipe: object
) -> Trainer:
    data = datamodule(folder, micro=8)
    trainer = trainer_of(folder / "run", data.batch, steps=steps, callbacks=callbacks, **recipe)
    trainer.fit(module, datamodule=data)
    return trainer


def test_a_batch_goes_to_a_gpu_without_waiting_and_without_what_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning gives batches no `non_blocking`, and a copy that blocks waits for all work of the GPU."""
    batch = global_batch(tmp_path)
    sent: list[tuple[int, bool]] = []

    def to(tensor: Tensor, device: torch.device, *, non_blocking: bool) -> Tensor:
        assert device.type == "cuda"
        sent.append((id(tensor), non_blocking))
        return tensor

    monkeypatch.setattr(Tensor, "to", to)
    move_data_to_device(batch, torch.device("cuda", 0))
    needed = (batch.ids_N, batch.cu_lengths, batch.targets_M, batch.labels_M)
    assert sorted(sent) == sorted((id(tensor), True) for tensor in needed)


def test_a_batch_goes_to_the_cpu_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads it next does so without asking whether it has come."""
    batch = global_batch(tmp_path)
    flags: list[bool] = []
    monkeypatch.setattr(Tensor, "to", lambda tensor, _, *, non_blocking: flags.append(non_blocking) or tensor)
    batch.to(torch.device("cpu"))
    assert flags == [False] * 4


class Modes(Callback):
    """Notes whether validation runs in inference mode."""

    def on_validation_batch_end(self, *_: object) -> None:
        self.is_inference, self.has_gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()


def test_validation_leaves_tensors_that_can_train(tmp_path: Path) -> None:
    """Sharded weights gathered in inference mode raise in the next training step."""
    modes = Modes()
    fit(tmp_path, module_of(network()), modes, steps=1)
    assert (modes.is_inference, modes.has_gradients) == (False, False)


def test_a_fused_optimizer_clips_in_mixed_precision(tmp_path: Path) -> None:
    """Lightning's own clipping raises RuntimeError there."""
    module = adam_module(fused=True)
    before = [weight.detach().clone() for weight in module.parameters()]
    fit(tmp_path, module, precision="bf16-mixed", gradient_clip=1e-3)
    assert all(weight.isfinite().all() for weight in module.parameters())
    assert any((weight != old).any() for weight, old in zip(module.parameters(), before, strict=True))


class Taken(torch.optim.SGD):
    """Keeps the gradients that it takes."""

    def step(self, closure: Any = None) -> Any:  # noqa: ANN401 -- torch's signature
        loss = closure()
        gradients.extend(weight.grad.clone() for group in self.param_groups for weight in group["params"])
        return loss


gradients: list[Tensor] = []


def first_gradients(folder: Path, **recipe: object) -> list[Tensor]:
    """Those of the first step, as the optimizer takes them."""
    gradients.clear()
    module = module_of(network())
    object.__setattr__(module.plan, "optimizer", partial(Taken, lr=1e-2))
    fit(folder, module, steps=1, **recipe)
    return [*gradients]


@pytest.mark.parametrize("clip", [1e-3, 1e6, 0.0])
def test_clipping_is_that_of_torch(clip: float, tmp_path: Path) -> None:
    """To the bit: by the norm of the scaled gradients where that is above the limit."""
    ours, expected = first_gradients(tmp_path, gradient_clip=clip), first_gradients(tmp_path)
    if clip:
        parameters = [nn.Parameter(torch.zeros_like(gradient)) for gradient in expected]
        for parameter, gradient in zip(parameters, expected, strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(parameters, clip)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(ours, expected, strict=True))
    norm = float(nn.utils.get_total_norm(ours))
    assert norm == pytest.approx(clip, rel=1e-2) if clip == 1e-3 else norm > 1e-2


CUDA = torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("make", "device", "fused"),
    [
        (partial(torch.optim.AdamW, lr=1e-3), CUDA, True),
        (partial(torch.optim.SGD, lr=1e-3), CUDA, True),
        (partial(torch.optim.AdamW, lr=1e-3), torch.device("cpu"), None),
        (partial(torch.optim.AdamW, lr=1e-3, fused=False), CUDA, False),
        (partial(torch.optim.AdamW, lr=1e-3, foreach=True), CUDA, None),
    ],
)
def test_the_optimizer_is_fused_on_a_gpu_unless_a_config_says_otherwise(
    make: Any,  # noqa: ANN401
    device: torch.device,
    fused: bool | None,
) -> None:
    optimizer = make_optimizer(make, network(), device)
    assert [group["fused"] for group in optimizer.param_groups] == [fused, fused]


def test_an_optimizer_without_a_fused_form_is_made_as_it_is() -> None:
    optimizer = make_optimizer(partial(torch.optim.RMSprop, lr=1e-3), network(), CUDA)
    assert "fused" not in optimizer.param_groups[0]


class WithoutReduce(Callback):
    """Has Lightning's sums over ranks, which begin with a barrier, refused once training begins."""

    def on_train_start(self, trainer: Trainer, *_: object) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("Strategy.reduce is called")

        trainer.strategy.reduce = refuse  # type: ignore[method-assign]


def test_sums_over_ranks_need_no_barrier(tmp_path: Path) -> None:
    trainer = fit(tmp_path, module_of(network()), WithoutReduce())
    assert math.isfinite(trainer.callback_metrics["val_bits_per_base"])


class LossTypes(Callback):
    """Notes the types of losses."""

    def on_train_batch_end(self, trainer: Trainer, _: object, outputs: Any, *__: object) -> None:  # noqa: ANN401, ARG002
        self.loss = outputs["loss"]


def test_the_loss_of_a_model_in_bfloat16_is_summed_in_float32(tmp_path: Path) -> None:
    """A sum of bfloat16 has 8 bits: 257 terms of 1 would be 256."""
    types = LossTypes()
    module = module_of(network())
    fit(tmp_path, module, types, steps=1, precision="bf16-true")
    assert next(module.parameters()).dtype == torch.bfloat16
    assert types.loss.dtype == torch.float32
    logits_MV = torch.zeros(257, 8, dtype=torch.bfloat16)
    summed = summed_cross_entropy(logits_MV, torch.zeros(257, dtype=torch.long))
    assert float(summed) == pytest.approx(257 * math.log(8), rel=1e-6)
