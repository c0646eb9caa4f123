"""How a run is computed: on which devices, by which processes, and what the run says of it.

No test has a GPU: `torch.cuda` says how many there are, and no tensor is put on one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dnalm.compose import read_config
from dnalm.compose.check import check
from dnalm.data import BatchPlan
from dnalm.errors import ConfigError
from dnalm.training import TrainerRecipe, peak_memory_bytes
from dnalm.training.distributed import Ranks, StartedRanks
from dnalm.training.trainer import Replicated
from tests.training.fitting import trainer_of

BATCH = BatchPlan(global_size=8, micro_size=2)
Gpus = Callable[[int], None]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Gpus:
    """Say that this machine has so many, and that nothing has started several processes."""
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)

    def have(number: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)

    return have


def started(monkeypatch: pytest.MonkeyPatch, **variables: int | str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))


def srun(monkeypatch: pytest.MonkeyPatch, *, rank: int, tasks: int, on_each: int | str) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 0)  # Lightning sets it, and this puts it back
    place = {"SLURM_PROCID": rank, "SLURM_LOCALID": rank % 4, "SLURM_NTASKS": tasks}
    started(monkeypatch, **place, SLURM_TASKS_PER_NODE=on_each)
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)


def make(folder: Path, **recipe: object) -> Trainer:
    return trainer_of(folder, BATCH, steps=1, **recipe)


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
@pytest.mark.parametrize(
    ("number", "place", "precision"),
    [
        (0, "cpu, ", "32-true"),
        (1, "1 GPU, bf16-mixed", "bf16-mixed"),
        (8, "1 of 8 GPUs, bf16-mixed", "bf16-mixed"),
    ],
)
def test_a_run_takes_a_gpu_where_there_is_one(
    command: str, number: int, place: str, precision: str, gpus: Gpus
) -> None:
    gpus(number)
    recipe = TrainerRecipe(**_settings(command))
    assert recipe.place.startswith(place)
    assert (recipe.world_size, recipe.arithmetic) == (1, precision)


def _settings(*words: str) -> dict[str, object]:
    """What a composed config gives the trainer."""
    command, *others = words
    needed = ["model=tiny", "task=demo_promoter"] if command == "finetune" else []
    found = read_config(command, [*needed, *others])["trainer"]
    assert isinstance(found, dict)
    return {name: value for name, value in found.items() if name != "_target_"}


@pytest.mark.parametrize(
    ("trainer", "number", "place"),
    [
        ("cpu", 8, "cpu, "),
        ("gpu", 8, "1 of 8 GPUs, bf16-mixed"),
        ("ddp", 8, "8 GPUs, bf16-mixed"),
        ("fsdp", 2, "2 GPUs, bf16-mixed"),
        ("ddp", 1, "1 GPU, bf16-mixed"),
        ("ddp", 0, "cpu, "),
    ],
)
def test_what_each_choice_takes_of_a_machine(trainer: str, number: int, place: str, gpus: Gpus) -> None:
    gpus(number)
    assert TrainerRecipe(**_settings("pretrain", f"trainer={trainer}")).place.startswith(place)


def test_a_word_that_is_no_number_of_devices_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"CFG-04 trainer\.devices: .*all"):
        check(
            read_config("pretrain", ["trainer.devices=every"]),
            given=frozenset({"config"}),
            command="pretrain",
        )


def test_what_something_else_has_started_is_used_as_it_is(
    gpus: Gpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(8)
    started(monkeypatch, RANK=5, LOCAL_RANK=1, WORLD_SIZE=8, LOCAL_WORLD_SIZE=4)
    for trainer in ("auto", "ddp"):
        recipe = TrainerRecipe(**_settings("pretrain", f"trainer={trainer}"))
        assert recipe.ranks() == Ranks(rank=5, local_rank=1, world_size=8, local_world_size=4)
        assert recipe.place == "8 GPUs, bf16-mixed"
    for nodes, message in (
        (2, None),
        (3, r"CFG-25 .*8 processes in all; 4 processes on each of 3"),
    ):
        recipe = TrainerRecipe(num_nodes=nodes)
        if message is None:
            assert recipe.ranks() is not None
            continue
        with pytest.raises(ConfigError, match=message):
            recipe.ranks()


@pytest.mark.parametrize(
    ("devices", "cluster", "message"),
    [
        (
            4,
            "local",
            "CFG-24 trainer.devices: 4 processes on a machine where torch finds 2 GPUs.*trainer.devices=2",
        ),
        (2, "local", None),
    ],
)
def test_more_processes_than_gpus_are_refused(
    devices: int, cluster: str, message: str | None, gpus: Gpus
) -> None:
    gpus(2)
    recipe = TrainerRecipe(devices=devices, cluster=cluster)  # type: ignore[arg-type]
    if message is None:
        recipe.check(BATCH)
        return
    with pytest.raises(ConfigError, match=message):
        recipe.check(BATCH)


@pytest.mark.parametrize(("seen", "device"), [(4, "cuda:3"), (1, "cuda:0")])
@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "exact"])
def test_a_task_of_slurm_computes_on_the_gpu_that_it_sees(
    strategy: str, seen: int, device: str, gpus: Gpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With --gpus-per-task=1 each of the four tasks of a machine sees one; without, all four."""
    gpus(seen)
    srun(monkeypatch, rank=3, tasks=4, on_each="4")
    recipe = TrainerRecipe(strategy=strategy, cluster="slurm")  # type: ignore[arg-type]
    recipe.check(BATCH)
    trainer = make(tmp_path, strategy=strategy, cluster="slurm")
    assert str(trainer.strategy.root_device) == device
    assert (trainer.global_rank, trainer.local_rank, trainer.world_size) == (3, 3, 4)


def test_a_residual_stream_in_bfloat16_is_for_mixed_precision() -> None:
    TrainerRecipe(accelerator="cpu", precision="bf16-mixed", bf16_residual=True).check(BATCH)
    with pytest.raises(ConfigError, match=r"CFG-18 trainer.bf16_residual.*32-true.*precision=bf16-mixed"):
        TrainerRecipe(accelerator="cpu", bf16_residual=True).check(BATCH)


def test_every_rank_of_two_machines_knows_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    srun(monkeypatch, rank=6, tasks=8, on_each="4(x2)")
    trainer = trainer_of(tmp_path, BatchPlan(global_size=8, micro_size=1), steps=1, cluster="slurm")
    assert (trainer.global_rank, trainer.local_rank, trainer.node_rank) == (6, 2, 1)
    assert (trainer.world_size, trainer.num_nodes) == (8, 2)


class _WithTable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.register_buffer("table", torch.ones(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.linear(x)
        return y


@pytest.mark.usefixtures("one_process")
def test_replicas_send_no_buffers_and_copy_no_gradients() -> None:
    """Warnings are errors here, so none of torch's on how it is said."""
    strategy = Replicated(timeout=timedelta(seconds=60))
    strategy.parallel_devices = [torch.device("cpu")]
    strategy.cluster_environment = StartedRanks(Ranks())
    model = strategy._setup_model(_WithTable())
    assert isinstance(model, DistributedDataParallel)
    assert model.gradient_as_bucket_view
    assert not model.will_sync_module_buffers()
    model(torch.ones(2, 3)).sum().backward()
    assert model.module.linear.weight.grad is not None


@pytest.fixture
def one_process() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_peak_memory_is_that_of_the_device_that_computed(gpus: Gpus, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(1)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 17)
    assert peak_memory_bytes(TrainerRecipe(accelerator="cpu").device) > 1000
    assert peak_memory_bytes(TrainerRecipe().device) == 17


def test_a_hung_process_of_gpus_writes_its_stacks_before_nccl_aborts_the_others(gpus: Gpus) -> None:
    gpus(2)
    assert TrainerRecipe().longest_wait_s == 1800 == 3 * TrainerRecipe().stall_s
    assert TrainerRecipe(stall_s=10).longest_wait_s == 30
    assert TrainerRecipe(timeout_s=7).longest_wait_s == 7
    assert TrainerRecipe(accelerator="cpu").longest_wait_s == 120


@pytest.fixture
def own_switches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test sets of torch's global switches ends with it."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    yield
    torch.use_deterministic_algorithms(mode=False)
    torch.set_float32_matmul_precision("highest")


@pytest.mark.usefixtures("own_switches")
def test_determinism_is_for_torch_and_for_cublas(tmp_path: Path) -> None:
    make(tmp_path, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    make(tmp_path)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.usefixtures("own_switches")
@pytest.mark.parametrize(
    ("number", "tf32", "precision"), [(1, True, "high"), (1, False, "highest"), (0, True, "highest")]
)
def test_only_gpus_multiply_in_tf32(
    number: int, tf32: bool, precision: str, gpus: Gpus, tmp_path: Path
) -> None:
    gpus(number)
    make(tmp_path, tf32=tf32)
    assert torch.get_float32_matmul_precision() == precision
