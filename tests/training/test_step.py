"""A step on any device: what it sends, what it waits for, how it clips, and in which type it sums."""

from __future__ import annotations

import math
import traceback
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils._python_dispatch import TorchDispatchMode

from dnalm.data.batch import Batch
from dnalm.errors import NumericsError
from dnalm.models.layers import summed_loss
from dnalm.training import MaskedLMTraining
from dnalm.training.optim import make_optimizer
from dnalm.training.step import ClosedStep
from dnalm.training.stop_flags import LossHistory, RolledBack, StopFlags
from tests.training.fitting import plan_of, trainer_of
from tests.training.test_masked_lm import GLOBAL, TOKENIZER, datamodule, global_batch, module_of, network
from tests.training.test_multi_objective import datamodule as objective_data
from tests.training.test_multi_objective import module_of as objectives_of


def adam_module(**options: object) -> MaskedLMTraining:
    """A tiny model, trained by AdamW."""
    plan = plan_of(TOKENIZER, global_batch=GLOBAL, lr=1e-2)
    object.__setattr__(plan, "optimizer", partial(torch.optim.AdamW, lr=1e-2, **options))
    return MaskedLMTraining(network(), plan)


def fit(
    folder: Path, module: MaskedLMTraining, *callbacks: Callback, steps: int = 3, **recipe: object
) -> Trainer:
    folder.mkdir(exist_ok=True)
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
    summed = summed_loss(logits_MV, torch.zeros(257, dtype=torch.long))
    assert float(summed) == pytest.approx(257 * math.log(8), rel=1e-6)


# What is read late changes nothing


class Spoilt(MaskedLMTraining):
    """Training whose step 4 is spoilt in a way, and which counts how often sums are read."""

    way = ""

    def add_to_step(self, batch: Batch, loss: Tensor) -> None:
        """As of training; the first micro-batch of step 4 is spoilt."""
        factor = {"loss": math.nan, "spike": 9.0}.get(self.way, 1.0)
        super().add_to_step(batch, loss * factor if self.global_step == 4 else loss)

    def on_after_backward(self) -> None:
        """As of training."""
        super().on_after_backward()
        if self.way == "gradient" and self.global_step == 4:
            next(weight for weight in self.parameters() if weight.grad is not None).grad.fill_(math.inf)  # type: ignore[union-attr]


def spoilt(way: str, *, late: bool, **flags: Any) -> Spoilt:  # noqa: ANN401
    plan = plan_of(TOKENIZER, global_batch=GLOBAL, lr=1e-2)
    object.__setattr__(plan, "optimizer", partial(torch.optim.AdamW, lr=1e-2, fused=True))
    object.__setattr__(plan, "stop_flags", StopFlags(**flags))
    module = Spoilt(network(dropout=0.1), plan)
    module.way = way
    module.late_devices = ("cpu",) if late else ()  # type: ignore[misc]
    module.losses = LossHistory(first=[4.2] * 20, last=[4.2] * 20, steps=20)
    return module


def left_by(module: Spoilt, trainer: Trainer) -> tuple[list[Tensor], LossHistory, list[int], str]:
    """Weights and state of the optimizer, what is known of losses, the steps left out, the metrics."""
    state = trainer.optimizers[0].state
    weights = [*module.parameters()]
    tensors = [value for each in weights for value in (each.detach(), *state[each].values())]
    metrics = Path(trainer.default_root_dir, "metrics.csv").read_text()
    return tensors, module.losses, module.stop_flags.left_out, metrics


WAYS = ["", "loss", "gradient", "spike"]


@pytest.mark.parametrize("log_every", [1, 4, 100])
@pytest.mark.parametrize("way", WAYS)
def test_a_step_that_is_read_late_leaves_the_same_bits(way: str, log_every: int, tmp_path: Path) -> None:
    """Step 4 is the fifth: read late with 4 and 100, at once with 1."""
    results = []
    for late in (False, True):
        module = spoilt(way, late=late, not_finite="skip", loss_spike=2.0)
        trainer = fit(tmp_path / str(late), module, steps=7, log_every=log_every, gradient_clip=0.5)
        results.append(left_by(module, trainer))
    (in_time, *facts), (late_tensors, *late_facts) = results
    assert facts == late_facts
    assert late_facts[1] == ([4] if way else [])
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(in_time, late_tensors, strict=True))


@pytest.mark.parametrize("way", WAYS[1:])
def test_a_bad_step_that_is_read_late_ends_the_run_by_its_own_name(way: str, tmp_path: Path) -> None:
    """The step after it has been computed by then, and changes nothing either."""
    found = []
    for late in (False, True):
        module = spoilt(way, late=late, loss_spike=2.0)
        with pytest.raises(NumericsError) as caught:
            fit(tmp_path / str(late), module, steps=7, log_every=100)
        found.append((str(caught.value), [weight.detach() for weight in module.parameters()]))
    (message, weights), (late_message, late_weights) = found
    assert message == late_message
    assert f"{'NUM-03' if way == 'spike' else 'NUM-01'} optimizer step 4" in message
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(weights, late_weights, strict=True))


@pytest.mark.parametrize("way", WAYS[1:])
def test_a_last_step_that_is_bad_is_found_before_its_validation(way: str, tmp_path: Path) -> None:
    module = spoilt(way, late=True, loss_spike=2.0, not_finite="rollback")
    with pytest.raises(RolledBack, match="step 4 is left out"):
        fit(tmp_path, module, steps=5, log_every=100)
    assert module.validated_at == -1


def test_steps_are_read_when_the_next_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 7 steps the fourth is logged, and read at once; the last is read before it is validated."""
    events: list[str] = []
    read = ClosedStep.read
    monkeypatch.setattr(ClosedStep, "read", lambda step: events.append(f"read {step.step}") or read(step))

    class Steps(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, *_: object) -> None:
            events.append(f"gradients {trainer.global_step}")

        def on_validation_end(self, *_: object) -> None:
            events.append("validated")

    fit(tmp_path, spoilt("", late=True), Steps(), steps=7, log_every=4)
    expected = (
        "gradients 0, gradients 1, read 0, gradients 2, read 1, gradients 3, read 2, read 3, "
        "gradients 4, gradients 5, read 4, gradients 6, read 5, read 6, validated"
    )
    assert ", ".join(events) == expected


def test_an_optimizer_that_is_not_fused_is_read_in_time(tmp_path: Path) -> None:
    """It has no way to leave a step out by a flag on the device."""
    module = spoilt("loss", late=True, not_finite="skip")
    object.__setattr__(module.plan, "optimizer", partial(torch.optim.AdamW, lr=1e-2))
    fit(tmp_path, module, steps=7, log_every=100)
    assert module.stop_flags.left_out == [4]
    assert all(weight.isfinite().all() for weight in module.parameters())


# What a step waits for


class Waits(TorchDispatchMode):
    """Counts what waits for a GPU where one computes: reading values, and shapes that depend on them."""

    NAMES = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "bincount", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        name = func.overloadpacket.__name__
        own = [frame for frame in traceback.extract_stack() if "/dnalm/" in frame.filename]
        if name in self.NAMES:
            self.found[f"{name} in {own[-1].name}" if own else name] += 1
        return func(*args, **(kwargs or {}))


class Watched(Callback):
    """Counts the waits of every micro-batch."""

    def __init__(self) -> None:
        self.waits: list[dict[str, int]] = []

    def on_train_batch_start(self, *_: object) -> None:
        self.mode = Waits()
        self.mode.__enter__()

    def on_train_batch_end(self, *_: object) -> None:
        self.mode.__exit__(None, None, None)
        self.waits.append(dict(self.mode.found))


def test_waits_are_seen() -> None:
    with Waits() as waits:
        torch.ones(3).sum().item()
        torch.ones(3).nonzero()
    assert dict(waits.found) == {"_local_scalar_dense": 1, "nonzero": 1}


def test_no_step_waits(tmp_path: Path) -> None:
    """Of two micro-batches each; one that is logged reads its sums, all at once (`ClosedStep.read`)."""
    watched = Watched()
    fit(tmp_path, spoilt("", late=True), watched, steps=4, log_every=4, gradient_clip=1.0)
    assert watched.waits == [{}] * 8


def test_no_step_of_several_objectives_waits(tmp_path: Path) -> None:
    """Tokens with a target are found by the loader, and targets are counted on the device."""
    data = objective_data(tmp_path, micro=8)
    data.prepare_data()
    data.setup("fit")
    module = objectives_of(data, weighting="uncertainty")
    object.__setattr__(module.plan, "optimizer", partial(torch.optim.AdamW, lr=1e-2, fused=True))
    module.late_devices = ("cpu",)  # type: ignore[misc]
    watched = Watched()
    trainer = trainer_of(
        tmp_path / "run", data.batch, steps=2, callbacks=(watched,), log_every=100, gradient_clip=1.0
    )
    trainer.fit(module, datamodule=data)
    assert watched.waits == [{}] * 4


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_sharded_weight_is_left_by_the_flag_too(one_process: None) -> None:  # noqa: ARG001
    """Fused AdamW on the shards that FSDP2 makes, as on a GPU."""
    layer = nn.Linear(4, 4)
    fully_shard(layer, mesh=init_device_mesh("cpu", (1,)))
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
    after = []
    for flag in (0.0, 1.0, 0.0):
        optimizer.found_inf = torch.tensor(flag)  # type: ignore[attr-defined]
        layer(torch.ones(1, 4)).sum().backward()
        optimizer.step()
        after.append([weight.full_tensor().detach().clone() for weight in layer.parameters()])  # type: ignore[attr-defined]
    taken, left, taken_again = after
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(taken, left, strict=True))
    assert not any(torch.equal(mine, theirs) for mine, theirs in zip(left, taken_again, strict=True))
    assert {float(optimizer.state[weight]["step"]) for weight in layer.parameters()} == {2.0}
