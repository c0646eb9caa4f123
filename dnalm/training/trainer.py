"""How a run is computed: the Lightning trainer, its strategy, and what is done to the model for the machine.

Processes share the work alone, replicated (DDP) or sharded (FSDP2). These are Lightning's strategies but for
where a checkpoint is read from: a folder of named tensors, once the model lies where it will train, whatever
layout had written it. Lightning's loops are set from the step alone, so that a run may continue with other
numbers of ranks and of micro-batches.

The model is changed from outside, in this order: embeddings, blocks and the head with its loss are compiled,
blocks may be computed again for the gradient, and the whole is sharded. The compiler leaves alone what
`checkpoint` calls, so that a block compiled around it would not be compiled at all. Names of weights stay.

Adverts, tips and harmless warnings of the frameworks are silenced one by one, so that a warning we have not
judged still shows.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.precision.half import HalfPrecision
from lightning.pytorch.strategies import (
    DDPStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
    Strategy,
)
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from dnalm.data import BatchPlan
from dnalm.errors import ConfigError
from dnalm.limits import Jobs, Processes
from dnalm.models import MaskedLM, SequenceModel
from dnalm.models.memory import Arithmetic, StrategyName
from dnalm.training.checkpoint import read_state
from dnalm.training.distributed import (
    Cluster,
    Ranks,
    StartedRanks,
    check_exact,
    launched_by_us,
    ranks_of_environment,
    threads_of_a_rank,
)
from dnalm.training.stop_flags import NotFinite, StopFlags

_HARMLESS = (
    r".*`self\.log\(.*sync_dist=True\)`.*",  # what is logged is summed over the ranks already
    r".*does not have many workers.*",  # a tiny run loads in its own process on purpose
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",  # inside lightning
    r".*Experiment logs directory .* exists and is not empty.*",  # the run directory is ours
    r".*Found \d+ module\(s\) in eval mode.*",  # a frozen encoder is, on purpose
    r".*Checkpoint directory .* exists and is not empty.*",
)


def quiet_frameworks() -> None:
    """Call once, before the trainer is made."""
    os.environ.setdefault("WANDB_SILENT", "true")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "torch.distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in _HARMLESS:
        warnings.filterwarnings("ignore", message=message)


_TIMEOUT_S = 120.0  # of gloo, which raises in Python
_STALLS = 3  # so many times stall_s is NCCL's: the stacks of whoever hangs are written long before


class _FromFolder(Strategy):
    """Restores model and optimizer in place, after setup.

    Attributes:
        resumed_step: optimizer step of the checkpoint to start from.
        passes: micro-batches of an optimizer step on each rank.
        stop_flags: its signal handlers are reinstalled after Lightning's.
    """

    resumed_step = 0
    passes = 1
    stop_flags: StopFlags | None = None

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        return True

    @property
    def lightning_restore_optimizer(self) -> bool:
        return False

    def barrier(self, name: str | None = None) -> None:
        """Wait for all ranks; before a stage begins, reinstall our signal handlers after Lightning's."""
        if name == "run-stage" and self.stop_flags is not None:
            self.stop_flags.reinstall_handlers()
        super().barrier(name)  # type: ignore[safe-super]

    def load_checkpoint(
        self,
        checkpoint_path: str | Path,
        weights_only: bool | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Fill model and optimizer; what is returned sets the place of Lightning's loops."""
        module = cast(LightningModule, self.lightning_module)
        read_state(Path(checkpoint_path), module, self.optimizers[0])
        return {
            "pytorch-lightning_version": lightning.__version__,
            "loops": {"fit_loop": loops_after(module.trainer, self.resumed_step, self.passes)},
            "lr_schedulers": [],
        }

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """`load_checkpoint` has done it."""

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """`load_checkpoint` has done it."""


class SingleProcess(_FromFolder, SingleDeviceStrategy):
    """One process."""


class Replicated(_FromFolder, DDPStrategy):
    """The whole model in each process, gradients averaged as they come.

    Gradients lie in the buckets that are summed, so that none is copied. Buffers are tables that never change
    and the same on all ranks, so that none is sent.
    """

    def __init__(self, timeout: timedelta) -> None:
        super().__init__(timeout=timeout, gradient_as_bucket_view=True)

    def _setup_model(self, model: nn.Module) -> DistributedDataParallel:
        """Lightning's, whose model sends no buffers; torch's argument for that has had two names."""
        wrapped = super()._setup_model(model)
        wrapped.broadcast_buffers = False
        return wrapped


class ReplicatedExactly(_FromFolder, DDPStrategy):
    """The whole model in each process; `exact_sums` adds up the gradients."""

    def configure_ddp(self) -> None:
        """Leave the model as it is."""


class Sharded(_FromFolder, ModelParallelStrategy):
    """Each process holds a part of weights, gradients and optimizer state.

    Those of a machine share one copy; machines have a copy each and average gradients between them, since
    the network between machines is the slow one. Where each machine has one process, all share one copy.

    Gradients of a step's micro-batches are summed on each rank and reduced with the last, if whole weights
    and gradients take no more than a quarter of the device's memory; else each micro-batch is reduced.
    """

    def __init__(self, timeout: timedelta) -> None:
        super().__init__(timeout=timeout)

    def setup_environment(self) -> None:
        """Connect the ranks, and arrange them as they are to shard."""
        self._setup_distributed()
        machines, each = self.num_nodes, self.num_processes
        is_one_copy = machines == 1 or each == 1
        self._device_mesh = init_device_mesh(
            self.root_device.type,
            (machines * each,) if is_one_copy else (machines, each),
            mesh_dim_names=("shard",) if is_one_copy else ("replicate", "shard"),
        )
        assert self.lightning_module is not None
        self.lightning_module._device_mesh = self._device_mesh

    @contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """Leave gradients and weights whole on each rank after a micro-batch that is not a step's last."""
        module = self.lightning_module
        assert module is not None
        sharded = [part for part in module.modules() if isinstance(part, FSDPModule)]
        if not self.holds_whole(module, self.root_device):
            sharded = []
        for part in sharded:
            part.set_requires_gradient_sync(False, recurse=False)
            part.set_reshard_after_backward(False, recurse=False)
        try:
            yield
        finally:
            for part in sharded:
                part.set_requires_gradient_sync(True, recurse=False)
                part.set_reshard_after_backward(True, recurse=False)

    @staticmethod
    def holds_whole(module: nn.Module, device: torch.device) -> bool:
        """Whether whole weights and float32 gradients take at most a quarter of the device's memory."""
        if device.type != "cuda":
            return True
        num_bytes = sum(parameter.numel() * (parameter.itemsize + 4) for parameter in module.parameters())
        return 4 * num_bytes <= torch.cuda.get_device_properties(device).total_memory


def loops_after(trainer: Trainer, step: int, passes: int) -> dict[str, Any]:
    """The state of Lightning's loops when optimizer step number `step` is complete.

    It is what Lightning itself saves from `on_train_batch_end`: the last micro-batch is processed, and
    counts as completed once the hook returns.
    """
    batches = step * passes
    progress = {"ready": batches, "started": batches, "processed": batches, "completed": batches - 1}
    steps = {"ready": step, "completed": step}
    epoch = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    loops: dict[str, Any] = trainer.fit_loop.state_dict()
    loops["epoch_loop.state_dict"] = {"_batches_that_stepped": step - 1}
    loops["epoch_loop.batch_progress"] = {"total": progress, "current": progress, "is_last_batch": False}
    loops["epoch_loop.scheduler_progress"] = {"total": steps, "current": steps}
    loops["epoch_loop.automatic_optimization.optim_progress"] = {
        "optimizer": {
            "step": {"total": steps, "current": steps},
            "zero_grad": {"total": {**steps, "started": step}, "current": {**steps, "started": step}},
        }
    }
    loops["epoch_progress"] = {"total": epoch, "current": epoch}
    return loops


@dataclass(frozen=True, kw_only=True)
class TrainerRecipe:
    """How a run is computed; nothing here changes what it sees.

    Args:
        accelerator: what to compute on; `auto` is a GPU where there is one.
        devices: processes on each machine, a GPU each; `all` is one for each GPU of the machine. If absent
            as many as were started, or one.
        num_nodes: machines; more than one are started by torchrun or srun.
        cluster: whose environment variables give a process its place: `local` those of this program's own
            launcher and of torchrun, `slurm` those of srun.
        strategy: how several processes share the work: `ddp` replicates the model, `fsdp` shards it (FSDP2),
            `exact` replicates it and sums gradients in an order that does not depend on the number of
            processes.
        precision: of weights and arithmetic; if absent bf16-mixed on a GPU and 32-true on a CPU.
        tf32: on GPUs, multiply what is in 32 bits with 10 bits of mantissa, several times as fast.
        deterministic: use algorithms that give the same bits each time: a GPU's fastest do not, a CPU's do.
        activation_checkpointing: compute activations again in the backward pass rather than keep them: about
            a third more time, memory for one block's activations rather than for all.
        compile: let torch.compile fuse the embeddings, each block, and the head with its loss.
        bf16_residual: in bf16-mixed, hand hidden states from sublayer to sublayer in bfloat16 rather than in
            float32: half the bytes between them, and additions of 8 bits.
        gradient_clip: largest norm of the whole gradient; 0 does not clip.
        validate_every: steps between validations.
        checkpoint_every: steps between checkpoints.
        keep_checkpoints: how many of the newest checkpoints stay.
        keep_best: how many of the best by validation bits per base stay besides.
        keep_every: steps between checkpoints that stay for good; none if absent.
        log_every: steps between rows of `metrics.csv`.
        not_finite: what to do at a step whose loss or gradients are not finite on some rank.
        max_skipped: steps that may be left out so.
        loss_spike: treat a step whose training loss is above so many times the median of the last 50 steps as
            one that is not finite; no step if absent.
        timeout_s: longest wait of a process for the others; if absent 120 seconds on CPUs, and on GPUs three
            times `stall_s`, since NCCL aborts a process that has waited so long, without a report of its own.
        stall_s: longest time without a step before a process says where it hangs and ends.
        callbacks: further callbacks.
    """

    accelerator: Literal["cpu", "gpu", "auto"] = "auto"
    devices: Processes | Literal["all"] | None = None
    num_nodes: Jobs = 1
    cluster: Cluster = "local"
    strategy: StrategyName = "ddp"
    precision: Arithmetic | None = None
    tf32: bool = False
    deterministic: bool = False
    activation_checkpointing: bool | Literal["auto"] = "auto"
    compile: bool = False
    bf16_residual: bool = False
    gradient_clip: NonNegativeFloat = 1.0
    validate_every: PositiveInt = 1000
    checkpoint_every: PositiveInt = 1000
    keep_checkpoints: PositiveInt = 2
    keep_best: NonNegativeInt = 1
    keep_every: PositiveInt | None = None
    log_every: PositiveInt = 10
    not_finite: NotFinite = "raise"
    max_skipped: NonNegativeInt = 10
    loss_spike: Annotated[float, Field(gt=1)] | None = None
    timeout_s: PositiveFloat | None = None
    stall_s: PositiveFloat = 600.0
    callbacks: Sequence[Callback] = ()

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """What a process computes on.

        Raises:
            ConfigError: CFG-24, GPUs are asked for and there are none.
        """
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise ConfigError(
                "CFG-24",
                where="trainer.accelerator",
                found="gpu, and torch finds no GPU here",
                expected="an accelerator of this machine",
                fix="use trainer=cpu, or see what nvidia-smi and the installed torch say",
            )
        return "cpu" if self.accelerator == "cpu" or not torch.cuda.is_available() else "cuda"

    @property
    def arithmetic(self) -> Arithmetic:
        """The precision of weights and arithmetic on this machine."""
        return self.precision or ("bf16-mixed" if self.device == "cuda" else "32-true")

    @property
    def longest_wait_s(self) -> float:
        """Longest wait of a process for the others."""
        return self.timeout_s or (_STALLS * self.stall_s if self.device == "cuda" else _TIMEOUT_S)

    @property
    def on_each_node(self) -> int:
        """Processes to start on each machine."""
        if isinstance(self.devices, int):
            return self.devices
        return torch.cuda.device_count() if self.devices == "all" and self.device == "cuda" else 1

    def ranks(self) -> Ranks | None:
        """The place of this process; None if the run's processes have yet to be started.

        Raises:
            ConfigError: CFG-25, the processes that were started are not those of the config.
        """
        started = ranks_of_environment(self.cluster)
        if started is None:
            if self.num_nodes > 1:
                found = "nothing that starts processes on several machines"
                raise _started_otherwise(found, self.on_each_node, self.num_nodes)
            return Ranks() if self.on_each_node == 1 else None
        is_given = isinstance(self.devices, int)
        on_each = self.on_each_node if is_given else started.local_world_size
        if (is_given or self.num_nodes > 1) and started.world_size != on_each * self.num_nodes:
            raise _started_otherwise(f"{started.world_size} processes in all", on_each, self.num_nodes)
        return started

    @property
    def world_size(self) -> int:
        """Processes in all."""
        ranks = self.ranks()
        return self.on_each_node if ranks is None else ranks.world_size

    @property
    def leaves_gpus(self) -> bool:
        """Whether it computes on a GPU, and this machine has more than there are processes."""
        return self.device == "cuda" and torch.cuda.device_count() > self.world_size

    @property
    def place(self) -> str:
        """What the run computes on, in words."""
        world = self.world_size
        if self.device == "cuda":
            of = f" of {torch.cuda.device_count()}" if self.leaves_gpus else ""
            return f"{world}{of} GPU{'s' if of or world > 1 else ''}, {self.arithmetic}"
        threads = torch.get_num_threads() if world == 1 else threads_of_a_rank(world)
        each = f"{threads} thread{'s' if threads > 1 else ''}"
        return f"cpu, {each}" if world == 1 else f"cpu, {world} processes of {each}"

    def parallel(
        self, model: MaskedLM | SequenceModel, heads: Sequence[nn.Module], mesh: DeviceMesh | None
    ) -> None:
        """Change a model in place, so that it fits the machine.

        In mixed precision sharded weights are gathered in bfloat16, and gradients reduced in float32.

        Args:
            model: on any device.
            heads: further modules that train, each sharded by itself.
            mesh: of the ranks that shard it, or of machines and their ranks; it stays whole if absent.
        """
        encoder = model.encoder
        encoder.stream = torch.bfloat16 if self.bf16_residual else None
        if self.compile:
            limits = torch._dynamo.config  # of graphs of one function: each dilation wants some of its own
            limits.recompile_limit = max(limits.recompile_limit, 4 * len(set(encoder.conv_dilations)))
            parts = [(module, "forward") for module in (encoder.embeddings, *encoder.blocks)]
            parts += [(model.head, "loss")] if isinstance(model, MaskedLM) else []
            for module, method in parts:
                setattr(module, method, torch.compile(getattr(module, method), dynamic=True))
        if self.activation_checkpointing is True:  # the run has put its decision in place of auto
            for block in encoder.blocks:
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        if mesh is None:
            return
        is_mixed = self.arithmetic == "bf16-mixed"
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if is_mixed else None,
            reduce_dtype=torch.float32 if is_mixed else None,
            cast_forward_inputs=False,
        )
        for module in (*encoder.blocks, model, *heads):
            fully_shard(module, mesh=mesh, mp_policy=policy)
        for method in ("encode", "predict", "loss", "predicted_loss"):
            if hasattr(model, method):
                register_fsdp_forward_method(model, method)

    def check(self, batch: BatchPlan) -> None:
        """Refuse what cannot be computed, before any process is started.

        Raises:
            ConfigError: the global batch does not divide evenly; there is no such accelerator, or too few;
                a residual stream in bfloat16 outside bf16-mixed.
        """
        by_samples = batch.micro_size is not None
        passes = batch.accumulation(self.world_size) if by_samples else batch.of_rank(self.world_size)
        if self.device == "cuda":
            self._check_gpus()
        if self.strategy == "exact":
            check_exact(self.world_size, passes if by_samples else None)
        if self.bf16_residual and self.arithmetic != "bf16-mixed":
            raise ConfigError(
                "CFG-18",
                where="trainer.bf16_residual, trainer.precision",
                found=f"a residual stream in bfloat16, in {self.arithmetic}",
                expected="bf16-mixed, where hidden states are wider than what products take",
                fix="set trainer.precision=bf16-mixed, or trainer.bf16_residual=false",
            )

    def _check_gpus(self) -> None:
        ranks, here = self.ranks(), torch.cuda.device_count()
        processes = self.on_each_node if ranks is None else ranks.local_world_size
        if processes > here and not (here == 1 and self.cluster == "slurm"):
            raise ConfigError(
                "CFG-24",
                where="trainer.devices",
                found=f"{processes} processes on a machine where torch finds {here} GPUs",
                expected="a GPU for each process",
                fix=f"set trainer.devices={here}, or see what nvidia-smi and CUDA_VISIBLE_DEVICES say",
            )

    def stop_flags(self) -> StopFlags:
        """What the ranks decide together."""
        ranks = self.ranks()
        announces = not launched_by_us() and (ranks is None or ranks.first)
        return StopFlags(
            not_finite=self.not_finite,
            max_skipped=self.max_skipped,
            loss_spike=self.loss_spike,
            announces=announces,
        )

    def make(
        self,
        *,
        batch: BatchPlan,
        steps: int,
        loggers: Sequence[Logger],
        callbacks: Sequence[Callback],
        root: Path,
        stop_flags: StopFlags,
        resumed_step: int = 0,
    ) -> Trainer:
        """Make the trainer of this process.

        Args:
            batch: the batch arithmetic; gives the gradient accumulation.
            steps: optimizer steps of the run.
            loggers: where metrics go.
            callbacks: the run's own, with those of the config among them.
            root: the run directory.
            stop_flags: what the ranks decide together.
            resumed_step: optimizer step of the checkpoint to start from.
        """
        ranks = self.ranks()
        assert ranks is not None, "processes are started before trainers are made"
        passes = batch.accumulation(ranks.world_size)
        if self.device == "cuda":
            torch.set_float32_matmul_precision("high" if self.tf32 else "highest")
        in_bfloat16 = self.arithmetic == "bf16-true"
        strategy = self._strategy(ranks)
        strategy.resumed_step, strategy.passes, strategy.stop_flags = resumed_step, passes, stop_flags
        return Trainer(
            accelerator=self.device,
            devices=1 if self.device == "cuda" else ranks.local_world_size,
            num_nodes=ranks.world_size // ranks.local_world_size,
            strategy=strategy,
            plugins=[
                LightningEnvironment() if ranks.world_size == 1 else StartedRanks(ranks),
                *([PlainBfloat16()] if in_bfloat16 else []),
            ],
            precision=None if in_bfloat16 else self.arithmetic,
            deterministic=self.deterministic,
            logger=list(loggers),
            callbacks=list(callbacks),
            default_root_dir=root,
            max_steps=steps,
            max_epochs=-1,
            accumulate_grad_batches=passes,
            gradient_clip_val=self.gradient_clip or None,
            val_check_interval=min(self.validate_every, steps) * passes,
            check_val_every_n_epoch=None,
            log_every_n_steps=self.log_every,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            inference_mode=False,  # weights seen in it cannot train afterwards where they are sharded
        )

    def _strategy(self, ranks: Ranks) -> _FromFolder:
        timeout, device = timedelta(seconds=self.longest_wait_s), self.device
        strategy: Sharded | Replicated | ReplicatedExactly
        if self.strategy == "fsdp":
            strategy = Sharded(timeout=timeout)
        elif ranks.world_size > 1:
            strategy = (ReplicatedExactly if self.strategy == "exact" else Replicated)(timeout=timeout)
        else:
            return SingleProcess(device="cuda:0" if device == "cuda" else device)
        strategy.parallel_devices = [
            torch.device(device, self.gpu_of(number)) if device == "cuda" else torch.device("cpu")
            for number in range(ranks.local_world_size)
        ]
        return strategy

    def gpu_of(self, local_rank: int) -> int:
        """The GPU of a process; where SLURM shows each task its own alone (--gpus-per-task), the only one."""
        return 0 if torch.cuda.device_count() == 1 else local_rank


class PlainBfloat16(HalfPrecision):
    """Weights and arithmetic in bfloat16. Batches hold ids and targets, which stay as they are."""

    def __init__(self) -> None:
        super().__init__("bf16-true")

    def convert_input(self, data: Any) -> Any:  # noqa: ANN401 -- Lightning's signature
        """Lightning would have the values of tracks in bfloat16 too."""
        return data


def _started_otherwise(found: str, on_each: int, num_nodes: int) -> ConfigError:
    return ConfigError(
        "CFG-25",
        where="trainer.devices, trainer.num_nodes",
        found=found,
        expected=f"{on_each} processes on each of {num_nodes} machines",
        fix="start with torchrun --nnodes=<num_nodes> --nproc-per-node=<devices> -m dnalm pretrain …, "
        "or with srun and trainer=slurm",
    )
